//! Names, keys and values of the maps that both sides use.

/// Hash map from cgroup id (`u64`) to [`Tracked`]: which cgroups matter.
pub const TRACKED: &str = "TRACKED";
/// Ring buffer of the records of [`crate::event`].
pub const EVENTS: &str = "EVENTS";
/// Per-CPU array of `u64`, indexed by the `COUNTER_` constants.
pub const COUNTERS: &str = "COUNTERS";
/// Array of one [`TaskWalk`].
pub const TASK_WALK: &str = "TASK_WALK";
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

/// Where the walk over all processes stands. All zeros before it begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskWalk {
    /// Address of the last process that was looked at; 0 before the first.
    pub address: u64,
    /// `start_boottime` of that process: what lies at the address later may be another.
    pub start_boot_ns: u64,
    /// Its thread group id.
    pub tgid: u32,
    /// One of the `WALK_` constants.
    pub outcome: u32,
}

/// The program did not run.
pub const WALK_NONE: u32 = 0;
/// The list goes on.
pub const WALK_MORE: u32 = 1;
/// That was the end of the list.
pub const WALK_DONE: u32 = 2;
/// The last process that was looked at has gone, and with it the way to the next.
pub const WALK_LOST: u32 = 3;
/// The beginning of the list was not found.
pub const WALK_NO_BEGIN: u32 = 4;

/// Processes that the program looks at before it pauses. More would take the verifier longer, which
/// follows it step by step.
pub const WALK_STRETCH: u32 = 32;

/// Records that found no room in the ring buffer.
pub const COUNTER_LOST_RING_FULL: u32 = 0;
/// Cgroups that found no room in [`TRACKED`].
pub const COUNTER_LOST_TRACKED_FULL: u32 = 1;
/// Records submitted.
pub const COUNTER_SUBMITTED: u32 = 2;
/// How many counters there are.
pub const COUNTERS_MAX: u32 = 3;
