//! Subjects: the container instance or the Pod that a fact is about, with its identity.

use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::cgroup::path::Origin;
use crate::kube::identity::Identity;

/// The birth of a cgroup, as far as the agent saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// A creation that the agent saw.
    Seen {
        /// Time of the `cgroup_mkdir`, `CLOCK_BOOTTIME`.
        boot_ns: u64,
    },
    /// A creation before the agent started, or while records were lost: the cgroup was found.
    BeforeAgent {
        /// Time at which it was found, `CLOCK_BOOTTIME`.
        found_boot_ns: u64,
    },
}

impl Birth {
    /// The birth of a cgroup that was created at `made_boot_ns`, or else found at `found_boot_ns`.
    #[must_use]
    pub const fn new(made_boot_ns: Option<u64>, found_boot_ns: u64) -> Self {
        match made_boot_ns {
            Some(boot_ns) => Self::Seen { boot_ns },
            None => Self::BeforeAgent { found_boot_ns },
        }
    }

    /// Time since which the agent knows the cgroup, `CLOCK_BOOTTIME`.
    #[must_use]
    pub const fn since_boot_ns(self) -> u64 {
        match self {
            Self::Seen { boot_ns } => boot_ns,
            Self::BeforeAgent { found_boot_ns } => found_boot_ns,
        }
    }

    /// Time at which the cgroup was created, `CLOCK_BOOTTIME`; `None` if the agent did not see it.
    #[must_use]
    pub const fn made_boot_ns(self) -> Option<u64> {
        match self {
            Self::Seen { boot_ns } => Some(boot_ns),
            Self::BeforeAgent { .. } => None,
        }
    }

    /// Whether the agent saw the creation of the cgroup.
    #[must_use]
    pub const fn is_seen(self) -> bool {
        matches!(self, Self::Seen { .. })
    }
}

/// A container instance with its identity. Made once, when the container gets its name, and shared
/// by all that keep something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The container's own cgroup: neither a nested one nor the Pod's.
    pub cgroup: CgroupId,
    /// The cgroup of its Pod; `None` in host mode.
    pub pod_cgroup: Option<CgroupId>,
    /// The names in its cgroup's path.
    pub origin: Origin,
    /// Identity: namespace, Pod, UID, container, container id, image, role, QoS class, runtime,
    /// workload.
    pub identity: Identity,
    /// The birth of its cgroup.
    pub birth: Birth,
}

/// A Pod with at least one container that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodWho {
    /// The Pod's own cgroup.
    pub cgroup: CgroupId,
    /// Kubernetes namespace; empty when not known.
    pub namespace: String,
    /// Pod name, else its UID.
    pub pod: String,
    /// UID of the Pod, as in [`Identity::pod_uid`].
    pub uid: String,
    /// UID in the name of the Pod's cgroup: another one where a static Pod has a mirror.
    pub cgroup_uid: String,
}

/// The subject of a fact or of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A container instance.
    Container(Arc<Who>),
    /// A Pod.
    Pod(Arc<PodWho>),
    /// A container of a Pod's spec that has no cgroup.
    Planned(Arc<Identity>),
}

impl Subject {
    /// The cgroup of the subject: the container's own, or the Pod's; `None` if it has none.
    #[must_use]
    pub fn cgroup(&self) -> Option<CgroupId> {
        match self {
            Self::Container(who) => Some(who.cgroup),
            Self::Pod(who) => Some(who.cgroup),
            Self::Planned(_) => None,
        }
    }

    /// The container instance, if the subject is one.
    #[must_use]
    pub const fn container(&self) -> Option<&Arc<Who>> {
        match self {
            Self::Container(who) => Some(who),
            Self::Pod(_) | Self::Planned(_) => None,
        }
    }
}
