//! What follows for the owner of the lifecycle.

use super::fact::Fact;
use crate::cgroup::CgroupId;

/// What the owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A conclusion: name its subject and publish it.
    Fact {
        /// The container's own cgroup.
        container: CgroupId,
        /// The conclusion.
        fact: Fact,
    },
    /// Tell the kernel side whose signals matter.
    SetInit {
        /// The container's own cgroup.
        container: CgroupId,
        /// Init's process, in the initial PID namespace.
        tgid: u32,
    },
    /// Init has left: read the cgroup's counters now, before it is removed. When
    /// init exits, and again when it has ended.
    ReadLast {
        /// The container's own cgroup.
        container: CgroupId,
    },
    /// The cgroup is removed and all about it is published.
    Forget {
        /// The container's own cgroup.
        container: CgroupId,
    },
}

/// A container was asked to stop and is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenShutdown {
    /// The first stop signal, `CLOCK_BOOTTIME`.
    pub since_boot_ns: u64,
    /// SIGKILL was sent: it does not even die of that yet.
    pub killed: bool,
}
