//! What the lifecycle is told.

use super::subject::Birth;
use crate::cgroup::CgroupId;
use crate::event::{Event, OomLevel, RunningTask};

/// One thing that the lifecycle is told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A container's own cgroup is there.
    ContainerMade {
        /// The container's own cgroup.
        container: CgroupId,
        /// Its Pod's cgroup.
        pod: Option<CgroupId>,
        /// Its birth. The init of one that is older than the agent comes with [`Input::Running`].
        birth: Birth,
        /// The counters of the container and of its ancestors, as read then. What is missing here
        /// is taken to begin at 0.
        oom_seen: &'a [OomLevel],
    },
    /// A cgroup below a container's own.
    NestedMade {
        /// The new one.
        cgroup: CgroupId,
        /// The container that it is in.
        container: CgroupId,
    },
    /// A running process whose parent is outside its cgroup: maybe an existing container's init.
    Running(&'a RunningTask),
    /// All running processes have been told. From now on an existing container without one is
    /// taken for not started yet, and an exec in it for its init's.
    WalkDone {
        /// The tasks could be read. If not, nothing is concluded from their absence, and existing
        /// containers stay without init.
        tasks_read: bool,
    },
    /// A kernel record. [`crate::event::EventKind::CgroupMade`] is not for here: the owner, who knows the
    /// paths, makes [`Input::ContainerMade`] or [`Input::NestedMade`] from it.
    Event(&'a Event),
    /// The API tells a container's own stop signal: it counts from any sender outside.
    KnownStopSignal {
        /// The container's own cgroup.
        container: CgroupId,
        /// Its number.
        signal: u32,
    },
    /// The API tells that a container is to be stopped: its Pod is being deleted.
    KillBegins {
        /// The container's own cgroup.
        container: CgroupId,
        /// `CLOCK_BOOTTIME`. A session that began since then, and goes on, is part of it.
        since_boot_ns: u64,
    },
    /// Time goes on: what waited for it is settled.
    Tick {
        /// `CLOCK_BOOTTIME`.
        now_boot_ns: u64,
    },
    /// The agent stops: what has ended is settled now.
    Flush {
        /// `CLOCK_BOOTTIME`.
        now_boot_ns: u64,
    },
}
