//! Traces, from kernel records and the Pod's changes to spans.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{KILLED, NOW, SECOND, World};
use crate::cgroup::CgroupId;
use crate::clock::Now;
use crate::event::ExitStatus;
use crate::trace::model::{Span, Trace};
use crate::trace::volume::Limits;
use crate::trace::{Options, Traces};

pub(super) type Sent = Arc<Mutex<Vec<Trace>>>;

pub(super) const ALL: Limits = Limits { min_duration_ns: 0, only_abnormal: false, per_minute: 0 };

impl World {
    /// Sends traces to a list.
    pub(super) fn traced(&mut self, limits: Limits) -> Sent {
        let sent = Sent::default();
        let to = Arc::clone(&sent);
        self.sends(limits, move |trace| to.lock().unwrap().push(trace.clone()));
        sent
    }

    /// Sends traces nowhere, after a check of each: whatever a test is about, they are sound.
    pub(super) fn traces_are_sound(&mut self) {
        self.sends(ALL, |_| {});
    }

    fn sends(&mut self, limits: Limits, send: impl Fn(&Trace) + Send + 'static) {
        let options = Options { resource: Vec::new(), limits, pods_may_come: true };
        let send = Box::new(move |trace: &Trace, _| {
            sound(trace);
            send(trace);
            true
        });
        self.node.publish.traces =
            Some(Traces::new(options, send, Arc::default(), Now { boot_ns: 0, ..NOW }));
    }
}

/// Checks what holds of every trace: its spans have ids of their own and end after they begin, and what
/// is in a span lies within it, but for the second by which the API's times may be off.
fn sound(trace: &Trace) {
    let ids: std::collections::HashSet<_> = trace.spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), trace.spans.len(), "{trace:#?}");
    for span in &trace.spans {
        let (from, to) = (span.start_boot_ns, span.end_boot_ns);
        assert!(from <= to, "{span:#?}");
        let within = |start: u64, end: u64| start + SECOND >= from && end <= to + SECOND;
        for below in trace.spans.iter().filter(|below| below.parent == Some(span.id)) {
            assert!(within(below.start_boot_ns, below.end_boot_ns), "{below:#?} is in {span:#?}");
        }
        // Of a deletion the agent may learn when all is over.
        for event in span.events.iter().filter(|event| event.name != "deletion seen") {
            assert!(within(event.time_boot_ns, event.time_boot_ns), "{event:#?} is in {span:#?}");
        }
    }
}

/// The spans as a tree, with times in milliseconds after `origin_ms`.
pub(super) fn drawn(trace: &Trace) -> String {
    let mut out = String::new();
    draw(trace, None, 0, &mut out);
    let roots = trace.spans.iter().filter(|span| span.parent.is_none()).count();
    assert!(roots <= 1, "{trace:#?}");
    assert_eq!(
        out.lines().filter(|line| line.contains(" .. ")).count(),
        trace.spans.len(),
        "{out}\n{trace:#?}"
    );
    out
}

fn draw(trace: &Trace, parent: Option<&Span>, depth: usize, out: &mut String) {
    let ms = |boot_ns: u64| (boot_ns as f64 - NOW.boot_ns as f64) / 1e6;
    let indent = "  ".repeat(depth);
    for span in trace.spans.iter().filter(|span| span.parent == parent.map(|it| it.id)) {
        let (start, end) = (ms(span.start_boot_ns), ms(span.end_boot_ns));
        write!(out, "{indent}{}: {start} .. {end}", span.name).unwrap();
        if let Some(error) = &span.error {
            write!(out, " ERROR {error}").unwrap();
        }
        out.push('\n');
        for event in &span.events {
            let at = ms(event.time_boot_ns);
            writeln!(out, "{indent}  * {} at {at}", event.name).unwrap();
        }
        draw(trace, Some(span), depth + 1, out);
    }
}

pub(super) fn kinds(sent: &Sent) -> Vec<&'static str> {
    sent.lock().unwrap().iter().map(|trace| trace.kind.name()).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key.as_str() == key)?;
    Some(found.value.to_string())
}

#[test]
fn a_pods_life_is_a_startup_and_a_shutdown() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.pod["spec"]["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}});
    world.runs();
    assert_eq!(kinds(&sent), ["pod startup"]);
    world.deleted(-4000);
    world.reported(-4000);
    world.terminate(1002, 200, "runc", -3000);
    world.end(1002, 200, ExitStatus::Code(0), -1000);
    world.node.tick(world.now(-800));
    world.removed(CgroupId(1002), -700);
    assert_eq!(kinds(&sent), ["pod startup"], "the sandbox is still there");
    world.removed(CgroupId(1001), -400);
    assert_eq!(kinds(&sent), ["pod startup", "pod shutdown"]);
    let sent = sent.lock().unwrap().clone();
    let [startup, shutdown] = &sent[..] else { panic!() };
    assert_eq!(
        drawn(startup),
        "pod startup: -9000 .. -7000\n  \
         container startup: -9000 .. -7000\n    \
         pull and create: -9000 .. -8500\n    \
         runtime start: -8500 .. -8250\n    \
         readiness: -8250 .. -7000\n"
    );
    assert_eq!(
        drawn(shutdown),
        "pod shutdown: -4000 .. -1000\n  \
         * deletion seen at -4000\n  \
         container termination: -4000 .. -1000\n    \
         * stop signal at -3000\n    \
         * end at -1000\n    \
         preStop hook: -4000 .. -3000\n    \
         grace period: -3000 .. -1000\n"
    );
    let [root, termination, _, grace] = &shutdown.spans[..] else { panic!() };
    assert_eq!(root.links.len(), 1);
    assert_eq!((root.links[0].trace, root.links[0].span), (startup.id, startup.spans[0].id));
    for (key, value) in [
        ("k8s.container.name", "web"),
        ("podvitals.cause", "completed"),
        ("podvitals.trigger", "pod_deletion"),
        ("podvitals.trigger.source", "api"),
        ("process.exit.code", "0"),
        ("podvitals.trace", "pod shutdown"),
        ("k8s.pod.uid", super::UID),
    ] {
        assert_eq!(attribute(termination, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(grace, "podvitals.grace.used_ratio").unwrap()[..5], *"0.222");
    let idle = |world: &World| world.node.publish.traces.as_ref().unwrap().is_idle();
    assert!(!idle(&world), "its sandbox may be made again");
    let pod = world.pod_cgroup;
    world.removed(pod, -200);
    assert!(idle(&world));
}

/// The container dies at -5000 and is there again at -3000, ready at -2000.
pub(super) fn restarts(world: &mut World, status: ExitStatus) {
    world.end(1002, 200, status, -5000);
    world.node.tick(world.now(-4800));
    world.removed(CgroupId(1002), -4700);
    world.made(1003, 'b', -3000);
    world.exec(1003, 300, "web", -2900);
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 1.into();
    world.reported(-2000);
    world.node.tick(world.now(-1900));
}

#[test]
fn a_crash_is_a_restart_with_its_back_off() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.runs();
    restarts(&mut world, ExitStatus::Code(3));
    assert_eq!(kinds(&sent), ["pod startup", "container restart"]);
    let restart = sent.lock().unwrap()[1].clone();
    assert_eq!(
        drawn(&restart),
        "container restart: -5000 .. -2000 ERROR exit code 3\n  \
         container termination: -5000 .. -5000 ERROR exit code 3\n    \
         * end at -5000\n  \
         back-off: -5000 .. -3000\n  \
         runtime start: -3000 .. -2900\n  \
         readiness: -2900 .. -2000\n"
    );
    let told: Vec<_> = restart.facts.iter().map(|(who, _)| who.cgroup.0).collect();
    assert_eq!(told, [1002, 1003], "the death of the one, the restart of the other");
    // The next crash is linked to this one.
    world.end(1003, 300, KILLED, -1500);
    world.node.tick(world.now(-1300));
    world.removed(CgroupId(1003), -1200);
    world.made(1004, 'c', -1000);
    world.exec(1004, 400, "web", -900);
    world.status("c", &json!({"running": {}}), Some(("b", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 2.into();
    world.reported(-500);
    world.node.tick(world.now(-300));
    let sent = sent.lock().unwrap();
    let [_, first, second] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(second.spans[0].links[0].trace, first.id);
    assert!(second.spans[0].error.as_ref().unwrap().starts_with("SIGKILL without a stop signal"));
    assert_ne!(first.id, second.id);
}

#[test]
fn what_ends_for_good_belongs_to_the_pods_shutdown() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.pod["spec"]["restartPolicy"] = "Never".into();
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -5000);
    world.status("a", &json!({"terminated": {"exitCode": 3, "reason": "Error"}}), None);
    world.pod["status"]["phase"] = "Failed".into();
    world.reported(-4500);
    world.removed(CgroupId(1002), -4000);
    assert_eq!(kinds(&sent), ["pod startup"]);
    world.removed(CgroupId(1001), -3000);
    assert_eq!(kinds(&sent), ["pod startup", "pod shutdown"]);
    let shutdown = sent.lock().unwrap()[1].clone();
    assert_eq!(
        drawn(&shutdown),
        "pod shutdown: -5000 .. -5000 ERROR web: exit code 3\n  \
         container termination: -5000 .. -5000 ERROR exit code 3\n    \
         * end at -5000\n"
    );
}

#[test]
fn an_ignored_stop_signal_ends_in_a_sigkill() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.runs();
    world.deleted(-4000);
    world.reported(-4000);
    world.ignores(1002, 200, -4000);
    world.signal(1002, 200, "runc", 9, -1100);
    world.end(1002, 200, KILLED, -1000);
    world.node.tick(world.now(-800));
    world.removed(CgroupId(1002), -700);
    world.removed(CgroupId(1001), -400);
    let shutdown = sent.lock().unwrap()[1].clone();
    let why = "SIGKILL 3.0 s after its stop signal, which it ignored";
    assert_eq!(
        drawn(&shutdown),
        format!(
            "pod shutdown: -4000 .. -1000 ERROR web: {why}\n  \
             * deletion seen at -4000\n  \
             container termination: -4000 .. -1000 ERROR {why}\n    \
             * stop signal at -4000\n    \
             * SIGKILL at -1100\n    \
             * end at -1000\n    \
             grace period: -4000 .. -1000 ERROR {why}\n"
        )
    );
    assert_eq!(attribute(&shutdown.spans[1], "podvitals.cause").unwrap(), "killed_after_grace");
    assert_eq!(attribute(&shutdown.spans[1], "podvitals.sender").unwrap(), "runtime");
}

/// A Pod with two containers and an init container.
fn three(world: &mut World) {
    let app = |name: &str| json!({"name": name, "image": "web:1"});
    world.pod["spec"]["containers"] = json!([app("web"), app("side")]);
    world.pod["spec"]["initContainers"] = json!([app("init")]);
}

pub(super) fn ids(digit: char) -> String {
    format!("containerd://{}", super::id(digit))
}

#[test]
fn a_startup_has_init_containers_and_waits_for_all_to_be_ready() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    three(&mut world);
    world.made(1001, '0', -9000);
    world.exec(1001, 100, "pause", -8900);
    world.made(1002, 'a', -8500);
    world.exec(1002, 200, "init", -8400);
    let running = json!({"running": {}});
    let status = |name: &str, digit, ready: bool| {
        json!({"name": name, "containerID": ids(digit), "ready": ready, "started": ready,
               "restartCount": 0, "state": running})
    };
    world.pod["status"]["initContainerStatuses"] = json!([status("init", 'a', false)]);
    world.reported(-8000);
    world.end(1002, 200, ExitStatus::Code(0), -7500);
    world.node.tick(world.now(-7300));
    world.removed(CgroupId(1002), -7200);
    world.made(1003, 'b', -7000);
    world.exec(1003, 300, "web", -6900);
    world.made(1004, 'c', -6800);
    world.exec(1004, 400, "side", -6700);
    world.pod["status"]["containerStatuses"] =
        json!([status("web", 'b', true), status("side", 'c', false)]);
    world.reported(-6000);
    assert!(kinds(&sent).is_empty(), "one is not ready");
    world.pod["status"]["containerStatuses"] =
        json!([status("web", 'b', true), status("side", 'c', true)]);
    world.reported(-5000);
    let startup = sent.lock().unwrap()[0].clone();
    assert_eq!(
        drawn(&startup),
        "pod startup: -9000 .. -5000\n  \
         init container: -8500 .. -7500\n  \
         container startup: -7500 .. -6000\n    \
         pull and create: -7500 .. -7000\n    \
         runtime start: -7000 .. -6900\n    \
         readiness: -6900 .. -6000\n  \
         container startup: -7500 .. -5000\n    \
         pull and create: -7500 .. -6800\n    \
         runtime start: -6800 .. -6700\n    \
         readiness: -6700 .. -5000\n"
    );
    assert_eq!(startup.facts.len(), 2, "both were ready");
    assert_eq!(kinds(&sent), ["pod startup"], "the init container's end is no restart");
}

#[test]
fn a_startup_that_does_not_end_is_sent_as_it_is() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    three(&mut world);
    world.pod["spec"]["initContainers"] = json!([]);
    world.runs();
    world.node.tick(world.now(600_000));
    assert!(kinds(&sent).is_empty());
    world.node.tick(world.now(900_000));
    let startup = sent.lock().unwrap()[0].clone();
    assert_eq!(startup.spans[0].error.as_deref(), Some("not ready: side"));
}

#[test]
fn a_pod_whose_sandbox_is_made_again_goes_on() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -5000);
    world.node.tick(world.now(-4800));
    world.removed(CgroupId(1002), -4700);
    world.removed(CgroupId(1001), -4600);
    assert_eq!(kinds(&sent), ["pod startup"]);
    world.made(1011, '1', -4000);
    world.exec(1011, 110, "pause", -3900);
    world.made(1003, 'b', -3000);
    world.exec(1003, 300, "web", -2900);
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 1.into();
    world.reported(-2000);
    world.node.tick(world.now(60_000));
    assert_eq!(kinds(&sent), ["pod startup", "container restart"]);
}

#[test]
fn a_pod_that_is_empty_twice_has_two_shutdowns() {
    let mut world = World::new(false);
    let sent = world.traced(ALL);
    let pod = world.pod_cgroup;
    for n in 0..2 {
        let ms = -90_000 + n * 45_000;
        let cgroup = 1002 + n as u64;
        world.mkdir(cgroup, pod, &format!("cri-containerd-{}.scope", super::id('a')), ms);
        world.exec(cgroup, 200 + n as u32, "web", ms + 100);
        world.node.tick(world.now(ms + 12_000));
        world.end(cgroup, 200 + n as u32, ExitStatus::Code(0), ms + 13_000);
        world.node.tick(world.now(ms + 13_500));
        world.removed(CgroupId(cgroup), ms + 14_000);
        world.node.tick(world.now(ms + 44_900));
    }
    let sent = sent.lock().unwrap();
    let [first, second] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(first.kind, second.kind);
    assert_ne!(first.id, second.id);
}

#[test]
fn a_shutdown_is_told_at_once_where_the_pods_cgroup_is_gone() {
    for pod_is_gone in [true, false] {
        let mut world = World::new(false);
        let sent = world.traced(ALL);
        let pod = world.pod_cgroup;
        world.mkdir(1002, pod, &format!("cri-containerd-{}.scope", super::id('a')), -90_000);
        world.exec(1002, 200, "web", -89_000);
        world.node.tick(world.now(-70_000));
        world.end(1002, 200, ExitStatus::Code(0), -60_000);
        world.node.tick(world.now(-59_500));
        world.removed(CgroupId(1002), -59_000);
        world.node.tick(world.now(-58_000));
        assert!(sent.lock().unwrap().is_empty(), "its sandbox may be made again");
        if pod_is_gone {
            world.removed(pod, -57_000);
        }
        world.node.tick(world.now(-56_000));
        assert_eq!(sent.lock().unwrap().len(), usize::from(pod_is_gone));
        world.node.tick(world.now(-20_000));
        assert_eq!(sent.lock().unwrap().len(), 1, "once");
    }
}
