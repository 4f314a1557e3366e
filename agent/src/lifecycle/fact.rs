//! What the lifecycle concludes: facts about containers, ready to be counted and shown.

use crate::cgroup::CgroupId;
use crate::event::{ExitStatus, TaskKey};

/// A conclusion about one container instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The container's own cgroup (not a nested one, not the Pod's).
    pub container: CgroupId,
    /// When it became true, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// What.
    pub kind: FactKind,
}

/// The kinds of [`Fact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// The container runs its own program: init is known.
    Started(Started),
    /// The first stop signal reached init, or would have.
    StopSignal(StopSignal),
    /// The container is being stopped with SIGKILL; the stop signal before it was not enough.
    KilledAfterStopSignal,
    /// One OOM, however many processes died of it.
    Oom(OomFact),
    /// Init has ended. Published once, when it is settled.
    Terminated(Termination),
    /// The cgroup is gone and init never started: the runtime failed to start the container.
    StartFailed,
}

/// Init is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Init's process.
    pub init: TaskKey,
    /// The container is older than the agent: when its init executed is not known, and `Fact`'s
    /// time is the start of its process.
    pub existing: bool,
    /// Init's short name is `pause`: a sandbox, unless a name says otherwise.
    pub is_pause: bool,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// The container runtime, from outside any container.
    Runtime,
    /// The kernel itself.
    Kernel,
    /// Init to itself.
    Own,
    /// Another process of the same container.
    SameContainer,
    /// A process of another container.
    OtherContainer,
    /// Any other process of the host.
    Host,
}

impl Sender {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Runtime,
        Self::Kernel,
        Self::Own,
        Self::SameContainer,
        Self::OtherContainer,
        Self::Host,
    ];

    /// The value of the label `sender`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Kernel => "kernel",
            Self::Own => "self",
            Self::SameContainer => "same_container",
            Self::OtherContainer => "other_container",
            Self::Host => "host",
        }
    }
}

/// The first stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal {
    /// Its number.
    pub signal: u32,
    /// Who sent it.
    pub sender: Sender,
    /// Init ignores it: the container will not stop before it is killed.
    pub ignored: bool,
}

/// Whose limit an OOM was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OomScope {
    /// The container's own.
    Container,
    /// The Pod's.
    Pod,
    /// None below the Pods' root: the node (or a limit on the QoS class or on all Pods).
    Node,
}

impl OomScope {
    /// All of them.
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

/// Which role the victim of an OOM played. If several died, the first of these that is among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OomVictim {
    /// The container's init: the container ends.
    Init,
    /// A process of the container's own.
    Child,
    /// A process that came from outside: a probe, a hook, `kubectl exec`.
    Exec,
}

impl OomVictim {
    /// All of them.
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

/// One OOM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomFact {
    /// Whose limit; `None` where the kernel's counters could not be read.
    pub scope: Option<OomScope>,
    /// The most important victim.
    pub victim: OomVictim,
    /// Processes of this container that were killed.
    pub killed: u32,
}

/// Why a container ended, as far as the kernel knows. Exclusive, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Init was a victim of the OOM killer.
    Oom,
    /// A stop signal came, init did not end, SIGKILL ended it.
    KilledAfterGrace,
    /// SIGKILL without a stop signal before.
    KilledWithoutStopSignal,
    /// Another signal ended it.
    Signal,
    /// It exited with a code other than 0.
    Error,
    /// It exited with code 0.
    Completed,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Completed,
        Self::Error,
        Self::Signal,
        Self::Oom,
        Self::KilledAfterGrace,
        Self::KilledWithoutStopSignal,
    ];

    /// The value of the label `cause`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::KilledAfterGrace => "killed_after_grace",
            Self::KilledWithoutStopSignal => "killed_without_stop_signal",
            Self::Signal => "signal",
            Self::Error => "error",
            Self::Completed => "completed",
        }
    }
}

/// A container's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Why.
    pub cause: Cause,
    /// How init ended; `None` when its end was not seen (only that the cgroup is empty or gone).
    pub status: Option<ExitStatus>,
    /// From the first stop signal to the end; `None` without a stop signal.
    pub shutdown_ns: Option<u64>,
    /// SIGKILL ended the shutdown.
    pub killed: bool,
    /// The signal that ended init, and who sent it; `None` if it exited.
    pub fatal: Option<(u32, Sender)>,
    /// Which record gave the time of the end.
    pub end_source: EndSource,
    /// CPU time of init's process, for when the cgroup's files were gone too soon.
    pub init_cpu_ns: Option<u64>,
}

/// Which record gave the time of an end, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSource {
    /// The SIGCHLD to the parent.
    ParentTold,
    /// The cgroup has no tasks any more.
    CgroupEmpty,
    /// The cgroup was removed.
    CgroupRemoved,
}
