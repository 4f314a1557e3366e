//! Why a container was stopped, as far as the API tells. Pure.
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
//! - When the main containers have ended for good, the sidecars are stopped.

use crate::kube::pod::Role;

/// Who or what had a container stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trigger {
    /// Nobody asked: it ended by itself, by an OOM kill, or by a signal from elsewhere.
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
    /// It is a sidecar, and its Pod's main containers were done.
    PodCompletion,
    /// The kubelet stopped it to start it anew for another reason.
    RestartOther,
    /// Somebody asked, and nothing says why.
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

/// How a trigger is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel saw that nobody asked.
    Kernel,
    /// A field of the Pod says so.
    Api,
    /// It follows from what the Pod says and what it does not.
    Inferred,
    /// It is not.
    No,
}

impl Source {
    /// For people.
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

/// Who asked the container to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nobody.
    No,
    /// The container runtime: it does what the kubelet wants.
    ByRuntime,
    /// Anybody else on the host: not Kubernetes.
    ByOther,
}

/// What the API said of a container that has ended, and of its Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The Pod's deletion was asked for before the container was asked to stop, or if it was not
    /// asked, before it ended.
    pub deleted: bool,
    /// What the condition `DisruptionTarget` says.
    pub disruption: Option<Disruption>,
    /// The Pod has succeeded or failed.
    pub over: Option<Over>,
    /// Which kind of container it was.
    pub role: Role,
    /// All of the Pod's main containers have ended.
    pub mains_over: bool,
    /// The probe that can have failed when it was asked to stop.
    pub probe: Option<Failing>,
    /// The kubelet has started it anew, or means to.
    pub replaced: bool,
    /// The kubelet has told its end while no container of the Pod ran: nothing held a reason back.
    pub told_last: bool,
    /// Other containers of the Pod were asked to stop as well, not much before or after.
    pub others_asked: bool,
}

/// Who announced a disruption.
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

/// Why a Pod is over, by `status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
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

impl Over {
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

/// The answer about one death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That is why.
    Is(Trigger, Source),
    /// The API may still tell.
    Wait,
}

/// Says why. `said` is `None` if the Pod is not known; `more_may_come` if there is somebody to
/// tell more, and time for it.
#[must_use]
pub fn decide(asked: Asked, said: Option<&Said>, more_may_come: bool) -> Answer {
    let open = || {
        if more_may_come { Answer::Wait } else { Answer::Is(Trigger::Unknown, Source::No) }
    };
    if let Some(said) = said
        && said.deleted
        && asked != Asked::ByOther
    {
        return Answer::Is(deletion(said.disruption), Source::Api);
    }
    if asked != Asked::ByRuntime {
        return Answer::Is(Trigger::None, Source::Kernel);
    }
    let Some(said) = said else { return open() };
    match said.over {
        Some(Over::Evicted) => return Answer::Is(Trigger::NodePressure, Source::Api),
        Some(Over::NodeShutdown) => return Answer::Is(Trigger::NodeShutdown, Source::Api),
        Some(Over::Preempted) => return Answer::Is(Trigger::Preemption, Source::Api),
        Some(Over::Other) => return Answer::Is(Trigger::Unknown, Source::No),
        Some(Over::ByItself) | None => {}
    }
    match said.disruption {
        Some(Disruption::NodePressure) => return Answer::Is(Trigger::NodePressure, Source::Api),
        Some(Disruption::NodeShutdown) => return Answer::Is(Trigger::NodeShutdown, Source::Api),
        Some(Disruption::Preemption) => return Answer::Is(Trigger::Preemption, Source::Api),
        Some(Disruption::Eviction | Disruption::Taint | Disruption::Other) | None => {}
    }
    // If the mains were asked as well, they were not done: the whole Pod is being stopped.
    if said.role == Role::Sidecar && said.mains_over && !said.others_asked {
        return Answer::Is(Trigger::PodCompletion, Source::Inferred);
    }
    if said.over.is_none() && !said.replaced && !said.told_last {
        return open();
    }
    // The Pod goes on, or has ended without the kubelet's reason: this one container was meant.
    let trigger = match said.probe.filter(|_| !said.others_asked) {
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

    const NOTHING: Said = Said {
        deleted: false,
        disruption: None,
        over: None,
        role: Role::App,
        mains_over: false,
        probe: None,
        replaced: false,
        told_last: false,
        others_asked: false,
    };
    const DELETED: Said = Said { deleted: true, ..NOTHING };
    const LIVENESS: Said = Said { probe: Some(Failing::Liveness), ..NOTHING };

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
        for said in [None, Some(&NOTHING), Some(&LIVENESS)] {
            for asked in [Asked::No, Asked::ByOther] {
                assert_eq!(decide(asked, said, true), NONE);
            }
        }
        // It ended in its preStop hook, or before the signal came.
        assert_eq!(decide(Asked::No, Some(&DELETED), true), api(Trigger::PodDeletion));
        assert_eq!(decide(Asked::ByOther, Some(&DELETED), true), NONE);
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
            let said = Said { disruption, probe: Some(Failing::Liveness), ..DELETED };
            assert_eq!(decide(Asked::ByRuntime, Some(&said), true), api(trigger));
        }
        // A condition without a deletion has not led to anything yet.
        let said = Said { disruption: Some(Disruption::Eviction), ..NOTHING };
        assert_eq!(decide(Asked::ByRuntime, Some(&said), true), Answer::Wait);
    }

    #[test]
    fn the_kubelets_reasons_come_last_and_decide() {
        for (reason, answer) in [
            ("Evicted", api(Trigger::NodePressure)),
            ("Terminated", api(Trigger::NodeShutdown)),
            ("Preempting", api(Trigger::Preemption)),
            ("DeadlineExceeded", UNKNOWN),
        ] {
            assert_eq!(decide(Asked::ByRuntime, Some(&LIVENESS), true), Answer::Wait);
            let said = Said { over: Some(Over::from_reason(reason)), ..LIVENESS };
            assert_eq!(decide(Asked::ByRuntime, Some(&said), true), answer, "{reason}");
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
            let said = Said { disruption, over: Some(Over::ByItself), ..LIVENESS };
            assert_eq!(decide(Asked::ByRuntime, Some(&said), true), api(trigger));
            assert_eq!(
                decide(Asked::No, Some(&said), true),
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
            let said = Said { probe: Some(probe), ..NOTHING };
            assert_eq!(decide(Asked::ByRuntime, Some(&said), true), Answer::Wait);
            let again = Said { replaced: true, ..said };
            assert_eq!(decide(Asked::ByRuntime, Some(&again), true), inferred(trigger));
            // Its end was told, and with it a reason of the kubelet's would have been.
            let told = Said { told_last: true, ..said };
            assert_eq!(decide(Asked::ByRuntime, Some(&told), true), inferred(trigger));
            // Its Pod never restarts it.
            let over = Said { over: Some(Over::ByItself), ..said };
            assert_eq!(decide(Asked::ByRuntime, Some(&over), true), inferred(trigger));
            // All were stopped: the sandbox was made anew.
            let all = Said { others_asked: true, ..again };
            assert_eq!(decide(Asked::ByRuntime, Some(&all), true), inferred(Trigger::RestartOther));
        }
        let again = Said { replaced: true, ..NOTHING };
        assert_eq!(decide(Asked::ByRuntime, Some(&again), true), inferred(Trigger::RestartOther));
    }

    #[test]
    fn a_sidecar_is_stopped_when_the_mains_are_done() {
        let said = Said { role: Role::Sidecar, mains_over: true, ..LIVENESS };
        assert_eq!(decide(Asked::ByRuntime, Some(&said), true), inferred(Trigger::PodCompletion));
        // The mains were stopped: that may be an eviction.
        let stopped = Said { others_asked: true, ..said };
        assert_eq!(decide(Asked::ByRuntime, Some(&stopped), true), Answer::Wait);
        let evicted = Said { over: Some(Over::Evicted), ..stopped };
        assert_eq!(decide(Asked::ByRuntime, Some(&evicted), true), api(Trigger::NodePressure));
        let main = Said { role: Role::App, ..said };
        assert_eq!(decide(Asked::ByRuntime, Some(&main), true), Answer::Wait);
    }

    #[test]
    fn what_nothing_says_is_unknown_in_the_end() {
        assert_eq!(decide(Asked::ByRuntime, None, true), Answer::Wait);
        for said in [None, Some(&NOTHING), Some(&LIVENESS)] {
            assert_eq!(decide(Asked::ByRuntime, said, false), UNKNOWN);
        }
    }

    #[test]
    fn labels_are_apart() {
        let labels: std::collections::BTreeSet<_> = Trigger::ALL.map(Trigger::label).into();
        assert_eq!(labels.len(), Trigger::ALL.len());
    }
}
