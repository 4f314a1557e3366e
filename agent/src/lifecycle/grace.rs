//! Grace periods: how long a container had to stop. Pure.
//!
//! The kubelet applies these steps in order (`pkg/kubelet/kuberuntime/kuberuntime_container.go`,
//! `setTerminationGracePeriod` and `killContainer`; Kubernetes 1.37):
//!
//! 1. `deletionGracePeriodSeconds` of a Pod that is being deleted, else that of the probe which
//!    failed, else `terminationGracePeriodSeconds` of the Pod;
//! 2. a whole number of seconds less for the preStop hook, and for the wait of a sidecar;
//! 3. but 2 s at least.
//!
//! Evictions under pressure and the node's shutdown replace the first by another grace period
//! (`pkg/kubelet/eviction/eviction_manager.go`, `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`)
//! that the API does not report.

use super::trigger::Trigger;
use crate::clock::SECOND_NS;

/// Least grace period that the kubelet leaves (`minimumGracePeriodInSeconds`).
const LEFT_MIN_S: u64 = 2;
/// The same, as a time.
pub(super) const LEFT_MIN_NS: u64 = LEFT_MIN_S * SECOND_NS;
/// Longest time by which a stop exceeds its grace period: the kubelet's least grace period, the
/// API's resolution, and a node under load.
pub(super) const OVERDUE_NS: u64 = 5 * SECOND_NS;

/// Grace periods in a container's Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Periods {
    /// Field `metadata.deletionGracePeriodSeconds`.
    pub deletion_s: Option<u64>,
    /// Field `spec.terminationGracePeriodSeconds`.
    pub pod_s: Option<u64>,
    /// Field `terminationGracePeriodSeconds` of the startup probe.
    pub startup_s: Option<u64>,
    /// Field `terminationGracePeriodSeconds` of the liveness probe.
    pub liveness_s: Option<u64>,
}

impl Periods {
    /// The longest grace period that a failed probe gives the container.
    #[must_use]
    pub fn longest_of_probes_s(self) -> Option<u64> {
        [self.startup_s, self.liveness_s].into_iter().flatten().chain(self.pod_s).max()
    }

    /// The grace period that applies to an end with this trigger; `None` if there was none, or it
    /// is not reported.
    #[must_use]
    pub fn effective_s(self, trigger: Trigger) -> Option<u64> {
        let own = match trigger {
            Trigger::PodDeletion | Trigger::ApiEviction | Trigger::Preemption | Trigger::Taint => {
                self.deletion_s
            }
            Trigger::Startup => self.startup_s,
            Trigger::Liveness => self.liveness_s,
            Trigger::PodCompletion | Trigger::RestartOther | Trigger::Deadline => None,
            Trigger::None | Trigger::NodePressure | Trigger::NodeShutdown | Trigger::Unknown => {
                return None;
            }
        };
        own.or(self.pod_s)
    }
}

/// Time that passed before the stop signal, at the cost of the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// No time: the signal came first.
    Nothing,
    /// Time for a preStop hook, or for the wait for other containers.
    Took {
        /// Time until the signal.
        ns: u64,
    },
    /// Unknown: a hook ran, and its duration was not seen.
    Unknown,
}

/// The rest of the grace period when the stop signal was sent; ±1 s where time passed before it.
/// `None` if that time is not known.
#[must_use]
pub fn budget_ns(effective_s: u64, before: Before) -> Option<u64> {
    let gone_s = match before {
        Before::Nothing => 0,
        Before::Took { ns } => ns / SECOND_NS,
        Before::Unknown => return None,
    };
    let left_s = effective_s.saturating_sub(gone_s).max(LEFT_MIN_S);
    Some(left_s.saturating_mul(SECOND_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Periods =
        Periods { deletion_s: Some(5), pod_s: Some(30), startup_s: Some(7), liveness_s: Some(9) };

    #[test]
    fn each_trigger_has_its_grace_period() {
        for trigger in
            [Trigger::PodDeletion, Trigger::ApiEviction, Trigger::Preemption, Trigger::Taint]
        {
            assert_eq!(ALL.effective_s(trigger), Some(5), "{trigger:?}");
            let none = Periods { deletion_s: None, ..ALL };
            assert_eq!(none.effective_s(trigger), Some(30), "{trigger:?}");
        }
        assert_eq!(ALL.effective_s(Trigger::Startup), Some(7));
        assert_eq!(ALL.effective_s(Trigger::Liveness), Some(9));
        assert_eq!(Periods { liveness_s: None, ..ALL }.effective_s(Trigger::Liveness), Some(30));
        assert_eq!(ALL.effective_s(Trigger::PodCompletion), Some(30));
        assert_eq!(ALL.effective_s(Trigger::RestartOther), Some(30));
        assert_eq!(ALL.effective_s(Trigger::Deadline), Some(30));
        for trigger in
            [Trigger::None, Trigger::NodePressure, Trigger::NodeShutdown, Trigger::Unknown]
        {
            assert_eq!(ALL.effective_s(trigger), None, "{trigger:?}");
        }
        assert_eq!(Periods::default().effective_s(Trigger::PodDeletion), None);
    }

    #[test]
    fn time_before_the_signal_is_taken_off_in_whole_seconds() {
        let took = |ms: u64| Before::Took { ns: ms * 1_000_000 };
        for (effective_s, before, left_s) in [
            (30, Before::Nothing, Some(30)),
            (30, took(999), Some(30)),
            (30, took(1000), Some(29)),
            (30, took(12_700), Some(18)),
            (30, took(28_500), Some(2)),
            (30, took(45_000), Some(2)),
            (0, Before::Nothing, Some(2)),
            (1, Before::Nothing, Some(2)),
            (30, Before::Unknown, None),
        ] {
            let left_ns = left_s.map(|left: u64| left * SECOND_NS);
            assert_eq!(budget_ns(effective_s, before), left_ns, "{effective_s} {before:?}");
        }
        assert!(budget_ns(u64::MAX, Before::Nothing).is_some());
    }
}
