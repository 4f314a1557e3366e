//! Probes of a node, given Pods, containers, connections and commands.

mod alike;
mod commands;
mod localhost;
mod network;
mod others;
mod recorded;
mod redirects;
mod silence;
mod unanswered;

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::*;
use crate::cgroup::path::{ContainerName, Origin, PodName, Qos, Runtime};
use crate::event::{Ending, TaskKey};
use crate::kube::convert;
use crate::kube::event::{PodEvent, PodEventKind};
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{ProbeKind, ProbeResult, Started};
use crate::lifecycle::subject::Birth;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const START: u64 = 1000 * SECOND;

/// Pods of a node, and their probes.
struct World {
    pods: Pods,
    probes: Probes,
    out: Vec<Probed>,
    now: u64,
}

impl World {
    fn new() -> Self {
        Self { pods: Pods::new(), probes: Probes::new(), out: Vec::new(), now: START }
    }

    /// A Pod with one container `web`, which has these probes and started at [`START`].
    fn with(container: Value) -> Self {
        let mut world = Self::new();
        world.pod("a", "10.244.0.5", &[("web", container)]);
        world.starts("a", "web", 1);
        world
    }

    /// A Pod as the API reports it now.
    fn pod(&mut self, uid: &str, address: &str, containers: &[(&str, Value)]) {
        self.pod_with(uid, address, containers, json!({}));
    }

    fn pod_with(
        &mut self,
        uid: &str,
        address: &str,
        containers: &[(&str, Value)],
        metadata: Value,
    ) {
        let mut metadata = metadata;
        metadata["uid"] = uid.into();
        let spec: Vec<Value> = containers
            .iter()
            .map(|(name, container)| {
                let mut container = container.clone();
                container["name"] = (*name).into();
                container
            })
            .collect();
        let pod = json!({
            "metadata": metadata,
            // The node's address, where it is one.
            "spec": {"containers": spec, "hostNetwork": address.starts_with("192.0.2.")},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        });
        let pod = convert::pod(&serde_json::from_value(pod).unwrap());
        let kind = PodEventKind::Applied(Box::new(pod.clone()));
        self.pods.apply(PodEvent { time_boot_ns: self.now, kind });
        self.probes.pod(&pod);
    }

    fn starts(&mut self, uid: &str, container: &str, cgroup: u64) {
        let who = who(uid, container, cgroup);
        let init = TaskKey { tgid: 7, start_boot_ns: self.now };
        let started = Started { init, before_agent: false, is_pause: false };
        let fact = Fact { time_boot_ns: self.now, kind: FactKind::Started(started) };
        self.probes.fact(&who, &fact);
    }

    /// A connection that begins `ms` after [`START`].
    fn connects(&mut self, ms: u64, edit: impl FnOnce(&mut Connection)) {
        let start = START + ms * MS;
        let mut connection = Connection {
            start_boot_ns: start,
            connected_boot_ns: Some(start + MS),
            first_byte_boot_ns: Some(start + 2 * MS),
            end_boot_ns: start + 3 * MS,
            ending: Ending::ClosedByPeer,
            local: "10.244.0.1:40000".parse().unwrap(),
            remote: "10.244.0.5:8080".parse().unwrap(),
            sent: Vec::new(),
            received: Vec::new(),
            // More than is kept: nothing says that it broke off.
            received_bytes: 10_000,
            data_observed: true,
        };
        edit(&mut connection);
        self.now = self.now.max(connection.end_boot_ns);
        self.probes.connection(connection, &self.pods, &mut self.out);
        self.settles(0);
    }

    /// A GET that is answered with this status.
    fn gets(&mut self, ms: u64, path: &str, status: u16) {
        self.connects(ms, |it| {
            it.sent = get(path, it.remote, "kube-probe/1.37");
            it.received = format!("HTTP/1.1 {status} Status\r\n").into_bytes();
        });
    }

    fn settles(&mut self, later_ms: u64) {
        self.now += later_ms * MS;
        self.probes.settle(&self.pods, self.now, &mut self.out);
    }

    /// The attempts since the last call.
    fn attempts(&mut self) -> Vec<ProbeAttempt> {
        std::mem::take(&mut self.out)
            .into_iter()
            .map(|(_, fact)| match fact.kind {
                FactKind::Probed(attempt) => {
                    assert_eq!(fact.time_boot_ns, attempt.end_boot_ns);
                    attempt
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The probes and results of the attempts since the last call.
    fn results(&mut self) -> Vec<(&'static str, &'static str)> {
        self.attempts().iter().map(|it| (it.probe.label(), it.result.label())).collect()
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.probes.connections().of(outcome)
    }
}

fn who(uid: &str, container: &str, cgroup: u64) -> Arc<Who> {
    let pod = PodName { uid: uid.into(), qos: Qos::Burstable };
    let name = ContainerName { id: cgroup.to_string(), runtime: Runtime::Containerd };
    let identity = Identity { container: container.into(), ..Identity::fallback(&pod, &name) };
    Arc::new(Who {
        cgroup: CgroupId(cgroup),
        pod_cgroup: None,
        identity,
        origin: Origin::Pod(pod, name),
        birth: Birth::Seen { boot_ns: START },
    })
}

/// A GET as the kubelet 1.37 sends it.
fn get(path: &str, host: SocketAddr, agent: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Liveness and readiness over HTTP, on one port.
fn http(liveness: &str, readiness: &str) -> Value {
    json!({
        "livenessProbe": {"httpGet": {"port": 8080, "path": liveness}},
        "readinessProbe": {"httpGet": {"port": 8080, "path": readiness}}
    })
}

/// The failures that are left after each attempt.
trait Left {
    fn map_left(&self) -> Vec<Option<u64>>;
}

impl Left for Vec<ProbeAttempt> {
    fn map_left(&self) -> Vec<Option<u64>> {
        self.iter().map(|it| it.failures_left).collect()
    }
}
