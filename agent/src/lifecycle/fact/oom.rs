//! OOMs: whose limit each was about, and who died of it.

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

/// An OOM with victims in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomFact {
    /// The scope; `None` where the kernel's counters could not be read.
    pub scope: Option<OomScope>,
    /// The most important victim's role.
    pub victim: OomVictim,
    /// Number of this container's processes that were killed.
    pub killed: u32,
}
