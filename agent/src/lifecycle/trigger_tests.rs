//! Triggers as data: a stop request and the Pod's evidence in, a trigger out.

use super::*;

const NOTHING: PodEvidence = PodEvidence {
    deleted: false,
    deleted_some_time: false,
    disruption: None,
    terminal: None,
    role: Role::App,
    app_containers_done: false,
    probe: None,
    observed: Observed::Nothing,
    replaced: false,
    reported_last: false,
    others_stopped: false,
    apps_stopped: false,
    other_reason: false,
    absence: None,
};
const DELETED: PodEvidence = PodEvidence { deleted: true, ..NOTHING };
const LIVENESS: PodEvidence = PodEvidence { probe: Some(FailedProbe::Liveness), ..NOTHING };

fn api(trigger: Trigger) -> Answer {
    Answer::Is(trigger, Source::Api)
}

fn inferred(trigger: Trigger) -> Answer {
    Answer::Is(trigger, Source::Inferred)
}

const NONE: Answer = Answer::Is(Trigger::None, Source::Kernel);
const UNKNOWN: Answer = Answer::Is(Trigger::Unknown, Source::No);

#[test]
fn an_end_without_a_stop_request_is_explained_at_once() {
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
        let evidence = PodEvidence { disruption, probe: Some(FailedProbe::Liveness), ..DELETED };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), api(trigger));
    }
    // A condition without a deletion has had no effect yet.
    let evidence = PodEvidence { disruption: Some(Disruption::Eviction), ..NOTHING };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), Answer::Wait);
}

#[test]
fn the_kubelets_reasons_arrive_last_and_decide() {
    for (reason, answer) in [
        ("Evicted", api(Trigger::NodePressure)),
        ("Terminated", api(Trigger::NodeShutdown)),
        ("Preempting", api(Trigger::Preemption)),
        ("DeadlineExceeded", api(Trigger::Deadline)),
        ("SomethingNew", UNKNOWN),
    ] {
        assert_eq!(decide(StopRequest::ByRuntime, Some(&LIVENESS), true), Answer::Wait);
        let evidence =
            PodEvidence { terminal: Some(TerminalReason::from_reason(reason)), ..LIVENESS };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), answer, "{reason}");
    }
}

#[test]
fn the_kubelets_message_decides_where_there_is_no_reason() {
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
        [(FailedProbe::Startup, Trigger::Startup), (FailedProbe::Liveness, Trigger::Liveness)]
    {
        let evidence = PodEvidence { probe: Some(probe), ..NOTHING };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), Answer::Wait);
        let again = PodEvidence { replaced: true, ..evidence };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&again), true), inferred(trigger));
        // Its end was reported, and a reason of the kubelet would have come with it.
        let reported = PodEvidence { reported_last: true, ..evidence };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&reported), true), inferred(trigger));
        // Its Pod never restarts it.
        let ended = PodEvidence { terminal: Some(TerminalReason::ByItself), ..evidence };
        assert_eq!(decide(StopRequest::ByRuntime, Some(&ended), true), inferred(trigger));
        // Something else explains it.
        let other = PodEvidence { other_reason: true, ..again };
        assert_eq!(
            decide(StopRequest::ByRuntime, Some(&other), true),
            inferred(Trigger::RestartOther)
        );
        // All containers were stopped: the sandbox was re-created.
        let all = PodEvidence { others_stopped: true, ..again };
        assert_eq!(
            decide(StopRequest::ByRuntime, Some(&all), true),
            inferred(Trigger::RestartOther)
        );
    }
    let again = PodEvidence { replaced: true, ..NOTHING };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&again), true), inferred(Trigger::RestartOther));
}

#[test]
fn a_sidecar_is_stopped_when_the_app_containers_are_done() {
    let evidence = PodEvidence { role: Role::Sidecar, app_containers_done: true, ..LIVENESS };
    assert_eq!(
        decide(StopRequest::ByRuntime, Some(&evidence), true),
        inferred(Trigger::PodCompletion)
    );
    // The app containers were stopped: that may be an eviction.
    let stopped = PodEvidence { others_stopped: true, apps_stopped: true, ..evidence };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&stopped), true), Answer::Wait);
    let evicted = PodEvidence { terminal: Some(TerminalReason::Evicted), ..stopped };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&evicted), true), api(Trigger::NodePressure));
    let app = PodEvidence { role: Role::App, ..evidence };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&app), true), Answer::Wait);
}

#[test]
fn a_pod_that_is_gone_for_good_was_deleted_if_nothing_else_explains_the_stop() {
    let missing = PodEvidence { absence: Some(Absence::Missing), ..LIVENESS };
    let gone = PodEvidence { absence: Some(Absence::ForGood), ..LIVENESS };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&missing), true), Answer::Wait);
    for (evidence, more_may_come) in [(missing, false), (gone, true), (gone, false)] {
        let answer = decide(StopRequest::ByRuntime, Some(&evidence), more_may_come);
        assert_eq!(answer, inferred(Trigger::PodDeletion));
        let drained = PodEvidence { disruption: Some(Disruption::Eviction), ..evidence };
        let answer = decide(StopRequest::ByRuntime, Some(&drained), more_may_come);
        assert_eq!(answer, inferred(Trigger::ApiEviction));
        // What ended by itself was not stopped, and a reason of the kubelet is better.
        for request in [StopRequest::None, StopRequest::ByOther] {
            assert_eq!(decide(request, Some(&evidence), more_may_come), NONE);
        }
        let evicted = PodEvidence { terminal: Some(TerminalReason::Evicted), ..evidence };
        let answer = decide(StopRequest::ByRuntime, Some(&evicted), more_may_come);
        assert_eq!(answer, api(Trigger::NodePressure));
        let again = PodEvidence { replaced: true, ..evidence };
        let answer = decide(StopRequest::ByRuntime, Some(&again), more_may_come);
        assert_eq!(answer, inferred(Trigger::Liveness));
    }
}

#[test]
fn a_deletion_of_unknown_time_explains_what_is_not_restarted() {
    let stop = StopRequest::ByRuntime;
    let deleted = PodEvidence { deleted_some_time: true, ..LIVENESS };
    assert_eq!(decide(stop, Some(&deleted), true), Answer::Wait);
    assert_eq!(decide(stop, Some(&deleted), false), inferred(Trigger::PodDeletion));
    let reported = PodEvidence { reported_last: true, ..deleted };
    let ended = PodEvidence { terminal: Some(TerminalReason::ByItself), ..deleted };
    for evidence in [reported, ended] {
        assert_eq!(decide(stop, Some(&evidence), true), inferred(Trigger::PodDeletion));
        let drained = PodEvidence { disruption: Some(Disruption::Eviction), ..evidence };
        assert_eq!(decide(stop, Some(&drained), true), inferred(Trigger::ApiEviction));
        assert_eq!(decide(StopRequest::None, Some(&evidence), true), NONE);
    }
    let evicted = PodEvidence { terminal: Some(TerminalReason::Evicted), ..reported };
    assert_eq!(decide(stop, Some(&evicted), true), api(Trigger::NodePressure));
    let again = PodEvidence { replaced: true, ..deleted };
    assert_eq!(decide(stop, Some(&again), true), inferred(Trigger::Liveness));
}

#[test]
fn a_stop_from_before_the_agent_is_not_ruled_out() {
    const CRASH: StopRequest = StopRequest::Unseen { likely: false };
    const STOP: StopRequest = StopRequest::Unseen { likely: true };
    for request in [CRASH, STOP] {
        assert_eq!(decide(request, None, true), NONE);
        assert_eq!(decide(request, Some(&DELETED), true), api(Trigger::PodDeletion));
        let evicted = PodEvidence { terminal: Some(TerminalReason::Evicted), ..NOTHING };
        assert_eq!(decide(request, Some(&evicted), true), api(Trigger::NodePressure));
    }
    // What ends as after a stop may be stopped: nothing but a probe stops what goes on, unless it is
    // a sidecar.
    let again = PodEvidence { replaced: true, ..NOTHING };
    let probed = PodEvidence { replaced: true, ..LIVENESS };
    let sidecar = PodEvidence { role: Role::Sidecar, app_containers_done: true, ..again };
    assert_eq!(decide(STOP, Some(&again), true), inferred(Trigger::None));
    for evidence in [probed, sidecar] {
        assert_eq!(decide(STOP, Some(&evidence), true), UNKNOWN);
        assert_eq!(decide(CRASH, Some(&evidence), true), NONE);
    }
    for (evidence, answer) in [(NOTHING, inferred(Trigger::None)), (LIVENESS, UNKNOWN)] {
        assert_eq!(decide(STOP, Some(&evidence), true), Answer::Wait);
        assert_eq!(decide(STOP, Some(&evidence), false), answer);
        assert_eq!(decide(CRASH, Some(&evidence), true), NONE);
        let gone = PodEvidence { absence: Some(Absence::ForGood), ..evidence };
        assert_eq!(decide(STOP, Some(&gone), true), inferred(Trigger::PodDeletion));
    }
}

#[test]
fn a_stop_without_a_known_reason_is_unknown_in_the_end() {
    assert_eq!(decide(StopRequest::ByRuntime, None, true), Answer::Wait);
    for evidence in [None, Some(&NOTHING), Some(&LIVENESS)] {
        assert_eq!(decide(StopRequest::ByRuntime, evidence, false), UNKNOWN);
    }
}

#[test]
fn labels_are_distinct() {
    let labels: std::collections::BTreeSet<_> = Trigger::ALL.map(Trigger::label).into();
    assert_eq!(labels.len(), Trigger::ALL.len());
}

#[test]
fn what_runs_beside_the_app_containers_is_stopped_when_they_are_done() {
    // One sidecar after the other, and a container for debugging.
    for role in [Role::Sidecar, Role::Ephemeral] {
        let evidence = PodEvidence {
            role,
            app_containers_done: true,
            others_stopped: true,
            terminal: Some(TerminalReason::ByItself),
            ..NOTHING
        };
        let answer = decide(StopRequest::ByRuntime, Some(&evidence), true);
        assert_eq!(answer, inferred(Trigger::PodCompletion), "{role:?}");
    }
    // Nothing restarts a container for debugging.
    let evidence = PodEvidence { role: Role::Ephemeral, reported_last: true, ..NOTHING };
    assert_eq!(decide(StopRequest::ByRuntime, Some(&evidence), true), UNKNOWN);
}

#[test]
fn what_was_seen_of_the_probes_decides_before_what_the_spec_has() {
    let failed = |probe| PodEvidence {
        observed: Observed::Failed(probe),
        replaced: true,
        probe: Some(FailedProbe::Liveness),
        ..NOTHING
    };
    let seen = |trigger| Answer::Is(trigger, Source::Probe);
    let decide =
        |evidence: &PodEvidence, more| decide(StopRequest::ByRuntime, Some(evidence), more);
    let liveness = failed(FailedProbe::Liveness);
    assert_eq!(decide(&liveness, true), seen(Trigger::Liveness));
    assert_eq!(decide(&failed(FailedProbe::Startup), true), seen(Trigger::Startup));
    let together = PodEvidence { others_stopped: true, apps_stopped: true, ..liveness };
    assert_eq!(decide(&together, true), seen(Trigger::Liveness));
    // Another reason, or another's word.
    let redefined = PodEvidence { other_reason: true, ..liveness };
    assert_eq!(decide(&redefined, true), inferred(Trigger::RestartOther));
    let deleted = PodEvidence { deleted: true, ..liveness };
    assert_eq!(decide(&deleted, true), api(Trigger::PodDeletion));
    let evicted = PodEvidence { terminal: Some(TerminalReason::Evicted), ..liveness };
    assert_eq!(decide(&evicted, true), api(Trigger::NodePressure));
    // The Pod source is silent.
    let silent = PodEvidence { replaced: false, ..liveness };
    assert_eq!(decide(&silent, true), Answer::Wait);
    assert_eq!(decide(&silent, false), seen(Trigger::Liveness));
    // It has a probe that can have failed, and that did not.
    let passed = PodEvidence { observed: Observed::Passed, ..liveness };
    assert_eq!(decide(&passed, true), inferred(Trigger::RestartOther));
    let silent = PodEvidence { replaced: false, ..passed };
    assert_eq!(decide(&silent, false), UNKNOWN);
}
