//! The time that late records have, before a conclusion is published.

/// Time between the end of a container and the publication of its death, and between an OOM's last
/// record and its publication.
///
/// The ring buffer keeps the order in which records were reserved, over all CPUs, not that of their
/// times, and is drained before anything settles. Up to Linux 6.18 the cgroup is empty before the
/// parent is notified; later kernels report it afterwards, from a worker. All delays that were
/// observed are within a few milliseconds. This leaves room for a node under the load that comes
/// with OOMs, and is still 1/50 of the time that the API may take to report a death.
pub const SETTLE_NS: u64 = 100_000_000;
