//! This machine's cgroup v2 tree: where it is, whether a container runs in it, a subtree of our own.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// How far below the mount containers are looked for (kind nests the deepest).
const DEPTH: usize = 6;

/// Where cgroup v2 is mounted.
pub(crate) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    find_mount(&mounts).context("no cgroup v2 is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
}

/// The controllers that the mounted hierarchy offers.
pub(crate) fn controllers() -> Result<Vec<String>> {
    let path = mount()?.join("cgroup.controllers");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn find_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_device, dir, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(dir))
    })
}

/// The first cgroup below `root` that a container runtime made.
pub(crate) fn find_container(root: &Path) -> Option<PathBuf> {
    fn walk(dir: &Path, depth: usize) -> Option<PathBuf> {
        let mut children: Vec<PathBuf> = fs::read_dir(dir)
            .ok()?
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        children.sort();
        children.into_iter().find_map(|child| {
            let name = child.file_name()?.to_str()?.to_owned();
            let parent = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if is_container(parent, &name) {
                return Some(child);
            }
            if depth == 0 { None } else { walk(&child, depth - 1) }
        })
    }
    walk(root, DEPTH)
}

/// Whether a cgroup is a Pod's or a container's by the names that kubelet, Docker, Podman,
/// containerd and CRI-O give.
fn is_container(parent: &str, name: &str) -> bool {
    const SCOPES: [&str; 5] = ["docker-", "libpod-", "cri-containerd-", "crio-", "nerdctl-"];
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.contains("kubepods")
        || (name.ends_with(".scope") && SCOPES.iter().any(|scope| name.starts_with(scope)))
        || (is_id(name) && matches!(parent, "docker" | "default" | "libpod_parent"))
}

/// A place for a cgroup of our own, whose user makes it; removed with all below it when dropped.
pub(crate) struct Subtree {
    dir: PathBuf,
}

impl Subtree {
    /// `name-<pid>` below the cgroup v2 mount. Removes what an interrupted run left there.
    pub(crate) fn reserve(name: &str) -> Result<Self> {
        let mount = mount()?;
        for entry in fs::read_dir(&mount).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let pid = file_name.to_str().and_then(|it| it.strip_prefix(name)?.strip_prefix('-'));
            if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !in_proc(pid)) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(Self { dir: mount.join(format!("{name}-{}", std::process::id())) })
    }

    /// The cgroup's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.dir) {
            eprintln!("left behind: {error:#}");
        }
    }
}

fn in_proc(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Kills what runs in a subtree of ours and removes it. Never called for anything but our own.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    fn remove(dir: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(dir)?.flatten() {
            if entry.file_type()?.is_dir() {
                remove(&entry.path())?;
            }
        }
        fs::remove_dir(dir)
    }
    let mut last = None;
    for _ in 0..50 {
        if !dir.exists() {
            return Ok(());
        }
        // Absent before Linux 5.14: then the processes must end by themselves.
        let _ = fs::write(dir.join("cgroup.kill"), "1");
        match remove(dir) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        thread::sleep(Duration::from_millis(100));
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("remove the cgroup {}", dir.display())),
        None => bail!("remove the cgroup {}", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_in_both_layouts() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_mount(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(find_mount("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn runtimes_are_known_by_their_names() {
        let id = "e3".repeat(32);
        assert!(is_container("", "kubepods.slice"));
        assert!(is_container("kubelet", "kubelet-kubepods.slice"));
        assert!(is_container("system.slice", &format!("docker-{id}.scope")));
        assert!(is_container("docker", &id));
        assert!(!is_container("system.slice", "docker.service"));
        assert!(!is_container("user.slice", "session-3.scope"));
        assert!(!is_container("x", &id));
    }
}
