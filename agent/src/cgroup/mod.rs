//! Control groups (cgroups): their tree, their names, and samples of their resource usage.

pub mod files;
#[cfg(test)]
pub mod fixture;
mod handles;
pub mod kubelet;
pub mod path;
pub mod reader;
pub mod role;
pub mod sample;
pub mod share;
pub mod snapshot;
pub mod statistics;
pub mod tree;
pub mod walk;

/// Id of a cgroup in the v2 hierarchy: the inode number of its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(pub u64);

impl std::fmt::Display for CgroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
