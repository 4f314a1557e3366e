//! Attempts before a stop in, what they prove out.

use super::*;
use crate::kube::pod::Handler;

const WEB: CgroupId = CgroupId(7);
const STOP: u64 = 1_000 * SECOND_NS;
const SPEC: Spec = Spec { startup_period_s: None, liveness_period_s: Some(10), grace_s: Some(30) };
const STARTING: Spec = Spec { startup_period_s: Some(5), ..SPEC };

/// An attempt that began so many ms before the stop, and took 10 ms.
fn attempt(
    probe: ProbeKind,
    before_ms: u64,
    left: Option<u64>,
    result: ProbeResult,
) -> ProbeAttempt {
    let start_boot_ns = STOP - before_ms * 1_000_000;
    ProbeAttempt {
        probe,
        handler: Handler::Http,
        result,
        start_boot_ns,
        end_boot_ns: start_boot_ns + 10_000_000,
        timeout_s: 1,
        failures_left: left,
        status: None,
        network: None,
        exec: None,
    }
}

fn observed(spec: Spec, attempts: &[ProbeAttempt]) -> Observed {
    let mut probed = Probed::default();
    for attempt in attempts {
        probed.attempt(WEB, attempt);
    }
    probed.observed(WEB, spec, STOP)
}

#[test]
fn the_failure_that_reaches_the_threshold_is_the_reason() {
    use ProbeKind::{Liveness, Readiness, Startup};
    use ProbeResult::{Failure, Refused, Timeout, Unknown};
    let failed = Observed::Failed(FailedProbe::Liveness);
    let cases = [
        (attempt(Liveness, 100, Some(0), Failure), failed),
        (attempt(Liveness, 100, Some(0), Refused), failed),
        (attempt(Liveness, 1100, Some(0), Timeout), failed),
        (attempt(Liveness, 100, Some(1), Failure), Observed::Passed),
        (attempt(Liveness, 100, None, Failure), Observed::Nothing),
        (attempt(Liveness, 100, None, Unknown), Observed::Nothing),
        (attempt(Readiness, 100, Some(0), Failure), Observed::Nothing),
        // A preStop hook took its time.
        (attempt(Liveness, 40_000, Some(0), Failure), failed),
        (attempt(Liveness, 60_000, Some(0), Failure), Observed::Nothing),
    ];
    for (attempt, expected) in cases {
        assert_eq!(observed(SPEC, &[attempt]), expected, "{attempt:?}");
    }
    let startup = attempt(Startup, 100, Some(0), Failure);
    assert_eq!(observed(STARTING, &[startup]), Observed::Failed(FailedProbe::Startup));
}

#[test]
fn an_attempt_that_passed_proves_nothing_once_as_many_were_due_as_may_fail() {
    use ProbeKind::{Liveness, Startup};
    use ProbeResult::Success;
    for (left, before_ms, expected) in [
        (Some(1), 20, Observed::Passed),
        (Some(1), 9_800, Observed::Passed),
        (Some(1), 9_950, Observed::Nothing),
        (None, 9_800, Observed::Passed),
        (None, 9_950, Observed::Nothing),
        (Some(3), 10_050, Observed::Passed),
        (Some(3), 29_850, Observed::Passed),
        (Some(3), 29_950, Observed::Nothing),
    ] {
        let attempt = attempt(Liveness, before_ms, left, Success);
        assert_eq!(observed(SPEC, &[attempt]), expected, "{left:?}, {before_ms} ms");
    }
    // The startup probe has succeeded, and liveness was not asked yet.
    let started = attempt(Startup, 1000, Some(3), Success);
    assert_eq!(observed(STARTING, &[started]), Observed::Nothing);
    let live = attempt(Liveness, 500, Some(3), Success);
    assert_eq!(observed(STARTING, &[started, live]), Observed::Passed);
    let starting = attempt(Startup, 1000, Some(4), ProbeResult::Failure);
    assert_eq!(observed(STARTING, &[starting]), Observed::Passed);
}

#[test]
fn two_that_are_not_told_apart_refute_together() {
    use ProbeKind::LivenessOrReadiness as Either;
    use ProbeResult::{Failure, Success};
    let good = |before_ms| attempt(Either, before_ms, None, Success);
    let bad = |before_ms| attempt(Either, before_ms, None, Failure);
    assert_eq!(observed(SPEC, &[good(7_000), good(2_000)]), Observed::Passed);
    assert_eq!(observed(SPEC, &[good(2_000)]), Observed::Nothing, "it may be readiness");
    assert_eq!(observed(SPEC, &[good(12_000), good(2_000)]), Observed::Nothing);
    assert_eq!(observed(SPEC, &[good(7_000), bad(2_000)]), Observed::Nothing);
    assert_eq!(observed(SPEC, &[bad(7_000), good(2_000)]), Observed::Nothing);
}

#[test]
fn what_ends_after_the_stop_signal_says_nothing() {
    let mut probed = Probed::default();
    let failed = attempt(ProbeKind::Liveness, 100, Some(0), ProbeResult::Failure);
    let shift = |after_ns: u64| ProbeAttempt {
        start_boot_ns: STOP + after_ns,
        end_boot_ns: STOP + after_ns + 1,
        result: ProbeResult::Success,
        ..failed
    };
    probed.stopped(WEB, STOP);
    probed.attempt(WEB, &shift(2 * SECOND_NS));
    assert_eq!(probed.observed(WEB, SPEC, STOP), Observed::Nothing);
    // It is reported late.
    probed.attempt(WEB, &failed);
    probed.attempt(WEB, &shift(3 * SECOND_NS));
    assert_eq!(probed.observed(WEB, SPEC, STOP), Observed::Failed(FailedProbe::Liveness));
    probed.forget(WEB);
    assert_eq!(probed.observed(WEB, SPEC, STOP), Observed::Nothing);
}

#[test]
fn containers_are_bounded() {
    let mut probed = Probed::default();
    for n in 0..2 * CONTAINERS_MAX as u64 {
        let attempt = attempt(ProbeKind::Liveness, 500_000 - n, Some(3), ProbeResult::Success);
        probed.attempt(CgroupId(n), &attempt);
    }
    assert_eq!(probed.containers.len(), CONTAINERS_MAX);
    probed.expire(STOP);
    assert_eq!(probed.containers.len(), CONTAINERS_MAX);
    assert!(probed.containers.contains_key(&CgroupId(2 * CONTAINERS_MAX as u64 - 1)));
    probed.expire(STOP + KEEP_NS);
    assert_eq!(probed.containers.len(), 0);
}
