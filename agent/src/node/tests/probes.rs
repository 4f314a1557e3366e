//! Probes, from the kubelet's connections and from commands in containers to attempts and deaths.

use super::*;
use crate::event::{Connection, Ending, Exit};
use crate::lifecycle::fact::{FactKind, ProbeAttempt, ProbeKind, ProbeResult};

impl World {
    /// A container that runs, with a liveness probe over HTTP and a readiness probe by a command.
    fn with_probes() -> Self {
        let mut world = Self::new(true);
        world.pod["spec"]["containers"][0] = json!({
            "name": "web", "image": "web:1",
            "livenessProbe": {"httpGet": {"port": 8080, "path": "/live"}, "failureThreshold": 2},
            "readinessProbe": {"exec": {"command": ["cat", "/ready"]}}
        });
        world.pod["status"]["podIP"] = "10.244.0.5".into();
        world.runs_since(-60_000);
        world
    }

    /// The kubelet asks for liveness at that time; the answer has this status, or there is none.
    fn asks(&mut self, ms: i64, status: Option<u16>) {
        let start_boot_ns = self.at(ms);
        let received = status.map(|status| format!("HTTP/1.1 {status} Status\r\n").into_bytes());
        let connection = Connection {
            start_boot_ns,
            connected_boot_ns: status.map(|_| start_boot_ns + MS),
            first_byte_boot_ns: status.map(|_| start_boot_ns + 2 * MS),
            end_boot_ns: start_boot_ns + 3 * MS,
            ending: if status.is_some() { Ending::ClosedByPeer } else { Ending::Refused },
            local: "10.244.0.1:40000".parse().unwrap(),
            remote: "10.244.0.5:8080".parse().unwrap(),
            sent: status.map_or_else(Vec::new, |_| {
                b"GET /live HTTP/1.1\r\nHost: 10.244.0.5:8080\r\nUser-Agent: kube-probe/1.37\r\n"
                    .to_vec()
            }),
            received: received.unwrap_or_default(),
            received_bytes: 10_000,
            data_observed: true,
        };
        self.node.connection(connection);
    }

    /// The kubelet asks at that time, and nobody answers its SYN, which the kernel sends again.
    fn asks_in_vain(&mut self, ms: i64) {
        let start_boot_ns = self.at(ms);
        self.node.connection(Connection {
            start_boot_ns,
            connected_boot_ns: None,
            first_byte_boot_ns: None,
            end_boot_ns: start_boot_ns + 1_030 * MS,
            ending: Ending::Open,
            local: "10.244.0.1:40000".parse().unwrap(),
            remote: "10.244.0.5:8080".parse().unwrap(),
            sent: Vec::new(),
            received: Vec::new(),
            received_bytes: 0,
            data_observed: true,
        });
        self.node.tick(self.now(ms + 1_031));
    }

    fn attempts(&self) -> Vec<ProbeAttempt> {
        let facts = self.facts().0.into_iter();
        facts
            .filter_map(|fact| match &fact.kind {
                FactKind::Probed(attempt) => Some(*attempt),
                _ => None,
            })
            .collect()
    }

    /// Number of facts that attempts are overdue.
    fn overdue(&self) -> u64 {
        let facts = self.facts().0.into_iter();
        facts.map(|fact| u64::from(matches!(fact.kind, FactKind::ProbeOverdue(_)))).sum()
    }

    /// Trigger and source of the death.
    fn why(&self) -> Option<(&'static str, &'static str)> {
        let facts = self.facts().0.into_iter();
        facts.rev().find_map(|fact| match &fact.kind {
            FactKind::Explained(death) => Some((death.trigger.label(), death.source.label())),
            _ => None,
        })
    }

    /// The runtime stops the container, and it is there again.
    fn restarts(&mut self, ms: i64) {
        self.terminate(1002, 200, "runc", ms);
        self.end(1002, 200, ExitStatus::Code(0), ms + 500);
        self.node.tick(self.now(ms + 700));
        self.status("b", &json!({"running": {}}), Some(("a", "Error")));
        self.reported(ms + 2000);
    }
}

#[test]
fn connections_and_commands_become_attempts() {
    let mut world = World::with_probes();
    world.asks(-40_000, Some(200));
    world.asks(-30_000, Some(503));
    let runc = Exec {
        task: task(300, CgroupId(1002), "cat"),
        parent: task(299, HOST, "runc"),
        argv: b"cat\0/ready\0".to_vec(),
    };
    let task = runc.task;
    world.event(-20_000, EventKind::Exec(runc.clone()));
    let exit = Exit {
        task,
        status: ExitStatus::Code(1),
        parent_cgroup: HOST,
        cpu_runtime_ns: 5,
        children_cpu_ns: 0,
        children: 0,
    };
    world.event(-19_900, EventKind::Exit(exit));
    world.end(1002, 300, ExitStatus::Code(1), -19_899);
    // Somebody else's command.
    let shell =
        Exec { task: self::task(301, CgroupId(1002), "sh"), argv: b"sh\0".to_vec(), ..runc };
    world.event(-19_000, EventKind::Exec(shell));
    world.node.tick(world.now(-18_000));
    let told: Vec<_> =
        world.attempts().iter().map(|it| (it.probe, it.result, it.failures_left)).collect();
    let expected = [
        (ProbeKind::Liveness, ProbeResult::Success, Some(2)),
        (ProbeKind::Liveness, ProbeResult::Failure, Some(1)),
        (ProbeKind::Readiness, ProbeResult::Timeout, Some(2)),
    ];
    // The process is as old as its id says here, so its command took too long.
    assert_eq!(told, expected);
    let run = world.attempts()[2].exec.unwrap();
    assert_eq!((run.exit_code, run.exec_boot_ns), (Some(1), Some(world.at(-20_000))));
}

#[test]
fn attempts_that_are_overdue_are_told() {
    let mut world = World::with_probes();
    world.asks(-40_000, Some(200));
    for ms in [-20_000, -18_500, -10_000] {
        let before = world.overdue();
        world.node.tick(world.now(ms));
        assert_eq!((before, world.overdue()), (0, u64::from(ms == -10_000)), "{ms}");
    }
}

#[test]
fn a_liveness_probe_that_was_seen_to_fail_is_the_trigger() {
    let mut world = World::with_probes();
    world.asks(-40_000, Some(200));
    world.asks(-30_000, None);
    world.asks(-20_000, Some(500));
    world.restarts(-19_000);
    assert_eq!(world.why(), Some(("liveness", "probe")));
}

#[test]
fn probes_whose_syns_nobody_answers_are_the_trigger() {
    for (field, trigger) in [("livenessProbe", "liveness"), ("startupProbe", "startup")] {
        let mut world = World::with_probes();
        let container = &mut world.pod["spec"]["containers"][0];
        let probe = container.as_object_mut().unwrap().remove("livenessProbe").unwrap();
        container[field] = probe;
        world.pod["status"]["containerStatuses"][0]["started"] = (field != "startupProbe").into();
        world.reported(-50_000);
        world.asks_in_vain(-30_000);
        world.asks_in_vain(-20_000);
        let told: Vec<_> =
            world.attempts().iter().map(|it| (it.probe.label(), it.failures_left)).collect();
        assert_eq!(told, [(trigger, Some(1)), (trigger, Some(0))]);
        world.restarts(-18_960);
        assert_eq!(world.why(), Some((trigger, "probe")));
    }
}

#[test]
fn a_liveness_probe_that_was_seen_to_succeed_is_not() {
    let mut world = World::with_probes();
    world.asks(-30_000, Some(200));
    world.asks(-20_000, Some(200));
    world.restarts(-19_000);
    assert_eq!(world.why(), Some(("restart_other", "inferred")));
    // Nothing was seen: it may have failed.
    let mut world = World::with_probes();
    world.restarts(-19_000);
    assert_eq!(world.why(), Some(("liveness", "inferred")));
}

#[test]
fn without_a_pod_source_there_are_no_probes() {
    let mut world = World::new(false);
    world.runs();
    world.asks(-3000, Some(200));
    world.node.tick(world.now(-1000));
    assert_eq!(world.attempts(), []);
    assert_eq!(world.node.probes.deadline(), None);
}
