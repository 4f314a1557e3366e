//! Deaths as data: the conclusions from a Pod, a stop signal and an end.

use super::*;
use crate::kube::convert;
use crate::kube::event::{PodEvent, PodEventKind};
use crate::kube::fixtures::{self, DEPLOYMENT, EVICTED, STATIC};
use crate::kube::pod::{Phase, Terminated};
use crate::kube::pods::Pods;
use crate::lifecycle::fact::{Cause, EndSource, FatalSignal, Outcome};

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

#[test]
fn a_deletion_counts_if_it_came_before_the_stop() {
    // The watch reported it 80 ms after the request.
    let pods = known(DEPLOYMENT, false, REQUESTED + 80_000_000);
    let before = |time| deleted_before(only(&pods), time, WALL);
    assert!(before(REQUESTED + 200_000_000), "after the watch event");
    assert!(before(REQUESTED + 50_000_000), "the kubelet was faster");
    assert!(!before(REQUESTED - 3 * SECOND), "the stop was requested before that");
    // The agent started when the Pod was being deleted already.
    let pods = known(DEPLOYMENT, true, REQUESTED + 9 * SECOND);
    assert!(deleted_before(only(&pods), REQUESTED + 300_000_000, WALL));
    assert!(!deleted_before(only(&pods), REQUESTED - 3 * SECOND, WALL));
    let pods = known(EVICTED, false, REQUESTED);
    assert!(!deleted_before(only(&pods), REQUESTED + SECOND, WALL));
}

#[test]
fn deletion_of_a_mirror_stops_nothing() {
    let deleted = STATIC.replace(
        "\"annotations\"",
        "\"deletionTimestamp\": \"2026-11-01T11:00:30Z\", \"deletionGracePeriodSeconds\": 30, \"annotations\"",
    );
    let pods = known(&deleted, false, REQUESTED);
    assert!(only(&pods).pod.deletion.is_some());
    assert!(!deleted_before(only(&pods), REQUESTED + SECOND, WALL));
}

#[test]
fn a_forced_deletion_counts_when_the_pod_is_gone() {
    let living =
        DEPLOYMENT.replace("deletionTimestamp", "x").replace("deletionGracePeriodSeconds", "y");
    let mut pods = known(&living, false, REQUESTED);
    let kind = PodEventKind::Deleted(Box::new(fixtures::pod(&living)));
    pods.apply(PodEvent { time_boot_ns: REQUESTED + SECOND, kind });
    assert!(deleted_before(only(&pods), REQUESTED + 2 * SECOND, WALL));
    assert!(!deleted_before(only(&pods), REQUESTED, WALL));
}

#[test]
fn the_kill_begins_with_the_report_of_the_deletion() {
    let pods = known(DEPLOYMENT, false, REQUESTED + 80_000_000);
    let begin = |pods: &Pods, trigger| kill_begin(only(pods), trigger, WALL);
    assert_eq!(begin(&pods, Trigger::ApiEviction), Some(REQUESTED + 80_000_000));
    assert_eq!(begin(&pods, Trigger::Liveness), None);
    let pods = known(DEPLOYMENT, true, REQUESTED + 9 * SECOND);
    assert_eq!(
        begin(&pods, Trigger::PodDeletion),
        Some(REQUESTED),
        "as the API reports it, to the second"
    );
}

#[test]
fn evidence_about_an_end_is_read_from_the_pod() {
    let pod = fixtures::pod(DEPLOYMENT);
    let container = web(&pod);
    let (now, before) = ("c".repeat(64), "d".repeat(64));
    let of = |id: &str, started| evidence(&pod, Some(&container), id, started);
    let running = of(&now, Some(true));
    assert_eq!(running.disruption, Some(Disruption::Eviction));
    assert_eq!(
        (running.terminal, running.replaced, running.app_containers_done),
        (None, false, false)
    );
    assert_eq!(running.probe, Some(FailedProbe::Liveness));
    assert!(of(&before, Some(true)).replaced, "there is a newer instance");
    let none = evidence(&pod, None, &now, None);
    assert_eq!((none.probe, none.role), (None, Role::App));

    // Another container of the Pod still runs: the kubelet holds back the reason.
    assert!(!of(&before, Some(true)).reported_last);
    let mut last = pod.clone();
    for container in &mut last.containers {
        container.state = State::Terminated(Terminated::default());
    }
    let last = evidence(&last, last.container("web"), &now, Some(true));
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
    let proxy = pod.container("proxy").unwrap();
    assert_eq!(failed_probe(proxy, None), Some(FailedProbe::Startup));
    assert_eq!(failed_probe(proxy, Some(false)), Some(FailedProbe::Startup));
    assert_eq!(failed_probe(proxy, Some(true)), None, "it has no liveness probe");
    assert_eq!(failed_probe(&web(&pod), Some(true)), Some(FailedProbe::Liveness));
    assert_eq!(failed_probe(pod.container("metrics").unwrap(), None), None);
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

fn stop(sender: Sender) -> Stop {
    Stop {
        container: CgroupId(1),
        pod: "p".into(),
        time_boot_ns: REQUESTED,
        sender,
        pre_stop_session: None,
        started: None,
    }
}

#[test]
fn the_stop_request_follows_from_the_sender() {
    let by = |sender| stop_request(&END, Some(&stop(sender)));
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

fn kill(begin: Option<u64>, session: Option<(u64, Option<u64>)>) -> Kill {
    let session =
        session.map(|(begin_boot_ns, end_boot_ns)| ExecSession { begin_boot_ns, end_boot_ns });
    Kill { begin_boot_ns: begin, signal_boot_ns: 20 * SECOND, session }
}

fn with(handler: Option<PreStop>) -> Container {
    Container { pre_stop: handler, ..Container::default() }
}

fn took(container: &Container, kill: &Kill) -> Option<u64> {
    pre_stop(container, kill).and_then(PreStopRun::duration_ns)
}

#[test]
fn an_exec_pre_stop_hook_is_measured() {
    let exec = with(Some(PreStop::Exec));
    let deleted = kill(Some(10 * SECOND), Some((11 * SECOND, Some(13 * SECOND))));
    assert_eq!(took(&exec, &deleted), Some(2 * SECOND));
    let open = kill(Some(10 * SECOND), Some((11 * SECOND, None)));
    assert_eq!(took(&exec, &open), Some(9 * SECOND), "the kubelet waits no longer");
    assert_eq!(took(&exec, &kill(Some(10 * SECOND), None)), None);
    // The kill after a failed probe is not announced: only a session right before the signal was
    // the preStop hook.
    let near = kill(None, Some((11 * SECOND, Some(20 * SECOND - 40_000_000))));
    assert_eq!(took(&exec, &near), Some(9 * SECOND - 40_000_000));
    assert_eq!(took(&exec, &kill(None, Some((11 * SECOND, Some(13 * SECOND))))), None);
    assert_eq!(pre_stop(&with(None), &deleted), None);
}

#[test]
fn other_pre_stop_hooks_are_inferred() {
    let sleep = with(Some(PreStop::Sleep { seconds: 5 }));
    assert_eq!(took(&sleep, &kill(Some(10 * SECOND), None)), Some(5 * SECOND));
    assert_eq!(took(&sleep, &kill(Some(18 * SECOND), None)), Some(2 * SECOND), "cut short");
    assert_eq!(took(&sleep, &kill(None, None)), Some(5 * SECOND));
    let http = with(Some(PreStop::Http));
    assert_eq!(took(&http, &kill(Some(18 * SECOND), None)), Some(2 * SECOND));
    assert_eq!(took(&http, &kill(None, None)), None);
    let sidecar = Container { role: Role::Sidecar, ..http };
    assert_eq!(took(&sidecar, &kill(Some(18 * SECOND), None)), None, "it waited as well");
}

#[test]
fn time_before_the_signal_is_taken_off_the_grace_period() {
    let off =
        |container: &Container, kill: &Kill| before(container, kill, pre_stop(container, kill));
    let deleted = kill(Some(10 * SECOND), None);
    assert_eq!(off(&with(None), &deleted), Before::Nothing);
    let sleep = with(Some(PreStop::Sleep { seconds: 5 }));
    assert_eq!(off(&sleep, &deleted), Before::Took { ns: 5 * SECOND });
    assert_eq!(off(&with(Some(PreStop::Exec)), &deleted), Before::Unknown);
    let sidecar = Container { role: Role::Sidecar, ..with(None) };
    assert_eq!(off(&sidecar, &deleted), Before::Took { ns: 10 * SECOND });
    assert_eq!(off(&sidecar, &kill(None, None)), Before::Unknown);
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
