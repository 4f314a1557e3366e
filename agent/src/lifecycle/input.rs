//! Inputs of the lifecycle.

use super::subject::Birth;
use crate::cgroup::CgroupId;
use crate::event::{Event, OomLevel, RunningTask};

/// An input of the lifecycle: a kernel record, a report of the owner or of the Pod source, or time.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A container's own cgroup exists.
    ContainerMade {
        /// The container's own cgroup.
        container: CgroupId,
        /// The cgroup of the container's Pod.
        pod: Option<CgroupId>,
        /// Birth of the cgroup. The init of a container older than the agent comes with
        /// [`Input::Running`].
        birth: Birth,
        /// Whether it is a unit of the service manager and no container: its processes may follow
        /// one another.
        is_unit: bool,
        /// OOM counters of the container and of its ancestors, as read at this time. A counter that
        /// is missing is assumed to start at 0.
        oom_seen: &'a [OomLevel],
    },
    /// A cgroup that was taken for a container's own is none. It is forgotten without an end.
    NoContainer {
        /// The cgroup.
        container: CgroupId,
    },
    /// A cgroup below a container's own exists.
    NestedMade {
        /// The nested cgroup.
        cgroup: CgroupId,
        /// The container that contains it.
        container: CgroupId,
    },
    /// A running process whose parent is outside its cgroup: a candidate for an existing
    /// container's init.
    Running(&'a RunningTask),
    /// End of the walk over all processes. From now on an existing container without a process
    /// counts as not started yet, and an exec in it as that of its init.
    WalkDone {
        /// Whether the processes could be read. If not, their absence proves nothing, and existing
        /// containers stay without init.
        tasks_read: bool,
    },
    /// Answer to [`Output::Look`](super::Output::Look).
    Looked {
        /// The container's own cgroup.
        container: CgroupId,
        /// All running processes of the node in tracked cgroups whose parents are outside their
        /// cgroups, as far as they can be read.
        running: &'a [RunningTask],
        /// Whether the processes could be read. If not, their absence proves nothing.
        tasks_read: bool,
        /// Whether all that has happened so far was reported: no record was lost.
        records_complete: bool,
    },
    /// A kernel record, except [`crate::event::EventKind::CgroupMade`]: the owner, who knows the
    /// paths, makes [`Input::ContainerMade`] or [`Input::NestedMade`] of that.
    Event(&'a Event),
    /// The container's own stop signal, from the Pod source. It counts from any sender outside.
    KnownStopSignal {
        /// The container's own cgroup.
        container: CgroupId,
        /// The signal's number.
        signal: u32,
    },
    /// The longest grace period in the container's spec, from the Pod source.
    GracePeriod {
        /// The container's own cgroup.
        container: CgroupId,
        /// The grace period itself.
        grace_ns: u64,
    },
    /// The deletion of the container's Pod, from the Pod source: the container is going to be
    /// stopped.
    KillBegins {
        /// The container's own cgroup.
        container: CgroupId,
        /// Time since which the kubelet may know of it, and since which an exec session that is
        /// still running counts as part of the stop, `CLOCK_BOOTTIME`.
        since_boot_ns: u64,
        /// Time at which the agent learned of it, `CLOCK_BOOTTIME`.
        noticed_boot_ns: u64,
    },
    /// The container's Pod is not being deleted, says the Pod source, though it may have said so
    /// before.
    NoKill {
        /// The container's own cgroup.
        container: CgroupId,
    },
    /// Loss of records before this time: a stop signal may have been among them.
    RecordsLost {
        /// Current time, `CLOCK_BOOTTIME`.
        now_boot_ns: u64,
    },
    /// The passage of time: settles what waited for it.
    Tick {
        /// Current time, `CLOCK_BOOTTIME`.
        now_boot_ns: u64,
    },
    /// The agent stops: settles all that has ended.
    Flush {
        /// Current time, `CLOCK_BOOTTIME`.
        now_boot_ns: u64,
    },
}
