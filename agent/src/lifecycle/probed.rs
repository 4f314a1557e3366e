//! Probes as evidence: what a container's last attempts say of why it was stopped. Pure.
//!
//! The kubelet stops a container whose liveness or startup probe has failed as often as it may, and
//! asks no more from then on; while it stops one for another reason, it goes on asking
//! (`pkg/kubelet/prober/worker.go`, `doProbe`, Kubernetes 1.37). So if the last attempt before the stop
//! was the failure that reached the threshold, the probe is the reason. If the last one did not, and
//! fewer others were due until the stop than would have had to fail, it is not.

use std::collections::BTreeMap;

use super::fact::{ProbeAttempt, ProbeKind, ProbeResult};
use super::session::ExecSession;
use super::trigger::{FailedProbe, Observed};
use crate::cgroup::CgroupId;
use crate::clock::SECOND_NS;

/// Time by which an attempt may be late on a busy node, so that one that is due may have come.
const LATE_NS: u64 = 100_000_000;
/// Longest time between the failure that reaches the threshold and the kubelet's first act, beside the
/// grace period that a preStop hook may take.
const ACTS_NS: u64 = 15_000_000_000;
/// Default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_S: u64 = 30;
/// Time without news after which a container is dropped: a death is explained by then, and an attempt
/// that came after it is no evidence.
const KEEP_NS: u64 = 600_000_000_000;
/// Limit of containers that are kept.
const CONTAINERS_MAX: usize = 8_192;

/// An attempt, as far as it is evidence.
#[derive(Clone, Copy, Debug)]
struct Last {
    start_boot_ns: u64,
    end_boot_ns: u64,
    result: ProbeResult,
    failures_left: Option<u64>,
}

/// The last attempts of one container.
#[derive(Debug, Default)]
struct Container {
    startup: Option<Last>,
    liveness: Option<Last>,
    /// Of liveness and readiness, where they are not told apart: the last one and the one before.
    either: [Option<Last>; 2],
    /// The stop signal: what ends after it says nothing of its reason.
    stop_boot_ns: Option<u64>,
    /// The run of the preStop hook over HTTP.
    hook: Option<ExecSession>,
    /// Time of the last news, `CLOCK_BOOTTIME`.
    news_boot_ns: u64,
}

/// The spec of the probes that can have failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spec {
    /// Field `periodSeconds` of the startup probe, if there is one.
    pub(super) startup_period_s: Option<u64>,
    /// Field `periodSeconds` of the liveness probe, if there is one.
    pub(super) liveness_period_s: Option<u64>,
    /// The longest grace period of a stop.
    pub(super) grace_s: Option<u64>,
}

/// The last attempts of all containers.
#[derive(Debug, Default)]
pub(super) struct Probed {
    containers: BTreeMap<CgroupId, Container>,
}

impl Probed {
    /// Takes in an attempt.
    pub(super) fn attempt(&mut self, container: CgroupId, attempt: &ProbeAttempt) {
        let Some(container) = self.container(container, attempt.end_boot_ns) else { return };
        if container.stop_boot_ns.is_some_and(|stop| attempt.end_boot_ns > stop) {
            return;
        }
        let last = Last {
            start_boot_ns: attempt.start_boot_ns,
            end_boot_ns: attempt.end_boot_ns,
            result: attempt.result,
            failures_left: attempt.failures_left,
        };
        match attempt.probe {
            ProbeKind::Startup => container.startup = Some(last),
            ProbeKind::Liveness => container.liveness = Some(last),
            ProbeKind::Readiness => {}
            ProbeKind::LivenessOrReadiness => {
                let [before, _] = container.either;
                container.either = [Some(last), before];
            }
        }
    }

    /// Takes in the run of a preStop hook over HTTP.
    pub(super) fn hooked(&mut self, container: CgroupId, run: ExecSession) {
        if let Some(container) = self.container(container, run.begin_boot_ns) {
            container.hook = Some(run);
        }
    }

    /// Takes in the stop signal of a container.
    pub(super) fn stopped(&mut self, container: CgroupId, time_boot_ns: u64) {
        if let Some(container) = self.container(container, time_boot_ns) {
            container.stop_boot_ns.get_or_insert(time_boot_ns);
        }
    }

    /// Drops what has had no news for so long that it is no evidence any more.
    pub(super) fn expire(&mut self, now_boot_ns: u64) {
        self.containers.retain(|_, it| it.news_boot_ns.saturating_add(KEEP_NS) > now_boot_ns);
    }

    /// Drops what is known of a container.
    pub(super) fn forget(&mut self, container: CgroupId) {
        self.containers.remove(&container);
    }

    /// The run of a container's preStop hook over HTTP.
    pub(super) fn hook(&self, container: CgroupId) -> Option<ExecSession> {
        self.containers.get(&container)?.hook
    }

    /// What was seen of the probes of a container that was stopped at that time.
    pub(super) fn observed(&self, container: CgroupId, spec: Spec, stop_boot_ns: u64) -> Observed {
        let Some(container) = self.containers.get(&container) else { return Observed::Nothing };
        let seen = container.seen(spec, stop_boot_ns);
        seen.unwrap_or(Observed::Nothing)
    }

    fn container(&mut self, id: CgroupId, time_boot_ns: u64) -> Option<&mut Container> {
        if self.containers.len() >= CONTAINERS_MAX && !self.containers.contains_key(&id) {
            // Their ends were not seen: nothing is waiting for them.
            let oldest = self.containers.iter().min_by_key(|(_, it)| it.news_boot_ns);
            let oldest = oldest.map(|(id, _)| *id)?;
            self.containers.remove(&oldest);
        }
        let container = self.containers.entry(id).or_default();
        container.news_boot_ns = container.news_boot_ns.max(time_boot_ns);
        Some(container)
    }
}

impl Container {
    fn seen(&self, spec: Spec, stop_boot_ns: u64) -> Option<Observed> {
        let grace_ns = spec.grace_s.unwrap_or(DEFAULT_GRACE_S).saturating_mul(SECOND_NS);
        let decides = |last: &Last| {
            last.result.is_failure() == Some(true)
                && last.failures_left == Some(0)
                && stop_boot_ns.saturating_sub(last.end_boot_ns) <= grace_ns.saturating_add(ACTS_NS)
        };
        if self.liveness.is_some_and(|last| decides(&last)) {
            return Some(Observed::Failed(FailedProbe::Liveness));
        }
        let started = self.startup.filter(|last| last.result == ProbeResult::Success);
        if self.startup.is_some_and(|last| decides(&last)) {
            return Some(Observed::Failed(FailedProbe::Startup));
        }
        // What was due since is fewer attempts than may fail yet.
        let is_recent = |last: &Last, period_s: u64| {
            let since_ns = stop_boot_ns.saturating_add(LATE_NS).saturating_sub(last.start_boot_ns);
            let due = since_ns.checked_div(period_s.saturating_mul(SECOND_NS)).unwrap_or(u64::MAX);
            due < last.failures_left.unwrap_or(1)
        };
        let held = |last: &Last| {
            last.result == ProbeResult::Success || last.failures_left.is_some_and(|left| left > 0)
        };
        let passed = |last: Option<Last>, period_s: Option<u64>| {
            let recent = last.filter(|last| period_s.is_some_and(|it| is_recent(last, it)));
            recent.is_some_and(|last| held(&last))
        };
        let liveness_passed = match self.either {
            // Two within a period: one of them is liveness.
            [Some(last), Some(before)] if self.liveness.is_none() => {
                held(&last) && passed(Some(before), spec.liveness_period_s)
            }
            _ => passed(self.liveness, spec.liveness_period_s),
        };
        let can_startup_fail = spec.startup_period_s.is_some() && started.is_none();
        let startup_passed = can_startup_fail && passed(self.startup, spec.startup_period_s);
        // The liveness probe begins when the startup probe has succeeded.
        let has_liveness = spec.liveness_period_s.is_some() && !startup_passed;
        let refuted = startup_passed || (has_liveness && liveness_passed);
        refuted.then_some(Observed::Passed)
    }
}

#[cfg(test)]
#[path = "probed_tests.rs"]
mod tests;
