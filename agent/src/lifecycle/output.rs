//! Outputs of the lifecycle, for its owner.

use super::fact::Fact;
use super::session::{SessionBegin, SessionEnd};
use crate::cgroup::CgroupId;

/// A task for the owner that follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Publication of a conclusion under its subject's name.
    Fact {
        /// The container's own cgroup.
        container: CgroupId,
        /// The conclusion itself.
        fact: Fact,
    },
    /// Update of the kernel side: the process whose signals from inside the container matter.
    SetInit {
        /// The container's own cgroup.
        container: CgroupId,
        /// Process id of init in the initial PID namespace.
        tgid: u32,
    },
    /// Collection of the cgroup's counters at once, before the cgroup is removed: when init exits,
    /// and again when it has ended.
    ReadLast {
        /// The container's own cgroup.
        container: CgroupId,
    },
    /// Begin of an exec session: a probe's command, a hook, or `kubectl exec`.
    SessionBegan {
        /// The container's own cgroup.
        container: CgroupId,
        /// The session.
        begin: SessionBegin,
    },
    /// End of an exec session.
    SessionEnded {
        /// The container's own cgroup.
        container: CgroupId,
        /// The session's end.
        end: SessionEnd,
    },
    /// Request of [`Input::Looked`](super::Input::Looked), at once: which processes run?
    Look {
        /// The container's own cgroup.
        container: CgroupId,
    },
    /// End of a container: the cgroup is removed, and all about it is published.
    Forget {
        /// The container's own cgroup.
        container: CgroupId,
    },
}

/// A shutdown in progress: the container has its stop signal and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenShutdown {
    /// Time of the first stop signal, `CLOCK_BOOTTIME`.
    pub since_boot_ns: u64,
    /// Whether SIGKILL was sent, without success so far.
    pub killed: bool,
}
