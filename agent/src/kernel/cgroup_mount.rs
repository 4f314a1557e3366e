//! Mount of the cgroup v2 hierarchy, and the controllers that it offers.

use std::path::{Path, PathBuf};

/// Mounted cgroup hierarchies of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMounts {
    /// Mount point of the v2 hierarchy.
    pub unified: Option<PathBuf>,
    /// Whether a v1 hierarchy is mounted as well: some controllers may be bound to it.
    pub legacy: bool,
}

/// Finds the cgroup mounts of this process.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read or parsed.
pub fn find() -> Result<CgroupMounts, procfs::ProcError> {
    let mut mounts = CgroupMounts { unified: None, legacy: false };
    for mount in procfs::process::Process::myself()?.mountinfo()? {
        match mount.fs_type.as_str() {
            // The hierarchy can be mounted several times; the shortest path is the usual one.
            "cgroup2" => match &mounts.unified {
                Some(old) if old.as_os_str().len() <= mount.mount_point.as_os_str().len() => {}
                _ => mounts.unified = Some(mount.mount_point),
            },
            "cgroup" => mounts.legacy = true,
            _ => {}
        }
    }
    Ok(mounts)
}

/// Controllers that a cgroup offers (`cgroup.controllers`).
///
/// # Errors
/// The file cannot be read: `directory` is not a cgroup v2 directory.
pub fn controllers(directory: &Path) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(directory.join("cgroup.controllers"))?;
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Number of cgroups below this one (`cgroup.stat`); 0 where the file does not have it.
#[must_use]
pub fn descendants(directory: &Path) -> u64 {
    let text = std::fs::read_to_string(directory.join("cgroup.stat")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("nr_descendants "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}
