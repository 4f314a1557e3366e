//! Traces of Pods whose containers fail, come again or end for good, in any order.

use serde_json::{Value, json};

use super::traces::{ALL, Sent, drawn, ids, kinds};
use super::{HOST, NOW, PodEventKind, World, task};
use crate::cgroup::CgroupId;
use crate::event::{EventKind, Exec, ExitStatus};
use crate::trace::otlp;

const MINUTE: i64 = 60_000;

fn traced(with_source: bool) -> (World, Sent) {
    let mut world = World::new(with_source);
    let sent = world.traced(ALL);
    // The cgroups are not in the file system.
    world.node.next_rescan_ns = u64::MAX;
    (world, sent)
}

fn last(sent: &Sent) -> String {
    drawn(sent.lock().unwrap().last().unwrap())
}

fn omitted(world: &World) -> u64 {
    let stats = world.node.publish.traces.as_ref().unwrap().stats();
    stats.omitted.iter().map(|(_, count)| count).sum()
}

fn incomplete(sent: &Sent) -> usize {
    let traces = sent.lock().unwrap();
    let attributes = traces.iter().flat_map(|trace| &trace.spans).flat_map(|it| &it.attributes);
    attributes.filter(|it| it.key.as_str() == "podvitals.incomplete").count()
}

fn of_image(name: &str) -> Value {
    json!({"name": name, "image": "web:1"})
}

/// Status of a container that runs and is ready, or does not.
fn status(name: &str, digit: char, ready: bool) -> Value {
    json!({"name": name, "containerID": ids(digit), "ready": ready, "started": ready,
           "restartCount": 0, "state": {"running": {}}})
}

impl World {
    fn sandbox(&mut self, ms: i64) {
        self.made(1001, '0', ms);
        self.exec(1001, 100, "pause", ms + 100);
    }

    fn begins(&mut self, cgroup: u64, digit: char, ms: i64) {
        self.made(cgroup, digit, ms);
        self.exec(cgroup, cgroup as u32, "web", ms + 100);
    }

    fn ends(&mut self, cgroup: u64, code: u8, ms: i64) {
        self.end(cgroup, cgroup as u32, ExitStatus::Code(code), ms);
        self.node.tick(self.now(ms + 200));
        self.removed(CgroupId(cgroup), ms + 300);
    }

    fn says(&mut self, statuses: &str, all: &[Value], ms: i64) {
        self.pod["status"]["phase"] = "Running".into();
        self.pod["status"][statuses] = all.into();
        self.reported(ms);
    }

    fn passes(&mut self, minutes: std::ops::Range<i64>) {
        for minute in minutes {
            self.node.tick(self.now(minute * MINUTE));
        }
    }

    /// The sandbox and the Pod's cgroup go.
    fn empties(&mut self, ms: i64) {
        let pod = self.pod_cgroup;
        self.removed(CgroupId(1001), ms);
        self.removed(pod, ms + 300);
        self.node.tick(self.now(ms + MINUTE));
        assert!(self.node.publish.traces.as_ref().unwrap().is_idle());
    }
}

#[test]
fn an_init_container_that_is_tried_again_has_each_run_in_the_startup() {
    let (mut world, sent) = traced(true);
    world.pod["spec"]["initContainers"] = json!([of_image("init")]);
    world.sandbox(-9000);
    world.begins(1002, 'a', -8500);
    world.says("initContainerStatuses", &[status("init", 'a', false)], -8200);
    world.ends(1002, 1, -8000);
    world.begins(1003, 'b', -7000);
    world.says("initContainerStatuses", &[status("init", 'b', false)], -6900);
    world.ends(1003, 0, -6500);
    world.begins(1004, 'c', -5000);
    world.says("containerStatuses", &[status("web", 'c', true)], -4000);
    assert_eq!(kinds(&sent), ["container restart", "pod startup"]);
    assert_eq!(
        last(&sent),
        "pod startup: -9000 .. -4000\n  \
         init container: -8500 .. -8000 ERROR exit code 1\n  \
         init container: -7000 .. -6500\n  \
         container startup: -6500 .. -4000\n    \
         pull and create: -6500 .. -5000\n    \
         runtime start: -5000 .. -4900\n    \
         readiness: -4900 .. -4000\n"
    );
}

#[test]
fn init_containers_that_never_succeed_are_told_after_15_minutes() {
    let (mut world, sent) = traced(true);
    world.pod["spec"]["initContainers"] = json!([of_image("init")]);
    world.sandbox(0);
    for (n, digit) in (0_u64..).zip("abcd".chars()) {
        let (cgroup, minute) = (1002 + n, 5 * n.cast_signed());
        let ms = minute * MINUTE;
        world.passes(minute..minute + 1);
        world.begins(cgroup, digit, ms + 1000);
        world.says("initContainerStatuses", &[status("init", digit, false)], ms + 2000);
        world.ends(cgroup, 1, ms + 3000);
    }
    let startups = kinds(&sent).iter().filter(|kind| **kind == "pod startup").count();
    assert_eq!(startups, 1, "{:?}", kinds(&sent));
}

#[test]
fn a_container_that_is_ready_only_after_a_crash_is_ready() {
    let (mut world, sent) = traced(true);
    world.pod["spec"]["containers"] = json!([of_image("web"), of_image("side")]);
    world.sandbox(-9000);
    world.begins(1002, 'a', -8500);
    world.begins(1003, 'b', -8400);
    let side = || status("side", 'b', false);
    world.says("containerStatuses", &[status("web", 'a', false), side()], -8300);
    world.ends(1002, 1, -8000);
    world.begins(1004, 'c', -7000);
    let mut web = status("web", 'c', true);
    web["restartCount"] = 1.into();
    world.says("containerStatuses", &[web.clone(), side()], -6000);
    world.says("containerStatuses", &[web, status("side", 'b', true)], -5000);
    assert_eq!(kinds(&sent), ["container restart", "pod startup"]);
    assert_eq!(
        last(&sent),
        "pod startup: -9000 .. -5000\n  \
         container startup: -9000 .. -8000 ERROR ended before it was ready: exit code 1\n    \
         pull and create: -9000 .. -8500\n    \
         runtime start: -8500 .. -8400\n  \
         container startup: -9000 .. -5000\n    \
         pull and create: -9000 .. -8400\n    \
         runtime start: -8400 .. -8300\n    \
         readiness: -8300 .. -5000\n"
    );
}

#[test]
fn what_is_not_started_again_is_no_restart_and_waits_for_the_pods_end() {
    for (policy, code, again) in [
        ("Always", 0, true),
        ("OnFailure", 0, false),
        ("OnFailure", 3, true),
        ("Never", 0, false),
        ("Never", 3, false),
    ] {
        let (mut world, sent) = traced(true);
        world.pod["spec"]["restartPolicy"] = policy.into();
        world.pod["spec"]["containers"] = json!([of_image("web"), of_image("side")]);
        world.sandbox(-9000);
        world.begins(1002, 'a', -8500);
        world.begins(1003, 'b', -8000);
        let all = [status("web", 'a', true), status("side", 'b', true)];
        world.says("containerStatuses", &all, -7000);
        world.ends(1003, code, -5000);
        world.passes(0..120);
        let restarts = if again { &["container restart"][..] } else { &[] };
        assert_eq!(kinds(&sent), [&["pod startup"], restarts].concat(), "{policy} {code}");
        let end = 120 * MINUTE;
        world.ends(1002, 0, end);
        world.pod["status"]["phase"] = "Succeeded".into();
        world.reported(end + 1000);
        world.empties(end + 2000);
        let shutdown = last(&sent);
        assert_eq!(shutdown.matches("container termination").count(), 2 - restarts.len());
    }
}

#[test]
fn a_container_for_debugging_is_not_restarted() {
    let (mut world, sent) = traced(true);
    world.runs();
    world.pod["spec"]["ephemeralContainers"] = json!([of_image("debug")]);
    world.begins(1005, 'd', -6000);
    world.says("ephemeralContainerStatuses", &[status("debug", 'd', false)], -5500);
    world.ends(1005, 0, -5000);
    world.passes(0..30);
    assert_eq!(kinds(&sent), ["pod startup"]);
}

#[test]
fn a_pod_that_is_deleted_in_a_back_off_has_the_deletion_in_its_shutdown() {
    for (after_ms, ends) in [(30_000, "* end at -5000"), (20 * MINUTE, "")] {
        let (mut world, sent) = traced(true);
        world.runs();
        world.end(1002, 200, ExitStatus::Code(3), -5000);
        world.node.tick(world.now(-4800));
        world.removed(CgroupId(1002), -4700);
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        world.status("a", &waits, Some(("a", "Error")));
        world.reported(-4000);
        world.passes(0..after_ms / MINUTE + 1);
        world.deleted(after_ms);
        world.reported(after_ms + 100);
        world.empties(after_ms + 1000);
        let shutdown = last(&sent);
        let root = shutdown.lines().next().unwrap();
        // It reaches to the moment at which the agent learned of the deletion.
        let seen_ms = after_ms + 100;
        assert!(root.starts_with("pod shutdown: ") && root.contains(&format!(" .. {seen_ms}")));
        assert!(shutdown.contains(&format!("* deletion seen at {seen_ms}")), "{shutdown}");
        assert!(shutdown.contains(ends), "{shutdown}");
        let shutdowns = kinds(&sent).iter().filter(|kind| **kind == "pod shutdown").count();
        assert_eq!(shutdowns, 1, "{:?}", kinds(&sent));
    }
}

#[test]
fn the_restarts_of_a_crash_loop_are_complete_and_late_reports_are_no_loss() {
    let (mut world, sent) = traced(true);
    world.sandbox(-90_000);
    for (n, digit) in (0_u64..).zip("abcde".chars()) {
        let (cgroup, ms) = (1002 + n, -80_000 + n.cast_signed() * 10_000);
        world.begins(cgroup, digit, ms);
        world.says("containerStatuses", &[status("web", digit, false)], ms + 500);
        world.ends(cgroup, 1, ms + 1000);
        let mut waits = status("web", digit, false);
        waits["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let reported = json!({"containerID": ids(digit), "exitCode": 1, "reason": "OOMKilled"});
        waits["lastState"] = json!({"terminated": reported});
        world.says("containerStatuses", &[waits], ms + 2000);
    }
    assert_eq!(kinds(&sent).len(), 5, "{:?}", kinds(&sent));
    assert_eq!((incomplete(&sent), omitted(&world)), (0, 0));
}

#[test]
fn a_pod_of_a_hundred_containers_fits_into_a_batch() {
    let (mut world, sent) = traced(true);
    let name = |n: u64| format!("container-{n}");
    let id = |n: u64| format!("{:064x}", n + 1);
    let all: Vec<_> = (0..100).map(|n| of_image(&name(n))).collect();
    world.pod["spec"]["containers"] = all.into();
    world.sandbox(-90_000);
    let mut statuses = Vec::new();
    for n in 0..100 {
        let directory = format!("cri-containerd-{}.scope", id(n));
        world.mkdir(2000 + n, world.pod_cgroup, &directory, -80_000);
        world.exec(2000 + n, 2000 + n as u32, "web", -79_000);
        let mut ready = status(&name(n), 'a', true);
        ready["containerID"] = format!("containerd://{}", id(n)).into();
        statuses.push(ready);
    }
    world.says("containerStatuses", &statuses, -70_000);
    world.deleted(-60_000);
    world.reported(-60_000);
    for n in 0..100 {
        world.terminate(2000 + n, 2000 + n as u32, "runc", -59_000);
    }
    for n in 0..100 {
        world.ends(2000 + n, 0, -50_000 + n.cast_signed());
    }
    world.empties(-40_000);
    assert_eq!(kinds(&sent), ["pod startup", "pod shutdown"]);
    for (trace, spans) in sent.lock().unwrap().iter().zip([401, 201]) {
        let encoded = otlp::encode(trace, NOW.wall);
        assert_eq!(encoded.spans, spans);
        assert!(encoded.bytes.len() < 200_000, "{}", encoded.bytes.len());
    }
}

#[test]
fn readiness_that_comes_and_goes_is_one_startup() {
    let (mut world, sent) = traced(true);
    world.runs();
    for n in 0..6 {
        world.pod["status"]["containerStatuses"][0]["ready"] = (n % 2 == 1).into();
        world.reported(-6000 + n * 500);
    }
    world.passes(0..30);
    assert_eq!(kinds(&sent), ["pod startup"]);
}

#[test]
fn a_container_that_is_named_after_its_death_or_never_leaves_nothing() {
    for (tick_ms, named) in [(-38_000, false), (-20_000, false), (-20_000, true)] {
        let (mut world, sent) = traced(true);
        world.source(PodEventKind::Failed("connection refused".into()), -50_000);
        world.sandbox(-41_000);
        world.begins(1002, 'a', -40_000);
        world.ends(1002, 3, -39_000);
        world.node.tick(world.now(tick_ms));
        if named {
            world.says("containerStatuses", &[status("web", 'a', false)], -19_500);
        }
        world.empties(-19_000);
        world.says("containerStatuses", &[status("web", 'a', false)], 50_000);
        world.passes(1..30);
        assert!(world.node.publish.traces.as_ref().unwrap().is_idle());
        // Without its spec nobody knows what has to be ready.
        let startups = kinds(&sent).iter().filter(|kind| **kind == "pod startup").count();
        assert_eq!((startups, kinds(&sent).last()), (named.into(), Some(&"pod shutdown")));
        assert_eq!(omitted(&world), 0);
    }
}

#[test]
fn a_start_that_failed_in_the_runtime_is_said_of_its_container() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.source(PodEventKind::Listed(Vec::new()), -20_000);
    world.reported(-19_000);
    world.made(1001, '0', -18_900);
    world.exec(1001, 100, "pause", -18_800);
    world.made(1002, 'a', -18_500);
    let stage = task(190, CgroupId(1002), "runc:[2:INIT]");
    let argv = b"runc\0init\0".to_vec();
    let parent = task(60, HOST, "runc");
    world.event(-18_400, EventKind::Exec(Exec { task: stage, parent, argv }));
    world.removed(CgroupId(1002), -18_000);
    world.status("a", &json!({"waiting": {"reason": "RunContainerError"}}), None);
    world.pod["status"]["containerStatuses"][0]["ready"] = false.into();
    world.pod["status"]["containerStatuses"][0]["started"] = false.into();
    world.reported(-17_000);
    world.deleted(-10_000);
    world.reported(-10_000);
    let startup = sent.lock().unwrap()[0].clone();
    assert_eq!(startup.spans[0].error.as_deref(), Some("not ready: web"), "{startup:#?}");
    let container = startup.spans.iter().find(|it| it.name == "container startup").unwrap();
    assert_eq!(container.error.as_deref(), Some("the container's program never ran"));
    assert_eq!(container.events[0].name, "start failed");
}
