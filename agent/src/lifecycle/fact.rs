//! Facts: every conclusion of Podvitals, in one vocabulary for all readers.
//!
//! A fact is about a container instance or a Pod, its [`Subject`](super::subject::Subject), which
//! is passed along with it. It carries times (`CLOCK_BOOTTIME`), never only durations, so that a
//! reader can turn it into a span as well as into an observation of a histogram.

mod oom;
mod probe;

pub use oom::{OomFact, OomOrigin, OomScope, OomTrigger, OomVictim};
pub use probe::{ExecRun, Network, ProbeAttempt, ProbeKind, ProbeResult};

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

impl Fact {
    /// Whether this is an event to be counted. Other facts describe the state of their subject, or
    /// lead to one that is.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        match &self.kind {
            FactKind::Started(_)
            | FactKind::KilledAfterStopSignal
            | FactKind::Ended(_)
            | FactKind::DeletionSeen(_)
            | FactKind::ProbeOverdue(_)
            | FactKind::PodEmpty { .. } => false,
            FactKind::Progressed(start) => start.just_ready,
            FactKind::StopSignal(stop) => stop.ignored,
            FactKind::Oom(_)
            | FactKind::Explained(_)
            | FactKind::Restarted(_)
            | FactKind::StartFailed
            | FactKind::Probed(_)
            | FactKind::Misreported(_) => true,
        }
    }
}

/// The kinds of [`Fact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// Start of the container's own program: init is known. The fact's time is the exec of that
    /// program, or for a container older than the agent the start of init's process.
    Started(Started),
    /// Progress of the container's start, with all that is known of it so far.
    Progressed(Start),
    /// First stop signal to init, even if init ignores it.
    StopSignal(StopSignal),
    /// SIGKILL after a stop signal that did not suffice.
    KilledAfterStopSignal,
    /// One OOM, however many processes died of it.
    Oom(OomFact),
    /// End of init, when the kernel's record of it is complete. The fact's time is the end.
    Ended(Termination),
    /// Death of the container with its reason, once for each [`FactKind::Ended`]: at once where
    /// nothing more can be learned, else when the Pod source has reported what decides. The fact's
    /// time is the end.
    Explained(Death),
    /// Restart: a container of the same name in the same Pod runs again. The fact's time is the
    /// start.
    Restarted(Restart),
    /// Failed start: the cgroup is gone and init never ran, or the kubelet reports an attempt that
    /// got no cgroup.
    StartFailed,
    /// One attempt of a probe, with its result. The fact's time is the end of the attempt.
    Probed(ProbeAttempt),
    /// Absence of attempts of a probe: none was seen for more than two of its periods, so that it is not
    /// known any more how many failures are left.
    ProbeOverdue(ProbeKind),
    /// Difference between the runtime's reason for the end and the kernel's record. The fact's time
    /// is the end.
    Misreported(Misreport),
    /// Deletion of the Pod, as seen in the API. The fact's time is the moment at which the agent
    /// learned of it.
    DeletionSeen(Deletion),
    /// Removal of the Pod's last container, its sandbox included.
    PodEmpty {
        /// End of the last container that was shown, `CLOCK_BOOTTIME`; `None` if none was seen.
        last_end_boot_ns: Option<u64>,
    },
}

/// The start of a container's own program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Init's process.
    pub init: TaskKey,
    /// Whether the container is older than the agent, so that init's exec was not seen.
    pub before_agent: bool,
    /// Whether init's short name is `pause`: a sandbox, unless a source of names knows it as a
    /// container.
    pub is_pause: bool,
}

/// A restart: the container runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// End of the previous instance, `CLOCK_BOOTTIME`; `None` if it was not seen.
    pub ended_boot_ns: Option<u64>,
    /// Start of this instance, `CLOCK_BOOTTIME`.
    pub started_boot_ns: u64,
}

impl Restart {
    /// Downtime: the time between the end of the previous instance and this start.
    #[must_use]
    pub fn downtime_ns(self) -> Option<u64> {
        Some(self.started_boot_ns.saturating_sub(self.ended_boot_ns?))
    }
}

/// A reason in the Pod's status that differs from the kernel's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misreport {
    /// Field `terminated.reason`, as the runtime reported it.
    pub reported: String,
    /// The kernel's cause of the end.
    pub observed: Cause,
}

/// The deletion of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Time of the request, in whole seconds of the API server's clock; `None` if the Pod was gone
    /// before its deletion was seen, or if that clock and this machine's do not agree.
    pub requested_unix_s: Option<i64>,
    /// Field `metadata.deletionGracePeriodSeconds`.
    pub grace_s: Option<u64>,
}

/// The death of a container: its end as the kernel saw it, and its reason as the Pod source reports
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The end of init.
    pub end: Termination,
    /// The trigger: who or what had the container stopped.
    pub trigger: Trigger,
    /// The source of the trigger: how it is known.
    pub source: Source,
    /// Time at which the kubelet began to stop the container, `CLOCK_BOOTTIME`; `None` if it was
    /// not seen.
    pub kill_begin_boot_ns: Option<u64>,
    /// The grace period that applied; `None` if there was none, or it is not reported.
    pub grace_s: Option<u64>,
    /// The rest of the grace period at the stop signal.
    pub budget_ns: Option<u64>,
    /// The container's preStop hook, if it has one and the runtime stopped it.
    pub pre_stop: Option<PreStopRun>,
}

impl Death {
    /// A death of which only the kernel's record is known.
    #[must_use]
    pub const fn kernel_only(end: Termination) -> Self {
        // Without a stop signal no stop was requested; with one, it is not known here who did.
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

    /// Time from the stop signal to the end, and the rest of the grace period at that signal. Their
    /// ratio can exceed 1.
    #[must_use]
    pub fn grace_used_ns(&self) -> Option<(u64, u64)> {
        self.end.shutdown_ns().zip(self.budget_ns)
    }
}

/// The run of a preStop hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreStopRun {
    /// The kind of hook.
    pub handler: PreStop,
    /// Begin and end of the run, `CLOCK_BOOTTIME`; `None` if it was not seen.
    pub ran_boot_ns: Option<(u64, u64)>,
}

impl PreStopRun {
    /// Duration of the run.
    #[must_use]
    pub fn duration_ns(self) -> Option<u64> {
        self.ran_boot_ns.map(|(begin, end)| end.saturating_sub(begin))
    }
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// The container runtime, outside any container.
    Runtime,
    /// The kernel itself.
    Kernel,
    /// Init, to itself.
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
    /// Whether init ignores the signal: then the container goes on until it is killed.
    pub ignored: bool,
}

/// The cause of a container's end, as far as the kernel knows it. The causes are mutually
/// exclusive, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// An OOM kill of init.
    Oom,
    /// SIGKILL after a stop signal that did not end init.
    KilledAfterGrace,
    /// SIGKILL without a stop signal before it.
    KilledWithoutStopSignal,
    /// A fatal signal other than SIGKILL.
    Signal,
    /// Exit with a code other than 0.
    Error,
    /// Exit with code 0.
    Completed,
    /// An end whose status nobody saw; or a SIGKILL after a time that nobody saw, in which a stop
    /// signal may have come.
    Unknown,
}

impl Cause {
    /// All values, in the order of the exposition.
    pub const ALL: [Self; 7] = [
        Self::Completed,
        Self::Error,
        Self::Signal,
        Self::Oom,
        Self::KilledAfterGrace,
        Self::KilledWithoutStopSignal,
        Self::Unknown,
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
            Self::Unknown => "unknown",
        }
    }
}

/// The end of a container's init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The cause of the end.
    pub cause: Cause,
    /// The exit status of init; `None` when the end itself was not seen (only that the cgroup is
    /// empty or gone).
    pub status: Option<ExitStatus>,
    /// Time of the first stop signal, `CLOCK_BOOTTIME`; `None` without one.
    pub stop_boot_ns: Option<u64>,
    /// Time of the end, `CLOCK_BOOTTIME`.
    pub end_boot_ns: u64,
    /// The outcome of the shutdown.
    pub outcome: Outcome,
    /// The signal that ended init; `None` if it exited.
    pub fatal: Option<FatalSignal>,
    /// The record that gave the time of the end.
    pub end_source: EndSource,
    /// CPU time of init's process, for the case that the cgroup's files were gone too soon.
    pub init_cpu_ns: Option<u64>,
}

impl Termination {
    /// Duration of the shutdown: from the first stop signal to the end; `None` without a stop
    /// signal.
    #[must_use]
    pub fn shutdown_ns(&self) -> Option<u64> {
        Some(self.end_boot_ns.saturating_sub(self.stop_boot_ns?))
    }
}

/// The outcome of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// End by init itself, or by the stop signal.
    Exited,
    /// End by SIGKILL after the stop signal.
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
    /// The SIGCHLD to the parent of init.
    ParentNotified,
    /// The departure of the cgroup's last task.
    CgroupEmpty,
    /// The removal of the cgroup.
    CgroupRemoved,
}
