//! Pods as the agent keeps them: what the API reports that the kernel does not know.
//!
//! Plain data, made by [`super::convert`]. Times are the API's: Unix time in whole seconds, from
//! the clocks of other machines.

use std::net::IpAddr;

use super::target::Targets;
use crate::cgroup::path::Qos;

/// A Pod as the agent keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// UID in the API. For the mirror of a static Pod it differs from the UID in the cgroup's name.
    pub uid: String,
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub name: String,
    /// Marks of a static Pod's mirror, if the Pod is one.
    pub mirror: Option<Mirror>,
    /// Field `status.phase`.
    pub phase: Phase,
    /// Field `status.reason`, such as `Evicted`; empty if there is none.
    pub reason: String,
    /// Field `status.qosClass`.
    pub qos: Option<Qos>,
    /// The workload that the Pod belongs to.
    pub workload: Workload,
    /// Deletion of the Pod, if it is requested.
    pub deletion: Option<Deletion>,
    /// Field `spec.terminationGracePeriodSeconds`.
    pub grace_s: Option<u64>,
    /// Field `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// Condition `DisruptionTarget`, if it is true.
    pub disruption: Option<Announcement>,
    /// Times of the Pod's start.
    pub times: Times,
    /// The annotation that names a span (`--trace.link-annotation`), as it is.
    pub traceparent: Option<String>,
    /// Addresses of the Pod (`status.podIPs`), the kubelet's own choice first; those of the node if
    /// it uses the node's network. An IPv4 address that is mapped to IPv6 is IPv4 here.
    pub addresses: Vec<IpAddr>,
    /// Field `spec.hostNetwork`: the Pod uses the node's network.
    pub host_network: bool,
    /// Containers of the Pod: init (sidecars among them), then app, then ephemeral, each in the
    /// order of the spec, in which they start.
    pub containers: Vec<Container>,
}

impl Pod {
    /// Whether this is the mirror of a static Pod: deleting it does not stop the static Pod.
    #[must_use]
    pub const fn is_mirror(&self) -> bool {
        self.mirror.is_some()
    }

    /// The UID that stays the same for as long as the Pod is there: a static Pod's own, which its
    /// mirror bears, and which stays where the mirror is re-created.
    #[must_use]
    pub fn lasting_uid(&self) -> &str {
        self.mirror.as_ref().map_or(&self.uid, |mirror| &mirror.hash)
    }

    /// Whether the kubelet has reported any instance of a container.
    #[must_use]
    pub fn reports_containers(&self) -> bool {
        self.containers.iter().any(|container| container.ids().next().is_some())
    }

    /// Whether every container has an id. Then a container that is in none of the statuses is the
    /// sandbox, provided that the statuses are newer than it.
    #[must_use]
    pub fn statuses_complete(&self) -> bool {
        !self.containers.is_empty() && self.containers.iter().all(|c| c.id.is_some())
    }

    /// The container that has, or last had, this id.
    #[must_use]
    pub fn container_by_id(&self, id: &str) -> Option<&Container> {
        let has = |container: &&Container| container.ids().any(|known| known == id);
        self.containers.iter().find(has)
    }

    /// The container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The longest grace period that the spec names for a stop of a container: the Pod's own, or
    /// that of a probe.
    #[must_use]
    pub fn longest_grace_s(&self, container: Option<&Container>) -> Option<u64> {
        let probes =
            container.into_iter().flat_map(|container| [&container.startup, &container.liveness]);
        probes.flatten().filter_map(|probe| probe.grace_s).chain(self.grace_s).max()
    }

    /// Memory that the Pod takes, about, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let texts = [&self.uid, &self.namespace, &self.name, &self.reason, &self.workload.name];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let containers: usize = self.containers.iter().map(Container::size_bytes).sum();
        size_of::<Self>() + texts + containers + size_of_val(&*self.addresses)
    }

    /// Whether the Pod has succeeded or failed, so that none of its containers starts again.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// Marks of a static Pod's mirror, as the kubelet sets them (`pkg/kubelet/pod/mirror_client.go`,
/// `CreateMirrorPod`, Kubernetes 1.37).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// Annotation `kubernetes.io/config.hash`: the name that the static Pod's cgroup carries.
    pub hash: String,
    /// Whether the Pod's owner is of kind Node, as the API server demands of kubelets.
    pub owned_by_node: bool,
}

/// Phase of a Pod (`status.phase`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have been started.
    Pending,
    /// The Pod is bound to the node, and all containers were started.
    Running,
    /// All containers ended successfully and will not restart.
    Succeeded,
    /// All containers ended, at least one of them in failure.
    Failed,
    /// Another phase, or none.
    #[default]
    Unknown,
}

/// Restart policy of a Pod (`spec.restartPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Restart after every end; the API server's default.
    #[default]
    Always,
    /// Restart after a failure.
    OnFailure,
    /// No restart by the Pod's policy; single containers may have rules of their own (KEP-5307).
    Never,
}

/// The workload that a Pod belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Kind of the workload: `Deployment`, `StatefulSet`, `CronJob`, …; `Pod` for a Pod without an
    /// owner.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
}

/// The deletion of a Pod, as its metadata describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Field `metadata.deletionTimestamp`: the deadline, not the time of the request.
    pub deadline_unix_s: i64,
    /// Field `metadata.deletionGracePeriodSeconds`.
    pub grace_s: Option<u64>,
}

impl Deletion {
    /// Time of the request in Unix time, in whole seconds: the deadline minus the grace period.
    #[must_use]
    pub fn request_unix_s(self) -> i64 {
        let grace_s = i64::try_from(self.grace_s.unwrap_or(0)).unwrap_or(i64::MAX);
        self.deadline_unix_s.saturating_sub(grace_s)
    }
}

/// Times of a Pod's start; of a condition that can change, its last transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Field `metadata.creationTimestamp`.
    pub created_unix_s: Option<i64>,
    /// Transition of the condition `PodScheduled`.
    pub scheduled_unix_s: Option<i64>,
    /// Transition of the condition `PodReadyToStartContainers`: the sandbox and its network are set
    /// up.
    pub sandbox_unix_s: Option<i64>,
    /// Transition of the condition `Initialized`.
    pub initialized_unix_s: Option<i64>,
    /// Transition of the condition `Ready`.
    pub ready_unix_s: Option<i64>,
}

/// A container of a Pod: its spec, with its status if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Name of the container.
    pub name: String,
    /// Role of the container in the Pod.
    pub role: Role,
    /// Image reference, as in the spec.
    pub image: String,
    /// Container id of the newest instance, without the runtime's prefix.
    pub id: Option<String>,
    /// Container id of the previous instance.
    pub last_id: Option<String>,
    /// Field `restartCount`; `None` without a status.
    pub restarts: Option<u64>,
    /// Field `started`: the startup probe has succeeded, or there is none and the container runs.
    pub started: Option<bool>,
    /// Field `ready` of the status; false without a status.
    pub ready: bool,
    /// State of the newest instance.
    pub state: State,
    /// Termination of the previous instance.
    pub last: Option<Terminated>,
    /// Requested resources: those in effect where the status reports them, else those of the spec.
    pub requests: Resources,
    /// Resource limits, from the same source.
    pub limits: Resources,
    /// Resources of the spec whose change restarts the container (`resizePolicy`).
    pub restarting: Restarting,
    /// The preStop hook, if there is one.
    pub pre_stop: Option<PreStop>,
    /// The startup probe, if there is one.
    pub startup: Option<Box<Probe>>,
    /// The liveness probe, if there is one.
    pub liveness: Option<Box<Probe>>,
    /// The readiness probe, if there is one.
    pub readiness: Option<Box<Probe>>,
    /// Name of the stop signal, where the API has one: as the runtime reports it, else as in the
    /// spec.
    pub stop_signal: Option<String>,
    /// What the kubelet asks for in the probes and the preStop hook; `None` where it asks nobody.
    pub targets: Option<Box<Targets>>,
}

impl Container {
    /// Container ids in the status: the newest instance, then the previous one.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.id.iter().chain(&self.last_id).map(String::as_str)
    }

    /// Whether the kubelet restarts a container whose spec changes from this to `next`.
    #[must_use]
    pub fn is_redefined_by(&self, next: &Self) -> bool {
        self.image != next.image || self.restarting != next.restarting
    }

    /// Memory that the container takes, about, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let ids: usize = self.ids().map(str::len).sum();
        let targets = self.targets.as_ref().map_or(0, |targets| targets.size_bytes());
        let probes = [&self.startup, &self.liveness, &self.readiness].into_iter().flatten();
        let more = ids + targets + probes.count() * size_of::<Probe>();
        size_of::<Self>() + self.name.len() + self.image.len() + more
    }

    /// The termination of the instance with this id, if the API reports it.
    #[must_use]
    pub fn terminated(&self, id: &str) -> Option<&Terminated> {
        let now = match &self.state {
            State::Terminated(end) if self.id.as_deref() == Some(id) => Some(end),
            _ => None,
        };
        now.or_else(|| self.last.as_ref().filter(|_| self.last_id.as_deref() == Some(id)))
    }
}

/// An announced disruption: reason and message of the condition `DisruptionTarget`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Reason of the condition, in one word.
    pub reason: String,
    /// Message of the condition. The kubelet uses one reason for all that it does, so only the
    /// message differs.
    pub message: String,
}

/// Role of a container in its Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A container of `spec.containers`.
    #[default]
    App,
    /// A container of `spec.initContainers`: it has to end before the next one starts.
    Init,
    /// A container of `spec.initContainers` with `restartPolicy: Always`.
    Sidecar,
    /// A container of `spec.ephemeralContainers`.
    Ephemeral,
}

impl Role {
    /// Value of the label `role`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// State of a container instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No state is reported.
    #[default]
    Unknown,
    /// The container does not run yet, or waits to be restarted.
    Waiting {
        /// Reason for the wait, such as `CrashLoopBackOff`.
        reason: String,
    },
    /// The container runs.
    Running {
        /// Start of the container, in Unix time.
        started_unix_s: Option<i64>,
    },
    /// The container has ended.
    Terminated(Terminated),
}

/// Termination of a container instance, as the runtime reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terminated {
    /// Exit code; 128 + n for signal n.
    pub exit_code: Option<i64>,
    /// Reason: `OOMKilled`, `Error`, `Completed`, …
    pub reason: String,
    /// Start of the instance, in Unix time.
    pub started_unix_s: Option<i64>,
    /// End of the instance, in Unix time.
    pub finished_unix_s: Option<i64>,
}

/// Amounts of CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU, in thousandths.
    pub cpu_millis: Option<u64>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Resources of a container's spec whose change restarts it; empty without such a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restarting {
    /// Requested resources.
    pub requests: Resources,
    /// Resource limits.
    pub limits: Resources,
}

/// A preStop hook, by its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreStop {
    /// A command that runs in the container.
    Exec,
    /// An HTTP request that the kubelet sends.
    Http,
    /// A pause that the kubelet makes.
    Sleep {
        /// Length of the pause.
        seconds: u64,
    },
}

impl PreStop {
    /// Value of the label `handler`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Http => "http",
            Self::Sleep { .. } => "sleep",
        }
    }
}

/// Handler of a probe: how the kubelet asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Handler {
    /// A handler that this version of the agent does not know.
    #[default]
    Unknown,
    /// A GET over HTTP (`httpGet`).
    Http,
    /// A GET over HTTPS (`httpGet` with `scheme: HTTPS`).
    Https,
    /// A connection (`tcpSocket`).
    Tcp,
    /// A command in the container (`exec`).
    Exec,
    /// A call of the gRPC health service (`grpc`).
    Grpc,
}

impl Handler {
    /// Value of the label `handler`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Exec => "exec",
            Self::Grpc => "grpc",
        }
    }
}

/// A probe of a container: how often the kubelet asks, and what follows from the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// How the kubelet asks.
    pub handler: Handler,
    /// Field `initialDelaySeconds`.
    pub initial_delay_s: u64,
    /// Field `periodSeconds`; the API server's default is 10.
    pub period_s: u64,
    /// Field `timeoutSeconds`; the API server's default is 1.
    pub timeout_s: u64,
    /// Field `successThreshold`: successes in a row that end a series of failures; 1 by default.
    pub success_threshold: u64,
    /// Field `failureThreshold`: failures in a row that count; 3 by default.
    pub failure_threshold: u64,
    /// The probe's own `terminationGracePeriodSeconds`.
    pub grace_s: Option<u64>,
    /// Least time from the container's start until the probe can have failed as often as it has to:
    /// `initialDelaySeconds` and a period between each two failures.
    pub earliest_s: u64,
}
