//! Facts: all that Podvitals concludes, in one vocabulary for every reader.
//!
//! A fact is about a container instance or a Pod, its [`Subject`](super::subject::Subject), which
//! is handed on beside it. It carries times (`CLOCK_BOOTTIME`), never only durations, so that a
//! reader can make a span of it as well as a histogram's observation.

use super::phase::Start;
use super::trigger::{Source, Trigger};
use crate::event::{ExitStatus, TaskKey};
use crate::kube::pod::PreStop;

/// A conclusion about one container instance or one Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The moment at which it became true, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// The conclusion itself.
    pub kind: FactKind,
}

/// The kinds of [`Fact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// The container runs its own program: init is known. Its time is the exec of that program, or
    /// for a container older than the agent the start of init's process.
    Started(Started),
    /// The container's start has got further. Holds all of it that is known so far.
    Progressed(Start),
    /// The first stop signal reached init, or would have if init did not ignore it.
    StopSignal(StopSignal),
    /// SIGKILL was sent after the stop signal, which was not enough.
    KilledAfterStopSignal,
    /// One OOM, however many processes died of it.
    Oom(OomFact),
    /// Init has ended, and the kernel's record of it is complete. Its time is the end.
    Ended(Termination),
    /// The end of the container with its reason, once for each [`FactKind::Ended`]: at once where
    /// nothing more can be learned, else when the Pod source has said what decides. Its time is
    /// the end.
    Explained(Death),
    /// A container of the same name in the same Pod runs again. Its time is the start.
    Restarted(Restart),
    /// The cgroup is gone and init never started: the runtime failed to start the container.
    StartFailed,
    /// The runtime reported another reason for the end than the kernel's record has. Its time is
    /// the end.
    Misreported(Misreport),
    /// The deletion of the Pod was seen. Its time is when the agent learned of it.
    DeletionSeen(Deletion),
    /// The last container of the Pod is gone, its sandbox included.
    PodEmpty {
        /// The end of the last container that was shown, `CLOCK_BOOTTIME`; `None` if none was seen.
        last_end_boot_ns: Option<u64>,
    },
}

/// The start of a container's own program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Init's process.
    pub init: TaskKey,
    /// Whether the container is older than the agent, so that nobody saw init's exec.
    pub before_agent: bool,
    /// Whether init's short name is `pause`: a sandbox, unless a name says otherwise.
    pub is_pause: bool,
}

/// A restart: the container runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The end of the instance before, `CLOCK_BOOTTIME`; `None` if nobody saw it.
    pub ended_boot_ns: Option<u64>,
    /// The start of this one.
    pub started_boot_ns: u64,
}

impl Restart {
    /// The time in which nothing ran.
    #[must_use]
    pub fn downtime_ns(self) -> Option<u64> {
        Some(self.started_boot_ns.saturating_sub(self.ended_boot_ns?))
    }
}

/// A reason in the Pod's status that is not what the kernel saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misreport {
    /// `terminated.reason`, as the runtime reported it.
    pub reported: String,
    /// The kernel's cause.
    pub observed: Cause,
}

/// The deletion of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The request, in whole seconds of the API server's clock; `None` if the Pod was gone before
    /// its deletion was seen.
    pub requested_unix_s: Option<i64>,
    /// `metadata.deletionGracePeriodSeconds`.
    pub grace_s: Option<u64>,
}

/// The death of a container: its end as the kernel saw it, and why, as the Pod source tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The end.
    pub end: Termination,
    /// Who or what had the container stopped.
    pub trigger: Trigger,
    /// How the trigger is known.
    pub source: Source,
    /// When the kubelet began to stop the container, `CLOCK_BOOTTIME`; `None` if nobody saw it.
    pub kill_begin_boot_ns: Option<u64>,
    /// The grace period that counted; `None` if there was none, or nobody tells it.
    pub grace_s: Option<u64>,
    /// What was left of the grace period at the stop signal.
    pub budget_ns: Option<u64>,
    /// The container's preStop hook, if it has one and was stopped by the runtime.
    pub pre_stop: Option<PreStopRun>,
}

impl Death {
    /// A death of which nobody tells more than the kernel.
    #[must_use]
    pub const fn kernel_only(end: Termination) -> Self {
        // Without a stop signal nobody requested the end; who did request it is not known here.
        let (trigger, source) = match end.stop_boot_ns {
            Some(_) => (Trigger::Unknown, Source::No),
            None => (Trigger::None, Source::Kernel),
        };
        Self {
            end,
            trigger,
            source,
            kill_begin_boot_ns: None,
            grace_s: None,
            budget_ns: None,
            pre_stop: None,
        }
    }

    /// The time from the stop signal to the end and the part of the grace period that was left for
    /// it: used, budget. Their ratio can be more than 1.
    #[must_use]
    pub fn grace_used_ns(&self) -> Option<(u64, u64)> {
        self.end.shutdown_ns().zip(self.budget_ns)
    }
}

/// A preStop hook of a container that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreStopRun {
    /// The kind of hook.
    pub handler: PreStop,
    /// Begin and end, `CLOCK_BOOTTIME`; `None` if nobody saw it run.
    pub ran_boot_ns: Option<(u64, u64)>,
}

impl PreStopRun {
    /// The time that the hook took.
    #[must_use]
    pub fn duration_ns(self) -> Option<u64> {
        self.ran_boot_ns.map(|(begin, end)| end.saturating_sub(begin))
    }
}

/// The sender of a signal.
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
    /// All values, in the order of the exposition.
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

/// The first stop signal to init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal {
    /// The signal's number.
    pub signal: u32,
    /// The signal's sender.
    pub sender: Sender,
    /// Whether init ignores it: then the container will not stop before it is killed.
    pub ignored: bool,
}

/// The scope of an OOM: whose limit it was about.
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

/// The role of an OOM's victim in its container. If several died, the first of these that is
/// among them.
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

/// An OOM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomFact {
    /// The scope; `None` where the kernel's counters could not be read.
    pub scope: Option<OomScope>,
    /// The most important victim.
    pub victim: OomVictim,
    /// Processes of this container that were killed.
    pub killed: u32,
}

/// The cause of a container's end, as far as the kernel knows. Mutually exclusive, in the order of
/// precedence.
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
    /// All values, in the order of the exposition.
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

/// The end of a container's init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The cause.
    pub cause: Cause,
    /// The status of init; `None` when its end was not seen (only that the cgroup is empty or gone).
    pub status: Option<ExitStatus>,
    /// The first stop signal, `CLOCK_BOOTTIME`; `None` without one.
    pub stop_boot_ns: Option<u64>,
    /// The end, `CLOCK_BOOTTIME`.
    pub end_boot_ns: u64,
    /// How the shutdown went out.
    pub outcome: Outcome,
    /// The signal that ended init; `None` if it exited.
    pub fatal: Option<FatalSignal>,
    /// The record that gave the time of the end.
    pub end_source: EndSource,
    /// CPU time of init's process, for when the cgroup's files were gone too soon.
    pub init_cpu_ns: Option<u64>,
}

impl Termination {
    /// The time from the first stop signal to the end; `None` without a stop signal.
    #[must_use]
    pub fn shutdown_ns(&self) -> Option<u64> {
        Some(self.end_boot_ns.saturating_sub(self.stop_boot_ns?))
    }
}

/// The outcome of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Init ended by itself, or of the stop signal.
    Exited,
    /// SIGKILL ended it after the stop signal.
    Killed,
}

impl Outcome {
    /// The value of the label `outcome`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
        }
    }
}

/// The signal that ended an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FatalSignal {
    /// The signal's number.
    pub signal: u32,
    /// The signal's sender.
    pub sender: Sender,
}

/// The record that gave the time of an end, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSource {
    /// The SIGCHLD to the parent.
    ParentNotified,
    /// The cgroup has no tasks any more.
    CgroupEmpty,
    /// The cgroup was removed.
    CgroupRemoved,
}
