//! Facts about the running kernel and host. Parsers over a path; no decisions are taken here.

pub mod btf;
pub mod capabilities;
pub mod cgroup_mount;
pub mod heap;
pub mod host;
pub mod memlock;
pub mod offsets;
pub mod probes_offsets;
pub mod snapshot_offsets;
