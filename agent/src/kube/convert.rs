//! Conversion of the API's Pod to the agent's: total, and bounded whatever the API sends.

use std::net::IpAddr;

use jiff::Timestamp;

use super::pod::{
    Announcement, Container, Deletion, Handler, Mirror, Phase, Pod, PreStop, Probe, Resources,
    RestartPolicy, Restarting, Role, State, Terminated, Times, Workload,
};
use super::target::Targets;
use super::{known_pod, quantity, wire, workload};
use crate::cgroup::path::Qos;
use crate::escape;

/// Length limit of names in Kubernetes, in bytes.
const NAME_MAX: usize = 253;
/// Length limit of image references, in bytes; the API has none.
const IMAGE_MAX: usize = 1024;
/// Length limit of reasons, which are single words, in bytes.
const REASON_MAX: usize = 128;
/// Length limit of messages, of which only the beginning is examined, in bytes.
const MESSAGE_MAX: usize = 256;
/// Limit of the addresses that are kept of a Pod; it has one of each family.
const ADDRESSES_MAX: usize = 4;
/// Limit of the memory that is kept for a Pod's containers: some 90 of them, or 30 with the longest
/// names. Whoever may create Pods cannot make the agent keep more of each.
const CONTAINERS_BYTES_MAX: usize = 64 << 10;

/// The agent's Pod, from the API's.
#[must_use]
pub fn pod(from: &wire::Pod) -> Pod {
    let wire::Pod { metadata, spec, status } = from;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let disruption = condition(conditions, "DisruptionTarget").map(|condition| Announcement {
        reason: text(condition.reason.as_deref(), REASON_MAX),
        message: text(condition.message.as_deref(), MESSAGE_MAX),
    });
    let times = times(metadata, conditions);
    let mut pod = Pod {
        uid: text(metadata.uid.as_deref(), NAME_MAX),
        namespace: text(metadata.namespace.as_deref(), NAME_MAX),
        name: text(metadata.name.as_deref(), NAME_MAX),
        mirror: mirror(metadata),
        phase: phase(status.phase.as_deref()),
        reason: text(status.reason.as_deref(), REASON_MAX),
        qos: qos(status.qos_class.as_deref()),
        workload: workload(metadata, times.created_unix_s),
        deletion: metadata.deletion_timestamp.as_ref().map(|deadline| Deletion {
            deadline_unix_s: seconds(deadline),
            grace_s: natural(metadata.deletion_grace_period_seconds),
        }),
        grace_s: natural(spec.termination_grace_period_seconds),
        restart_policy: restart_policy(spec.restart_policy.as_deref()),
        disruption,
        times,
        traceparent: None,
        addresses: addresses(status),
        host_network: spec.host_network == Some(true),
        containers: containers(spec, status),
    };
    if known_pod::lingers(&pod) {
        // The kubelet asks nothing of them any more, and the API keeps thousands of such Pods.
        pod.containers.iter_mut().for_each(|container| container.targets = None);
    }
    pod
}

/// The beginning of a text, cut at a character boundary. The API takes any characters in some, such
/// as an image's name.
fn text(from: Option<&str>, max: usize) -> String {
    let from = from.unwrap_or_default();
    let fits = |end: &usize| from.is_char_boundary(*end);
    let end = (0..=max.min(from.len())).rev().find(fits).unwrap_or(0);
    escape::name(from.get(..end).unwrap_or_default().as_bytes())
}

fn some_text(from: Option<&str>, max: usize) -> Option<String> {
    let from = text(from, max);
    (!from.is_empty()).then_some(from)
}

fn natural(from: Option<i64>) -> Option<u64> {
    from.and_then(|from| u64::try_from(from).ok())
}

fn seconds(time: &Timestamp) -> i64 {
    time.as_second()
}

fn phase(from: Option<&str>) -> Phase {
    match from {
        Some("Pending") => Phase::Pending,
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        _ => Phase::Unknown,
    }
}

fn qos(from: Option<&str>) -> Option<Qos> {
    match from {
        Some("Guaranteed") => Some(Qos::Guaranteed),
        Some("Burstable") => Some(Qos::Burstable),
        Some("BestEffort") => Some(Qos::BestEffort),
        _ => None,
    }
}

fn restart_policy(from: Option<&str>) -> RestartPolicy {
    match from {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// The marks of a static Pod's mirror.
///
/// Annotations are copied with manifests: a hash alone makes no mirror, nor do both annotations of a
/// Pod that a controller owns.
fn mirror(metadata: &wire::Metadata) -> Option<Mirror> {
    let annotations = metadata.annotations.as_ref()?;
    let hash = annotations.config_hash.as_ref()?;
    let owners = metadata.owner_references.as_ref();
    let marked = annotations.config_mirror.as_ref() == Some(hash)
        && metadata.uid.as_ref() != Some(hash)
        && owners.into_iter().flatten().all(|owner| owner.kind == "Node");
    let hash = some_text(Some(hash), NAME_MAX).filter(|_| marked)?;
    Some(Mirror { hash, owned_by_node: owners.is_some_and(|owners| !owners.is_empty()) })
}

/// The condition of this name, if it is true.
fn condition<'a>(all: &'a [wire::Condition], name: &str) -> Option<&'a wire::Condition> {
    all.iter().find(|condition| {
        condition.kind.as_deref() == Some(name) && condition.status.as_deref() == Some("True")
    })
}

fn times(metadata: &wire::Metadata, conditions: &[wire::Condition]) -> Times {
    let since = |name: &str| {
        condition(conditions, name)
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map(seconds)
    };
    Times {
        created_unix_s: metadata.creation_timestamp.as_ref().map(seconds),
        scheduled_unix_s: since("PodScheduled"),
        sandbox_unix_s: since("PodReadyToStartContainers"),
        initialized_unix_s: since("Initialized"),
        ready_unix_s: since("Ready"),
    }
}

fn workload(metadata: &wire::Metadata, created_unix_s: Option<i64>) -> Workload {
    let (kind, name) = workload::of(metadata, created_unix_s);
    Workload { kind: text(Some(kind), NAME_MAX), name: text(Some(name), NAME_MAX) }
}

/// The Pod's own addresses, the one that the kubelet's probes go to first.
fn addresses(status: &wire::Status) -> Vec<IpAddr> {
    let more = status.pod_ips.iter().flatten().filter_map(|address| address.ip.as_ref());
    let mut all: Vec<IpAddr> = Vec::new();
    for text in status.pod_ip.iter().chain(more) {
        if let Ok(address) = text.parse::<IpAddr>()
            && all.len() < ADDRESSES_MAX
            && !all.contains(&address.to_canonical())
        {
            all.push(address.to_canonical());
        }
    }
    all
}

fn containers(spec: &wire::Spec, status: &wire::Status) -> Vec<Container> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        let role = if sidecar { Role::Sidecar } else { Role::Init };
        from_spec(container, role, status.init_container_statuses.as_deref())
    });
    let app = spec
        .containers
        .iter()
        .flatten()
        .map(|container| from_spec(container, Role::App, status.container_statuses.as_deref()));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| {
        from_spec(container, Role::Ephemeral, status.ephemeral_container_statuses.as_deref())
    });
    let mut room = CONTAINERS_BYTES_MAX;
    let fits = |container: &Container| {
        room = room.saturating_sub(container.size_bytes());
        room > 0
    };
    init.chain(app).chain(ephemeral).take_while(fits).collect()
}

fn from_spec(
    spec: &wire::Container,
    role: Role,
    all: Option<&[wire::ContainerStatus]>,
) -> Container {
    let all = all.unwrap_or_default();
    let status = all.iter().find(|status| status.name.is_some() && status.name == spec.name);
    let lifecycle = spec.lifecycle.as_ref();
    let resources = status.and_then(|status| status.resources.as_ref()).or(spec.resources.as_ref());
    let last = status
        .and_then(|status| status.last_state.as_ref()?.terminated.as_ref())
        .map(|end| (terminated(end), container_id(end.container_id.as_deref())));
    let (last, last_id) = last.unzip();
    let stop_signal = status
        .and_then(|status| status.stop_signal.as_deref())
        .or_else(|| lifecycle.and_then(|lifecycle| lifecycle.stop_signal.as_deref()));
    Container {
        name: text(spec.name.as_deref(), NAME_MAX),
        role,
        image: text(spec.image.as_deref(), IMAGE_MAX),
        id: status.and_then(|status| container_id(status.container_id.as_deref())),
        last_id: last_id.flatten(),
        restarts: status.and_then(|status| natural(status.restart_count)),
        started: status.and_then(|status| status.started),
        ready: status.is_some_and(|status| status.ready == Some(true)),
        state: status.and_then(|status| status.state.as_ref()).map(state).unwrap_or_default(),
        last,
        requests: resources.map(|all| amounts(all.requests.as_ref())).unwrap_or_default(),
        limits: resources.map(|all| amounts(all.limits.as_ref())).unwrap_or_default(),
        restarting: restarting(spec),
        pre_stop: lifecycle.and_then(|lifecycle| pre_stop(lifecycle.pre_stop.as_ref()?)),
        startup: spec.startup_probe.as_ref().map(probe).map(Box::new),
        liveness: spec.liveness_probe.as_ref().map(probe).map(Box::new),
        readiness: spec.readiness_probe.as_ref().map(probe).map(Box::new),
        stop_signal: some_text(stop_signal, REASON_MAX),
        targets: Targets::of(spec),
    }
}

/// Container id without the runtime's prefix (`containerd://3a31…`).
fn container_id(from: Option<&str>) -> Option<String> {
    let from = from?;
    let id = from.split_once("://").map_or(from, |(_, id)| id);
    some_text(Some(id), NAME_MAX)
}

fn amounts(from: Option<&wire::Amounts>) -> Resources {
    let Some(wire::Amounts { cpu, memory }) = from else { return Resources::default() };
    Resources {
        cpu_millis: cpu.as_deref().and_then(quantity::millis),
        memory_bytes: memory.as_deref().and_then(quantity::units),
    }
}

fn restarting(spec: &wire::Container) -> Restarting {
    let restarts = |resource: &str| {
        spec.resize_policy.iter().flatten().any(|policy| {
            policy.resource_name.as_deref() == Some(resource)
                && policy.restart_policy.as_deref() == Some("RestartContainer")
        })
    };
    let (cpu, memory) = (restarts("cpu"), restarts("memory"));
    let of = |all: Resources| Resources {
        cpu_millis: all.cpu_millis.filter(|_| cpu),
        memory_bytes: all.memory_bytes.filter(|_| memory),
    };
    let resources = spec.resources.as_ref();
    resources.map_or_else(Restarting::default, |all| Restarting {
        requests: of(amounts(all.requests.as_ref())),
        limits: of(amounts(all.limits.as_ref())),
    })
}

fn state(from: &wire::State) -> State {
    if let Some(end) = &from.terminated {
        return State::Terminated(terminated(end));
    }
    if let Some(running) = &from.running {
        return State::Running { started_unix_s: running.started_at.as_ref().map(seconds) };
    }
    let waiting = from.waiting.as_ref();
    waiting.map_or(State::Unknown, |waiting| State::Waiting {
        reason: text(waiting.reason.as_deref(), REASON_MAX),
    })
}

fn terminated(from: &wire::Terminated) -> Terminated {
    Terminated {
        exit_code: from.exit_code,
        reason: text(from.reason.as_deref(), REASON_MAX),
        started_unix_s: from.started_at.as_ref().map(seconds),
        finished_unix_s: from.finished_at.as_ref().map(seconds),
    }
}

fn pre_stop(from: &wire::Handler) -> Option<PreStop> {
    if from.exec.is_some() {
        return Some(PreStop::Exec);
    }
    if from.http_get.is_some() {
        return Some(PreStop::Http);
    }
    // `tcpSocket` exists for old objects; the kubelet does not run it.
    Some(PreStop::Sleep { seconds: natural(from.sleep?.seconds)? })
}

/// A probe with the API server's defaults (`pkg/apis/core/v1/defaults.go`, `SetDefaults_Probe`,
/// Kubernetes 1.37), which the kubelet's own list of static Pods may lack.
fn probe(from: &wire::Probe) -> Probe {
    let positive = |value, default| natural(value).filter(|&value| value > 0).unwrap_or(default);
    let initial_delay_s = natural(from.initial_delay_seconds).unwrap_or(0);
    // A time that is too short costs certainty, one that is too long a true conclusion.
    let between = natural(from.failure_threshold).unwrap_or(1).saturating_sub(1);
    let earliest_period_s = natural(from.period_seconds).unwrap_or(0);
    Probe {
        handler: handler(from),
        initial_delay_s,
        period_s: positive(from.period_seconds, 10),
        timeout_s: positive(from.timeout_seconds, 1),
        success_threshold: positive(from.success_threshold, 1),
        failure_threshold: positive(from.failure_threshold, 3),
        grace_s: natural(from.termination_grace_period_seconds),
        earliest_s: initial_delay_s.saturating_add(between.saturating_mul(earliest_period_s)),
    }
}

/// The handler, in the order in which the kubelet looks for one (`pkg/kubelet/prober/prober.go`,
/// `runProbe`, Kubernetes 1.37).
fn handler(from: &wire::Probe) -> Handler {
    if from.exec.is_some() {
        return Handler::Exec;
    }
    if let Some(get) = &from.http_get {
        // The kubelet compares in lower case (`pkg/probe/http/request.go`).
        let is_https = get.scheme.as_ref().is_some_and(|it| it.eq_ignore_ascii_case("https"));
        return if is_https { Handler::Https } else { Handler::Http };
    }
    if from.tcp_socket.is_some() {
        return Handler::Tcp;
    }
    if from.grpc.is_some() { Handler::Grpc } else { Handler::Unknown }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
