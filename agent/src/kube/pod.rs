//! A Pod as the agent keeps it: what the API says that the kernel does not know.
//!
//! Plain data, made by [`super::convert`]. Times are the API's: whole seconds of other clocks, in
//! Unix time.

use crate::cgroup::path::Qos;

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// UID. A static Pod's mirror in the API has another one than its cgroup.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Annotation `kubernetes.io/config.hash`: what a static Pod's cgroup is called after.
    pub config_hash: Option<String>,
    /// `status.phase`.
    pub phase: Phase,
    /// `status.reason`; empty if there is none. `Evicted` is one.
    pub reason: String,
    /// `status.qosClass`.
    pub qos: Option<Qos>,
    /// What the Pod belongs to.
    pub workload: Workload,
    /// It was asked to go.
    pub deletion: Option<Deletion>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace_s: Option<u64>,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// The condition `DisruptionTarget`, if it is true.
    pub disruption: Option<Announcement>,
    /// When it got how far.
    pub times: Times,
    /// Its containers: init (sidecars among them), then app, then ephemeral, each in the order of
    /// the spec, which is the order of their start.
    pub containers: Vec<Container>,
}

impl Pod {
    /// It is the API's picture of a static Pod: what is done to it is not done to the Pod.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.config_hash.as_ref().is_some_and(|hash| *hash != self.uid)
    }

    /// Every container has an id: one that is in none of their statuses is the sandbox, if the
    /// news is newer than it.
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

    /// It has succeeded or failed: nothing of it starts again.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have been started.
    Pending,
    /// Bound, and all were started.
    Running,
    /// All ended with success, and none will start again.
    Succeeded,
    /// All ended, and at least one of them with a failure.
    Failed,
    /// None of these, or nothing.
    #[default]
    Unknown,
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Also after success; what the API server puts where nothing is said.
    #[default]
    Always,
    /// After a failure.
    OnFailure,
    /// Not by this; single containers may have rules of their own (KEP-5307).
    Never,
}

/// What a Pod belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `CronJob`, …; `Pod` if it belongs to nothing.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A Pod that was asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: the deadline, not the request.
    pub deadline_unix_s: i64,
    /// `metadata.deletionGracePeriodSeconds`.
    pub grace_s: Option<u64>,
}

impl Deletion {
    /// When it was asked for, in whole seconds.
    #[must_use]
    pub fn request_unix_s(self) -> i64 {
        let grace_s = i64::try_from(self.grace_s.unwrap_or(0)).unwrap_or(i64::MAX);
        self.deadline_unix_s.saturating_sub(grace_s)
    }
}

/// When a Pod got how far; the last time, where a condition can turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// `metadata.creationTimestamp`.
    pub created_unix_s: Option<i64>,
    /// Condition `PodScheduled`.
    pub scheduled_unix_s: Option<i64>,
    /// Condition `PodReadyToStartContainers`: the sandbox and its network are there.
    pub sandbox_unix_s: Option<i64>,
    /// Condition `Initialized`.
    pub initialized_unix_s: Option<i64>,
    /// Condition `Ready`.
    pub ready_unix_s: Option<i64>,
}

/// A container of a Pod: its spec, with its status if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Which list it is from.
    pub role: Role,
    /// Image reference, as in the spec.
    pub image: String,
    /// Id of the newest instance, without the runtime's name before it.
    pub id: Option<String>,
    /// Id of the instance before.
    pub last_id: Option<String>,
    /// `restartCount`; `None` without a status.
    pub restarts: Option<u64>,
    /// It has passed its startup probe, or has none and runs.
    pub started: Option<bool>,
    /// It is ready.
    pub ready: bool,
    /// The newest instance.
    pub state: State,
    /// The end of the instance before.
    pub last: Option<Terminated>,
    /// What it is promised, as acted upon, else as asked for.
    pub requests: Resources,
    /// What it must not exceed, likewise.
    pub limits: Resources,
    /// Its preStop hook.
    pub pre_stop: Option<PreStop>,
    /// Its startup probe.
    pub startup: Option<Probe>,
    /// Its liveness probe.
    pub liveness: Option<Probe>,
    /// Its readiness probe.
    pub readiness: Option<Probe>,
    /// The name of its stop signal, where the API tells one: as the runtime reports it, else as
    /// the spec asks for it.
    pub stop_signal: Option<String>,
}

impl Container {
    /// The ids that this news tells of.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.id.iter().chain(&self.last_id).map(String::as_str)
    }

    /// How the instance of this id ended, if the API says so.
    #[must_use]
    pub fn terminated(&self, id: &str) -> Option<&Terminated> {
        let now = match &self.state {
            State::Terminated(end) if self.id.as_deref() == Some(id) => Some(end),
            _ => None,
        };
        now.or_else(|| self.last.as_ref().filter(|_| self.last_id.as_deref() == Some(id)))
    }
}

/// Why somebody says that the Pod has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// In one word.
    pub reason: String,
    /// In a sentence: the kubelet has one reason for all that it does.
    pub message: String,
}

/// What kind of container it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// From `spec.containers`.
    #[default]
    App,
    /// From `spec.initContainers`: it has to end before the next begins.
    Init,
    /// From `spec.initContainers` with `restartPolicy: Always`.
    Sidecar,
    /// From `spec.ephemeralContainers`.
    Ephemeral,
}

impl Role {
    /// The label's value.
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

/// What a container does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing is said.
    #[default]
    Unknown,
    /// It does not run yet, or not again yet.
    Waiting {
        /// `CrashLoopBackOff` and its like.
        reason: String,
    },
    /// It runs.
    Running {
        /// Since when.
        started_unix_s: Option<i64>,
    },
    /// It has ended.
    Terminated(Terminated),
}

/// How an instance ended, as the runtime reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terminated {
    /// Exit code; 128 + n for signal n.
    pub exit_code: Option<i64>,
    /// `OOMKilled`, `Error`, `Completed`, …
    pub reason: String,
    /// Start.
    pub started_unix_s: Option<i64>,
    /// End.
    pub finished_unix_s: Option<i64>,
}

/// Amounts of what a container can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Memory.
    pub memory_bytes: Option<u64>,
}

/// A preStop hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreStop {
    /// A command in the container.
    Exec,
    /// A request by the kubelet.
    Http,
    /// The kubelet waits.
    Sleep {
        /// That long.
        seconds: u64,
    },
}

impl PreStop {
    /// The label's value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Http => "http",
            Self::Sleep { .. } => "sleep",
        }
    }
}

/// A probe, as far as it matters for an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Its own `terminationGracePeriodSeconds`.
    pub grace_s: Option<u64>,
}
