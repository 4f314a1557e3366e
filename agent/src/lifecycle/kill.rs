//! Kills: what the kubelet does from its decision to stop a container to the stop signal. Pure.

use super::fact::PreStopRun;
use super::grace::{Before, OVERDUE_NS};
use super::session::ExecSession;
use super::stop::Spec;
use super::trigger::Trigger;
use crate::clock::{SECOND_NS, WallOffset};
use crate::kube::known_pod::{KnownPod, Noticed, Via};
use crate::kube::pod::{PreStop, Role};

/// Longest time by which the kubelet may learn of a deletion before the agent does.
pub(super) const KUBELET_AHEAD_NS: u64 = 1_000_000_000;
/// Longest time between the end of a preStop hook and the stop signal. A session that ended earlier
/// was no hook.
const PRE_STOP_NEAR_NS: u64 = 1_000_000_000;

/// The stop of a container, from the kubelet's first act to the stop signal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) begin_boot_ns: Option<u64>,
    pub(super) signal_boot_ns: u64,
    pub(super) session: Option<ExecSession>,
    /// The run of a preStop hook over HTTP, if the kubelet's connections are observed.
    pub(super) request: Option<ExecSession>,
}

impl Kill {
    fn so_far_ns(&self) -> Option<u64> {
        Some(self.signal_boot_ns.saturating_sub(self.begin_boot_ns?))
    }

    /// The exec session, if it can have been the preStop hook: the signal follows it, or ends the
    /// wait for it.
    fn pre_stop_session(&self) -> Option<ExecSession> {
        self.session.filter(|session| {
            let near = |end: u64| end.saturating_add(PRE_STOP_NEAR_NS) >= self.signal_boot_ns;
            session.begin_boot_ns <= self.signal_boot_ns
                && (self.begin_boot_ns.is_some() || session.end_boot_ns.is_none_or(near))
        })
    }

    /// The run of the hook over HTTP, if it came while the stop was under way: after the kubelet's first
    /// act where that is known, and else so that the signal follows it.
    fn request_before_signal(&self) -> Option<(u64, u64)> {
        let run = self.request.filter(|run| {
            let near = |end: u64| end.saturating_add(PRE_STOP_NEAR_NS) >= self.signal_boot_ns;
            let latest = run.begin_boot_ns.saturating_add(KUBELET_AHEAD_NS);
            let is_under_way = match self.begin_boot_ns {
                Some(begin) => latest >= begin,
                None => run.end_boot_ns.is_none_or(near),
            };
            run.begin_boot_ns <= self.signal_boot_ns && is_under_way
        })?;
        let end = run.end_boot_ns.unwrap_or(self.signal_boot_ns).min(self.signal_boot_ns);
        Some((run.begin_boot_ns, end))
    }

    /// The run of the container's preStop hook, as far as it is known.
    pub(super) fn pre_stop(&self, spec: Spec) -> Option<PreStopRun> {
        let handler = spec.pre_stop?;
        let signal = self.signal_boot_ns;
        let ran_boot_ns = match handler {
            PreStop::Exec => self.pre_stop_session().map(|session| {
                let end = session.end_boot_ns.unwrap_or(signal).min(signal);
                (session.begin_boot_ns.min(end), end)
            }),
            // The kubelet's own sleep: it is not visible, and lasts as long as the spec says.
            PreStop::Sleep { seconds } => {
                let slept_ns = seconds.saturating_mul(SECOND_NS);
                Some(match self.begin_boot_ns {
                    Some(begin) => (begin.min(signal), begin.saturating_add(slept_ns).min(signal)),
                    None => (signal.saturating_sub(slept_ns), signal),
                })
            }
            PreStop::Http => self.request_before_signal().or_else(|| {
                // The kubelet's request was not seen; all the time before the signal was for it.
                let begin = self.begin_boot_ns.filter(|_| spec.role != Role::Sidecar);
                begin.map(|begin| (begin.min(signal), signal))
            }),
        };
        Some(PreStopRun { handler, ran_boot_ns })
    }

    /// Time that the kubelet takes off the grace period.
    pub(super) fn before(&self, spec: Spec, pre_stop: Option<PreStopRun>) -> Before {
        if spec.role == Role::Sidecar {
            // Includes the wait for the app containers and for later sidecars.
            return self.so_far_ns().map_or(Before::Unknown, |ns| Before::Took { ns });
        }
        match pre_stop {
            None => Before::Nothing,
            Some(run) => run.duration_ns().map_or(Before::Unknown, |ns| Before::Took { ns }),
        }
    }
}

/// Time since which the kubelet may know of a deletion, `CLOCK_BOOTTIME`: a list reports late.
pub(crate) fn known_to_kubelet_since(known: &KnownPod, noticed: Noticed, wall: WallOffset) -> u64 {
    let ahead_boot_ns = noticed.time_boot_ns.saturating_sub(KUBELET_AHEAD_NS);
    let listed = known.deletion.filter(|_| noticed.via == Via::List);
    let requested_boot_ns = listed.and_then(|deletion| deletion.requested_boot_ns(wall));
    requested_boot_ns.map_or(ahead_boot_ns, |requested| requested.min(ahead_boot_ns))
}

/// Time at which the kubelet began to stop the container, where that was seen. `grace_s` is the
/// grace period that applied.
///
/// A watch event comes with the change; else the API's time counts, if it can be true: the kubelet
/// sends the stop signal before the grace period is over.
pub(super) fn begin_boot_ns(
    known: &KnownPod,
    trigger: Trigger,
    signal_boot_ns: u64,
    grace_s: Option<u64>,
    wall: WallOffset,
) -> Option<u64> {
    match trigger {
        Trigger::PodDeletion | Trigger::ApiEviction | Trigger::Preemption | Trigger::Taint => {}
        _ => return None,
    }
    let noticed = known.deletion_noticed()?;
    let in_time = noticed.time_boot_ns <= signal_boot_ns.saturating_add(KUBELET_AHEAD_NS);
    let begin = if noticed.via == Via::Watch && in_time {
        noticed.time_boot_ns
    } else {
        known.deletion?.requested_boot_ns(wall)?
    };
    let longest_ns = grace_s
        .map_or(u64::MAX, |grace_s| grace_s.saturating_mul(SECOND_NS).saturating_add(OVERDUE_NS));
    let possible = begin <= signal_boot_ns.saturating_add(KUBELET_AHEAD_NS)
        && signal_boot_ns.saturating_sub(begin) <= longest_ns;
    possible.then_some(begin.min(signal_boot_ns))
}

#[cfg(test)]
#[path = "kill_tests.rs"]
mod tests;
