//! The labels that a container is shown under.

use super::log_names::LogName;
use super::pod;
use crate::cgroup::path::{self, ContainerName, PodName};

/// Digits of a container id that stand for its name, as `crictl ps` shows it.
const SHORT_ID: usize = 12;

/// Who a container is. Every string is as the source gave it: escaping is the encoder's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Kubernetes namespace; empty when not known, `host` in host mode.
    pub namespace: String,
    /// Pod name, else the Pod's UID, in host mode the cgroup's path below the root.
    pub pod: String,
    /// Container name, else the first 12 digits of its id.
    pub container: String,
    /// The Pod's UID in the API; without an API source as its cgroup has it, with dashes where it
    /// had some; empty in host mode.
    pub pod_uid: String,
    /// The whole container id; empty in host mode unless the name holds one.
    pub container_id: String,
    /// Image reference; empty when not known.
    pub image: String,
    /// `app`, `init`, `sidecar`, `ephemeral`; `unknown` without an API source.
    pub role: &'static str,
    /// `guaranteed`, `burstable`, `besteffort`; empty in host mode.
    pub qos: &'static str,
    /// `containerd`, `cri-o`, `docker`; `unknown` when the path does not tell.
    pub runtime: &'static str,
    /// Kind of the workload; `Pod` without an API source, `Unit` in host mode.
    pub workload_kind: String,
    /// Name of the workload.
    pub workload: String,
}

impl Identity {
    /// A container that the API, or the kubelet, knows.
    #[must_use]
    pub fn from_pod(
        known: &pod::Pod,
        container: &pod::Container,
        pod: &PodName,
        name: &ContainerName,
    ) -> Self {
        Self {
            namespace: known.namespace.clone(),
            pod: known.name.clone(),
            container: container.name.clone(),
            pod_uid: known.uid.clone(),
            container_id: name.id.clone(),
            image: container.image.clone(),
            role: container.role.label(),
            qos: known.qos.unwrap_or(pod.qos).label(),
            runtime: name.runtime.label(),
            workload_kind: known.workload.kind.clone(),
            workload: known.workload.name.clone(),
        }
    }

    /// A container whose names come from the kubelet's log link. The Pod is its own workload:
    /// owners are known to the API only.
    #[must_use]
    pub fn from_log_name(name: &LogName, pod: &PodName, container: &ContainerName) -> Self {
        Self {
            namespace: name.namespace.clone(),
            container: name.container.clone(),
            ..Self::of_pod(&name.pod, pod, container)
        }
    }

    /// A container that no source has a name for: its Pod's UID and the beginning of its id, in
    /// no namespace.
    #[must_use]
    pub fn fallback(pod: &PodName, container: &ContainerName) -> Self {
        Self::of_pod(&pod.uid, pod, container)
    }

    fn of_pod(pod_name: &str, pod: &PodName, container: &ContainerName) -> Self {
        Self {
            namespace: String::new(),
            pod: pod_name.to_owned(),
            container: container.id.chars().take(SHORT_ID).collect(),
            pod_uid: pod.uid.clone(),
            container_id: container.id.clone(),
            image: String::new(),
            role: "unknown",
            qos: pod.qos.label(),
            runtime: container.runtime.label(),
            workload_kind: "Pod".to_owned(),
            workload: pod_name.to_owned(),
        }
    }

    /// A unit of a plain machine. `path_below_root` is its cgroup's path below the root of the
    /// hierarchy (`system.slice/ssh.service`), `name` the last part of it; where they are not
    /// UTF-8, the lossy conversion.
    #[must_use]
    pub fn host_unit(path_below_root: &str, name: &str) -> Self {
        let container = path::container(name.as_bytes());
        Self {
            namespace: "host".to_owned(),
            pod: path_below_root.to_owned(),
            container: name.to_owned(),
            pod_uid: String::new(),
            image: String::new(),
            role: "unknown",
            qos: "",
            runtime: container.as_ref().map_or("unknown", |name| name.runtime.label()),
            container_id: container.map(|name| name.id).unwrap_or_default(),
            workload_kind: "Unit".to_owned(),
            workload: path_below_root.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::path::{Qos, Runtime};

    const ID: &str = "3a31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";
    const UID: &str = "b15d8c96-12da-479d-8b9f-b569fbda4d2d";

    fn cgroup() -> (PodName, ContainerName) {
        (
            PodName { uid: UID.to_owned(), qos: Qos::Burstable },
            ContainerName { id: ID.to_owned(), runtime: Runtime::CriO },
        )
    }

    #[test]
    fn without_a_name() {
        let (pod, container) = cgroup();
        let identity = Identity::fallback(&pod, &container);
        let want = Identity {
            namespace: String::new(),
            pod: UID.to_owned(),
            container: "3a31a360e5ae".to_owned(),
            pod_uid: UID.to_owned(),
            container_id: ID.to_owned(),
            image: String::new(),
            role: "unknown",
            qos: "burstable",
            runtime: "cri-o",
            workload_kind: "Pod".to_owned(),
            workload: UID.to_owned(),
        };
        assert_eq!(identity, want);
    }

    #[test]
    fn with_a_log_name() {
        let (pod, container) = cgroup();
        let [namespace, name, app] = ["shop", "web-0", "app"].map(str::to_owned);
        let log_name = LogName { namespace, pod: name, container: app };
        let identity = Identity::from_log_name(&log_name, &pod, &container);
        let want = Identity {
            namespace: "shop".to_owned(),
            pod: "web-0".to_owned(),
            container: "app".to_owned(),
            workload: "web-0".to_owned(),
            ..Identity::fallback(&pod, &container)
        };
        assert_eq!(identity, want);
    }

    #[test]
    fn on_a_host() {
        let unit = Identity::host_unit("system.slice/ssh.service", "ssh.service");
        assert_eq!((unit.namespace.as_str(), unit.container.as_str()), ("host", "ssh.service"));
        assert_eq!(unit.pod, "system.slice/ssh.service");
        assert_eq!((unit.workload_kind.as_str(), &unit.workload), ("Unit", &unit.pod));
        assert_eq!((unit.container_id.as_str(), unit.runtime, unit.qos), ("", "unknown", ""));

        let name = format!("docker-{ID}.scope");
        let unit = Identity::host_unit(&format!("system.slice/{name}"), &name);
        assert_eq!((unit.container_id.as_str(), unit.runtime), (ID, "docker"));
        assert_eq!(unit.container, name);
    }
}
