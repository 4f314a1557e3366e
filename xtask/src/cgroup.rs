//! This machine's cgroup v2 tree: whether a container runs in it, a subtree of our own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use testbed::cgroup;

/// How far below the mount containers are looked for (kind nests the deepest).
const DEPTH: usize = 6;

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
        let mount = cgroup::mount()?;
        for entry in fs::read_dir(&mount).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let pid = file_name.to_str().and_then(|it| it.strip_prefix(name)?.strip_prefix('-'));
            if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !in_proc(pid)) {
                cgroup::remove(&entry.path())?;
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
        if let Err(error) = cgroup::remove(&self.dir) {
            eprintln!("left behind: {error:#}");
        }
    }
}

fn in_proc(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

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
