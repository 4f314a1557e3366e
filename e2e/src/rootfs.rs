//! The node's file system: Debian by debootstrap, kept in the cache; a copy of it with the node's
//! own files becomes a disk image, without a mount.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use xtask::{apt, paths, shell};

/// The Debian that the node runs.
const SUITE: &str = "trixie";
/// What it has beyond the essential packages. `initramfs-tools` makes the initrd that loads the
/// disk's driver.
const PACKAGES: [&str; 12] = [
    "containernetworking-plugins",
    "crun",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "iptables",
    "kmod",
    "linux-image-cloud-amd64",
    "procps",
    "runc",
    "systemd-sysv",
    "udev",
];
/// What only a person at the node would read, and what only an installation needs.
const UNUSED: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
];
/// Units that would only compete for the emulated CPU. Without udev the devices are those that the
/// kernel itself puts into /dev, which is all there is in this machine.
const MASKED: [&str; 26] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "getty.target",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "proc-sys-fs-binfmt_misc.automount",
    "run-lock.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-hostnamed.socket",
    "systemd-journal-catalog-update.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-udev-load-credentials.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "tmp.mount",
];
/// Sparse: only what is written takes room.
const DISK: &str = "4G";

/// A node's disk, and what boots it.
pub(crate) struct Disk {
    pub(crate) image: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// The kernel's release, from its file's name.
    pub(crate) release: String,
}

/// A file of the node.
pub(crate) struct File {
    /// Where, from the root on, without the leading slash.
    pub(crate) path: String,
    pub(crate) content: Content,
    pub(crate) mode: u32,
}

/// What is in it.
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Copy(PathBuf),
}

impl File {
    /// A file that all may read.
    pub(crate) fn new(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), content: Content::Bytes(content.into()), mode: 0o644 }
    }

    /// A program, copied.
    pub(crate) fn program(path: &str, from: &Path) -> Self {
        Self { path: path.to_owned(), content: Content::Copy(from.to_owned()), mode: 0o755 }
    }
}

/// A bare Debian, from the cache or by debootstrap.
pub(crate) fn debian() -> Result<PathBuf> {
    let cache = paths::cache("e2e")?;
    let (dir, stamp_file) = (cache.join("debian"), cache.join("debian.stamp"));
    let stamp = format!("{SUITE} {}\n", PACKAGES.join(","));
    if fs::read_to_string(&stamp_file).is_ok_and(|it| it == stamp) && dir.is_dir() {
        return Ok(dir);
    }
    let debootstrap = apt::program("debootstrap", "debootstrap")?;
    println!("setup: installing Debian {SUITE} into {} (1 to 2 minutes) …", dir.display());
    let _ = fs::remove_file(&stamp_file);
    remove(&dir)?;
    let archive = apt::archive()?;
    // In a mount namespace of its own: what it mounts below the folder goes with it.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(debootstrap);
    command.arg("--variant=minbase").arg(format!("--include={}", PACKAGES.join(",")));
    if let Some(key) = &archive.signed_by {
        command.arg(format!("--keyring={key}"));
    }
    command.arg(SUITE).arg(&dir).arg(&archive.uri);
    shell::run_quiet(&mut command, "debootstrap")
        .with_context(|| format!("install Debian {SUITE} into {}", dir.display()))?;
    for unused in UNUSED {
        remove(&dir.join(unused))?;
    }
    small_initrd(&dir)?;
    fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))?;
    Ok(dir)
}

/// An initrd with the one driver that it is there for, instead of all that a disk may need: a third
/// of the time until systemd starts.
fn small_initrd(dir: &Path) -> Result<()> {
    let settings = dir.join("etc/initramfs-tools");
    for (file, text) in [("conf.d/node", "MODULES=list\n"), ("modules", "virtio_blk\n")] {
        let file = settings.join(file);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let mut update = Command::new("unshare");
    update.args(["--mount", "--propagation", "private", "chroot"]).arg(dir);
    shell::run_quiet(update.args(["update-initramfs", "-u"]), "update-initramfs")
        .context("make the node's initrd")
}

/// A disk of `debian` with `files`, and with the tree `e2e/node` over it; these units are enabled.
pub(crate) fn disk(debian: &Path, files: &[File], units: &[(&str, &str)]) -> Result<Disk> {
    let work = paths::work("e2e")?;
    let (root, image) = (work.join("root"), work.join("root.img"));
    remove(&root)?;
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto"]).arg(debian).arg(&root);
    shell::run_quiet(&mut copy, "cp-debian")?;
    let mut overlay = Command::new("cp");
    // Owned by root, whoever cloned the repository.
    overlay
        .args(["--recursive", "--no-dereference"])
        .arg(paths::root().join("e2e/node/."))
        .arg(&root);
    shell::run_quiet(&mut overlay, "cp-node")?;
    for file in files {
        put(&root, file).with_context(|| format!("the node's file /{}", file.path))?;
    }
    let systemd = root.join("etc/systemd/system");
    for unit in MASKED {
        link("/dev/null", &systemd.join(unit))?;
    }
    for (unit, target) in units {
        let wants = systemd.join(format!("{target}.wants"));
        fs::create_dir_all(&wants).with_context(|| format!("create {}", wants.display()))?;
        link(&format!("/etc/systemd/system/{unit}"), &wants.join(unit))?;
    }
    let _ = fs::remove_file(&image);
    let mut mke2fs = Command::new(apt::program("mke2fs", "e2fsprogs")?);
    // No journal: the disk is thrown away.
    mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(&root).arg(&image).arg(DISK);
    shell::run_quiet(&mut mke2fs, "mke2fs")?;
    let boot = work.join("boot");
    remove(&boot)?;
    fs::rename(root.join("boot"), &boot).context("keep the kernel and its initrd")?;
    remove(&root)?;
    let [kernel, initrd] = ["vmlinuz-", "initrd.img-"].map(|prefix| find(&boot, prefix));
    let (kernel, initrd) = (kernel?, initrd?);
    let name = kernel.file_name().unwrap_or_default().to_string_lossy();
    let release = name.trim_start_matches("vmlinuz-").to_owned();
    Ok(Disk { image, kernel, initrd, release })
}

fn put(root: &Path, file: &File) -> Result<()> {
    let path = root.join(&file.path);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    match &file.content {
        Content::Bytes(bytes) => {
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
        Content::Copy(from) => {
            fs::copy(from, &path).with_context(|| format!("copy {}", from.display()))?;
        }
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(target, path).with_context(|| format!("link {}", path.display()))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn find(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let files = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut found: Vec<PathBuf> = files
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(prefix)))
        .collect();
    found.sort();
    match found.pop() {
        Some(file) => Ok(file),
        None => bail!("no {prefix}* in {}: debootstrap installed no kernel", dir.display()),
    }
}
