//! Cgroups and log links of the demo, in the kubelet's shape, made as the tests make theirs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use testbed::cgroup::{self, Cgroup};
use testbed::tree;

use crate::kernel::cgroup_mount;

/// Namespace of the demo's Pods.
pub(super) const NAMESPACE: &str = "demo";

/// Mount point of the cgroup v2 hierarchy.
pub(super) fn mount_point() -> Result<PathBuf> {
    cgroup_mount::find().context("finding the cgroup mounts")?.unified.context(
        "no cgroup v2 hierarchy is mounted: boot with systemd.unified_cgroup_hierarchy=1, or \
         `mount -t cgroup2 none /sys/fs/cgroup`",
    )
}

/// Cgroups and log links of the demo. Dropped, they are removed, and processes in the cgroups
/// killed.
#[derive(Debug)]
pub(super) struct Tree {
    // Dropped in this order.
    kubepods: tree::Tree,
    root: Cgroup,
    _log_dir: LogDir,
    parent: PathBuf,
    has_memory: bool,
}

impl Tree {
    /// Makes `<parent>/podvitals-demo-<pid>/kubepods.slice/kubepods-burstable.slice` and the
    /// directory of links.
    pub(super) fn make(parent: &Path, log_dir: Option<&Path>) -> Result<Self> {
        ensure!(
            parent.join("cgroup.controllers").exists(),
            "{} is not in a cgroup v2 hierarchy: give one with --cgroup.root",
            parent.display()
        );
        let name = format!("podvitals-demo-{}", std::process::id());
        let own_log_dir = std::env::temp_dir().join(&name);
        let root = parent.join(&name);
        let root = Cgroup::make(&root).with_context(|| {
            format!(
                "making cgroup {}: is {} mounted read-only? Run the demo on the host, or in a \
                 container with the host's cgroups writable",
                root.display(),
                parent.display()
            )
        })?;
        let log_dir = LogDir::make(log_dir.map_or(own_log_dir, Path::to_owned))?;
        let kubepods = tree::Tree::make(root.dir(), &log_dir.path, NAMESPACE)?;
        let has_memory = cgroup::controllers(root.dir())?.iter().any(|name| name == "memory");
        Ok(Self { kubepods, root, _log_dir: log_dir, parent: parent.to_owned(), has_memory })
    }

    /// The cgroup in which the demo made its own.
    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }

    /// The demo's own cgroup: the node's root to the agent.
    pub(super) fn root(&self) -> &Path {
        self.root.dir()
    }

    /// Directory of the links that name the containers.
    pub(super) fn log_dir(&self) -> &Path {
        self.kubepods.log_dir()
    }

    /// Whether memory can be limited.
    pub(super) fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// A new Pod of this name, with a UID of its own.
    pub(super) fn pod(&self, name: &str) -> Result<Pod> {
        self.kubepods.pod(name).map(Pod)
    }
}

/// Directory of links. Dropped, it is removed if it was made here.
#[derive(Debug)]
struct LogDir {
    path: PathBuf,
    made: bool,
}

impl LogDir {
    fn make(path: PathBuf) -> Result<Self> {
        let made = !path.exists();
        if made {
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        Ok(Self { path, made })
    }
}

impl Drop for LogDir {
    fn drop(&mut self) {
        if self.made {
            // It held only links of the demo, which are gone; if others are there, it stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// A Pod's cgroup. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Pod(tree::Pod);

impl Pod {
    /// Limits all containers of the Pod together.
    pub(super) fn limit(&self, limits: Limits) -> Result<()> {
        write_limits(&self.0.dir, limits)
    }

    /// A new container `app`, with an id of its own: its cgroup and its log link.
    pub(super) fn container(&self) -> Result<Container> {
        self.0.container("app").map(Container)
    }
}

/// A container's cgroup and log link. Dropped, both are removed.
#[derive(Debug)]
pub(super) struct Container(tree::Container);

impl Container {
    /// The container's cgroup.
    pub(super) fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Limits the container.
    pub(super) fn limit(&self, limits: Limits) -> Result<()> {
        write_limits(&self.0.dir, limits)
    }

    /// Removes the container's cgroup, as a runtime does after the end. The link stays for a while.
    pub(super) fn remove_cgroup(&self) -> Result<()> {
        self.0.remove_cgroup()
    }
}

/// Files of a cgroup with the values to write, as the kubelet derives them from a container's
/// limits.
pub(super) type Limits = &'static [(&'static str, &'static str)];

/// Writes limits; those for which the host has no controller are left out.
fn write_limits(dir: &Path, limits: Limits) -> Result<()> {
    for (file, value) in limits {
        let path = dir.join(file);
        if path.exists() {
            cgroup::write(&path, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_cgroups_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tree::make(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("--cgroup.root"), "{error}");
    }
}
