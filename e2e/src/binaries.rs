//! Kubernetes, containerd and etcd. The first two are built from their Go modules, as `go.mod` and
//! `go.sum` in `e2e/` pin them, and kept in the cache until these change; etcd is Debian's. The
//! definitions of a PodMonitor and a PrometheusRule come from a Go module as well.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use xtask::{apt, go, paths, shell};

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
    /// The Prometheus operator's definitions of its objects that we have, for the API server.
    pub(crate) definitions: Vec<PathBuf>,
}

/// All of them, from the cache or made.
pub(crate) fn fetch() -> Result<Binaries> {
    let folder = folder("kubernetes");
    let version = go::required(&folder, "k8s.io/kubernetes")?;
    let what = format!("Kubernetes {version} (10 to 20 minutes from nothing)");
    let kubernetes = go::tools(&folder, "e2e/kubernetes", &what, &kubernetes_ldflags(&version)?)?;
    let containerd = containerd()?;
    Ok(Binaries {
        etcd: etcd()?,
        pause: pause()?,
        definitions: definitions()?,
        version,
        kubernetes,
        containerd,
    })
}

fn containerd() -> Result<PathBuf> {
    const PACKAGE: &str = "github.com/containerd/containerd/v2";
    let folder = folder("containerd");
    let version = go::required(&folder, PACKAGE)?;
    let ldflags = format!("-s -w -X {PACKAGE}/version.Version={version}");
    go::tools(&folder, "e2e/containerd", &format!("containerd {version}"), &ldflags)
}

fn folder(name: &str) -> PathBuf {
    paths::root().join("e2e").join(name)
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

fn definitions() -> Result<Vec<PathBuf>> {
    const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";
    let version = go::required(&folder("crds"), OPERATOR)?;
    let dir = paths::cache("e2e/crds")?;
    let mut definitions = Vec::new();
    for kind in ["podmonitors", "prometheusrules"] {
        let name = format!("monitoring.coreos.com_{kind}.yaml");
        let path = dir.join(format!("{version}-{name}"));
        if !path.is_file() {
            let folder = source("crds", OPERATOR)?.join("example/prometheus-operator-crd");
            let file = folder.join(name);
            // The module's cache is read-only, and may be cleared.
            let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        definitions.push(path);
    }
    Ok(definitions)
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
    fn a_release_is_stamped_with_its_numbers() {
        let flags = kubernetes_ldflags("v1.37.2").unwrap();
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=37 "), "{flags}");
        assert!(kubernetes_ldflags("v1").is_err());
    }
}
