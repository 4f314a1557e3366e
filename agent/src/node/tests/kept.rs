//! Memory of what is gone: as long as it may come again, and nothing for ever.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{HOST, MS, NOW, Recorder, UID, World, shim, task};
use crate::cgroup::CgroupId;
use crate::clock::Now;
use crate::event::{
    CgroupMade, End, Event, EventKind, Exec, ExitStatus, Signal, SignalOrigin, SignalResult, Task,
};
use crate::kube::event::{PodEvent, PodEventKind};
use crate::kube::pod::{self, Pod};
use crate::metrics::store::StoreOptions;
use crate::trace::model::Trace;
use crate::trace::volume::Limits;
use crate::trace::{Options, Traces};

/// The system's allocator, which counts what each thread holds.
struct Counting;

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // At the end of a thread there is nothing to count with any more.
    let _ = HELD_BYTES.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A node on which Pods come and go.
struct Churn {
    world: World,
    classes: CgroupId,
    now: Now,
    /// Time after each Pod.
    pause_ms: u64,
    /// Whether the Pod's status tells of an end before the Pod is gone.
    reported: bool,
}

impl Churn {
    fn new() -> Self {
        Self::with(StoreOptions { max_series: 20_000, ..StoreOptions::default() })
    }

    fn with(store: StoreOptions) -> Self {
        let mut world = World::with_room(true, store);
        // What traces hold is measured apart.
        world.node.publish.traces = None;
        // The cgroups are not in the file system.
        world.node.next_rescan_ns = u64::MAX;
        let classes = world.node.tracking.tree().get(world.pod_cgroup).unwrap().parent.unwrap();
        Self { world, classes, now: NOW, pause_ms: 50, reported: true }
    }

    fn event(&mut self, kind: EventKind) {
        self.world.node.event(&Event { time_boot_ns: self.now.boot_ns, kind });
    }

    fn mkdir(&mut self, cgroup: CgroupId, parent: CgroupId, name: &str) {
        let name = Some(name.as_bytes().to_vec());
        self.event(EventKind::CgroupMade(CgroupMade { cgroup, parent, name, untracked: false }));
    }

    fn pod(&mut self, kind: PodEventKind) {
        let time_boot_ns = self.now.boot_ns;
        self.world.node.pod_event(PodEvent { time_boot_ns, kind }, self.now);
    }

    fn wait(&mut self, ms: u64) {
        self.now.boot_ns += ms * MS;
        self.world.node.tick(self.now);
    }

    /// The cgroup of a Pod that nobody has seen before, and the Pod.
    fn place(&mut self, number: u64) -> (CgroupId, Pod) {
        let uid = format!("{number:08x}-2222-3333-4444-555555555555");
        let name = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let pod_cgroup = CgroupId(1_000_000 + number * 10);
        self.mkdir(pod_cgroup, self.classes, &name);
        let pod = Pod {
            uid,
            namespace: "ci".into(),
            name: format!("runner-{number}"),
            workload: pod::Workload { kind: "Pod".into(), name: format!("runner-{number}") },
            ..Pod::default()
        };
        (pod_cgroup, pod)
    }

    /// A container instance of the Pod runs, and the Pod says so.
    fn begin(&mut self, number: u64, run: u64, pod_cgroup: CgroupId, pod: &mut Pod) -> Task {
        let cgroup = CgroupId(pod_cgroup.0 + run);
        let container_id = format!("{number:032x}{run:032x}");
        let name = format!("cri-containerd-{container_id}.scope");
        self.mkdir(cgroup, pod_cgroup, &name);
        let tgid = 1000 + (number % 30_000) as u32;
        let init = task(tgid + run as u32, cgroup, "build");
        let exec = Exec { task: init, parent: shim(), argv: vec![b'x', 0] };
        self.event(EventKind::Exec(exec));
        pod.containers = vec![pod::Container {
            name: "build".into(),
            id: Some(container_id),
            state: pod::State::Running { started_unix_s: None },
            ..pod::Container::default()
        }];
        self.pod(PodEventKind::Applied(Box::new(pod.clone())));
        init
    }

    /// A Pod's whole life: it ends by itself, is stopped, or crashes and runs again.
    fn life(&mut self, number: u64) {
        let (pod_cgroup, mut pod) = self.place(number);
        let runs = if number % 4 == 3 { 2 } else { 1 };
        for run in 1..=runs {
            let init = self.begin(number, run, pod_cgroup, &mut pod);
            if number % 4 == 1 {
                let signal = Signal {
                    target: init,
                    sender: task(60, HOST, "runc"),
                    signal: 15,
                    result: SignalResult::Delivered,
                    origin: SignalOrigin::User,
                    target_dying: false,
                    sender_dying: false,
                };
                self.event(EventKind::Signal(signal));
            }
            let status = ExitStatus::Code(u8::from(runs > 1));
            let end = End {
                task: init,
                status,
                parent_cgroup: HOST,
                cpu_runtime_ns: 1,
                children_cpu_ns: 0,
            };
            self.event(EventKind::End(end));
            self.event(EventKind::CgroupRemoved(init.cgroup));
            self.wait(150);
            if !self.reported {
                continue;
            }
            let reason = if runs > 1 { "Error" } else { "Completed" };
            let ended = pod::Terminated { reason: reason.into(), ..pod::Terminated::default() };
            pod.containers[0].state = pod::State::Terminated(ended);
            self.pod(PodEventKind::Applied(Box::new(pod.clone())));
        }
        self.pod(PodEventKind::Deleted(Box::new(pod)));
        self.event(EventKind::CgroupRemoved(pod_cgroup));
        self.wait(self.pause_ms);
        self.world.node.publish.recorder = Recorder::default();
    }
}

/// Property: as many Pods as fill what is kept for a while, and as many again, leave nothing. `LIVES` asks for more.
#[test]
fn nothing_is_kept_for_ever_of_pods_that_come_and_go() {
    let lives = std::env::var("LIVES").map_or(24_000, |lives| lives.parse().unwrap());
    let mut churn = Churn::new();
    let mut held = Vec::new();
    for number in 0..lives {
        churn.life(number);
        if number % 1000 == 0 {
            let _ = churn.world.node.collect(churn.now);
        }
        if (number + 1) % (lives / 4) == 0 {
            held.push(HELD_BYTES.get());
        }
    }
    eprintln!("bytes held after each quarter of {lives} lives: {held:?}");
    let grown = held[3] - held[1];
    assert!(grown < 100_000, "{grown} bytes more over {} lives", lives / 2);
    // Nor is there a table that is made again twice as large at some time.
    let grown = held[3] - held[0];
    assert!(grown < 300_000, "{grown} bytes more since a quarter of {lives} lives");
    let sum = |world: &mut World, family: &str| {
        let lines = world.shown(family);
        lines
            .iter()
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum::<f64>()
    };
    assert_eq!(sum(&mut churn.world, "terminations_by_trigger_total"), (lives + lives / 4) as f64);
    assert_eq!(sum(&mut churn.world, "series_dropped_total"), 0.0);
}

/// A node whose traces go nowhere and are counted.
fn traced(churn: &mut Churn) -> Arc<AtomicU64> {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let send = Box::new(move |_: &Trace, _| {
        count.fetch_add(1, Ordering::Relaxed);
        true
    });
    let limits = Limits { min_duration_ns: 0, only_abnormal: false, per_minute: 0 };
    let options = Options { resource: Vec::new(), limits, pods_may_come: true };
    churn.world.node.publish.traces = Some(Traces::new(options, send, Arc::default(), NOW));
    sent
}

#[test]
fn traces_keep_nothing_of_pods_that_are_gone() {
    let lives = std::env::var("LIVES").map_or(6000, |lives| lives.parse().unwrap());
    let mut churn = Churn::new();
    let sent = traced(&mut churn);
    for number in 0..lives {
        churn.life(number);
    }
    churn.wait(60_000);
    let traces = churn.world.node.publish.traces.as_ref().unwrap();
    let omitted: u64 = traces.stats().omitted.iter().map(|(_, count)| count).sum();
    assert_eq!((traces.is_idle(), omitted), (true, 0), "{:?}", traces.stats());
    // One shutdown each, and a restart of every fourth.
    assert_eq!(sent.load(Ordering::Relaxed), lives + lives / 4);
}

#[test]
fn traces_keep_little_of_pods_that_run() {
    let held = |with_traces: bool| {
        let mut churn = Churn::new();
        if with_traces {
            traced(&mut churn);
        }
        let before = HELD_BYTES.get();
        for number in 0..500 {
            let (pod_cgroup, mut pod) = churn.place(number);
            churn.begin(number, 1, pod_cgroup, &mut pod);
            pod.containers[0].ready = true;
            pod.containers[0].started = Some(true);
            churn.pod(PodEventKind::Applied(Box::new(pod)));
            churn.wait(50);
            churn.world.node.publish.recorder = Recorder::default();
        }
        (HELD_BYTES.get() - before) / 500
    };
    let (with, without) = (held(true), held(false));
    eprintln!("bytes held for each Pod that runs: {with} with traces, {without} without");
    assert!(with - without < 4000, "{with} with traces, {without} without");
}

/// Facts about a container may come after its cgroup: what is kept for them is small and short, or
/// memory follows the rate at which Pods come and go.
#[test]
fn what_is_held_for_late_facts_is_small() {
    for (reported, with_traces) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut churn = Churn::with(StoreOptions {
            retention: Duration::from_secs(1),
            workload_retention: Duration::from_secs(1),
            ..StoreOptions::default()
        });
        churn.reported = reported;
        if with_traces {
            traced(&mut churn);
        }
        let mut number = 0;
        // Bytes after so many Pods, one in so many milliseconds, of which 150 are its life.
        let mut held = |lives: u64, every_ms: u64| {
            churn.pause_ms = every_ms - 150;
            for _ in 0..lives {
                churn.life(number * 4);
                number += 1;
                if number % 100 == 0 {
                    let _ = churn.world.node.collect(churn.now);
                }
            }
            HELD_BYTES.get()
        };
        // What is kept by number alone is full.
        held(2_500, 200);
        let slow = held(100, 1200);
        let fast = held(600, 200);
        let each = (fast - slow) / (60_000 / 200 - 60_000 / 1200);
        let case = format!("end reported {reported}, traces {with_traces}");
        eprintln!("bytes held for each Pod that went within a minute, {case}: {each}");
        assert!(each < 200, "{case}: {each} bytes for each Pod, {slow} slow, {fast} fast");
    }
}

/// The container's cgroup is gone in the back-off, and its status says so.
fn backs_off(world: &mut World) {
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -1000);
    world.removed(CgroupId(1002), -900);
    world.status("a", &json!({"waiting": {"reason": "CrashLoopBackOff"}}), Some(("a", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 8.into();
    world.reported(-500);
}

#[test]
fn a_container_in_a_back_off_of_any_length_keeps_its_counters() {
    let mut world = World::new(true);
    backs_off(&mut world);
    for minutes in [1, 6, 20, 100, 300] {
        world.node.tick(world.now(minutes * 60_000));
        assert_eq!(world.value("container_restarts_total", ""), Some(8.0), "{minutes} min");
        assert_eq!(world.shown("container_last_termination_info").len(), 1, "{minutes} min");
        assert_eq!(world.value("terminations_total", "error"), Some(1.0), "{minutes} min");
    }
    // It runs again, and knows for how long it was down.
    let at = 300 * 60_000;
    world.made(1003, 'b', at);
    world.exec(1003, 300, "web", at + 100);
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 9.into();
    world.reported(at + 500);
    assert_eq!(world.value("container_restarts_total", ""), Some(9.0));
    let downtime = (at + 1100) as f64 / 1000.0;
    assert_eq!(world.value("container_last_restart_downtime_seconds", ""), Some(downtime));
}

#[test]
fn a_pod_that_is_deleted_in_its_back_off_is_kept_no_longer_than_others() {
    let mut world = World::new(true);
    backs_off(&mut world);
    world.node.tick(world.now(60 * 60_000));
    assert_eq!(world.shown("container_last_termination_info").len(), 1);
    let pod = crate::kube::convert::pod(&serde_json::from_value(world.pod.clone()).unwrap());
    let now = world.now(60 * 60_000 + 1000);
    let kind = PodEventKind::Deleted(Box::new(pod));
    world.node.pod_event(PodEvent { time_boot_ns: now.boot_ns, kind }, now);
    world.node.tick(world.now(69 * 60_000));
    assert_eq!(world.shown("container_last_termination_info").len(), 1, "retained");
    world.node.tick(world.now(70 * 60_000 + 5000));
    assert_eq!(world.shown("container_last_termination_info").len(), 0);
}

#[test]
fn a_container_that_found_no_room_is_shown_with_all_that_its_pod_says() {
    let mut world =
        World::with_room(true, StoreOptions { max_series: 110, ..StoreOptions::default() });
    world.runs();
    assert_eq!(world.shown("container_info").len(), 1);
    let uid = UID.replace('1', "9");
    let first = world.pod.clone();
    let tree = world.node.tracking.tree();
    let classes = tree.get(world.pod_cgroup).unwrap().parent.unwrap();
    let name = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
    world.mkdir(2000, classes, &name, -4000);
    world.pod["metadata"]["uid"] = uid.as_str().into();
    world.pod["metadata"]["name"] = "db-0".into();
    world.pod["metadata"]["ownerReferences"] = json!([]);
    world.pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
    let pod_cgroup = std::mem::replace(&mut world.pod_cgroup, CgroupId(2000));
    world.made(2001, 'd', -3500);
    world.exec(2001, 400, "web", -3400);
    world.status("d", &json!({"running": {}}), None);
    world.reported(-3000);
    assert_eq!(world.value("containers_hidden", ""), Some(1.0));
    let page = world.node.facts(NOW);
    assert!(page.iter().any(|(name, value)| name == "containers hidden" && value.starts_with('1')));
    // The first one goes.
    world.pod = first;
    world.end(1002, 200, ExitStatus::Code(0), -2500);
    world.removed(CgroupId(1002), -2400);
    world.removed(pod_cgroup, -2000);
    world.node.tick(world.now(6000));
    assert_eq!(world.value("containers_hidden", ""), Some(0.0));
    assert_eq!(world.value("container_cpu_request_cores", "pod=\"db-0\""), Some(2.0));
    assert!(world.value("container_start_time_seconds", "db-0").is_some());
    assert!(world.node.facts(NOW).iter().all(|(name, _)| name != "containers hidden"));
}
