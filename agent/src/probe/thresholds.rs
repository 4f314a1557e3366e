//! Thresholds: how many failures in a row are left until they count. Pure.
//!
//! A worker of the kubelet counts the results that are alike, over the restarts of its container; it
//! starts again when a failure of the liveness probe, or any result of the startup probe, has reached its
//! threshold (`pkg/kubelet/prober/worker.go`, `doProbe`, Kubernetes 1.37).

use crate::clock::SECOND_NS;
use crate::kube::pod::Probe;
use crate::lifecycle::fact::ProbeResult;

/// Time by which an attempt may be late before one before it counts as missed.
const LATE_NS: u64 = 2_000_000_000;

/// Failures in a row of one probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// Number of failures since the last success; `None` if attempts in between are not known.
    failures: Option<u64>,
    /// Begin of the last attempt, `CLOCK_BOOTTIME`.
    last_boot_ns: Option<u64>,
    /// Start of the worker, as far as it is known: attempts that began before were another's.
    since_boot_ns: u64,
}

impl Run {
    /// The run of a probe of which nothing was missed: its container is new.
    pub(super) const fn fresh() -> Self {
        Self { failures: Some(0), last_boot_ns: None, since_boot_ns: 0 }
    }

    /// The run of a worker of a kubelet that was started again. `seen_from_start`: it has made no
    /// attempt before that time.
    pub(super) fn of_next_kubelet(since_boot_ns: u64, seen_from_start: bool) -> Self {
        Self { failures: seen_from_start.then_some(0), last_boot_ns: None, since_boot_ns }
    }

    /// The run in the next instance of the container, from this one's.
    pub(super) const fn in_next_instance(self) -> Self {
        Self { last_boot_ns: None, ..self }
    }

    /// Notes that it is not known what has happened: an attempt may have been this probe's.
    pub(super) const fn unsure(&mut self) {
        self.failures = None;
    }

    /// Takes in an attempt without a result; returns the failures that are left.
    pub(super) fn error(&mut self, start_boot_ns: u64, probe: &Probe) -> Option<u64> {
        self.last_boot_ns = self.last_boot_ns.max(Some(start_boot_ns));
        Some(probe.failure_threshold.saturating_sub(self.failures?))
    }

    /// Takes in an attempt; returns the failures that are left. `restarts`: reaching the threshold has
    /// the container restarted, and the count starts again.
    pub(super) fn take(
        &mut self,
        result: ProbeResult,
        start_boot_ns: u64,
        probe: &Probe,
        restarts: bool,
    ) -> Option<u64> {
        if self.last_boot_ns.unwrap_or(0).max(self.since_boot_ns) > start_boot_ns {
            // It is told late: the kubelet has counted on since, or anew.
            return None;
        }
        let longest_ns = probe.period_s.max(probe.timeout_s).saturating_mul(SECOND_NS);
        let missed = self.last_boot_ns.is_some_and(|last| {
            let next = last.saturating_add(longest_ns).saturating_add(LATE_NS);
            start_boot_ns > next
        });
        self.last_boot_ns = Some(start_boot_ns);
        self.failures = match result.is_failure() {
            Some(false) => Some(0),
            Some(true) if !missed => self.failures.map(|failures| failures.saturating_add(1)),
            Some(true) | None => None,
        };
        let left = probe.failure_threshold.saturating_sub(self.failures?);
        if left == 0 && restarts {
            self.failures = Some(0);
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProbeResult::{Failure, Refused, Success, Timeout, Unknown};

    const PROBE: Probe = Probe {
        handler: crate::kube::pod::Handler::Http,
        initial_delay_s: 0,
        period_s: 10,
        timeout_s: 1,
        success_threshold: 1,
        failure_threshold: 3,
        grace_s: None,
        earliest_s: 20,
    };

    /// The failures that are left after each attempt, by the second of its begin.
    fn left(run: &mut Run, restarts: bool, attempts: &[(u64, ProbeResult)]) -> Vec<Option<u64>> {
        let take =
            |(at, result): &(u64, ProbeResult)| run.take(*result, at * SECOND_NS, &PROBE, restarts);
        attempts.iter().map(take).collect()
    }

    #[test]
    fn failures_in_a_row_are_counted_down() {
        let attempts = [
            (10, Failure),
            (20, Refused),
            (30, Success),
            (40, Timeout),
            (50, Failure),
            (60, Failure),
            (70, Failure),
        ];
        let mut run = Run::fresh();
        let expected = [Some(2), Some(1), Some(3), Some(2), Some(1), Some(0), Some(0)];
        assert_eq!(left(&mut run, false, &attempts), expected);
        // Liveness: the container is restarted, and the count with it.
        let expected = [Some(2), Some(1), Some(3), Some(2), Some(1), Some(0), Some(2)];
        assert_eq!(left(&mut Run::fresh(), true, &attempts), expected);
    }

    #[test]
    fn what_was_missed_makes_the_count_unknown_until_a_success() {
        let attempts = [(10, Failure), (31, Failure), (41, Failure), (51, Success), (61, Failure)];
        let expected = [Some(2), None, None, Some(3), Some(2)];
        assert_eq!(left(&mut Run::fresh(), false, &attempts), expected);
        let attempts = [(10, Failure), (20, Success), (30, Unknown), (40, Failure)];
        assert_eq!(left(&mut Run::default(), false, &attempts), [None, Some(3), None, None]);
    }

    #[test]
    fn an_error_counts_for_nothing() {
        let mut run = Run::fresh();
        assert_eq!(left(&mut run, false, &[(10, Failure)]), [Some(2)]);
        assert_eq!(run.error(20 * SECOND_NS, &PROBE), Some(2));
        // It was no gap either.
        assert_eq!(left(&mut run, false, &[(30, Failure)]), [Some(1)]);
    }

    #[test]
    fn what_is_told_late_changes_no_count() {
        let attempts = [(20, Failure), (10, Success), (15, Failure), (30, Failure)];
        let expected = [Some(2), None, None, Some(1)];
        assert_eq!(left(&mut Run::fresh(), false, &attempts), expected);
    }

    #[test]
    fn a_kubelet_that_is_started_again_counts_anew() {
        let attempts = [(90, Failure), (110, Failure), (120, Failure)];
        for (seen_from_start, expected) in
            [(true, [None, Some(2), Some(1)]), (false, [None, None, None])]
        {
            let mut run = Run::of_next_kubelet(100 * SECOND_NS, seen_from_start);
            assert_eq!(left(&mut run, false, &attempts), expected);
            assert_eq!(
                left(&mut run, false, &[(130, Success), (140, Failure)]),
                [Some(3), Some(2)]
            );
        }
    }

    #[test]
    fn the_count_goes_on_in_the_next_instance() {
        let mut run = Run::fresh();
        left(&mut run, false, &[(10, Failure), (20, Failure)]);
        let mut run = run.in_next_instance();
        assert_eq!(left(&mut run, false, &[(300, Failure)]), [Some(0)]);
    }
}
