//! Kernels to test on: Debian's, unpacked into the cache and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{apt, paths};

/// What is tested when nothing is said: all of them.
pub(crate) const DEFAULT: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

/// Every kernel that Podvitals is tested on, oldest first, with the suites that have it.
const SUITES: [(&str, &[&str]); 5] = [
    ("5.10", &["bullseye"]),
    ("6.1", &["bookworm"]),
    ("6.12", &["trixie", "bookworm-backports"]),
    ("6.18", &["trixie-backports"]),
    ("7.3", &["trixie-backports"]),
];

/// A kernel ready to boot.
pub(crate) struct Kernel {
    /// Debian's package, whose name tells the release.
    pub(crate) package: String,
    /// The image.
    pub(crate) vmlinuz: PathBuf,
}

/// All versions of the table.
pub(crate) fn all() -> Vec<String> {
    SUITES.iter().map(|&(version, _)| version.to_owned()).collect()
}

/// The kernel `version` ("6.1"), from the cache or Debian.
pub(crate) fn fetch(version: &str) -> Result<Kernel> {
    let Some((_, suites)) = SUITES.iter().find(|(known, _)| *known == version) else {
        bail!("no kernel {version} in the table: it has {}", all().join(", "));
    };
    let dir = paths::cache("kernels")?.join(version);
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
    println!("setup: downloading Linux {version} …");
    let mut errors = Vec::new();
    for suite in *suites {
        match download(version, suite, &dir) {
            Ok(()) => return cached(&dir).context("the kernel just unpacked is gone"),
            Err(error) => errors.push(format!("{suite}: {error:#}")),
        }
    }
    bail!("no kernel {version}: {}", errors.join("; "))
}

fn cached(dir: &Path) -> Option<Kernel> {
    let vmlinuz = dir.join("vmlinuz");
    let package = fs::read_to_string(dir.join("package")).unwrap_or_else(|_| "by hand".to_owned());
    vmlinuz.is_file().then(|| Kernel { package: package.trim().to_owned(), vmlinuz })
}

fn download(version: &str, suite: &str, dir: &Path) -> Result<()> {
    let root = apt::Root::fetch(suite)?;
    let package = newest(&root.packages("linux-")?, version)
        .with_context(|| format!("no linux-image-{version}*-cloud-amd64"))?;
    let unpacked = paths::work(&format!("kernel-{version}"))?;
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

/// The newest package of `version` that holds an image: `linux-binary-` where there is one, since
/// its `linux-image-` then has only the signature.
fn newest(packages: &[String], version: &str) -> Option<String> {
    let (_, release) = packages
        .iter()
        .filter_map(|package| {
            let release = package.strip_prefix("linux-image-")?.strip_suffix("-cloud-amd64")?;
            let rest = release.strip_prefix(version)?;
            // Debian's "6.1.0-47" and "6.18.15+deb13"; neither "6.18" for "6.1" nor a metapackage.
            let mut numbers = rest.strip_prefix('.')?.split(|c: char| !c.is_ascii_digit());
            let patch: u32 = numbers.next()?.parse().ok()?;
            let abi: u32 = numbers.next().and_then(|abi| abi.parse().ok()).unwrap_or(0);
            Some(((patch, abi), release))
        })
        .max()?;
    let binary = format!("linux-binary-{release}-cloud-amd64");
    if packages.contains(&binary) {
        return Some(binary);
    }
    Some(format!("linux-image-{release}-cloud-amd64"))
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
        ]
        .map(str::to_owned)
        .to_vec();
        let newest = |version| newest(&packages, version);
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-47-cloud-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.107+deb13-cloud-amd64"));
        assert_eq!(newest("6.18").as_deref(), Some("linux-image-6.18.15+deb13-cloud-amd64"));
        assert_eq!(newest("7.3").as_deref(), Some("linux-binary-7.3.4+deb13-cloud-amd64"));
        assert_eq!(newest("5.10"), None);
    }
}
