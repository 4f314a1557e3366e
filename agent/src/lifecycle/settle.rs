//! The time that late records have, before a conclusion is published.

/// Time from the end until a death, and from the last record until an OOM is published.
///
/// The ring buffer keeps the order in which records were reserved, over all CPUs, not that of
/// their times, and is drained before anything is settled. Up to Linux 6.18 the cgroup is empty
/// before the parent is notified, later after that, from a worker. All that has been seen is within a
/// few milliseconds; this leaves room for a node under the load that comes with OOMs, and still is
/// 1/50 of the time that the API's answer to a death may take.
pub const SETTLE_NS: u64 = 100_000_000;
