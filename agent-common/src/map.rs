//! Names, keys and values of the maps that both sides use.

use crate::event::COMM_BYTES;

/// Name of the hash map from cgroup id (`u64`) to [`Tracked`]: the cgroups that matter.
pub const TRACKED: &str = "TRACKED";
/// Name of the ring buffer of the records of [`crate::event`].
pub const EVENTS: &str = "EVENTS";
/// Name of the per-CPU array of `u64`, indexed by the `COUNTER_` constants.
pub const COUNTERS: &str = "COUNTERS";
/// Name of the array of one [`TaskWalk`].
pub const TASK_WALK: &str = "TASK_WALK";
/// Name of the read-only variable that holds [`crate::layout::Layout`].
pub const LAYOUT: &str = "LAYOUT";

/// Limit of cgroups that can be tracked at once.
pub const TRACKED_MAX: u32 = 16_384;
/// Size of the ring buffer in bytes. It is the kernel's memory; the agent maps what it reads.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// Unread bytes in the ring buffer above which even a record that can wait wakes the agent.
pub const EVENTS_WAKE_BYTES: u64 = 256 << 10;

/// Place: not known yet, or one that belongs to no container and whose tasks are watched all the
/// same. A cgroup that is made below such a one is of unknown place as well.
pub const PLACE_UNKNOWN: u32 = 0;
/// Place: a holder of other cgroups, such as the root. Those created below it are tracked; its own
/// tasks belong to no container.
pub const PLACE_HOLDER: u32 = 1;
/// Place: a container's own cgroup. Those created below it are nested in it.
pub const PLACE_CONTAINER: u32 = 2;
/// Place: nested in a container's cgroup, at any depth.
pub const PLACE_NESTED: u32 = 3;

/// Place: as [`PLACE_CONTAINER`], of a service of the host. What it sends to others is never
/// refused: it may be the container runtime.
pub const PLACE_UNIT: u32 = 4;

/// State of a tracked cgroup on the kernel side.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Thread group id of the container's init once the agent has set it, else 0. Signals from
    /// inside the container are reported for this process only.
    pub init_tgid: u32,
    /// Place of the cgroup: one of the `PLACE_` constants.
    pub place: u32,
    /// Id of the cgroup of the container that this one is nested in; 0 for any other place.
    pub container_id: u64,
    /// Number of tracked cgroups that are nested in this container.
    pub nested: u32,
    /// Records that the container may cause at once, as of `refilled_boot_ns`.
    pub tokens: u32,
    /// Time of the last refill of `tokens`, `CLOCK_BOOTTIME`; 0 before the first.
    pub refilled_boot_ns: u64,
}

/// Limit of the tracked cgroups nested in one container: a sixty-fourth of [`TRACKED_MAX`].
pub const NESTED_MAX: u32 = 256;
/// Share of a container: records that its own processes may cause at once by signals and by making
/// cgroups. What the runtime and other services of the host send is never refused.
pub const SHARE_TOKENS: u32 = 256;
/// Tokens of a share that are kept for what is rarer and matters more: SIGKILL, and signals to
/// other containers.
pub const SHARE_RESERVE: u32 = 64;
/// Time in which a share gains a token: 64 a second.
pub const SHARE_REFILL_NS: u64 = 1_000_000_000 / 64;

/// Position of the walk over all processes; all zeros before the start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskWalk {
    /// Address of the last process that was visited; 0 before the first.
    pub address: u64,
    /// Field `start_boottime` of that process: another process may lie at the address later.
    pub start_boot_ns: u64,
    /// Thread group id of that process.
    pub tgid: u32,
    /// Outcome of the last run: one of the `WALK_` constants.
    pub outcome: u32,
    /// Flag: 1 if only processes that may be the kubelet are wanted, 0 for those of containers.
    pub kubelet_wanted: u32,
    /// Padding, 0.
    pub padding: u32,
}

/// Short names of the process that has the kubelet in it: alone, in k3s (by its link or, in its image, by
/// its own name) and in MicroK8s.
pub const KUBELET_COMMS: [[u8; COMM_BYTES]; 5] = [
    *b"k3s\0\0\0\0\0\0\0\0\0\0\0\0\0",
    *b"kubelet\0\0\0\0\0\0\0\0\0",
    *b"k3s-server\0\0\0\0\0\0",
    *b"k3s-agent\0\0\0\0\0\0\0",
    *b"kubelite\0\0\0\0\0\0\0\0",
];

/// Outcome: the program did not run.
pub const WALK_NONE: u32 = 0;
/// Outcome: the list goes on.
pub const WALK_MORE: u32 = 1;
/// Outcome: the end of the list is reached.
pub const WALK_DONE: u32 = 2;
/// Outcome: the last process that was visited has gone, and with it the way to the next.
pub const WALK_LOST: u32 = 3;
/// Outcome: the start of the list was not found.
pub const WALK_NO_BEGIN: u32 = 4;

/// Processes that the program visits before it pauses. With more the verifier would take longer,
/// which follows the program step by step.
pub const WALK_STRETCH: u32 = 32;

/// Counter of records that found no room in the ring buffer.
pub const COUNTER_LOST_RING_FULL: u32 = 0;
/// Counter of cgroups that found no room in [`TRACKED`].
pub const COUNTER_LOST_TRACKED_FULL: u32 = 1;
/// Counter of submitted records.
pub const COUNTER_SUBMITTED: u32 = 2;
/// Counter of signals that were not reported, since the sender's container had used up its share.
pub const COUNTER_SHARE_SIGNAL: u32 = 3;
/// Counter of new nested cgroups that were neither tracked nor reported for the same reason.
pub const COUNTER_SHARE_CGROUP: u32 = 4;
/// Counter of new nested cgroups that were neither tracked nor reported, since their container has
/// [`NESTED_MAX`] already.
pub const COUNTER_NESTED_FULL: u32 = 5;
/// Number of counters.
pub const COUNTERS_MAX: u32 = 6;

const _: () = assert!(size_of::<Tracked>() == 32);
const _: () = assert!(size_of::<TaskWalk>() == 32);
