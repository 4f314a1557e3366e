//! Names, keys and values of the maps that both sides use.

/// Hash map from cgroup id (`u64`) to [`Tracked`]: which cgroups matter.
pub const TRACKED: &str = "TRACKED";
/// Ring buffer of the records of [`crate::event`].
pub const EVENTS: &str = "EVENTS";
/// Per-CPU array of `u64`, indexed by the `COUNTER_` constants.
pub const COUNTERS: &str = "COUNTERS";
/// Name of the read-only variable that holds [`crate::layout::Layout`].
pub const LAYOUT: &str = "LAYOUT";

/// Cgroups that can be tracked at once.
pub const TRACKED_MAX: u32 = 16_384;
/// Size of the ring buffer. The agent maps it twice in a row, and all of that counts as resident.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// Unread bytes in the ring buffer above which even a record that can wait wakes the agent.
pub const EVENTS_WAKE_BYTES: u64 = 256 << 10;

/// What the kernel side knows of a tracked cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Thread group id of the container's init once the agent has told it, else 0. Signals from
    /// inside the container are reported for this process only.
    pub init_tgid: u32,
    /// 1 for a root: what is made below it is tracked, its own tasks are nobody's.
    pub is_root: u32,
}

/// Records that found no room in the ring buffer.
pub const COUNTER_LOST_RING_FULL: u32 = 0;
/// Cgroups that found no room in [`TRACKED`].
pub const COUNTER_LOST_TRACKED_FULL: u32 = 1;
/// Records submitted.
pub const COUNTER_SUBMITTED: u32 = 2;
/// How many counters there are.
pub const COUNTERS_MAX: u32 = 3;
