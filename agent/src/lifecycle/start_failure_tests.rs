//! Failed starts as data: the reasons for which a container waits in, failures out.

use super::*;
use crate::cgroup::CgroupId;
use crate::cgroup::path::{ContainerName, Origin, PodName, Qos, Runtime};
use crate::kube::event::{PodEvent, PodEventKind};
use crate::kube::pod::{Phase, Pod};
use crate::kube::pods::Pods;
use crate::lifecycle::subject::Birth;

const SECOND: u64 = 1_000_000_000;

#[derive(Default)]
struct World {
    pods: Pods,
    failures: StartFailures,
    failed: Vec<u64>,
}

impl World {
    /// The kubelet reports this state of the container.
    fn state(&mut self, s: u64, state: State) {
        let container = Container { name: "web".into(), state, ..Container::default() };
        let pod = Pod { uid: "uid".into(), containers: vec![container], ..Pod::default() };
        self.pod(s, pod);
    }

    fn pod(&mut self, s: u64, pod: Pod) {
        let time_boot_ns = s * SECOND;
        let kind = PodEventKind::Applied(Box::new(pod));
        self.pods.apply(PodEvent { time_boot_ns, kind });
        let known = self.pods.get("uid").unwrap();
        let failed = self.failures.pod(known, time_boot_ns);
        self.failed.extend(failed.into_iter().map(|(_, fact)| fact.time_boot_ns / SECOND));
    }

    fn waits(&mut self, s: u64, reason: &str) {
        self.state(s, State::Waiting { reason: reason.into() });
    }

    fn recorded(&mut self, s: u64) {
        let pod = PodName { uid: "uid".into(), qos: Qos::Burstable };
        let name = ContainerName { id: "a".into(), runtime: Runtime::Containerd };
        let identity = Identity { container: "web".into(), ..Identity::fallback(&pod, &name) };
        let who = Who {
            cgroup: CgroupId(1),
            pod_cgroup: None,
            origin: Origin::Pod(pod, name),
            identity,
            birth: Birth::Seen { boot_ns: 1 },
        };
        self.failures.recorded(&who, s * SECOND);
    }

    fn settle(&mut self, s: u64) {
        let failed = self.failures.settle(s * SECOND);
        self.failed.extend(failed.into_iter().map(|(_, fact)| fact.time_boot_ns / SECOND));
    }
}

/// A world in which the source has reported before.
fn world() -> World {
    let mut world = World::default();
    let listed = PodEventKind::Listed(Vec::new());
    world.pods.apply(PodEvent { time_boot_ns: 1, kind: listed });
    world.waits(10, "ContainerCreating");
    world
}

#[test]
fn each_attempt_that_fails_before_the_cgroup_counts() {
    let mut world = world();
    for (s, reason) in [
        (11, "ErrImagePull"),
        (12, "ImagePullBackOff"),
        (30, "ErrImagePull"),
        (31, "ErrImagePull"),
        (32, "ImagePullBackOff"),
        (90, "ContainerCreating"),
        (91, "CreateContainerConfigError"),
        (99, "CreateContainerConfigError"),
    ] {
        world.waits(s, reason);
    }
    assert_eq!(world.failed, [11, 30, 91]);
    world.state(100, State::Running { started_unix_s: None });
    assert!(world.failures.reported.is_empty(), "nothing is kept of what runs");
    // The attempt was over between two polls.
    world.waits(200, "ImagePullBackOff");
    assert_eq!(world.failed, [11, 30, 91, 200]);
    world.pod(201, Pod { uid: "uid".into(), phase: Phase::Failed, ..Pod::default() });
    assert_eq!(world.failed.len(), 4);
    assert!(world.failures.reported.is_empty(), "nor of what is over");
}

#[test]
fn an_attempt_in_the_runtime_counts_once() {
    // The kernel's record comes first, then the report; then the other way round.
    let mut world = world();
    world.recorded(20);
    world.waits(21, "RunContainerError");
    world.settle(60);
    assert!(world.failed.is_empty(), "the kernel's record counts");
    world.waits(61, "CrashLoopBackOff");
    world.waits(70, "RunContainerError");
    assert_eq!(world.failures.deadline(), Some(82 * SECOND));
    world.recorded(75);
    world.settle(100);
    assert!(world.failed.is_empty());
    // There was no cgroup, and no record.
    world.waits(101, "CrashLoopBackOff");
    world.waits(110, "CreateContainerError");
    world.settle(121);
    assert!(world.failed.is_empty());
    world.settle(122);
    assert_eq!(world.failed, [110]);
    assert_eq!(world.failures.deadline(), None);
}

#[test]
fn what_failed_before_the_agent_came_does_not_count() {
    let mut world = World::default();
    world.waits(1, "ImagePullBackOff");
    assert!(world.failed.is_empty());
    world.waits(20, "ErrImagePull");
    assert_eq!(world.failed, [20]);
    // It waited when the agent came, and fails now.
    let mut world = World::default();
    world.waits(1, "ContainerCreating");
    world.waits(2, "ErrImagePull");
    assert_eq!(world.failed, [2]);
}

#[test]
fn records_without_a_report_are_bounded() {
    let mut world = world();
    for s in 0..1000 {
        world.recorded(s);
    }
    assert_eq!((world.failures.recorded.len(), world.failures.dropped()), (RECORDS_MAX, 0));
    for _ in 0..RECORDS_MAX + 7 {
        world.recorded(5000);
    }
    assert_eq!((world.failures.recorded.len(), world.failures.dropped()), (RECORDS_MAX, 7));
}
