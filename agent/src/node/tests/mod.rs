//! The owner, given kernel records, Pods and a clock, and what it then shows.

mod away;
mod clocks;
mod deaths;
mod evidence;
mod hostile;
mod kept;
mod names;
mod probes;
mod roles;
mod stops;
mod stream;
mod traces;
mod traces_doc;
mod traces_orders;
mod traces_probes;
mod traces_sent;
mod unsure;

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::cgroup::CgroupId;
use crate::clock::WallOffset;
use crate::event::{
    CgroupMade, End, Event, EventKind, Exec, ExitStatus, RunningTask, Signal, SignalOrigin,
    SignalResult, Task, TaskKey,
};
use crate::kube::convert;
use crate::kube::event::{LastContact, PodEvent, PodEventKind};
use crate::kube::pod::Pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};
use crate::metrics::store::StoreOptions;
use crate::metrics::variant::{Format, Seen};
use crate::reader::Reader;

const UID: &str = "11111111-2222-3333-4444-555555555555";
const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// The moment at which the tests look: ten hours after the machine has booted.
const NOW: Now = Now {
    boot_ns: 36_000 * SECOND,
    wall: WallOffset { unix_less_boot_ns: 1_790_000_000_000_000_000 },
};
const HOST: CgroupId = CgroupId(1);
const KILLED: ExitStatus = ExitStatus::Signal { signal: 9, core: false };

/// A reader that keeps all it gets.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    shown: Vec<Arc<Who>>,
    facts: Vec<(Subject, Fact)>,
    gone: Vec<Subject>,
    retracted: Vec<Subject>,
}

impl Reader for Recorder {
    fn shown(&mut self, who: &Arc<Who>) {
        self.shown.push(Arc::clone(who));
    }

    fn fact(&mut self, subject: &Subject, fact: &Fact) {
        self.facts.push((subject.clone(), fact.clone()));
    }

    fn gone(&mut self, subject: &Subject, _: u64) {
        self.gone.push(subject.clone());
    }

    fn retracted(&mut self, subject: &Subject, _: u64) {
        self.retracted.push(subject.clone());
    }
}

fn id(digit: char) -> String {
    String::from(digit).repeat(64)
}

fn task(tgid: u32, cgroup: CgroupId, comm: &str) -> Task {
    let key = TaskKey { tgid, start_boot_ns: u64::from(tgid) };
    Task { key, tid: tgid, cgroup, comm: comm.into() }
}

fn shim() -> Task {
    task(50, HOST, "containerd-shim")
}

/// A node with one Pod's cgroup, and a Pod in the API that is told by whoever tests.
struct World {
    node: Node,
    pod_cgroup: CgroupId,
    pod: Value,
    dir: tempfile::TempDir,
}

impl World {
    fn new(with_source: bool) -> Self {
        Self::with_room(with_source, StoreOptions::default())
    }

    fn with_room(with_source: bool, store: StoreOptions) -> Self {
        let pod = format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
            UID.replace('-', "_")
        );
        Self::with_all(Mode::Kubernetes, with_source, &[&pod], store)
    }

    /// With these cgroups; the last is taken for the Pod's.
    fn with(mode: Mode, with_source: bool, dirs: &[&str]) -> Self {
        Self::with_all(mode, with_source, dirs, StoreOptions::default())
    }

    fn with_all(mode: Mode, with_source: bool, dirs: &[&str], store: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut pod_dir = dir.path().to_owned();
        for below in dirs {
            pod_dir = dir.path().join(below);
            std::fs::create_dir_all(&pod_dir).unwrap();
        }
        let pod_cgroup = CgroupId(std::fs::metadata(&pod_dir).unwrap().ino());
        let options = Options {
            mode,
            cgroup_root: dir.path().to_owned(),
            log_dir: dir.path().join("logs"),
            pods: with_source.then(|| ("a test".to_owned(), LastContact::default())),
            store,
            traces: None,
            probes: false,
            kubelet_cgroup: None,
            max_fds: 10,
        };
        let mut node = Node::new(options, None);
        node.start(NOW);
        let pod = json!({
            "metadata": {
                "name": "web-7d4b9c6f5-abcde", "namespace": "shop", "uid": UID,
                "labels": {"pod-template-hash": "7d4b9c6f5"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5",
                    "uid": "u", "controller": true
                }]
            },
            "spec": {
                "terminationGracePeriodSeconds": 30,
                "containers": [{
                    "name": "web", "image": "web:1",
                    "livenessProbe": {"terminationGracePeriodSeconds": 4}
                }]
            },
            "status": {"phase": "Pending"}
        });
        let mut world = Self { node, pod_cgroup, pod, dir };
        world.traces_are_sound();
        world
    }

    /// Moments are before or after [`NOW`].
    fn at(&self, ms: i64) -> u64 {
        NOW.boot_ns.saturating_add_signed(ms * 1_000_000)
    }

    fn now(&self, ms: i64) -> Now {
        Now { boot_ns: self.at(ms), ..NOW }
    }

    fn made(&mut self, cgroup: u64, digit: char, ms: i64) {
        let name = format!("cri-containerd-{}.scope", id(digit));
        self.mkdir(cgroup, self.pod_cgroup, &name, ms);
    }

    fn mkdir(&mut self, cgroup: u64, parent: CgroupId, name: &str, ms: i64) {
        let made = CgroupMade {
            cgroup: CgroupId(cgroup),
            parent,
            name: Some(name.as_bytes().to_vec()),
            untracked: false,
        };
        self.event(ms, EventKind::CgroupMade(made));
    }

    fn event(&mut self, ms: i64, kind: EventKind) {
        let event = Event { time_boot_ns: self.at(ms), kind };
        self.node.event(&event);
    }

    fn exec(&mut self, cgroup: u64, tgid: u32, comm: &str, ms: i64) {
        let task = task(tgid, CgroupId(cgroup), comm);
        let exec = Exec { task, parent: shim(), argv: vec![b'x', 0] };
        self.event(ms, EventKind::Exec(exec));
    }

    fn terminate(&mut self, cgroup: u64, tgid: u32, sender: &str, ms: i64) {
        self.signal(cgroup, tgid, sender, 15, ms);
    }

    /// The runtime sends SIGTERM, and init ignores it.
    fn ignores(&mut self, cgroup: u64, tgid: u32, ms: i64) {
        self.signal_with(cgroup, tgid, "runc", 15, SignalResult::Ignored, ms);
    }

    fn signal(&mut self, cgroup: u64, tgid: u32, sender: &str, number: u32, ms: i64) {
        self.signal_with(cgroup, tgid, sender, number, SignalResult::Delivered, ms);
    }

    fn signal_with(
        &mut self,
        cgroup: u64,
        tgid: u32,
        sender: &str,
        number: u32,
        result: SignalResult,
        ms: i64,
    ) {
        let signal = Signal {
            target: task(tgid, CgroupId(cgroup), "web"),
            sender: task(60, HOST, sender),
            signal: number,
            result,
            origin: SignalOrigin::User,
            target_dying: false,
            sender_dying: false,
        };
        self.event(ms, EventKind::Signal(signal));
    }

    /// A container that is older than the agent is found, and init in it.
    fn finds_running(&mut self, ms: i64) -> Task {
        let name = format!("cri-containerd-{}.scope", id('a'));
        let found_boot_ns = self.at(ms);
        let (pod, node) = (self.pod_cgroup, &mut self.node);
        for met in node.tracking.found(CgroupId(1002), pod, name.as_bytes(), found_boot_ns) {
            node.met(met);
        }
        let task = task(200, CgroupId(1002), "web");
        node.apply(Input::Running(&RunningTask { task, parent_cgroup: HOST }));
        node.apply(Input::WalkDone { tasks_read: true });
        task
    }

    fn removed(&mut self, cgroup: CgroupId, ms: i64) {
        self.event(ms, EventKind::CgroupRemoved(cgroup));
        self.node.tick(self.now(ms + 200));
    }

    /// The facts that were published, those of the Pod apart.
    fn facts(&self) -> (Vec<&Fact>, Vec<&Fact>) {
        let of = |is_pod: bool| {
            let facts = self.node.publish.recorder.facts.iter();
            let wanted = facts.filter(move |(about, _)| matches!(about, Subject::Pod(_)) == is_pod);
            wanted.map(|(_, fact)| fact).collect()
        };
        (of(false), of(true))
    }

    fn end(&mut self, cgroup: u64, tgid: u32, status: ExitStatus, ms: i64) {
        let task = task(tgid, CgroupId(cgroup), "web");
        let end = End { task, status, parent_cgroup: HOST, cpu_runtime_ns: 1, children_cpu_ns: 0 };
        self.event(ms, EventKind::End(end));
    }

    /// The container runs: its sandbox is older, its status is told.
    fn runs(&mut self) {
        self.runs_since(-9000);
    }

    /// A sandbox is made at that time, and the rest follows.
    fn runs_since(&mut self, ms: i64) {
        self.made(1001, '0', ms);
        self.exec(1001, 100, "pause", ms + 100);
        self.made(1002, 'a', ms + 500);
        self.exec(1002, 200, "web", ms + 750);
        self.status("a", &json!({"running": {}}), None);
        self.reported(ms + 2000);
    }

    /// Status of the container's newest instance and the one before.
    fn status(&mut self, digit: &str, state: &Value, last: Option<(&str, &str)>) {
        let last = last.map(|(digit, reason)| {
            json!({"terminated": {
                "containerID": format!("containerd://{}", digit.repeat(64)),
                "exitCode": 137, "reason": reason
            }})
        });
        self.pod["status"]["phase"] = "Running".into();
        self.pod["status"]["containerStatuses"] = json!([{
            "name": "web", "containerID": format!("containerd://{}", digit.repeat(64)),
            "restartCount": 0, "ready": true, "started": true, "state": state, "lastState": last
        }]);
    }

    fn deleted(&mut self, ms: i64) {
        let deadline = NOW.wall.unix_ns(self.at(ms)) / SECOND + 10;
        let deadline = jiff::Timestamp::from_second(deadline.cast_signed()).unwrap();
        self.pod["metadata"]["deletionTimestamp"] = deadline.to_string().into();
        self.pod["metadata"]["deletionGracePeriodSeconds"] = 10.into();
    }

    fn reported(&mut self, ms: i64) {
        let kind = PodEventKind::Applied(Box::new(self.told()));
        self.source(kind, ms);
    }

    /// The Pod as the source reports it.
    fn told(&self) -> Pod {
        convert::pod(&serde_json::from_value(self.pod.clone()).unwrap())
    }

    fn source(&mut self, kind: PodEventKind, ms: i64) {
        let now = self.now(ms);
        self.node.pod_event(PodEvent { time_boot_ns: now.boot_ns, kind }, now);
    }

    /// The lines of a family, without its prefix.
    fn shown(&mut self, family: &str) -> Vec<String> {
        let collection = self.node.collect(NOW);
        let chunks =
            self.node.expose(&collection, Format::Text).for_reader(Seen::ALL, |chunk| chunk);
        let text = String::from_utf8(chunks.concat()).unwrap();
        let name = format!("podvitals_{family}");
        let of_family = |line: &&str| line.split(['{', ' ']).next() == Some(&name);
        text.lines().filter(of_family).map(str::to_owned).collect()
    }

    fn value(&mut self, family: &str, labels: &str) -> Option<f64> {
        let lines = self.shown(family);
        let line = lines.iter().find(|line| line.contains(labels))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The trigger of the last end, if one was published.
    fn trigger(&mut self) -> Option<String> {
        let lines = self.shown("container_last_termination_info");
        let (_, rest) = lines.first()?.split_once("trigger=\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    }
}

#[test]
fn a_container_has_its_names_from_the_api_and_its_sandbox_none() {
    let mut world = World::new(true);
    world.runs();
    let info = world.shown("container_info");
    assert_eq!(info.len(), 1, "{info:?}");
    for label in [
        "namespace=\"shop\",pod=\"web-7d4b9c6f5-abcde\",container=\"web\"",
        "workload_kind=\"Deployment\",workload=\"web\"",
        "role=\"app\"",
        "image=\"web:1\"",
    ] {
        assert!(info[0].contains(label), "{info:?}");
    }
    assert_eq!(world.value("cgroups_unresolved", ""), Some(0.0));
    assert_eq!(world.value("container_startup_seconds", "sandbox_to_created"), Some(0.5));
    assert_eq!(world.value("container_startup_seconds", "created_to_running"), Some(0.25));
    assert_eq!(world.value("container_startup_seconds", "running_to_ready"), Some(1.25));
    assert_eq!(world.value("container_startup_seconds", "running_to_started"), None);
}

#[test]
fn the_api_down_leaves_the_last_known_names() {
    let mut world = World::new(true);
    world.runs();
    let failed = PodEventKind::Failed("connection refused".into());
    let now = world.now(-6000);
    world.node.pod_event(PodEvent { time_boot_ns: now.boot_ns, kind: failed }, now);
    assert_eq!(world.shown("container_info").len(), 1);
    assert_eq!(world.value("collector_success", "collector=\"pods\""), Some(0.0));
    // A container that starts meanwhile is shown in the end, under its ids.
    world.made(1009, 'f', -10_500);
    world.exec(1009, 900, "web", -10_400);
    let info = world.shown("container_info");
    assert_eq!(info.len(), 2);
    assert!(info.iter().any(|line| line.contains("container=\"ffffffffffff\"")), "{info:?}");
}

#[test]
fn a_root_that_is_gone_or_replaced_is_noticed_by_a_blind_agent() {
    let mut world = World::new(false);
    let kubepods = world.dir.path().join("kubepods.slice");
    let tracked = |world: &mut World| world.value("cgroups_tracked", "");
    assert_eq!(tracked(&mut world), Some(4.0));
    std::fs::remove_dir_all(&kubepods).unwrap();
    world.node.tick(world.now(11_000));
    assert_eq!(tracked(&mut world), Some(1.0), "the root");
    std::fs::create_dir_all(kubepods.join("kubepods-burstable.slice")).unwrap();
    world.node.tick(world.now(22_000));
    assert_eq!(tracked(&mut world), Some(3.0));

    // Another directory is in its place by the next walk: its inode tells.
    let aside = world.dir.path().join("aside");
    std::fs::rename(&kubepods, &aside).unwrap();
    std::fs::create_dir_all(kubepods.join("kubepods-besteffort.slice/x")).unwrap();
    world.node.tick(world.now(33_000));
    assert_eq!(tracked(&mut world), Some(6.0));
    assert_eq!(world.value("cgroups_unresolved", ""), Some(0.0));
}
