//! The stream of facts, as a reader of it gets it.

use std::sync::Arc;

use serde_json::json;

use super::{NOW, PodEventKind, Recorder, SECOND, UID, World};
use crate::cgroup::CgroupId;
use crate::event::ExitStatus;
use crate::lifecycle::fact::{Deletion, Fact, FactKind, PreStopRun, Restart};
use crate::lifecycle::subject::Subject;

#[test]
fn a_death_is_one_stream_of_facts_with_times_and_the_pods_end_is_the_last() {
    let mut world = World::new(true);
    world.pod["spec"]["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}});
    world.runs();
    world.deleted(-4000);
    world.reported(-4000);
    world.terminate(1002, 200, "runc", -3000);
    world.end(1002, 200, ExitStatus::Code(0), -1000);
    world.node.tick(world.now(-800));
    world.removed(CgroupId(1002), -700);
    let pod = world.pod_cgroup;
    world.removed(CgroupId(1001), -400);
    world.removed(pod, -200);
    let (facts, of_pod) = world.facts();
    let kinds: Vec<&FactKind> = facts.iter().map(|fact| &fact.kind).collect();
    let [
        FactKind::Started(_),
        FactKind::Progressed(ready),
        FactKind::StopSignal(_),
        FactKind::Ended(end),
        FactKind::Explained(death),
    ] = kinds[..]
    else {
        panic!("{kinds:#?}");
    };
    assert!(ready.just_ready);
    assert_eq!(ready.ready_boot_ns, Some(world.at(-7000)));
    assert_eq!(end.stop_boot_ns, Some(world.at(-3000)));
    assert_eq!((end.end_boot_ns, facts[3].time_boot_ns), (world.at(-1000), world.at(-1000)));
    assert_eq!(death.end, *end);
    assert_eq!(death.kill_begin_boot_ns, Some(world.at(-4000)));
    let slept = (world.at(-4000), world.at(-3000));
    let handler = crate::kube::pod::PreStop::Sleep { seconds: 1 };
    assert_eq!(death.pre_stop, Some(PreStopRun { handler, ran_boot_ns: Some(slept) }));
    assert_eq!(death.grace_used_ns(), Some((2 * SECOND, 9 * SECOND)));
    let deletion = Deletion {
        requested_unix_s: Some((NOW.wall.unix_ns(world.at(-4000)) / SECOND).cast_signed()),
        grace_s: Some(10),
    };
    let [seen, empty] = of_pod[..] else { panic!("{of_pod:#?}") };
    assert_eq!(
        (seen.time_boot_ns, &seen.kind),
        (world.at(-4000), &FactKind::DeletionSeen(deletion))
    );
    let last_end_boot_ns = Some(world.at(-1000));
    assert_eq!(empty.kind, FactKind::PodEmpty { last_end_boot_ns });
    // The sandbox is never shown, and who is shown is told once, and goes.
    let Recorder { shown, gone, .. } = &world.node.publish.recorder;
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].identity.container, "web");
    let gone: Vec<CgroupId> = gone.iter().filter_map(Subject::cgroup).collect();
    assert_eq!(gone, [CgroupId(1002), pod]);
    // The Pod's own cgroup is no container's, and its removal no event that is lost.
    assert_eq!(world.value("events_dropped_total", "reason=\"unmatched\""), Some(0.0));
}

#[test]
fn identity_is_dropped_with_its_last_user() {
    let mut world = World::new(true);
    // The Pod's shutdown would tell of it.
    world.node.publish.traces = None;
    world.runs();
    let who = Arc::downgrade(&world.node.publish.recorder.shown[0]);
    world.end(1002, 200, ExitStatus::Code(3), -1000);
    world.removed(CgroupId(1002), -900);
    world.node.publish.recorder = Recorder::default();
    assert!(who.upgrade().is_some(), "the runtime's report is still to come");
    world.node.settle_reasons();
    world.node.now = world.now(60_000);
    world.node.settle_reasons();
    world.node.expire();
    assert!(who.upgrade().is_none());
}

#[test]
fn a_restart_is_published_once_with_the_end_before_it() {
    let mut world = World::new(true);
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -5000);
    world.made(1003, 'b', -3000);
    world.exec(1003, 300, "web", -2900);
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.reported(-2000);
    // The end is settled only now, after the start that follows it.
    world.node.tick(world.now(-1900));
    let (facts, _) = world.facts();
    let restarts: Vec<_> = facts
        .iter()
        .filter_map(|fact| match &fact.kind {
            FactKind::Restarted(restart) => Some(*restart),
            _ => None,
        })
        .collect();
    let (ended, started_boot_ns) = (Some(world.at(-5000)), world.at(-2900));
    assert_eq!(restarts, [Restart { ended_boot_ns: ended, started_boot_ns }]);
}

#[test]
fn a_pod_that_is_made_again_under_its_name_is_no_restart() {
    let mut world = World::new(true);
    world.runs();
    world.end(1002, 200, ExitStatus::Code(0), -5000);
    world.removed(CgroupId(1002), -4900);
    // The StatefulSet's next Pod: another UID, another cgroup.
    let uid = UID.replace('1', "9");
    world.pod["metadata"]["uid"] = uid.as_str().into();
    let name = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
    let qos = world.node.tracking.tree().get(world.pod_cgroup).unwrap().parent.unwrap();
    world.mkdir(2000, qos, &name, -4000);
    world.pod_cgroup = CgroupId(2000);
    world.made(2001, 'd', -3500);
    world.exec(2001, 400, "web", -3400);
    world.status("d", &json!({"running": {}}), None);
    world.reported(-3000);
    assert_eq!(world.shown("container_info").len(), 1);
    let (facts, _) = world.facts();
    let restarted = |fact: &&&Fact| matches!(fact.kind, FactKind::Restarted(_));
    assert_eq!(facts.iter().filter(restarted).count(), 0);
    assert_eq!(world.value("container_restarts_total", ""), Some(0.0));
}

#[test]
fn a_start_that_fails_before_there_is_a_cgroup_counts_for_the_workload() {
    let mut world = World::new(true);
    world.source(PodEventKind::Listed(Vec::new()), -20_000);
    world.reported(-10_000);
    assert_eq!(world.value("start_failures_total", ""), None);
    for (ms, reason) in [(-9000, "ErrImagePull"), (-8000, "ImagePullBackOff")] {
        let state = json!({"waiting": {"reason": reason}});
        world.pod["status"]["containerStatuses"] = json!([{"name": "web", "state": state}]);
        world.reported(ms);
    }
    let workload = "workload_kind=\"Deployment\",workload=\"web\",container=\"web\"";
    assert_eq!(world.value("start_failures_total", workload), Some(1.0));
    assert!(world.shown("container_info").is_empty());
}

#[test]
fn a_start_that_fails_in_the_runtime_counts_once() {
    let mut world = World::new(true);
    world.source(PodEventKind::Listed(Vec::new()), -20_000);
    world.reported(-19_000);
    world.made(1002, 'a', -18_500);
    world.exec(1002, 190, "runc:[2:INIT]", -18_400);
    world.removed(CgroupId(1002), -18_000);
    let state = json!({"waiting": {"reason": "RunContainerError"}});
    world.status("a", &state, None);
    world.reported(-17_000);
    assert_eq!(world.value("start_failures_total", "Deployment"), Some(1.0));
    world.node.tick(world.now(20_000));
    assert_eq!(world.value("start_failures_total", "Deployment"), Some(1.0));
}
