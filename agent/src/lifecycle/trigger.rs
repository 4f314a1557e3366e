//! Triggers: why a container was stopped, as far as the Pod tells. Pure.
//!
//! The kubelet sends no signal and writes no reason for most of what it does. What is relied on,
//! with Kubernetes 1.37:
//!
//! - A deletion is in the Pod (`deletionTimestamp`) before the kubelet hears of it. Who evicts,
//!   preempts or taints says so in the condition `DisruptionTarget` before deleting
//!   (`pkg/registry/core/pod/storage/eviction.go`, `pkg/scheduler/framework/preemption/executor.go`,
//!   `pkg/controller/tainteviction/taint_eviction.go`).
//! - The kubelet's own evictions and the node's shutdown make the Pod `Failed` with a reason
//!   (`pkg/kubelet/eviction/helpers.go`, `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`,
//!   `pkg/kubelet/preemption/preemption.go`), and phase, reason and condition are held back until
//!   no container runs (`pkg/kubelet/status/status_manager.go`, `mergePodStatus`).
//! - A failed liveness or startup probe is nowhere in the Pod: the container is stopped, the Pod
//!   goes on, and a new instance follows (`pkg/kubelet/kuberuntime/kuberuntime_manager.go`,
//!   `computePodActions`). The startup probe runs until `started`, the liveness probe from then on.
//! - When the app containers have ended for good, the sidecars are stopped.

use crate::kube::pod::Role;

/// The trigger of a container's end: who or what had it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trigger {
    /// Nobody request: it ended by itself, by an OOM kill, or by a signal from elsewhere.
    None,
    /// Its Pod was deleted.
    PodDeletion,
    /// Its Pod was evicted through the API: a drain.
    ApiEviction,
    /// Its Pod had to make room for another.
    Preemption,
    /// Its Pod does not tolerate a taint of the node.
    Taint,
    /// The kubelet evicted its Pod: the node ran short of something.
    NodePressure,
    /// The node shuts down.
    NodeShutdown,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// It is a sidecar, and its Pod's app containers were done.
    PodCompletion,
    /// The kubelet stopped it to start it anew for another reason.
    RestartOther,
    /// A stop was requested, and nothing says why.
    Unknown,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::PodDeletion,
        Self::ApiEviction,
        Self::Preemption,
        Self::Taint,
        Self::NodePressure,
        Self::NodeShutdown,
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
    /// The kernel saw that no stop was requested.
    Kernel,
    /// A field of the Pod says so.
    Api,
    /// It follows from what the Pod says and what it does not.
    Inferred,
    /// It is not known.
    No,
}

impl Source {
    /// The word for it in logs and traces.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Api => "api",
            Self::Inferred => "inferred",
            Self::No => "none",
        }
    }
}

/// The request to stop a container, by whom it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// Nobody requested it.
    None,
    /// The container runtime: it does what the kubelet wants.
    ByRuntime,
    /// Anybody else on the host: not Kubernetes.
    ByOther,
}

/// What the API evidence of a container that has ended, and of its Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodEvidence {
    /// The Pod's deletion was requested before the container's stop, or if no stop was requested,
    /// before its end.
    pub deleted: bool,
    /// The condition `DisruptionTarget`.
    pub disruption: Option<Disruption>,
    /// The reason of a Pod that has succeeded or failed.
    pub terminal: Option<TerminalReason>,
    /// The kind of container.
    pub role: Role,
    /// All of the Pod's app containers have ended.
    pub app_containers_done: bool,
    /// The probe that can have failed when the stop was requested.
    pub probe: Option<Failing>,
    /// The kubelet has started it again, or means to.
    pub replaced: bool,
    /// The kubelet has reported its end while no container of the Pod ran: nothing held a reason back.
    pub reported_last: bool,
    /// Other containers of the Pod were stopped as well, not much before or after.
    pub others_stopped: bool,
}

/// A disruption that was announced, by who announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// `EvictionByEvictionAPI`.
    Eviction,
    /// `PreemptionByScheduler`, or `TerminationByKubelet` to make room for a critical Pod.
    Preemption,
    /// `DeletionByTaintManager`.
    Taint,
    /// `TerminationByKubelet`, the node being short of something.
    NodePressure,
    /// `TerminationByKubelet`, the node being shut down.
    NodeShutdown,
    /// `DeletionByPodGC`, or one that is not known here.
    Other,
}

impl Disruption {
    /// From the condition's reason and message.
    ///
    /// A Pod whose containers exit with 0 is `Succeeded` and has no `status.reason`, so for what the
    /// kubelet does there may be nothing but its sentence (1.37: `nodeshutdown_manager.go`,
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
    /// No reason: its containers ended.
    ByItself,
    /// `Evicted`.
    Evicted,
    /// `Terminated`: the node's shutdown.
    NodeShutdown,
    /// `Preempting`: room for a critical Pod.
    Preempted,
    /// Another one.
    Other,
}

impl TerminalReason {
    /// From `status.reason` of a Pod that has succeeded or failed.
    #[must_use]
    pub fn from_reason(reason: &str) -> Self {
        match reason {
            "" => Self::ByItself,
            "Evicted" => Self::Evicted,
            "Terminated" => Self::NodeShutdown,
            "Preempting" => Self::Preempted,
            _ => Self::Other,
        }
    }
}

/// A probe whose failure has a container stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The startup probe.
    Startup,
    /// The liveness probe.
    Liveness,
}

/// The answer to why one container died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The trigger and how it is known.
    Is(Trigger, Source),
    /// The Pod source may still report it.
    Wait,
}

/// The trigger of one death. `evidence` is `None` if the Pod is not known; `more_may_come` if there
/// is a source that can report more, and time for it.
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
    if request != StopRequest::ByRuntime {
        return Answer::Is(Trigger::None, Source::Kernel);
    }
    let Some(evidence) = evidence else { return open() };
    match evidence.terminal {
        Some(TerminalReason::Evicted) => return Answer::Is(Trigger::NodePressure, Source::Api),
        Some(TerminalReason::NodeShutdown) => {
            return Answer::Is(Trigger::NodeShutdown, Source::Api);
        }
        Some(TerminalReason::Preempted) => return Answer::Is(Trigger::Preemption, Source::Api),
        Some(TerminalReason::Other) => return Answer::Is(Trigger::Unknown, Source::No),
        Some(TerminalReason::ByItself) | None => {}
    }
    match evidence.disruption {
        Some(Disruption::NodePressure) => return Answer::Is(Trigger::NodePressure, Source::Api),
        Some(Disruption::NodeShutdown) => return Answer::Is(Trigger::NodeShutdown, Source::Api),
        Some(Disruption::Preemption) => return Answer::Is(Trigger::Preemption, Source::Api),
        Some(Disruption::Eviction | Disruption::Taint | Disruption::Other) | None => {}
    }
    // If the app containers were stopped as well, they were not done: the whole Pod is stopped.
    if evidence.role == Role::Sidecar && evidence.app_containers_done && !evidence.others_stopped {
        return Answer::Is(Trigger::PodCompletion, Source::Inferred);
    }
    if evidence.terminal.is_none() && !evidence.replaced && !evidence.reported_last {
        return open();
    }
    // The Pod goes on, or has ended without the kubelet's reason: this one container was meant.
    let trigger = match evidence.probe.filter(|_| !evidence.others_stopped) {
        Some(Failing::Startup) => Trigger::Startup,
        Some(Failing::Liveness) => Trigger::Liveness,
        None => Trigger::RestartOther,
    };
    Answer::Is(trigger, Source::Inferred)
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
mod tests {
    use super::*;

    const NOTHING: PodEvidence = PodEvidence {
        deleted: false,
        disruption: None,
        terminal: None,
        role: Role::App,
        app_containers_done: false,
        probe: None,
        replaced: false,
        reported_last: false,
        others_stopped: false,
    };
    const DELETED: PodEvidence = PodEvidence { deleted: true, ..NOTHING };
    const LIVENESS: PodEvidence = PodEvidence { probe: Some(Failing::Liveness), ..NOTHING };

    fn api(trigger: Trigger) -> Answer {
        Answer::Is(trigger, Source::Api)
    }

    fn inferred(trigger: Trigger) -> Answer {
        Answer::Is(trigger, Source::Inferred)
    }

    const NONE: Answer = Answer::Is(Trigger::None, Source::Kernel);
    const UNKNOWN: Answer = Answer::Is(Trigger::Unknown, Source::No);

    #[test]
    fn an_end_that_nobody_asked_for_waits_for_nothing() {
        for evidence in [None, Some(&NOTHING), Some(&LIVENESS)] {
            for request in [StopRequest::None, StopRequest::ByOther] {
                assert_eq!(decide(request, evidence, true), NONE);
            }
        }
        // It ended in its preStop hook, or before the signal came.
        assert_eq!(decide(StopRequest::None, Some(&DELETED), true), api(Trigger::PodDeletion));
        assert_eq!(decide(StopRequest::ByOther, Some(&DELETED), true), NONE);
    }

    #[test]
    fn a_deletion_decides_at_once() {
        for (disruption, trigger) in [
            (None, Trigger::PodDeletion),
            (Some("EvictionByEvictionAPI"), Trigger::ApiEviction),
            (Some("PreemptionByScheduler"), Trigger::Preemption),
            (Some("DeletionByTaintManager"), Trigger::Taint),
            (Some("DeletionByPodGC"), Trigger::PodDeletion),
            (Some("something new"), Trigger::PodDeletion),
        ] {
            let disruption = disruption.map(|reason| Disruption::announced(reason, ""));
            let evidence = PodEvidence { disruption, probe: Some(Failing::Liveness), ..DELETED };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), api(trigger));
        }
        // A condition without a deletion has not led to anything yet.
        let evidence = PodEvidence { disruption: Some(Disruption::Eviction), ..NOTHING };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), Answer::Wait);
    }

    #[test]
    fn the_kubelets_reasons_come_last_and_decide() {
        for (reason, answer) in [
            ("Evicted", api(Trigger::NodePressure)),
            ("Terminated", api(Trigger::NodeShutdown)),
            ("Preempting", api(Trigger::Preemption)),
            ("DeadlineExceeded", UNKNOWN),
        ] {
            assert_eq!(decide(StopRequest::ByRuntime, Some(&LIVENESS), true), Answer::Wait);
            let evidence =
                PodEvidence { terminal: Some(TerminalReason::from_reason(reason)), ..LIVENESS };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), answer, "{reason}");
        }
    }

    #[test]
    fn the_kubelet_says_why_in_a_sentence() {
        // A Pod that exits with 0 is `Succeeded`, without a reason.
        for (message, trigger) in [
            ("Pod was terminated in response to imminent node shutdown.", Trigger::NodeShutdown),
            ("The node was low on resource: memory. Threshold …", Trigger::NodePressure),
            ("Pod was preempted by Kubelet to accommodate a critical pod.", Trigger::Preemption),
        ] {
            let disruption = Some(Disruption::announced("TerminationByKubelet", message));
            let evidence =
                PodEvidence { disruption, terminal: Some(TerminalReason::ByItself), ..LIVENESS };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), api(trigger));
            assert_eq!(
                decide(StopRequest::None, Some(&evidence), true),
                Answer::Is(Trigger::None, Source::Kernel)
            );
        }
        let other = Disruption::announced("TerminationByKubelet", "x");
        assert_eq!(other, Disruption::Other);
    }

    #[test]
    fn a_probe_is_inferred_when_the_pod_goes_on() {
        for (probe, trigger) in
            [(Failing::Startup, Trigger::Startup), (Failing::Liveness, Trigger::Liveness)]
        {
            let evidence = PodEvidence { probe: Some(probe), ..NOTHING };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), Answer::Wait);
            let again = PodEvidence { replaced: true, ..evidence };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&again), true), inferred(trigger));
            // Its end was reported, and with it a reason of the kubelet's would have been.
            let reported = PodEvidence { reported_last: true, ..evidence };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&reported), true), inferred(trigger));
            // Its Pod never restarts it.
            let ended = PodEvidence { terminal: Some(TerminalReason::ByItself), ..evidence };
            assert_eq!(decide(StopRequest::ByRuntime, Some(&ended), true), inferred(trigger));
            // All were stopped: the sandbox was made anew.
            let all = PodEvidence { others_stopped: true, ..again };
            assert_eq!(
                decide(StopRequest::ByRuntime, Some(&all), true),
                inferred(Trigger::RestartOther)
            );
        }
        let again = PodEvidence { replaced: true, ..NOTHING };
        assert_eq!(
            decide(StopRequest::ByRuntime, Some(&again), true),
            inferred(Trigger::RestartOther)
        );
    }

    #[test]
    fn a_sidecar_is_stopped_when_the_mains_are_done() {
        let evidence = PodEvidence { role: Role::Sidecar, app_containers_done: true, ..LIVENESS };
        assert_eq!(
            decide(StopRequest::ByRuntime, Some(&evidence), true),
            inferred(Trigger::PodCompletion)
        );
        // The mains were stopped: that may be an eviction.
        let stopped = PodEvidence { others_stopped: true, ..evidence };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&stopped), true), Answer::Wait);
        let evicted = PodEvidence { terminal: Some(TerminalReason::Evicted), ..stopped };
        assert_eq!(
            decide(StopRequest::ByRuntime, Some(&evicted), true),
            api(Trigger::NodePressure)
        );
        let main = PodEvidence { role: Role::App, ..evidence };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&main), true), Answer::Wait);
    }

    #[test]
    fn what_nothing_says_is_unknown_in_the_end() {
        assert_eq!(decide(StopRequest::ByRuntime, None, true), Answer::Wait);
        for evidence in [None, Some(&NOTHING), Some(&LIVENESS)] {
            assert_eq!(decide(StopRequest::ByRuntime, evidence, false), UNKNOWN);
        }
    }

    #[test]
    fn labels_are_apart() {
        let labels: std::collections::BTreeSet<_> = Trigger::ALL.map(Trigger::label).into();
        assert_eq!(labels.len(), Trigger::ALL.len());
    }
}
