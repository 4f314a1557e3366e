//! Pods as JSON: the fields that the agent reads, and no others.
//!
//! The API's whole Pod is about a hundred types, most of which describe volumes. Parsing into all
//! of them would make the program larger by a fifth and each watch event several times as
//! expensive. What is not read is skipped where it stands: `managedFields` and annotations, which
//! are as long as all the rest, take no room.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use jiff::Timestamp;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Limit of the items that are kept of any array in a Pod. etcd's limit of 1.5 MiB on an object
/// allows thousands.
const ITEMS_MAX: usize = 256;

/// A Pod (`v1.Pod`), as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata of the Pod.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// Specification of the Pod.
    #[serde(deserialize_with = "or_default")]
    pub spec: Spec,
    /// Status of the Pod.
    #[serde(deserialize_with = "or_default")]
    pub status: Status,
}

/// The value, or the default for `null`.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Metadata of a Pod (`metadata`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Metadata {
    pub annotations: Option<Annotations>,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub deletion_timestamp: Option<Timestamp>,
    pub labels: Option<Labels>,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub owner_references: Option<Array<OwnerReference>>,
    pub resource_version: Option<String>,
    pub uid: Option<String>,
}

/// Annotations of a Pod (`metadata.annotations`), as far as they are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Annotations {
    #[serde(rename = "kubernetes.io/config.hash")]
    pub config_hash: Option<String>,
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub config_mirror: Option<String>,
    #[serde(rename = "openshift.io/deployment-config.name")]
    pub deployment_config: Option<String>,
}

/// Labels of a Pod (`metadata.labels`), as far as they are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Labels {
    pub pod_template_hash: Option<String>,
    pub rollouts_pod_template_hash: Option<String>,
}

/// Owner of a Pod (an item of `metadata.ownerReferences`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct OwnerReference {
    pub controller: Option<bool>,
    pub kind: String,
    pub name: String,
}

/// An array, up to a limit; what is beyond is counted.
#[derive(Clone, Debug)]
pub struct Array<T> {
    items: Vec<T>,
    /// Number of items beyond the limit.
    pub more: usize,
}

impl<T> Default for Array<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more: 0 }
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<'a, T> IntoIterator for &'a Array<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Array<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Array<T>, A::Error> {
        let mut array = Array::default();
        while array.items.len() < ITEMS_MAX {
            let Some(item) = from.next_element()? else { return Ok(array) };
            array.items.push(item);
        }
        while from.next_element::<IgnoredAny>()?.is_some() {
            array.more += 1;
        }
        Ok(array)
    }
}

/// Specification of a Pod (`spec`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Spec {
    pub containers: Option<Array<Container>>,
    pub ephemeral_containers: Option<Array<Container>>,
    pub host_network: Option<bool>,
    pub init_containers: Option<Array<Container>>,
    pub node_name: Option<String>,
    pub restart_policy: Option<String>,
    pub termination_grace_period_seconds: Option<i64>,
}

/// Container of a Pod (an item of `spec.containers` and its siblings).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Container {
    pub env: Option<Array<EnvVar>>,
    pub name: Option<String>,
    pub image: Option<String>,
    pub lifecycle: Option<Lifecycle>,
    pub liveness_probe: Option<Probe>,
    pub ports: Option<Array<ContainerPort>>,
    pub readiness_probe: Option<Probe>,
    pub resize_policy: Option<Array<ResizePolicy>>,
    pub resources: Option<Resources>,
    pub restart_policy: Option<String>,
    pub startup_probe: Option<Probe>,
}

/// Environment variable of a container (an item of `env`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct EnvVar {
    pub name: Option<String>,
    pub value: Option<String>,
}

/// Port of a container (an item of `ports`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct ContainerPort {
    pub container_port: Option<i64>,
    pub name: Option<String>,
}

/// Policy for a change of resources (an item of `resizePolicy`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct ResizePolicy {
    pub resource_name: Option<String>,
    pub restart_policy: Option<String>,
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
    pub exec: Option<ExecAction>,
    pub http_get: Option<HttpGet>,
    pub sleep: Option<Sleep>,
}

/// Command of a probe or a hook (`exec`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct ExecAction {
    pub command: Option<Array<String>>,
}

/// Sleep of a preStop hook (`lifecycle.preStop.sleep`).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Sleep {
    pub seconds: Option<i64>,
}

/// Probe of a container (`livenessProbe` and its siblings), as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Probe {
    pub exec: Option<ExecAction>,
    pub failure_threshold: Option<i64>,
    pub grpc: Option<Grpc>,
    pub http_get: Option<HttpGet>,
    pub initial_delay_seconds: Option<i64>,
    pub period_seconds: Option<i64>,
    pub success_threshold: Option<i64>,
    pub tcp_socket: Option<TcpSocket>,
    pub termination_grace_period_seconds: Option<i64>,
    pub timeout_seconds: Option<i64>,
}

/// Request of a probe or a hook over HTTP (`httpGet`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct HttpGet {
    pub host: Option<String>,
    pub http_headers: Option<Array<HttpHeader>>,
    pub path: Option<String>,
    pub port: Option<IntOrString>,
    pub protocol: Option<String>,
    pub scheme: Option<String>,
}

/// Header of a request (an item of `httpHeaders`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct HttpHeader {
    pub name: Option<String>,
    pub value: Option<String>,
}

/// Connection of a probe (`tcpSocket`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct TcpSocket {
    pub host: Option<String>,
    pub port: Option<IntOrString>,
}

/// Call of a probe (`grpc`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Grpc {
    pub port: Option<i64>,
    pub service: Option<String>,
}

/// Port by its number or by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// The number.
    Int(i64),
    /// The name.
    String(String),
    /// Anything else, which names no port.
    Other(IgnoredAny),
}

/// Resources of a container (`resources`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Resources {
    pub limits: Option<Amounts>,
    pub requests: Option<Amounts>,
}

/// Amounts of resources (`limits`, `requests`), as far as they are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Amounts {
    pub cpu: Option<String>,
    pub memory: Option<String>,
}

/// Status of a Pod (`status`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Status {
    pub conditions: Option<Array<Condition>>,
    pub container_statuses: Option<Array<ContainerStatus>>,
    pub ephemeral_container_statuses: Option<Array<ContainerStatus>>,
    pub init_container_statuses: Option<Array<ContainerStatus>>,
    pub phase: Option<String>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Array<PodIp>>,
    pub qos_class: Option<String>,
    pub reason: Option<String>,
}

/// Address of a Pod (an item of `status.podIPs`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct PodIp {
    pub ip: Option<String>,
}

/// Condition of a Pod (an item of `status.conditions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as in the API")]
pub struct Condition {
    pub last_transition_time: Option<Timestamp>,
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
    pub started_at: Option<Timestamp>,
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
    pub finished_at: Option<Timestamp>,
    pub reason: Option<String>,
    pub started_at: Option<Timestamp>,
}
