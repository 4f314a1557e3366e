//! Kernels to test on: Debian's, unpacked into the cache and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{apt, paths};

/// Kernels that are tested when none is named: the columns of the table in docs/KERNELS.md.
pub(crate) const DEFAULT: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

/// A kernel that Podvitals is tested on.
struct Known {
    /// Name on the command line.
    name: &'static str,
    /// Begin of the release; empty is any.
    version: &'static str,
    /// End of the package's name.
    flavour: &'static str,
    /// The suites that have it.
    suites: &'static [&'static str],
}

/// Every kernel that Podvitals is tested on by default, oldest first, and those that are only
/// tested by name: a kernel with another scheduler, and the newest one by the newest compiler, which
/// writes its types in its own way.
const KNOWN: [Known; 7] = [
    cloud("5.10", "5.10", &["bullseye"]),
    cloud("6.1", "6.1", &["bookworm"]),
    cloud("6.12", "6.12", &["trixie", "bookworm-backports"]),
    cloud("6.18", "6.18", &["trixie-backports"]),
    cloud("7.3", "7.3", &["trixie-backports"]),
    Known { name: "6.12-rt", version: "6.12", flavour: "-rt-amd64", suites: &["trixie"] },
    cloud("sid", "", &["sid"]),
];

const fn cloud(
    name: &'static str,
    version: &'static str,
    suites: &'static [&'static str],
) -> Known {
    Known { name, version, flavour: "-cloud-amd64", suites }
}

/// A kernel ready to boot.
pub(crate) struct Kernel {
    /// Debian's package, whose name tells the release.
    pub(crate) package: String,
    /// The image.
    pub(crate) vmlinuz: PathBuf,
}

/// The kernel of this name ("6.1"), from the cache or Debian.
pub(crate) fn fetch(name: &str) -> Result<Kernel> {
    let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
        bail!("no kernel is called {name}: there are {}", KNOWN.map(|known| known.name).join(", "));
    };
    let dir = paths::cache("kernels")?.join(name);
    if let Some(kernel) = cached(&dir) {
        return Ok(kernel);
    }
    if !apt::is_here() {
        bail!(
            "kernels are downloaded by apt, which is not here; put a kernel with BTF and cgroup v2 \
             at {}/vmlinuz",
            dir.display()
        );
    }
    println!("setup: downloading Linux {name} …");
    let mut errors = Vec::new();
    for suite in known.suites {
        match download(known, suite, &dir) {
            Ok(()) => return cached(&dir).context("the kernel just unpacked is gone"),
            Err(error) => errors.push(format!("{suite}: {error:#}")),
        }
    }
    bail!("no kernel {name}: {}", errors.join("; "))
}

fn cached(dir: &Path) -> Option<Kernel> {
    let vmlinuz = dir.join("vmlinuz");
    let package = fs::read_to_string(dir.join("package")).unwrap_or_else(|_| "by hand".to_owned());
    vmlinuz.is_file().then(|| Kernel { package: package.trim().to_owned(), vmlinuz })
}

fn download(known: &Known, suite: &str, dir: &Path) -> Result<()> {
    let Known { name, version, flavour, .. } = known;
    let root = apt::Root::fetch(suite)?;
    let package = newest(&root.packages("linux-")?, version, flavour)
        .with_context(|| format!("no linux-image-{version}*{flavour}"))?;
    let unpacked = paths::work(&format!("kernel-{name}"))?;
    root.unpack(&package, &unpacked)?;
    let image = find_image(&unpacked).with_context(|| format!("no vmlinuz in {package}"))?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    fs::write(dir.join("package"), format!("{package}\n"))
        .with_context(|| format!("write {}/package", dir.display()))?;
    // The image comes last and whole: its being there is what "cached" means.
    let part = dir.join("vmlinuz.part");
    fs::copy(&image, &part).with_context(|| format!("copy {}", image.display()))?;
    fs::rename(&part, dir.join("vmlinuz")).with_context(|| format!("name {}", part.display()))?;
    fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))
}

/// `boot/vmlinuz-*`, or from 7.0 on `usr/lib/modules/*/vmlinuz`.
fn find_image(unpacked: &Path) -> Option<PathBuf> {
    let list = |dir: &str| {
        let files = fs::read_dir(unpacked.join(dir)).into_iter().flatten();
        files.flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    };
    list("boot").into_iter().find(named).or_else(|| {
        let modules = list("usr/lib/modules").into_iter().map(|dir| dir.join("vmlinuz"));
        modules.into_iter().find(|file| file.is_file())
    })
}

/// The newest package of `version` and `flavour` that holds an image: `linux-binary-` where there is
/// one, since its `linux-image-` then has only the signature.
fn newest(packages: &[String], version: &str, flavour: &str) -> Option<String> {
    let (_, release) = packages
        .iter()
        .filter_map(|package| {
            let release = package.strip_prefix("linux-image-")?.strip_suffix(flavour)?;
            // Debian's "6.1.0-47" and "6.18.15+deb13"; neither "6.18" for "6.1" nor a metapackage.
            let rest = release.strip_prefix(version)?;
            if !version.is_empty() && !rest.starts_with('.') {
                return None;
            }
            let mut numbers = release.split(['.', '-', '+']).map(str::parse::<u32>);
            let [major, minor, patch] = [(); 3].map(|()| numbers.next()?.ok());
            let abi = numbers.next().and_then(Result::ok).unwrap_or(0);
            Some(((major?, minor?, patch?, abi), release))
        })
        .max()?;
    let binary = format!("linux-binary-{release}{flavour}");
    if packages.contains(&binary) {
        return Some(binary);
    }
    Some(format!("linux-image-{release}{flavour}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_version_is_chosen() {
        let packages: Vec<String> = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64-dbg",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-6.18.9+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-6.18.20+deb13-amd64",
            "linux-image-6.12.117+deb13-rt-amd64",
            "linux-image-6.12.107+deb13-rt-amd64",
        ]
        .map(str::to_owned)
        .to_vec();
        let of = |version, flavour| newest(&packages, version, flavour);
        let newest = |version| of(version, "-cloud-amd64");
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-47-cloud-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.107+deb13-cloud-amd64"));
        assert_eq!(newest("6.18").as_deref(), Some("linux-image-6.18.15+deb13-cloud-amd64"));
        assert_eq!(newest("7.3").as_deref(), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
        assert_eq!(newest("5.10"), None);
        assert_eq!(newest("").as_deref(), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
        let rt = of("6.12", "-rt-amd64");
        assert_eq!(rt.as_deref(), Some("linux-image-6.12.117+deb13-rt-amd64"));
    }
}
