//! Series of failed attempts of probes, and what of them is told: the first failure, that the
//! threshold is reached, and the end. Pure.
//!
//! What fails before it was there is not told: a startup probe fails until the container has started,
//! and readiness until it is ready for the first time.

use std::collections::HashMap;

use crate::cgroup::CgroupId;
use crate::lifecycle::fact::{ProbeAttempt, ProbeKind};

/// Limit of containers whose probes are followed; of those beyond it nothing is told.
const CONTAINERS_MAX: usize = 16_384;

/// Event of a series that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The first failure of a probe that had succeeded.
    Failed,
    /// The failure after which the kubelet acts.
    ReachedThreshold {
        /// Failures in a row.
        failures: u64,
    },
    /// The first success after failures of which something was told.
    Recovered {
        /// Failures in a row.
        failures: u64,
        /// Time from the begin of the first failed attempt.
        for_ns: u64,
    },
}

/// Probes of all containers.
#[derive(Debug, Default)]
pub(super) struct Probes {
    containers: HashMap<CgroupId, Vec<(ProbeKind, Series)>>,
}

/// State of one probe of a container instance.
#[derive(Debug, Default)]
struct Series {
    /// Whether it has succeeded.
    was_up: bool,
    failures: u64,
    since_boot_ns: u64,
    told: bool,
    reached: bool,
}

impl Probes {
    /// Takes in an attempt. Returns what is to be told of it; `Err` if there is no room to know.
    pub(super) fn attempt(
        &mut self,
        cgroup: CgroupId,
        attempt: &ProbeAttempt,
    ) -> Result<Option<Told>, ()> {
        if self.containers.len() >= CONTAINERS_MAX && !self.containers.contains_key(&cgroup) {
            return Err(());
        }
        let probes = self.containers.entry(cgroup).or_default();
        let at = probes.iter().position(|(kind, _)| *kind == attempt.probe).unwrap_or_else(|| {
            probes.reserve_exact(1);
            probes.push((attempt.probe, Series::default()));
            probes.len() - 1
        });
        Ok(probes.get_mut(at).and_then(|(kind, series)| series.attempt(*kind, attempt)))
    }

    /// Forgets a container.
    pub(super) fn gone(&mut self, cgroup: CgroupId) {
        self.containers.remove(&cgroup);
    }
}

impl Series {
    fn attempt(&mut self, kind: ProbeKind, attempt: &ProbeAttempt) -> Option<Told> {
        match attempt.result.is_failure()? {
            false => {
                let before = std::mem::replace(self, Self { was_up: true, ..Self::default() });
                let for_ns = attempt.end_boot_ns.saturating_sub(before.since_boot_ns);
                before.told.then_some(Told::Recovered { failures: before.failures, for_ns })
            }
            true => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    self.since_boot_ns = attempt.start_boot_ns;
                }
                // A container is alive, and has not started, from its begin on.
                let (matters, is_first_told) = match kind {
                    ProbeKind::Liveness => (true, true),
                    ProbeKind::Startup => (true, false),
                    ProbeKind::Readiness | ProbeKind::LivenessOrReadiness => {
                        (self.was_up, self.was_up)
                    }
                };
                let reaches = attempt.failures_left == Some(0) && !self.reached;
                self.reached |= reaches;
                let told = if reaches && matters {
                    Told::ReachedThreshold { failures: self.failures }
                } else if self.failures == 1 && is_first_told {
                    Told::Failed
                } else {
                    return None;
                };
                self.told = true;
                Some(told)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::pod::Handler;
    use crate::lifecycle::fact::ProbeResult::{self, Failure, Refused, Success, Timeout, Unknown};

    fn attempt(probe: ProbeKind, n: u64, result: ProbeResult, left: Option<u64>) -> ProbeAttempt {
        ProbeAttempt {
            probe,
            handler: Handler::Http,
            result,
            start_boot_ns: n * 10,
            end_boot_ns: n * 10 + 1,
            timeout_s: 1,
            failures_left: left,
            status: None,
            network: None,
            exec: None,
        }
    }

    /// What is told of these attempts, one every 10 ns.
    fn told(kind: ProbeKind, attempts: &[(ProbeResult, Option<u64>)]) -> Vec<(u64, Told)> {
        let mut probes = Probes::default();
        let tell = |(n, (result, left)): (u64, &(ProbeResult, Option<u64>))| {
            let told = probes.attempt(CgroupId(1), &attempt(kind, n, *result, *left));
            Some((n, told.unwrap()?))
        };
        (0..).zip(attempts).filter_map(tell).collect()
    }

    #[test]
    fn a_series_has_three_lines_at_most() {
        let series = [
            (Success, Some(3)),
            (Failure, Some(2)),
            (Timeout, Some(1)),
            (Refused, Some(0)),
            (Failure, Some(0)),
            (Unknown, None),
            (Failure, Some(0)),
            (Success, Some(3)),
            (Success, Some(3)),
        ];
        for kind in [ProbeKind::Liveness, ProbeKind::Readiness, ProbeKind::LivenessOrReadiness] {
            let expected = [
                (1, Told::Failed),
                (3, Told::ReachedThreshold { failures: 3 }),
                (7, Told::Recovered { failures: 5, for_ns: 61 }),
            ];
            assert_eq!(told(kind, &series), expected, "{kind:?}");
        }
    }

    #[test]
    fn what_was_never_there_is_not_lost() {
        let start =
            [(Refused, Some(1)), (Failure, Some(0)), (Failure, Some(0)), (Success, Some(2))];
        assert_eq!(told(ProbeKind::Readiness, &start), []);
        assert_eq!(told(ProbeKind::Startup, &[(Refused, Some(9)), (Success, Some(10))]), []);
        let reached = (1, Told::ReachedThreshold { failures: 2 });
        assert_eq!(told(ProbeKind::Startup, &start[..3]), [reached]);
        assert_eq!(told(ProbeKind::Liveness, &start[..1]), [(0, Told::Failed)]);
    }

    #[test]
    fn one_threshold_is_the_first_failure_and_the_last() {
        let series = [(Success, Some(1)), (Failure, Some(0)), (Success, Some(1))];
        let expected = [
            (1, Told::ReachedThreshold { failures: 1 }),
            (2, Told::Recovered { failures: 1, for_ns: 11 }),
        ];
        assert_eq!(told(ProbeKind::Readiness, &series), expected);
    }

    #[test]
    fn containers_are_bounded_and_forgotten() {
        let mut probes = Probes::default();
        let attempt = attempt(ProbeKind::Liveness, 1, Success, None);
        for n in 0..CONTAINERS_MAX as u64 {
            assert_eq!(probes.attempt(CgroupId(n), &attempt), Ok(None));
        }
        assert_eq!(probes.attempt(CgroupId(u64::MAX), &attempt), Err(()));
        assert_eq!(probes.attempt(CgroupId(0), &attempt), Ok(None));
        probes.gone(CgroupId(0));
        assert_eq!(probes.attempt(CgroupId(u64::MAX), &attempt), Ok(None));
    }
}
