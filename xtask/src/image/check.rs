//! The agent's image, unpacked and run as a runtime would.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::{
    USER,
    archive::Image,
    layer::{CAPABILITY_XATTR, vfs_cap_data},
    unpack,
};
use crate::shell;

/// Checks every digest of `archive`, then its binary; or says why the latter cannot be.
pub(super) fn agent(archive: &[u8], image: &Image) -> Result<Option<String>> {
    let unpacked = unpack::images(archive)?;
    let [read] = unpacked.as_slice() else { bail!("{} images, not one", unpacked.len()) };
    if read.name != image.name {
        bail!("the archive has {}, not {}", read.name, image.name);
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(Some("only root can unpack file capabilities".to_owned()));
    }
    let root = tempfile::Builder::new().prefix("podvitals-image-").tempdir();
    let root = root.context("make a folder to unpack into")?;
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))
        .context("open the folder to every user")?;
    let mut layer = tar::Archive::new(read.layer.as_slice());
    layer.set_preserve_permissions(true);
    layer.set_preserve_ownerships(true);
    layer.set_unpack_xattrs(true);
    layer.unpack(root.path()).context("unpack the layer")?;
    for file in &image.files {
        let path = root.path().join(&file.path);
        let value = xattr::get(&path, CAPABILITY_XATTR)
            .with_context(|| format!("read {CAPABILITY_XATTR} of {}", path.display()))?;
        let expected = (!file.capabilities.is_empty()).then(|| vfs_cap_data(&file.capabilities));
        if value != expected {
            bail!("{}: {CAPABILITY_XATTR} is {value:?}, not {expected:?}", path.display());
        }
    }
    run(&root.path().join("podvitals"))
}

/// Runs the unpacked binary without any capability in reach, and as in the Pod of `deploy/`.
fn run(binary: &Path) -> Result<Option<String>> {
    let version = shell::output(bare(&["--bounding-set=-all"]).arg(binary).arg("--version"))
        .context("without any capability, the binary must start all the same")?;
    println!("runs as user {USER} without any capability: {}", version.trim());
    let flags = statvfs(binary).context("statvfs of the unpacked binary")?.flags();
    if flags.contains(FsFlags::ST_NOSUID) {
        return Ok(Some(format!("{} is mounted nosuid", binary.display())));
    }
    Ok(None)
}

/// `setpriv` for a user without rights who can get no new ones.
fn bare(args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), &format!("--regid={USER}")]);
    command.args(["--clear-groups", "--no-new-privs", "--inh-caps=-all"]).args(args);
    command
}
