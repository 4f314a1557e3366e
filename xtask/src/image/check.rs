//! The agent's image, unpacked and run as a runtime would.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::{
    archive::{Image, USER},
    layer::{CAPABILITY_XATTR, Capability, vfs_cap_data},
    unpack,
};
use crate::shell;

/// What `deploy/` adds to the agent's container.
const CAPABILITIES_OF_POD: [Capability; 3] =
    [Capability::BPF, Capability::PERFMON, Capability::NET_ADMIN];

/// Checks every digest of `archive` against `images`, then the files as they are when unpacked, and
/// runs the agent; or says why the latter cannot be.
pub(super) fn archive(archive: &[u8], images: &[Image]) -> Result<Option<String>> {
    let unpacked = unpack::images(archive)?;
    if unpacked.len() != images.len() {
        bail!("the archive has {} images, not {}", unpacked.len(), images.len());
    }
    for (read, image) in unpacked.iter().zip(images) {
        if read.name != image.name {
            bail!("the archive has {}, not {}", read.name, image.name);
        }
        let user = read.config.pointer("/config/User").and_then(serde_json::Value::as_str);
        if user.unwrap_or_default() != image.config.user {
            bail!("{}: the user is {user:?}, not {}", image.name, image.config.user);
        }
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(Some("only root can unpack file capabilities".to_owned()));
    }
    for (read, image) in unpacked.iter().zip(images) {
        if let Some(skipped) = files(&read.layer, image).with_context(|| image.name.clone())? {
            return Ok(Some(skipped));
        }
    }
    Ok(None)
}

/// The files of one image, unpacked.
fn files(layer: &[u8], image: &Image) -> Result<Option<String>> {
    let root = tempfile::Builder::new().prefix("podvitals-image-").tempdir();
    let root = root.context("make a folder to unpack into")?;
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))
        .context("open the folder to every user")?;
    let mut layer = tar::Archive::new(layer);
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
        if !file.capabilities.is_empty()
            && let Some(skipped) = run(&path)?
        {
            return Ok(Some(skipped));
        }
    }
    Ok(None)
}

/// Runs the unpacked binary without any capability in reach, and as the Pod of `deploy/` does.
fn run(binary: &Path) -> Result<Option<String>> {
    let version = shell::output(setpriv(&["--bounding-set=-all", NO_NEW]).arg(binary).arg("-V"))
        .context("without any capability, the binary must start all the same")?;
    println!("runs as user {USER} without any capability: {}", version.trim());
    let flags = statvfs(binary).context("statvfs of the unpacked binary")?.flags();
    if flags.contains(FsFlags::ST_NOSUID) {
        return Ok(Some(format!("{} is mounted nosuid", binary.display())));
    }
    let own = effective(&fs::read_to_string("/proc/self/status").context("/proc/self/status")?)?;
    if CAPABILITIES_OF_POD.iter().any(|capability| own & capability.bit() == 0) {
        return Ok(Some(
            "this very process lacks CAP_BPF, CAP_PERFMON or CAP_NET_ADMIN".to_owned(),
        ));
    }
    // With no_new_privs an exec gives of the file's capabilities those that were permitted before
    // (security/commoncap.c, `cap_bprm_creds_from_file`). containerd leaves the added ones in the
    // bounding and in the permitted set of other users than root too, and makes none ambient
    // (internal/cri/server/container_create.go, 2.1). The first setpriv carries them over the
    // change of the user as ambient ones, which the second takes away.
    let added = CAPABILITIES_OF_POD.map(|it| it.name().replace("cap_", ",+")).concat();
    let sets =
        ["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}=-all{added}"));
    let mut check = setpriv(&sets.each_ref().map(String::as_str));
    check.args(["setpriv", "--ambient-caps=-all", "--inh-caps=-all", NO_NEW]);
    check.arg(binary).arg("check");
    // What else the machine lacks is in its exit status.
    let output = shell::ended(&mut check, "")?;
    let findings = String::from_utf8_lossy(&output.stdout);
    for name in CAPABILITIES_OF_POD.map(|it| it.name().to_uppercase()) {
        let found = findings.lines().find(|line| line.split_whitespace().next() == Some(&name));
        if found.is_none_or(|line| line.split_whitespace().nth(1) != Some("ok")) {
            bail!("as in the Pod, {name} is not effective: {found:?} {}", output.stderr.trim());
        }
    }
    println!(
        "as user {USER} with no_new_privs, CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are effective"
    );
    Ok(None)
}

const NO_NEW: &str = "--no-new-privs";

/// `setpriv` to a user without rights.
fn setpriv(args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={USER}")]);
    command.arg("--clear-groups").args(args);
    command
}

/// The effective capabilities in a `/proc/<pid>/status`.
fn effective(status: &str) -> Result<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff")?;
    u64::from_str_radix(hex.trim(), 16).context("CapEff in /proc/self/status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status() {
        let status = "CapPrm:\t0000000000000000\nCapEff:\t000000c000000000\nCapBnd:\t0\n";
        assert_eq!(effective(status).unwrap(), 0xc0_0000_0000);
        effective("Name:\tx\n").unwrap_err();
    }
}
