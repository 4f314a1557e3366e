//! Triggers: why a container was stopped, as far as the Pod shows it. Pure.
//!
//! The kubelet reports no reason for most of what it does. The decisions rely on these facts of
//! Kubernetes 1.37:
//!
//! - A deletion is in the Pod (`deletionTimestamp`) before the kubelet learns of it. A component
//!   that evicts, preempts or taints sets the condition `DisruptionTarget` before deleting
//!   (`pkg/registry/core/pod/storage/eviction.go`, `pkg/scheduler/framework/preemption/executor.go`,
//!   `pkg/controller/tainteviction/taint_eviction.go`).
//! - The kubelet's own evictions and the node's shutdown make the Pod `Failed` with a reason
//!   (`pkg/kubelet/eviction/helpers.go`, `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`,
//!   `pkg/kubelet/preemption/preemption.go`), as does the end of the time that the Pod may run
//!   (`pkg/kubelet/active_deadline.go`); and phase, reason and condition are held back until
//!   no container runs (`pkg/kubelet/status/status_manager.go`, `mergePodStatus`).
//! - A failed liveness or startup probe leaves no trace in the Pod: the container is stopped, the
//!   Pod goes on, and a new instance follows (`pkg/kubelet/kuberuntime/kuberuntime_manager.go`,
//!   `computePodActions`). The startup probe runs until `started`, the liveness probe from then on.
//!   Where the kernel saw the attempts of these probes, they decide ([`Observed`]).
//! - Nothing but a deletion takes a Pod out of the API. One that is missing from a list may be in
//!   the next one.
//! - When the app containers have ended for good, what else runs in the Pod is stopped: the sidecars
//!   one after the other, and containers for debugging. The latter never start again.
//! - A container whose image is changed in the Pod's spec is restarted, and one whose resources are,
//!   if its `resizePolicy` demands it (`computePodActions`); so is one whose postStart hook fails
//!   (`kuberuntime_container.go`, `startContainer`). Where the sandbox is gone, or was changed, all
//!   containers are stopped, and it is created again.

use crate::kube::pod::{Pod, Role};

/// The trigger of a container's end: who or what had it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trigger {
    /// No stop requested: the container ended by itself, by an OOM kill, or by a signal from
    /// elsewhere.
    None,
    /// Deletion of its Pod.
    PodDeletion,
    /// Eviction of its Pod through the API: a drain.
    ApiEviction,
    /// Preemption of its Pod, to make room for another.
    Preemption,
    /// A taint of the node that its Pod does not tolerate.
    Taint,
    /// Eviction of its Pod by the kubelet, because the node ran short of a resource.
    NodePressure,
    /// Shutdown of the node.
    NodeShutdown,
    /// End of the time that its Pod may run (`spec.activeDeadlineSeconds`).
    Deadline,
    /// Failure of its liveness probe.
    Liveness,
    /// Failure of its startup probe.
    Startup,
    /// Completion of its Pod: it is a sidecar or for debugging, and the app containers were done.
    PodCompletion,
    /// Restart by the kubelet for another reason.
    RestartOther,
    /// A stop request without a known reason.
    Unknown,
}

impl Trigger {
    /// All triggers, in the order of the exposition.
    pub const ALL: [Self; 13] = [
        Self::None,
        Self::PodDeletion,
        Self::ApiEviction,
        Self::Preemption,
        Self::Taint,
        Self::NodePressure,
        Self::NodeShutdown,
        Self::Deadline,
        Self::Liveness,
        Self::Startup,
        Self::PodCompletion,
        Self::RestartOther,
        Self::Unknown,
    ];

    /// The value of the label `trigger`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PodDeletion => "pod_deletion",
            Self::ApiEviction => "api_eviction",
            Self::Preemption => "preemption",
            Self::Taint => "taint",
            Self::NodePressure => "node_pressure",
            Self::NodeShutdown => "node_shutdown",
            Self::Deadline => "deadline",
            Self::Liveness => "liveness",
            Self::Startup => "startup",
            Self::PodCompletion => "pod_completion",
            Self::RestartOther => "restart_other",
            Self::Unknown => "unknown",
        }
    }
}

/// The source of a trigger: how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel's record: no stop was requested.
    Kernel,
    /// A field of the Pod.
    Api,
    /// The attempts of a probe, as the kernel saw them.
    Probe,
    /// An inference from what the Pod reports and what it does not.
    Inferred,
    /// No source: the trigger is not known.
    No,
}

impl Source {
    /// Value of the field `trigger_source` in logs and traces.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Api => "api",
            Self::Probe => "probe",
            Self::Inferred => "inferred",
            Self::No => "none",
        }
    }
}

/// The request to stop a container, by its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// No stop requested.
    None,
    /// None seen, but one before the agent came can have led to this end. `likely`: it ended as what
    /// is stopped does.
    Unseen {
        /// Whether the status is that of a stop rather than of a crash.
        likely: bool,
    },
    /// A request by the container runtime, on behalf of the kubelet.
    ByRuntime,
    /// A request by another process of the host, not by Kubernetes.
    ByOther,
}

/// Evidence from the API about a container that has ended, and about its Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodEvidence {
    /// Whether the Pod's deletion was requested before the container's stop, or, if no stop was
    /// requested, before its end.
    pub deleted: bool,
    /// Whether the Pod's deletion was requested, and nobody knows whether before the stop or after
    /// it: it was reported late, and the clocks do not agree.
    pub deleted_some_time: bool,
    /// The announced disruption (condition `DisruptionTarget`).
    pub disruption: Option<Disruption>,
    /// The reason of a Pod that has succeeded or failed.
    pub terminal: Option<TerminalReason>,
    /// The container's role in the Pod.
    pub role: Role,
    /// Whether all app containers of the Pod have ended.
    pub app_containers_done: bool,
    /// The probe that can have failed when the stop was requested.
    pub probe: Option<FailedProbe>,
    /// What was seen of the probes before the stop.
    pub observed: Observed,
    /// Whether the kubelet has restarted the container, or is going to.
    pub replaced: bool,
    /// Whether the kubelet has reported its end while no container of the Pod ran, so that no
    /// reason was held back.
    pub reported_last: bool,
    /// Whether other containers of the Pod were stopped at about the same time.
    pub others_stopped: bool,
    /// Whether app containers were among them.
    pub apps_stopped: bool,
    /// Whether the kubelet has a reason to restart the container that is no probe's: its definition
    /// was changed, its postStart hook failed, or its sandbox is gone.
    pub other_reason: bool,
    /// Whether the Pod is missing from the API, removed nobody knows when.
    pub absence: Option<Absence>,
}

/// Absence of a Pod from the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Missing for a moment: the Pod may be in the next list again.
    Missing,
    /// Gone for good.
    ForGood,
}

/// An announced disruption, by its announcer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// Reason `EvictionByEvictionAPI`.
    Eviction,
    /// Reason `PreemptionByScheduler`, or `TerminationByKubelet` to make room for a critical Pod.
    Preemption,
    /// Reason `DeletionByTaintManager`.
    Taint,
    /// Reason `TerminationByKubelet`, because the node runs short of a resource.
    NodePressure,
    /// Reason `TerminationByKubelet`, because the node shuts down.
    NodeShutdown,
    /// Reason `DeletionByPodGC`, or one that is not known here.
    Other,
}

impl Disruption {
    /// The disruption, from the condition's reason and message.
    ///
    /// A Pod whose containers exit with 0 is `Succeeded` and has no `status.reason`, so the message
    /// may be the only trace of what the kubelet does (1.37: `nodeshutdown_manager.go`,
    /// `nodeShutdownMessage`; `eviction/helpers.go`, `nodeLowMessageFmt`; `preemption.go`).
    #[must_use]
    pub fn announced(reason: &str, message: &str) -> Self {
        match reason {
            "EvictionByEvictionAPI" => Self::Eviction,
            "PreemptionByScheduler" => Self::Preemption,
            "DeletionByTaintManager" => Self::Taint,
            "TerminationByKubelet" if message.contains("node shutdown") => Self::NodeShutdown,
            "TerminationByKubelet" if message.starts_with("The node was low on") => {
                Self::NodePressure
            }
            "TerminationByKubelet" if message.contains("preempted by Kubelet") => Self::Preemption,
            _ => Self::Other,
        }
    }
}

/// The reason why a Pod is terminal, by `status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalReason {
    /// No reason: its containers ended by themselves.
    ByItself,
    /// Reason `Evicted`.
    Evicted,
    /// Reason `Terminated`: the shutdown of the node.
    NodeShutdown,
    /// Reason `Preempting`: room for a critical Pod.
    Preempted,
    /// Reason `DeadlineExceeded`: the Pod ran for as long as it may.
    Deadline,
    /// Another reason.
    Other,
}

impl TerminalReason {
    /// The terminal reason of a Pod; `None` if it goes on.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        pod.is_terminal().then(|| Self::from_reason(&pod.reason))
    }

    /// Whether the kubelet ended the Pod for a reason of its own: it does so with no Pod that is
    /// being deleted.
    #[must_use]
    pub const fn is_the_kubelets(self) -> bool {
        matches!(self, Self::Evicted | Self::NodeShutdown | Self::Preempted | Self::Deadline)
    }

    /// The terminal reason, from `status.reason` of a Pod that has succeeded or failed.
    #[must_use]
    pub fn from_reason(reason: &str) -> Self {
        match reason {
            "" => Self::ByItself,
            "Evicted" => Self::Evicted,
            "Terminated" => Self::NodeShutdown,
            "Preempting" => Self::Preempted,
            "DeadlineExceeded" => Self::Deadline,
            _ => Self::Other,
        }
    }
}

/// A probe whose failure has a container stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedProbe {
    /// The startup probe.
    Startup,
    /// The liveness probe.
    Liveness,
}

/// What was seen of a container's startup and liveness probes before it was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observed {
    /// Nothing that decides.
    #[default]
    Nothing,
    /// The last attempt was a failure, as often in a row as the spec allows.
    Failed(FailedProbe),
    /// The last attempt did not fail as often as that, and no other was due.
    Passed,
}

impl FailedProbe {
    const fn trigger(self) -> Trigger {
        match self {
            Self::Startup => Trigger::Startup,
            Self::Liveness => Trigger::Liveness,
        }
    }
}

/// The answer to why a container died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The trigger, with its source.
    Is(Trigger, Source),
    /// No answer yet: the Pod source may still report it.
    Wait,
}

/// Decides the trigger of one death. `evidence` is `None` if the Pod is not known; `more_may_come`
/// is true while a source can report more and there is time for it.
#[must_use]
pub fn decide(request: StopRequest, evidence: Option<&PodEvidence>, more_may_come: bool) -> Answer {
    let open = || {
        if more_may_come { Answer::Wait } else { Answer::Is(Trigger::Unknown, Source::No) }
    };
    if let Some(evidence) = evidence
        && evidence.deleted
        && request != StopRequest::ByOther
    {
        return Answer::Is(deletion(evidence.disruption), Source::Api);
    }
    match request {
        StopRequest::ByRuntime => {}
        StopRequest::Unseen { .. } if evidence.is_some() => {}
        StopRequest::None | StopRequest::ByOther | StopRequest::Unseen { .. } => {
            return Answer::Is(Trigger::None, Source::Kernel);
        }
    }
    let Some(evidence) = evidence else { return open() };
    if let Some(answer) = reported(evidence) {
        return answer;
    }
    if request == (StopRequest::Unseen { likely: false }) {
        // A crash.
        return Answer::Is(Trigger::None, Source::Kernel);
    }
    // If the app containers were stopped as well, they had not completed: the whole Pod is stopped.
    if outlives_apps(evidence) && !evidence.apps_stopped && request == StopRequest::ByRuntime {
        return Answer::Is(Trigger::PodCompletion, Source::Inferred);
    }
    let all_is_said = evidence.terminal.is_some() || evidence.reported_last;
    if !evidence.replaced && (!all_is_said || evidence.deleted_some_time) {
        // Nothing but a deletion takes a Pod out of the API, and what is being deleted is not
        // restarted.
        let gone = match evidence.absence {
            Some(Absence::ForGood) => true,
            Some(Absence::Missing) => !more_may_come,
            None => evidence.deleted_some_time && (all_is_said || !more_may_come),
        };
        let deletion = Answer::Is(deletion(evidence.disruption), Source::Inferred);
        return match request {
            _ if gone => deletion,
            StopRequest::ByRuntime if !more_may_come => match evidence.observed {
                Observed::Failed(probe) => Answer::Is(probe.trigger(), Source::Probe),
                Observed::Nothing | Observed::Passed => open(),
            },
            StopRequest::Unseen { .. } if !more_may_come => unseen(evidence),
            _ => open(),
        };
    }
    if request != StopRequest::ByRuntime {
        return unseen(evidence);
    }
    // The Pod goes on, or has ended without a reason from the kubelet: only this container was to
    // be stopped.
    let other = evidence.others_stopped || evidence.other_reason;
    // Containers may fail their probes together: they need the same thing.
    if let Observed::Failed(probe) = evidence.observed
        && !evidence.other_reason
    {
        return Answer::Is(probe.trigger(), Source::Probe);
    }
    let may_have_failed = !other && evidence.observed != Observed::Passed;
    let trigger = match evidence.probe.filter(|_| may_have_failed) {
        Some(probe) => probe.trigger(),
        None if evidence.role == Role::Ephemeral => {
            return Answer::Is(Trigger::Unknown, Source::No);
        }
        None => Trigger::RestartOther,
    };
    Answer::Is(trigger, Source::Inferred)
}

/// Whether this is a sidecar, or a container for debugging, of a Pod whose app containers are done.
const fn outlives_apps(evidence: &PodEvidence) -> bool {
    matches!(evidence.role, Role::Sidecar | Role::Ephemeral) && evidence.app_containers_done
}

/// The answer for a container without a stop signal that is older than the agent, and of whose end
/// nothing more is known. A probe can have failed before the agent came, or a sidecar's Pod can have
/// completed; nothing else stops a container of a Pod that goes on.
fn unseen(evidence: &PodEvidence) -> Answer {
    if evidence.probe.is_some() || outlives_apps(evidence) {
        Answer::Is(Trigger::Unknown, Source::No)
    } else {
        Answer::Is(Trigger::None, Source::Inferred)
    }
}

/// The answer that the kubelet gives: its reason for ending the Pod.
const fn reported(evidence: &PodEvidence) -> Option<Answer> {
    let trigger = match (evidence.terminal, evidence.disruption) {
        (Some(TerminalReason::Evicted), _) => Trigger::NodePressure,
        (Some(TerminalReason::NodeShutdown), _) => Trigger::NodeShutdown,
        (Some(TerminalReason::Preempted), _) => Trigger::Preemption,
        (Some(TerminalReason::Deadline), _) => Trigger::Deadline,
        (Some(TerminalReason::Other), _) => {
            return Some(Answer::Is(Trigger::Unknown, Source::No));
        }
        (_, Some(Disruption::NodePressure)) => Trigger::NodePressure,
        (_, Some(Disruption::NodeShutdown)) => Trigger::NodeShutdown,
        (_, Some(Disruption::Preemption)) => Trigger::Preemption,
        (
            Some(TerminalReason::ByItself) | None,
            Some(Disruption::Eviction | Disruption::Taint | Disruption::Other) | None,
        ) => return None,
    };
    Some(Answer::Is(trigger, Source::Api))
}

const fn deletion(disruption: Option<Disruption>) -> Trigger {
    match disruption {
        Some(Disruption::Eviction) => Trigger::ApiEviction,
        Some(Disruption::Preemption) => Trigger::Preemption,
        Some(Disruption::Taint) => Trigger::Taint,
        Some(Disruption::NodePressure | Disruption::NodeShutdown | Disruption::Other) | None => {
            Trigger::PodDeletion
        }
    }
}

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod tests;
