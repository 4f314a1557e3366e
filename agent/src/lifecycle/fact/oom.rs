//! OOMs: whose limit each was about, who died of it, and whose allocation led to it.

use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::event::{Comm, Resident};
use crate::lifecycle::subject::Who;

/// The scope of an OOM: the level whose limit it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OomScope {
    /// The container's own limit.
    Container,
    /// The Pod's limit.
    Pod,
    /// No limit below the Pods' root: the node (or a limit on the QoS class or on all Pods).
    Node,
}

impl OomScope {
    /// All values, in the order of the exposition.
    pub const ALL: [Self; 3] = [Self::Container, Self::Pod, Self::Node];

    /// The value of the label `scope`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Node => "node",
        }
    }
}

/// The role of an OOM's victim in its container. If several processes died, the first of these
/// roles that is among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OomVictim {
    /// The container's init: the container ends.
    Init,
    /// A process that the container started itself.
    Child,
    /// A process of an exec session: a probe, a preStop hook, `kubectl exec`.
    Exec,
}

impl OomVictim {
    /// All values, in the order of the exposition.
    pub const ALL: [Self; 3] = [Self::Init, Self::Child, Self::Exec];

    /// The value of the label `victim`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Child => "child",
            Self::Exec => "exec",
        }
    }
}

/// The origin of an OOM as seen from its victim's container: where the allocation was made that found
/// no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OomOrigin {
    /// The victim's own container.
    SameContainer,
    /// Another container of its Pod.
    SamePod,
    /// A container of another Pod; in host mode another container or unit.
    OtherContainer,
    /// A process of the host, outside all containers: a runtime, or the kernel itself.
    Host,
}

impl OomOrigin {
    /// All values, from the closest to the farthest.
    pub const ALL: [Self; 4] =
        [Self::SameContainer, Self::SamePod, Self::OtherContainer, Self::Host];

    /// Name of the origin in logs and traces.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SameContainer => "same_container",
            Self::SamePod => "same_pod",
            Self::OtherContainer => "other_container",
            Self::Host => "host",
        }
    }
}

/// The allocation that led to an OOM: the thread that made it, and where that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomTrigger {
    /// The origin, relative to the victim's container.
    pub origin: OomOrigin,
    /// Short name of the thread, which its program may choose.
    pub comm: Comm,
    /// The own cgroup of the thread's container; `None` for the host.
    pub container: Option<CgroupId>,
    /// Names of the thread's container; `None` for the host, and for a container that is not shown,
    /// or has no name yet.
    pub who: Option<Arc<Who>>,
}

/// An OOM with victims in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomFact {
    /// The scope; `None` where the kernel's counters could not be read.
    pub scope: Option<OomScope>,
    /// Limit that was hit, in bytes: that of the container (or of a cgroup inside it), of its Pod, or
    /// with the scope node of its QoS class or of all Pods. `None` if it was none of these but the
    /// node's own memory, and where the kernel's counters could not be read.
    pub limit_bytes: Option<u64>,
    /// Memory that was charged to the cgroup of that limit at the kill, in bytes; `None` without a
    /// limit.
    pub usage_bytes: Option<u64>,
    /// The most important victim's role.
    pub victim: OomVictim,
    /// That victim's short name, which its program may choose.
    pub comm: Comm,
    /// That victim's memory at the kill; `None` where the kernel does not let programs read it.
    pub resident: Option<Resident>,
    /// Number of this container's processes that were killed.
    pub killed: u32,
    /// The allocation that led to the OOM.
    pub triggered_by: OomTrigger,
}

#[cfg(test)]
impl OomFact {
    /// An OOM in the container's own process, of which the kernel tells no more than this.
    pub(crate) fn plain(scope: Option<OomScope>, victim: OomVictim, killed: u32) -> Self {
        let comm = Comm::from("app");
        let triggered_by =
            OomTrigger { origin: OomOrigin::SameContainer, comm, container: None, who: None };
        let (limit_bytes, usage_bytes, resident) = (None, None, None);
        Self { scope, limit_bytes, usage_bytes, victim, comm, resident, killed, triggered_by }
    }
}
