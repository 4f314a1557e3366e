//! Kubernetes, containerd and etcd. The first two are built from their Go modules, as `go.mod` and
//! `go.sum` in `e2e/` pin them, and kept in the cache until these change; etcd is Debian's. The
//! definition of a PodMonitor comes from a Go module as well.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use xtask::{apt, paths, shell};

/// The suite whose etcd Kubernetes wants: it needs 3.5 (k8s.io/apiserver v0.37,
/// pkg/storage/feature/feature_support_checker.go), and Debian 12 has 3.4.
const ETCD_SUITE: &str = "trixie";

/// Where the programs are.
pub(crate) struct Binaries {
    /// Kubernetes' version, as `v1.37.2`.
    pub(crate) version: String,
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kubelet.
    pub(crate) kubernetes: PathBuf,
    /// containerd, containerd-shim-runc-v2, ctr.
    pub(crate) containerd: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) pause: PathBuf,
    /// The Prometheus operator's definition of a PodMonitor, for the API server.
    pub(crate) pod_monitor: PathBuf,
}

/// All of them, from the cache or made.
pub(crate) fn fetch() -> Result<Binaries> {
    let kubernetes = module("kubernetes")?;
    let version = required(&kubernetes, "k8s.io/kubernetes")?;
    let ldflags = kubernetes_ldflags(&version)?;
    let kubernetes = build("kubernetes", &version, &ldflags)?;
    let package = "github.com/containerd/containerd/v2";
    let containerd_version = required(&module("containerd")?, package)?;
    let ldflags = format!("-s -w -X {package}/version.Version={containerd_version}");
    let containerd = build("containerd", &containerd_version, &ldflags)?;
    Ok(Binaries {
        etcd: etcd()?,
        pause: pause()?,
        pod_monitor: pod_monitor()?,
        version,
        kubernetes,
        containerd,
    })
}

fn module(name: &str) -> Result<String> {
    let file = folder(name).join("go.mod");
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

fn folder(name: &str) -> PathBuf {
    paths::root().join("e2e").join(name)
}

/// The version of `package` that a `go.mod` requires.
fn required(go_mod: &str, package: &str) -> Result<String> {
    go_mod
        .lines()
        .filter_map(|line| {
            let mut words = line.trim().trim_start_matches("require ").split_whitespace();
            (words.next() == Some(package)).then(|| words.next().map(str::to_owned))?
        })
        .find(|version| version.starts_with('v'))
        .with_context(|| format!("go.mod requires no {package}"))
}

/// The stamps that a release has (hack/lib/version.sh). Without them an API server takes itself for
/// v0.0.0 and emulates a version that is none.
fn kubernetes_ldflags(version: &str) -> Result<String> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("k8s.io/kubernetes {version} is no version");
    };
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    Ok(flags)
}

/// Builds the tools of the module `e2e/<name>`, all in one go, so that what they share is compiled
/// once. Returns their folder.
fn build(name: &'static str, version: &str, ldflags: &str) -> Result<PathBuf> {
    let dir = paths::cache("e2e")?.join(name);
    let folder = folder(name);
    let mut stamp = shell::output(Command::new("go").arg("version"))?;
    stamp.push_str(ldflags);
    for file in ["go.mod", "go.sum"] {
        let file = folder.join(file);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        stamp.push_str(&text);
    }
    let stamp_file = dir.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|it| it == stamp) {
        return Ok(dir);
    }
    println!("setup: building {name} {version} (Kubernetes: 10 to 20 minutes from nothing) …");
    // Half a build must not pass for a whole one.
    let _ = fs::remove_file(&stamp_file);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let mut go = Command::new("go");
    go.current_dir(&folder).env("CGO_ENABLED", "0");
    go.args(["build", "-trimpath", "-ldflags", ldflags, "-o"]).arg(format!("{}/", dir.display()));
    shell::run_quiet(go.arg("tool"), &format!("go-build-{name}"))
        .with_context(|| format!("build {name} {version}"))?;
    fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))?;
    Ok(dir)
}

fn etcd() -> Result<PathBuf> {
    let dir = paths::cache("e2e/etcd")?;
    let path = dir.join("usr/bin/etcd");
    if !path.is_file() {
        if !apt::is_here() {
            bail!(
                "etcd is downloaded by apt, which is not here; put etcd 3.5 at {}",
                path.display()
            );
        }
        println!("setup: unpacking etcd …");
        apt::Root::fetch(ETCD_SUITE)?.unpack("etcd-server", &dir)?;
    }
    Ok(path)
}

/// Kubernetes' own pause program, which is one C file of its module.
fn pause() -> Result<PathBuf> {
    let path = paths::cache("e2e/pause")?.join("pause");
    // Where the programs come from the cache, the module need not be there yet.
    if !path.is_file() {
        let source = source("kubernetes", "k8s.io/kubernetes")?.join("build/pause/linux/pause.c");
        let mut cc = Command::new("cc");
        cc.args(["-Os", "-static", "-s", "-o"]).arg(&path).arg(source);
        shell::run_quiet(&mut cc, "cc-pause").context("compile the pause program")?;
    }
    Ok(path)
}

fn pod_monitor() -> Result<PathBuf> {
    const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";
    const FILE: &str = "monitoring.coreos.com_podmonitors.yaml";
    let version = required(&module("crds")?, OPERATOR)?;
    let path = paths::cache("e2e/crds")?.join(format!("{version}-{FILE}"));
    if !path.is_file() {
        let file = source("crds", OPERATOR)?.join("example/prometheus-operator-crd").join(FILE);
        // The module's cache is read-only, and may be cleared.
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(path)
}

/// Where the source of `package` is, as the module `e2e/<name>` pins it.
fn source(name: &str, package: &str) -> Result<PathBuf> {
    let mut download = Command::new("go");
    download.current_dir(folder(name)).args(["mod", "download", package]);
    shell::run_quiet(&mut download, "go-mod-download")?;
    let mut list = Command::new("go");
    list.current_dir(folder(name)).args(["list", "-m", "-f", "{{.Dir}}", package]);
    Ok(PathBuf::from(shell::output(&mut list)?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_both_forms_of_require() {
        let alone = "module m\n\nrequire k8s.io/kubernetes v1.37.2\n";
        assert_eq!(required(alone, "k8s.io/kubernetes").unwrap(), "v1.37.2");
        let block = "require (\n\ta.b/c v0.1.0 // indirect\n\ta.b/c/v2 v2.4.2\n)\nreplace a.b/d => a.b/d v1.0.0";
        assert_eq!(required(block, "a.b/c/v2").unwrap(), "v2.4.2");
        assert!(required(block, "a.b/d").is_err(), "replaced is not required");
    }

    #[test]
    fn a_release_is_stamped_with_its_numbers() {
        let flags = kubernetes_ldflags("v1.37.2").unwrap();
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=37 "), "{flags}");
        assert!(kubernetes_ldflags("v1").is_err());
    }
}
