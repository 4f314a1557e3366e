//! Kills as data: the Pod's deletion and a signal in, the begin and the preStop hook out.

use super::*;
use crate::clock::SECOND_NS as SECOND;
use crate::kube::event::{PodEvent, PodEventKind};
use crate::kube::fixtures::{self, DEPLOYMENT};
use crate::kube::pods::Pods;

/// Boot time of the machine in Unix time. The Pod's deletion was requested an hour later, at
/// `REQUESTED`.
const BOOTED_S: u64 = 1_793_527_200;
const WALL: WallOffset = WallOffset { unix_less_boot_ns: (BOOTED_S * SECOND).cast_signed() };
const REQUESTED: u64 = 3600 * SECOND;

/// The begin of a stop whose signal came 2 s after the request. The agent learned of the deletion at
/// that time.
fn begin(listed: bool, time_boot_ns: u64, trigger: Trigger, skew_s: i64) -> Option<u64> {
    let mut pods = Pods::new();
    let mut pod = fixtures::pod(DEPLOYMENT);
    if let Some(deletion) = &mut pod.deletion {
        deletion.deadline_unix_s += skew_s;
    }
    let uid = pod.uid.clone();
    let kind =
        if listed { PodEventKind::Listed(vec![pod]) } else { PodEventKind::Applied(Box::new(pod)) };
    pods.apply(PodEvent { time_boot_ns, kind });
    let known = pods.get(&uid).unwrap();
    begin_boot_ns(known, trigger, REQUESTED + 2 * SECOND, Some(30), WALL)
}

#[test]
fn the_kill_begins_with_the_report_of_the_deletion() {
    let watched = REQUESTED + 80_000_000;
    assert_eq!(begin(false, watched, Trigger::ApiEviction, 0), Some(watched));
    assert_eq!(begin(false, watched, Trigger::Liveness, 0), None);
    let listed = begin(true, REQUESTED + 9 * SECOND, Trigger::PodDeletion, 0);
    assert_eq!(listed, Some(REQUESTED), "as the API reports it, to the second");
}

#[test]
fn an_api_whose_clock_is_wrong_gives_no_begin() {
    for skew_s in [-302, -40, 302] {
        let listed = begin(true, REQUESTED + 9 * SECOND, Trigger::PodDeletion, skew_s);
        assert_eq!(listed, None, "{skew_s}");
        let watched = begin(false, REQUESTED + SECOND, Trigger::PodDeletion, skew_s);
        assert_eq!(watched, Some(REQUESTED + SECOND), "a watch event needs no clock of the API");
    }
}

fn kill(begin: Option<u64>, session: Option<(u64, Option<u64>)>) -> Kill {
    let session =
        session.map(|(begin_boot_ns, end_boot_ns)| ExecSession { begin_boot_ns, end_boot_ns });
    Kill { begin_boot_ns: begin, signal_boot_ns: 20 * SECOND, session, request: None }
}

fn with(handler: Option<PreStop>) -> Spec {
    Spec { pre_stop: handler, ..Spec::default() }
}

fn took(spec: Spec, kill: &Kill) -> Option<u64> {
    kill.pre_stop(spec).and_then(PreStopRun::duration_ns)
}

#[test]
fn an_exec_pre_stop_hook_is_measured() {
    let exec = with(Some(PreStop::Exec));
    let deleted = kill(Some(10 * SECOND), Some((11 * SECOND, Some(13 * SECOND))));
    assert_eq!(took(exec, &deleted), Some(2 * SECOND));
    let open = kill(Some(10 * SECOND), Some((11 * SECOND, None)));
    assert_eq!(took(exec, &open), Some(9 * SECOND), "the kubelet waits no longer");
    assert_eq!(took(exec, &kill(Some(10 * SECOND), None)), None);
    // The kill after a failed probe is not announced: only a session right before the signal was
    // the preStop hook.
    let near = kill(None, Some((11 * SECOND, Some(20 * SECOND - 40_000_000))));
    assert_eq!(took(exec, &near), Some(9 * SECOND - 40_000_000));
    assert_eq!(took(exec, &kill(None, Some((11 * SECOND, Some(13 * SECOND))))), None);
    assert_eq!(deleted.pre_stop(with(None)), None);
}

#[test]
fn other_pre_stop_hooks_are_inferred() {
    let sleep = with(Some(PreStop::Sleep { seconds: 5 }));
    assert_eq!(took(sleep, &kill(Some(10 * SECOND), None)), Some(5 * SECOND));
    assert_eq!(took(sleep, &kill(Some(18 * SECOND), None)), Some(2 * SECOND), "cut short");
    assert_eq!(took(sleep, &kill(None, None)), Some(5 * SECOND));
    let http = with(Some(PreStop::Http));
    let run = ExecSession { begin_boot_ns: 12 * SECOND, end_boot_ns: Some(15 * SECOND) };
    let seen = Kill { request: Some(run), ..kill(Some(11 * SECOND), None) };
    assert_eq!(took(http, &seen), Some(3 * SECOND), "the request was seen");
    let late = ExecSession { begin_boot_ns: 21 * SECOND, end_boot_ns: None };
    let after = Kill { request: Some(late), ..kill(Some(11 * SECOND), None) };
    assert_eq!(
        took(http, &after),
        Some(9 * SECOND),
        "a request after the signal is none of the stop"
    );
    // Nor is one from before the stop.
    let asked = |begin, (from, until)| {
        let run = ExecSession { begin_boot_ns: from * SECOND, end_boot_ns: Some(until * SECOND) };
        took(http, &Kill { request: Some(run), ..kill(begin, None) })
    };
    assert_eq!(asked(Some(18 * SECOND), (5, 6)), Some(2 * SECOND));
    assert_eq!(asked(Some(18 * SECOND), (17, 19)), Some(2 * SECOND), "the kubelet knew before");
    assert_eq!((asked(None, (5, 6)), asked(None, (5, 19))), (None, Some(14 * SECOND)));
    assert_eq!(took(http, &kill(Some(18 * SECOND), None)), Some(2 * SECOND));
    assert_eq!(took(http, &kill(None, None)), None);
    let sidecar = Spec { role: Role::Sidecar, ..http };
    assert_eq!(took(sidecar, &kill(Some(18 * SECOND), None)), None, "it waited as well");
}

#[test]
fn time_before_the_signal_is_taken_off_the_grace_period() {
    let off = |spec: Spec, kill: &Kill| kill.before(spec, kill.pre_stop(spec));
    let deleted = kill(Some(10 * SECOND), None);
    assert_eq!(off(with(None), &deleted), Before::Nothing);
    let sleep = with(Some(PreStop::Sleep { seconds: 5 }));
    assert_eq!(off(sleep, &deleted), Before::Took { ns: 5 * SECOND });
    assert_eq!(off(with(Some(PreStop::Exec)), &deleted), Before::Unknown);
    let sidecar = Spec { role: Role::Sidecar, ..with(None) };
    assert_eq!(off(sidecar, &deleted), Before::Took { ns: 10 * SECOND });
    assert_eq!(off(sidecar, &kill(None, None)), Before::Unknown);
}
