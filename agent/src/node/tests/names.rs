//! Names that come late, and sandboxes that are not called `pause`.

use serde_json::json;

use super::{Recorder, UID, World, id};
use crate::cgroup::CgroupId;
use crate::event::{EventKind, ExitStatus, RunningTask, Signal, SignalOrigin, SignalResult};
use crate::kube::event::{PodEvent, PodEventKind};
use crate::lifecycle::Input;
use crate::lifecycle::subject::Subject;

impl World {
    fn api_is_away(&mut self, ms: i64) {
        let now = self.now(ms);
        let kind = PodEventKind::Failed("connection refused".into());
        self.node.pod_event(PodEvent { time_boot_ns: now.boot_ns, kind }, now);
    }

    fn linked(&self, digit: char, container: &str) {
        let dir = self.dir.path().join("logs");
        std::fs::create_dir_all(&dir).unwrap();
        let name = format!("web-7d4b9c6f5-abcde_shop_{container}-{}.log", id(digit));
        std::fs::write(dir.join(name), "").unwrap();
    }

    /// Every sample line that has this text.
    fn lines_with(&mut self, text: &str) -> Vec<String> {
        let collection = self.node.collect(super::NOW);
        let shown = self.node.expose(&collection, super::Format::Text);
        let body = shown.for_reader(super::Seen::ALL, |chunk| chunk).concat();
        let body = String::from_utf8(body).unwrap();
        body.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    fn waiting_to_be_created(&mut self, ms: i64) {
        self.pod["status"]["containerStatuses"] = json!([{
            "name": "web", "restartCount": 0, "ready": false, "started": false,
            "state": {"waiting": {"reason": "ContainerCreating"}}
        }]);
        self.reported(ms);
    }

    fn names_shown(&self) -> Vec<(String, String)> {
        let Recorder { shown, .. } = &self.node.publish.recorder;
        let name = |who: &std::sync::Arc<super::Who>| {
            (who.identity.pod.clone(), who.identity.container.clone())
        };
        shown.iter().map(name).collect()
    }

    fn retracted(&self) -> Vec<CgroupId> {
        self.node.publish.recorder.retracted.iter().filter_map(Subject::cgroup).collect()
    }
}

/// The Pod's UID and the beginning of its id stand for the container until the API is back.
const NAMELESS: &str = "aaaaaaaaaaaa";
const NAMED: &str = "namespace=\"shop\",pod=\"web-7d4b9c6f5-abcde\",container=\"web\"";

/// A container whose API is away when it starts, 40 s ago, so that it is shown under its ids.
fn nameless() -> World {
    let mut world = World::new(true);
    world.api_is_away(-50_000);
    world.made(1001, '0', -41_000);
    world.exec(1001, 100, "pause", -40_900);
    world.made(1002, 'a', -40_000);
    world.exec(1002, 200, "web", -39_500);
    world.node.tick(world.now(-25_000));
    assert_eq!(world.names_shown(), [(UID.to_owned(), NAMELESS.to_owned())]);
    world
}

#[test]
fn a_late_name_takes_the_place_of_the_ids_and_all_goes_on_under_it() {
    let mut world = nameless();
    assert_eq!(world.shown("container_info").len(), 1);
    world.terminate(1002, 200, "runc", -12_000);
    assert!(world.value("container_terminating_seconds", NAMELESS).is_some());
    world.status("a", &json!({"running": {}}), None);
    world.deleted(-13_000);
    world.reported(-10_000);
    let lines = world.lines_with(&format!("container=\"{NAMELESS}\""));
    assert!(lines.is_empty(), "{lines:?}");
    let info = world.shown("container_info");
    assert_eq!(info.len(), 1, "{info:?}");
    assert!(info[0].contains(NAMED) && info[0].contains("workload=\"web\""), "{info:?}");
    let start = (super::NOW.wall.unix_ns(world.at(-39_500)) as f64) / 1e9;
    assert_eq!(world.value("container_start_time_seconds", NAMED), Some(start));
    assert_eq!(world.value("container_startup_seconds", "created_to_running"), Some(0.5));
    assert_eq!(world.value("container_terminating_seconds", NAMED), Some(12.0));
    assert_eq!(world.lines_with(&format!("pod=\"{UID}\"")).len(), 0, "nor of its Pod");
    world.end(1002, 200, ExitStatus::Code(0), -1000);
    assert_eq!(
        world.value("terminations_total", "workload=\"web\",container=\"web\",cause=\"completed\""),
        Some(1.0)
    );
    assert_eq!(world.value("container_last_shutdown_seconds", NAMED), Some(11.0));
    // Once told, and no death in between.
    let Recorder { shown, gone, .. } = &world.node.publish.recorder;
    assert_eq!((shown.len(), gone.len()), (2, 0));
}

#[test]
fn what_was_counted_before_the_name_stays_where_it_was() {
    let mut world = nameless();
    let signal = Signal {
        target: super::task(200, CgroupId(1002), "web"),
        sender: super::task(60, super::HOST, "runc"),
        signal: 15,
        result: SignalResult::Ignored,
        origin: SignalOrigin::User,
        target_dying: false,
        sender_dying: false,
    };
    world.event(-12_000, EventKind::Signal(signal));
    world.status("a", &json!({"running": {}}), None);
    world.reported(-10_000);
    assert_eq!(world.value("stop_signal_ignored_total", NAMELESS), Some(1.0));
    assert_eq!(world.value("stop_signal_ignored_total", "workload=\"web\""), Some(0.0));
    assert_eq!(world.shown("container_info").len(), 1);
    assert_eq!(world.value("container_terminating_seconds", NAMED), Some(12.0));
}

#[test]
fn a_log_link_comes_first_and_the_api_says_the_rest_once() {
    let mut world = World::new(true);
    world.api_is_away(-50_000);
    world.linked('a', "web");
    world.made(1002, 'a', -40_000);
    world.exec(1002, 200, "web", -39_500);
    world.node.tick(world.now(-25_000));
    let info = world.shown("container_info");
    assert!(info[0].contains(NAMED) && info[0].contains("workload_kind=\"Pod\""), "{info:?}");
    world.status("a", &json!({"running": {}}), None);
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 3.into();
    for ms in [-10_000, -9000, -8000] {
        world.pod["status"]["containerStatuses"][0]["ready"] = (ms == -9000).into();
        world.reported(ms);
    }
    let info = world.shown("container_info");
    assert_eq!(info.len(), 1, "{info:?}");
    for label in
        ["workload_kind=\"Deployment\",workload=\"web\"", "image=\"web:1\"", "role=\"app\""]
    {
        assert!(info[0].contains(label), "{info:?}");
    }
    assert_eq!(world.names_shown().len(), 2, "one change of the name");
    assert_eq!(world.lines_with("workload_kind=\"Pod\"").len(), 0);
    assert_eq!(world.shown("container_start_time_seconds").len(), 1);
    assert_eq!(world.value("container_restarts_total", ""), Some(3.0));
    world.end(1002, 200, ExitStatus::Code(3), -1000);
    assert_eq!(
        world.value(
            "terminations_total",
            "workload_kind=\"Deployment\",workload=\"web\",container=\"web\",cause=\"error\""
        ),
        Some(1.0)
    );
}

#[test]
fn a_late_name_shows_a_restart() {
    let mut world = World::new(true);
    world.runs_since(-60_000);
    world.end(1002, 200, ExitStatus::Code(3), -45_000);
    world.node.tick(world.now(-44_000));
    world.removed(CgroupId(1002), -43_900);
    world.api_is_away(-43_000);
    world.made(1003, 'b', -40_000);
    world.exec(1003, 300, "web", -39_500);
    world.node.tick(world.now(-25_000));
    assert_eq!(world.value("restart_downtime_seconds_count", "workload=\"web\""), Some(0.0));
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.reported(-10_000);
    assert_eq!(world.value("container_last_restart_downtime_seconds", NAMED), Some(5.5));
    assert_eq!(world.value("restart_downtime_seconds_count", "workload=\"web\""), Some(1.0));
    assert_eq!(world.lines_with("container=\"bbbbbbbbbbbb\"").len(), 0);
}

#[test]
fn a_sandbox_of_any_name_waits_until_the_images_are_pulled() {
    let mut world = World::new(true);
    world.waiting_to_be_created(-301_000);
    world.made(1001, '0', -300_000);
    world.exec(1001, 100, "pod", -299_900);
    for ms in [-280_000, -200_000, -10_000] {
        world.node.tick(world.now(ms));
        assert_eq!(world.names_shown(), []);
    }
    // Nobody looks for its name four times a second meanwhile.
    let rest = world.node.next_wakeup(world.at(-10_000));
    assert!(rest >= std::time::Duration::from_secs(5), "{rest:?}");
    world.made(1002, 'a', -9000);
    world.exec(1002, 200, "web", -8900);
    world.status("a", &json!({"running": {}}), None);
    world.reported(-8000);
    assert_eq!(world.names_shown(), [("web-7d4b9c6f5-abcde".into(), "web".into())]);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(0.0));
    world.end(1001, 100, ExitStatus::Code(0), -5000);
    world.node.tick(world.now(-4000));
    assert_eq!(world.trigger(), None, "the sandbox's end is no container's");
}

#[test]
fn a_sandbox_that_is_removed_while_images_are_pulled_leaves_nothing() {
    let mut world = World::new(true);
    world.waiting_to_be_created(-101_000);
    world.made(1001, '0', -100_000);
    world.exec(1001, 100, "pod", -99_900);
    world.node.tick(world.now(-50_000));
    world.end(1001, 100, ExitStatus::Code(0), -40_000);
    world.removed(CgroupId(1001), -39_900);
    world.node.tick(world.now(-20_000));
    assert_eq!(world.names_shown(), []);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(0.0));
    assert_eq!(world.trigger(), None);
}

#[test]
fn a_sandbox_that_is_made_again_is_no_container() {
    let mut world = World::new(true);
    world.node.tick(world.now(-200_000));
    world.made(1001, '0', -200_000);
    world.exec(1001, 100, "pod", -199_900);
    world.made(1002, 'a', -199_000);
    world.exec(1002, 200, "web", -198_900);
    world.status("a", &json!({"running": {}}), None);
    world.reported(-190_000);
    for (cgroup, tgid) in [(1001, 100), (1002, 200)] {
        world.end(cgroup, tgid, ExitStatus::Code(0), -100_000);
        world.removed(CgroupId(cgroup), -99_900);
    }
    // Its image is pulled for a while, and the statuses have the ids of before.
    world.made(1003, '1', -99_000);
    world.exec(1003, 300, "pod", -98_900);
    let named = [("web-7d4b9c6f5-abcde".to_owned(), "web".to_owned())];
    for ms in [-85_000, -60_000, -40_000] {
        world.node.tick(world.now(ms));
        assert_eq!(world.names_shown(), named);
    }
    // The source is there, and has nothing to report.
    world.node.pods.heard(Some(world.at(-39_000)));
    world.end(1003, 300, ExitStatus::Code(0), -30_000);
    world.removed(CgroupId(1003), -29_900);
    world.node.tick(world.now(-5000));
    assert_eq!(world.names_shown(), named);
    assert_eq!(world.value("cgroups_unresolved", ""), Some(0.0));
}

#[test]
fn the_sandbox_of_a_short_pod_is_no_container_where_links_give_the_names() {
    let mut world = World::new(false);
    std::fs::create_dir_all(world.dir.path().join("logs")).unwrap();
    world.node.tick(world.now(-60_000));
    world.made(1001, '0', -60_000);
    world.exec(1001, 100, "pod", -59_900);
    world.linked('a', "web");
    world.made(1002, 'a', -59_500);
    world.exec(1002, 200, "web", -59_400);
    world.node.tick(world.now(-59_300));
    world.end(1002, 200, ExitStatus::Code(0), -59_000);
    world.removed(CgroupId(1002), -58_900);
    world.signal(1001, 100, "runc", 9, -58_500);
    world.end(1001, 100, ExitStatus::Signal { signal: 9, core: false }, -58_400);
    world.removed(CgroupId(1001), -58_300);
    world.removed(world.pod_cgroup, -58_200);
    for ms in [-57_000, -48_000, -30_000, -10_000] {
        world.node.tick(world.now(ms));
    }
    assert_eq!(world.names_shown(), [("web-7d4b9c6f5-abcde".into(), "web".into())]);
    let ends = world.shown("terminations_by_trigger_total");
    let counted = ends.iter().filter(|line| !line.ends_with(" 0")).count();
    assert_eq!(counted, 1, "{ends:?}");
}

#[test]
fn a_sandbox_that_was_shown_by_mistake_is_taken_back() {
    let mut world = World::new(true);
    world.api_is_away(-50_000);
    world.made(1001, '0', -41_000);
    world.exec(1001, 100, "pod", -40_900);
    world.node.tick(world.now(-25_000));
    assert_eq!(world.names_shown(), [(UID.to_owned(), "0".repeat(12))]);
    world.made(1002, 'a', -24_000);
    world.exec(1002, 200, "web", -23_900);
    world.status("a", &json!({"running": {}}), None);
    world.reported(-22_000);
    assert_eq!(world.lines_with("container=\"000000000000\"").len(), 0);
    assert_eq!(world.lines_with(&format!("pod=\"{UID}\"")).len(), 0);
    assert_eq!(world.shown("container_info").len(), 1);
    assert_eq!(world.retracted(), [CgroupId(1001), world.pod_cgroup]);
    world.terminate(1001, 100, "runc", -20_000);
    world.end(1001, 100, ExitStatus::Code(0), -19_000);
    world.end(1002, 200, ExitStatus::Code(0), -18_000);
    world.removed(CgroupId(1001), -17_000);
    let ends = world.shown("terminations_by_trigger_total");
    let counted: f64 =
        ends.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert_eq!(counted, 1.0);
    // Not even if its end is waiting to be explained.
    let mut world = World::new(true);
    world.api_is_away(-50_000);
    world.made(1001, '0', -41_000);
    world.exec(1001, 100, "pod", -40_900);
    world.node.tick(world.now(-25_000));
    world.terminate(1001, 100, "runc", -22_000);
    world.end(1001, 100, ExitStatus::Code(0), -21_000);
    world.node.tick(world.now(-20_000));
    world.status("a", &json!({"running": {}}), None);
    world.reported(-15_000);
    assert_eq!(world.trigger(), None);
    assert_eq!(world.lines_with("container=\"000000000000\"").len(), 0);
}

#[test]
fn without_a_pod_source_the_links_of_others_tell_the_sandbox() {
    let mut world = World::new(false);
    std::fs::create_dir_all(world.dir.path().join("logs")).unwrap();
    world.made(1001, '0', -60_000);
    world.exec(1001, 100, "pod", -59_900);
    world.node.tick(world.now(-48_000));
    assert_eq!(world.names_shown(), [(UID.to_owned(), "0".repeat(12))]);
    world.linked('a', "web");
    world.made(1002, 'a', -47_000);
    world.exec(1002, 200, "web", -46_900);
    world.node.tick(world.now(-46_000));
    assert_eq!(world.retracted(), [CgroupId(1001), world.pod_cgroup]);
    // The next container of the Pod has a link that comes late.
    world.made(1003, 'b', -45_000);
    world.exec(1003, 300, "helper", -44_900);
    world.node.tick(world.now(-34_000));
    assert_eq!(world.names_shown().len(), 3);
    world.linked('b', "helper");
    world.node.tick(world.now(-20_000));
    for container in ["000000000000", "bbbbbbbbbbbb"] {
        assert_eq!(world.lines_with(&format!("container=\"{container}\"")).len(), 0);
    }
    assert_eq!(world.value("container_info", "container=\"helper\""), Some(1.0));
}

#[test]
fn a_container_that_was_taken_for_a_sandbox_is_shown_when_it_is_named() {
    let mut world = World::new(true);
    world.api_is_away(-50_000);
    world.made(1002, 'a', -40_000);
    world.exec(1002, 200, "pause", -39_500);
    world.node.tick(world.now(-25_000));
    assert_eq!(world.names_shown(), []);
    world.status("a", &json!({"running": {}}), None);
    world.reported(-10_000);
    assert_eq!(world.value("container_info", NAMED), Some(1.0));
    assert_eq!(world.shown("container_start_time_seconds").len(), 1);
}

/// The agent comes to a node whose sandboxes are not called `pause`, and no Pod changes.
#[test]
fn a_sandbox_of_any_name_that_is_older_than_the_agent_is_not_shown() {
    let mut world = World::new(true);
    world.status("a", &json!({"running": {}}), None);
    world.reported(-30_000);
    let (pod, found_boot_ns) = (world.pod_cgroup, world.at(-30_000));
    for (cgroup, digit, comm) in [(1001, '0', "pod"), (1002, 'a', "web")] {
        let name = format!("cri-containerd-{}.scope", id(digit));
        let node = &mut world.node;
        for met in node.tracking.found(CgroupId(cgroup), pod, name.as_bytes(), found_boot_ns) {
            node.met(met);
        }
        let tgid = u32::try_from(cgroup).unwrap();
        let task = super::task(tgid, CgroupId(cgroup), comm);
        node.apply(Input::Running(&RunningTask { task, parent_cgroup: super::HOST }));
    }
    world.node.apply(Input::WalkDone { tasks_read: true });
    world.node.tick(world.now(-10_000));
    let web = ("web-7d4b9c6f5-abcde".to_owned(), "web".to_owned());
    assert_eq!(world.names_shown(), [web]);
}
