//! Pods as JSON: the fields that the agent reads, and no others.
//!
//! The API's whole Pod is about a hundred types, most of which describe volumes. Parsing into all
//! of them would make the program larger by a fifth and each watch event several times as
//! expensive.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;

/// List of Pods (`v1.PodList`).
#[derive(Clone, Debug, Deserialize)]
pub struct PodList {
    /// Pods of the list.
    #[serde(default)]
    pub items: Vec<Pod>,
}

/// A Pod (`v1.Pod`), as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Read")]
pub struct Pod {
    /// Metadata, as far as it is read.
    pub metadata: ObjectMeta,
    /// Specification of the Pod.
    pub spec: Spec,
    /// Status of the Pod.
    pub status: Status,
}

#[derive(Deserialize)]
struct Read {
    metadata: Option<Meta>,
    spec: Option<Spec>,
    status: Option<Status>,
}

impl From<Read> for Pod {
    fn from(read: Read) -> Self {
        let meta = read.metadata.unwrap_or_default();
        Self {
            metadata: ObjectMeta {
                annotations: meta.annotations,
                creation_timestamp: meta.creation_timestamp,
                deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
                deletion_timestamp: meta.deletion_timestamp,
                labels: meta.labels,
                name: meta.name,
                namespace: meta.namespace,
                owner_references: meta.owner_references,
                resource_version: meta.resource_version,
                uid: meta.uid,
                ..ObjectMeta::default()
            },
            spec: read.spec.unwrap_or_default(),
            status: read.status.unwrap_or_default(),
        }
    }
}

/// Metadata without `managedFields`, which are as long as all the rest.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Specification of a Pod (`spec`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Spec {
    pub containers: Option<Vec<Container>>,
    pub ephemeral_containers: Option<Vec<Container>>,
    pub init_containers: Option<Vec<Container>>,
    pub restart_policy: Option<String>,
    pub termination_grace_period_seconds: Option<i64>,
}

/// Container of a Pod (an item of `spec.containers` and its siblings).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Container {
    pub name: Option<String>,
    pub image: Option<String>,
    pub lifecycle: Option<Lifecycle>,
    pub liveness_probe: Option<Probe>,
    pub readiness_probe: Option<Probe>,
    pub resources: Option<Resources>,
    pub restart_policy: Option<String>,
    pub startup_probe: Option<Probe>,
}

/// Lifecycle of a container (`lifecycle`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Lifecycle {
    pub pre_stop: Option<Handler>,
    pub stop_signal: Option<String>,
}

/// Handler of a preStop hook (`lifecycle.preStop`), by the field that is present.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Handler {
    pub exec: Option<There>,
    pub http_get: Option<There>,
    pub sleep: Option<Sleep>,
}

/// An object whose presence alone matters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct There {}

/// Sleep of a preStop hook (`lifecycle.preStop.sleep`).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Sleep {
    pub seconds: Option<i64>,
}

/// Probe of a container (`livenessProbe` and its siblings), as far as it is read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Probe {
    pub termination_grace_period_seconds: Option<i64>,
}

/// Resources of a container (`resources`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Resources {
    pub limits: Option<BTreeMap<String, String>>,
    pub requests: Option<BTreeMap<String, String>>,
}

/// Status of a Pod (`status`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Status {
    pub conditions: Option<Vec<Condition>>,
    pub container_statuses: Option<Vec<ContainerStatus>>,
    pub ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    pub phase: Option<String>,
    pub qos_class: Option<String>,
    pub reason: Option<String>,
}

/// Condition of a Pod (an item of `status.conditions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Condition {
    pub last_transition_time: Option<Time>,
    pub message: Option<String>,
    pub reason: Option<String>,
    pub status: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Status of a container (an item of `status.containerStatuses` and its siblings).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct ContainerStatus {
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    pub last_state: Option<State>,
    pub name: Option<String>,
    pub ready: Option<bool>,
    pub resources: Option<Resources>,
    pub restart_count: Option<i64>,
    pub started: Option<bool>,
    pub state: Option<State>,
    pub stop_signal: Option<String>,
}

/// State of a container (`state`, `lastState`), by the field that is present.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct State {
    pub running: Option<Running>,
    pub terminated: Option<Terminated>,
    pub waiting: Option<Waiting>,
}

/// Running state (`state.running`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Running {
    pub started_at: Option<Time>,
}

/// Waiting state (`state.waiting`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Waiting {
    pub reason: Option<String>,
}

/// Terminated state (`state.terminated`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Terminated {
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    pub exit_code: Option<i64>,
    pub finished_at: Option<Time>,
    pub reason: Option<String>,
    pub started_at: Option<Time>,
}
