//! Deaths as data: the conclusions from a Pod, a stop signal and an end.

use super::*;
use crate::kube::convert;
use crate::kube::event::{PodEvent, PodEventKind};
use crate::kube::fixtures::{self, DEPLOYMENT, EVICTED, STATIC};
use crate::kube::pod::{Phase, Terminated};
use crate::kube::pods::Pods;
use crate::lifecycle::fact::{Cause, EndSource, FatalSignal, Outcome};
use crate::lifecycle::trigger::FailedProbe;

const SECOND: u64 = 1_000_000_000;
/// Boot time of the machine in Unix time. The Pod's deletion was requested an hour later, at
/// `REQUESTED`.
const BOOTED_S: u64 = 1_793_527_200;
const WALL: WallOffset = WallOffset { unix_less_boot_ns: (BOOTED_S * SECOND).cast_signed() };
const REQUESTED: u64 = 3600 * SECOND;

fn known(json: &str, listed: bool, time_boot_ns: u64) -> Pods {
    let mut pods = Pods::new();
    let pod = fixtures::pod(json);
    let kind =
        if listed { PodEventKind::Listed(vec![pod]) } else { PodEventKind::Applied(Box::new(pod)) };
    pods.apply(PodEvent { time_boot_ns, kind });
    pods
}

fn only(pods: &Pods) -> &KnownPod {
    ["11111111", "99999999", "55555555"]
        .into_iter()
        .find_map(|uid| pods.get(&format!("{uid}-2222-3333-4444-555555555555")))
        .unwrap()
}

fn web(pod: &Pod) -> Container {
    pod.container("web").unwrap().clone()
}

fn stopped_after_deletion(pods: &Pods, stop_boot_ns: u64) -> bool {
    deleted_before(only(pods), stop_boot_ns, StopRequest::ByRuntime, WALL)
}

#[test]
fn a_deletion_counts_if_it_came_before_the_stop() {
    // The watch reported it 80 ms after the request.
    let pods = known(DEPLOYMENT, false, REQUESTED + 80_000_000);
    let before = |time| deleted_before(only(&pods), time, StopRequest::ByRuntime, WALL);
    assert!(before(REQUESTED + 200_000_000), "after the watch event");
    assert!(before(REQUESTED + 50_000_000), "the kubelet was faster");
    assert!(!before(REQUESTED - 3 * SECOND), "the stop was requested before that");
    // The agent started when the Pod was being deleted already.
    let pods = known(DEPLOYMENT, true, REQUESTED + 9 * SECOND);
    assert!(stopped_after_deletion(&pods, REQUESTED + 300_000_000));
    assert!(!stopped_after_deletion(&pods, REQUESTED - 3 * SECOND));
    let pods = known(EVICTED, false, REQUESTED);
    assert!(!stopped_after_deletion(&pods, REQUESTED + SECOND));
}

#[test]
fn deletion_of_a_mirror_stops_nothing() {
    let deleted = STATIC.replace(
        "\"annotations\"",
        "\"deletionTimestamp\": \"2026-11-01T11:00:30Z\", \"deletionGracePeriodSeconds\": 30, \"annotations\"",
    );
    let pods = known(&deleted, false, REQUESTED);
    assert!(only(&pods).pod.deletion.is_some());
    assert!(!stopped_after_deletion(&pods, REQUESTED + SECOND));
}

#[test]
fn a_forced_deletion_counts_when_the_pod_is_gone() {
    let living =
        DEPLOYMENT.replace("deletionTimestamp", "x").replace("deletionGracePeriodSeconds", "y");
    let mut pods = known(&living, false, REQUESTED);
    let kind = PodEventKind::Deleted(Box::new(fixtures::pod(&living)));
    pods.apply(PodEvent { time_boot_ns: REQUESTED + SECOND, kind });
    assert!(stopped_after_deletion(&pods, REQUESTED + 2 * SECOND));
    assert!(!stopped_after_deletion(&pods, REQUESTED));
}

#[test]
fn evidence_about_an_end_is_read_from_the_pod() {
    let pod = fixtures::pod(DEPLOYMENT);
    let container = web(&pod);
    let (now, before) = ("c".repeat(64), "d".repeat(64));
    let of = |id: &str| evidence(&pod, Some(&container), id, Some(Spec::of(&container, &now)));
    let running = of(&now);
    assert_eq!(running.disruption, Some(Disruption::Eviction));
    assert_eq!(
        (running.terminal, running.replaced, running.app_containers_done),
        (None, false, false)
    );
    assert!(of(&before).replaced, "there is a newer instance");
    let none = evidence(&pod, None, &now, None);
    assert_eq!(none.role, Role::App);

    // Another container of the Pod still runs: the kubelet holds back the reason.
    assert!(!of(&before).reported_last);
    let mut last = pod.clone();
    for container in &mut last.containers {
        container.state = State::Terminated(Terminated::default());
    }
    let last = evidence(&last, last.container("web"), &now, None);
    assert!(last.reported_last && last.terminal.is_none());

    let evicted = fixtures::pod(EVICTED);
    let main = evicted.container("main");
    let evidence = evidence(&evicted, main, &"3".repeat(64), None);
    assert_eq!(
        (evidence.terminal, evidence.app_containers_done),
        (Some(TerminalReason::Evicted), true)
    );
}

#[test]
fn the_probe_that_can_have_failed_depends_on_started() {
    let pod = fixtures::pod(DEPLOYMENT);
    let probe = |name: &str, started| {
        let container = Container { started, ..pod.container(name).unwrap().clone() };
        Spec::of(&container, container.id.as_deref().unwrap_or("x")).failed_probe(None)
    };
    assert_eq!(probe("proxy", None), Some(FailedProbe::Startup));
    assert_eq!(probe("proxy", Some(false)), Some(FailedProbe::Startup));
    assert_eq!(probe("proxy", Some(true)), None, "it has no liveness probe");
    assert_eq!(probe("web", Some(true)), Some(FailedProbe::Liveness));
    assert_eq!(probe("metrics", None), None);
    let proxy = Container { started: Some(true), ..pod.container("proxy").unwrap().clone() };
    assert_eq!(Spec::of(&proxy, "another").failed_probe(None), Some(FailedProbe::Startup));
}

#[test]
fn a_probe_cannot_have_failed_before_its_time() {
    let json = DEPLOYMENT.replace(
        "\"livenessProbe\": {",
        "\"livenessProbe\": {\"initialDelaySeconds\": 30, \"periodSeconds\": 10, \"failureThreshold\": 3, ",
    );
    let pod = fixtures::pod(&json);
    let spec = Spec { started: Some(true), ..Spec::of(&web(&pod), "x") };
    for (age_s, failed) in [(5, None), (48, None), (49, Some(FailedProbe::Liveness))] {
        assert_eq!(spec.failed_probe(Some(age_s * SECOND)), failed, "{age_s}");
    }
    assert_eq!(spec.failed_probe(None), Some(FailedProbe::Liveness), "it is older than the agent");
}

#[test]
fn a_failed_post_start_hook_and_a_static_pods_end_are_no_probes() {
    let mut pod = fixtures::pod(DEPLOYMENT);
    let id = "d".repeat(64);
    let container = pod.containers.iter_mut().find(|it| it.name == "web").unwrap();
    container.last_id = Some(id.clone());
    for (reason, other) in [("PostStartHookError", true), ("CrashLoopBackOff", false)] {
        container.state = State::Waiting { reason: reason.into() };
        let container = container.clone();
        assert_eq!(post_start_failed(&container, &id), other);
        assert!(!post_start_failed(&container, "another"));
    }
    let mut pod = fixtures::pod(STATIC);
    for container in &mut pod.containers {
        container.state = State::Terminated(Terminated::default());
    }
    let container = pod.containers.first().cloned().unwrap();
    let id = container.id.clone().unwrap();
    assert!(!evidence(&pod, Some(&container), &id, None).reported_last, "its manifest may be gone");
    pod.mirror = None;
    assert!(evidence(&pod, Some(&container), &id, None).reported_last);
}

#[test]
fn a_container_that_waits_for_its_restart_is_replaced() {
    let mut container = web(&fixtures::pod(DEPLOYMENT));
    let id = "d".repeat(64);
    container.id = Some(id.clone());
    container.state = State::Terminated(Terminated::default());
    container.last_id = None;
    assert!(!replaced(&container, &id), "it has ended, and nothing more is reported");
    container.state = State::Waiting { reason: "CrashLoopBackOff".into() };
    assert!(!replaced(&container, &id));
    container.last_id = Some(id.clone());
    assert!(replaced(&container, &id));
}

const END: Termination = Termination {
    cause: Cause::Completed,
    status: None,
    stop_boot_ns: Some(REQUESTED),
    end_boot_ns: REQUESTED + SECOND,
    outcome: Outcome::Exited,
    fatal: None,
    end_source: EndSource::ParentNotified,
    init_cpu_ns: None,
};

fn fatal(signal: u32, sender: Sender) -> Option<FatalSignal> {
    Some(FatalSignal { signal, sender })
}

#[test]
fn the_stop_request_follows_from_the_sender() {
    let by = |sender| stop_request(&END, Some(sender));
    assert_eq!(by(Sender::Runtime), StopRequest::ByRuntime);
    assert_eq!(by(Sender::Host), StopRequest::ByOther);
    let alone = Termination { stop_boot_ns: None, ..END };
    assert_eq!(stop_request(&alone, None), StopRequest::None);
    let killed = |sender| Termination { fatal: fatal(9, sender), ..alone };
    assert_eq!(stop_request(&killed(Sender::Runtime), None), StopRequest::ByRuntime);
    assert_eq!(stop_request(&killed(Sender::Kernel), None), StopRequest::None);
    assert_eq!(
        stop_request(&Termination { fatal: fatal(11, Sender::Runtime), ..alone }, None),
        StopRequest::None
    );
}

#[test]
fn an_empty_pod_gives_no_evidence() {
    let pod = convert::pod(&crate::kube::wire::Pod::default());
    let evidence = evidence(&pod, None, "", None);
    assert_eq!(
        (evidence.app_containers_done, evidence.terminal, pod.phase),
        (false, None, Phase::Unknown)
    );
}
