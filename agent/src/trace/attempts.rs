//! Attempts of a container's probes that a trace tells: those that failed, and those that were near
//! their timeout. Pure.

use std::collections::VecDeque;

use opentelemetry::KeyValue;

use super::model::Span;
use super::names;
use super::tree::{attribute, number};
use crate::clock::SECOND_NS;
use crate::lifecycle::fact::{ProbeAttempt, ProbeKind, ProbeResult};
use crate::lifecycle::trigger::Trigger;

/// Limit of attempts that are kept for a container instance: the first ones give way.
const ATTEMPTS_MAX: usize = 16;
/// Part of the timeout from which on an attempt is slow, in quarters.
const SLOW_QUARTERS: u128 = 3;

/// Attempts of a container instance.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// In the order in which they ended.
    told: VecDeque<ProbeAttempt>,
    /// End of the last success of each probe, by [`ProbeKind::ALL`].
    success_boot_ns: [u64; ProbeKind::ALL.len()],
}

impl Attempts {
    /// Takes in an attempt.
    pub(super) fn add(&mut self, attempt: &ProbeAttempt) {
        let failed = attempt.result.is_failure();
        if failed == Some(false) {
            for (kind, last) in ProbeKind::ALL.into_iter().zip(&mut self.success_boot_ns) {
                if kind == attempt.probe {
                    *last = attempt.end_boot_ns;
                }
            }
        }
        if failed == Some(true) || is_slow(attempt) {
            if self.told.len() >= ATTEMPTS_MAX {
                self.told.pop_front();
            }
            self.told.push_back(*attempt);
        }
    }

    /// All that are kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ProbeAttempt> {
        self.told.iter()
    }

    /// The failures in a row for which the kubelet stopped the container at that time; none if it was
    /// not for a probe.
    pub(super) fn fatal(
        &self,
        trigger: Trigger,
        stopped_boot_ns: u64,
    ) -> impl Iterator<Item = &ProbeAttempt> {
        let is_its = move |kind| match trigger {
            Trigger::Liveness => {
                matches!(kind, ProbeKind::Liveness | ProbeKind::LivenessOrReadiness)
            }
            Trigger::Startup => kind == ProbeKind::Startup,
            _ => false,
        };
        self.told.iter().filter(move |attempt| {
            is_its(attempt.probe)
                && attempt.result.is_failure() == Some(true)
                && attempt.start_boot_ns >= self.success(attempt.probe)
                && attempt.start_boot_ns <= stopped_boot_ns
        })
    }

    fn success(&self, kind: ProbeKind) -> u64 {
        let all = ProbeKind::ALL.into_iter().zip(self.success_boot_ns);
        all.filter(|(other, _)| *other == kind).map(|(_, last)| last).max().unwrap_or(0)
    }
}

fn is_slow(attempt: &ProbeAttempt) -> bool {
    let used = u128::from(attempt.duration_ns()) * 4;
    used >= u128::from(attempt.timeout_s) * u128::from(SECOND_NS) * SLOW_QUARTERS
}

/// Fills in the span of an attempt.
pub(super) fn describe(attempt: &ProbeAttempt, span: &mut Span) {
    span.attributes.extend([
        attribute(names::PROBE, attempt.probe.label()),
        attribute(names::PROBE_HANDLER, attempt.handler.label()),
        attribute(names::PROBE_RESULT, attempt.result.label()),
        attribute(names::PROBE_TIMEOUT, number(attempt.timeout_s)),
    ]);
    let exit_code = attempt.exec.and_then(|run| run.exit_code);
    let known: [Option<KeyValue>; 3] = [
        attempt.failures_left.map(|left| attribute(names::PROBE_LEFT, number(left))),
        attempt.status.map(|status| attribute(names::HTTP_STATUS, i64::from(status))),
        exit_code.map(|code| attribute(names::EXIT_CODE, i64::from(code))),
    ];
    span.attributes.extend(known.into_iter().flatten());
}

/// What went wrong with an attempt that failed, in words.
pub(super) fn problem(attempt: &ProbeAttempt) -> Option<String> {
    let exit_code = attempt.exec.and_then(|run| run.exit_code);
    Some(match (attempt.result, attempt.status, exit_code) {
        (ProbeResult::Success | ProbeResult::Unknown, ..) => return None,
        (ProbeResult::Timeout, ..) => format!("no answer within {} s", attempt.timeout_s),
        (ProbeResult::Refused, ..) => "connection refused".to_owned(),
        (ProbeResult::Failure, Some(status), _) => format!("status {status}"),
        (ProbeResult::Failure, None, Some(code)) => format!("exit code {code}"),
        (ProbeResult::Failure, None, None) => "failed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::pod::Handler;
    use crate::lifecycle::fact::ProbeResult::{Failure, Success, Timeout, Unknown};

    fn attempt(probe: ProbeKind, at_ms: u64, ms: u64, result: ProbeResult) -> ProbeAttempt {
        ProbeAttempt {
            probe,
            handler: Handler::Tcp,
            result,
            start_boot_ns: at_ms * 1_000_000,
            end_boot_ns: (at_ms + ms) * 1_000_000,
            timeout_s: 1,
            failures_left: None,
            status: None,
            network: None,
            exec: None,
        }
    }

    #[test]
    fn what_is_usual_is_not_kept() {
        let mut attempts = Attempts::default();
        for (ms, result) in
            [(1, Success), (749, Success), (749, Unknown), (750, Success), (1, Failure)]
        {
            attempts.add(&attempt(ProbeKind::Readiness, 5, ms, result));
        }
        let kept: Vec<_> =
            attempts.iter().map(|it| (it.duration_ns() / 1_000_000, it.result)).collect();
        assert_eq!(kept, [(750, Success), (1, Failure)]);
        for n in 0..100 {
            attempts.add(&attempt(ProbeKind::Readiness, n, 1, Failure));
        }
        assert_eq!(attempts.iter().count(), ATTEMPTS_MAX);
        assert_eq!(attempts.iter().last().map(|it| it.start_boot_ns), Some(99_000_000));
    }

    #[test]
    fn the_fatal_ones_are_those_in_a_row_before_the_stop() {
        let mut attempts = Attempts::default();
        for (kind, at_ms, result) in [
            (ProbeKind::Liveness, 0, Failure),
            (ProbeKind::Liveness, 100, Success),
            (ProbeKind::Readiness, 150, Failure),
            (ProbeKind::Liveness, 200, Failure),
            (ProbeKind::Liveness, 300, Timeout),
            (ProbeKind::Liveness, 900, Failure),
        ] {
            attempts.add(&attempt(kind, at_ms, 10, result));
        }
        let fatal = |trigger| {
            let starts = attempts.fatal(trigger, 400_000_000).map(|it| it.start_boot_ns);
            starts.map(|ns| ns / 1_000_000).collect::<Vec<_>>()
        };
        assert_eq!(fatal(Trigger::Liveness), [200, 300]);
        assert!(fatal(Trigger::Startup).is_empty() && fatal(Trigger::PodDeletion).is_empty());
    }
}
