//! Identities: the labels under which a container is shown.

use super::log_names::LogName;
use super::pod;
use crate::cgroup::path::{self, ContainerName, PodName};

/// Digits of a container id that stand for its name, as `crictl ps` shows it.
const SHORT_ID: usize = 12;

/// Identity of a container: the values of its labels. Every string is as the source gave it:
/// escaping is the encoder's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Kubernetes namespace; empty when not known, `host` in host mode.
    pub namespace: String,
    /// Pod name, else the Pod's UID, in host mode the cgroup's path below the root.
    pub pod: String,
    /// Container name, else the first 12 digits of its id.
    pub container: String,
    /// UID of the Pod in the API; without a Pod source as in the cgroup's name, with its
    /// underscores turned back into dashes; empty in host mode.
    pub pod_uid: String,
    /// Full container id; empty in host mode unless the cgroup's name holds one.
    pub container_id: String,
    /// Image reference; empty when not known.
    pub image: String,
    /// Role: `app`, `init`, `sidecar`, `ephemeral`; `unknown` without a Pod source.
    pub role: &'static str,
    /// QoS class: `guaranteed`, `burstable`, `besteffort`; empty in host mode.
    pub qos: &'static str,
    /// Container runtime: `containerd`, `cri-o`, `docker`; `unknown` when the path does not show
    /// it.
    pub runtime: &'static str,
    /// Kind of the workload; `Pod` without a Pod source, `Unit` in host mode.
    pub workload_kind: String,
    /// Name of the workload.
    pub workload: String,
}

impl Identity {
    /// Identity of a container that the API, or the kubelet, knows.
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

    /// Identity of a container that the API knows, and that has no cgroup.
    #[must_use]
    pub fn planned(known: &pod::Pod, container: &pod::Container) -> Self {
        Self {
            namespace: known.namespace.clone(),
            pod: known.name.clone(),
            container: container.name.clone(),
            pod_uid: known.uid.clone(),
            container_id: container.id.clone().unwrap_or_default(),
            image: container.image.clone(),
            role: container.role.label(),
            qos: known.qos.map_or("", path::Qos::label),
            runtime: "unknown",
            workload_kind: known.workload.kind.clone(),
            workload: known.workload.name.clone(),
        }
    }

    /// Identity of a container whose names come from the kubelet's log link. The Pod is its own
    /// workload: only the API knows owners.
    #[must_use]
    pub fn from_log_name(name: &LogName, pod: &PodName, container: &ContainerName) -> Self {
        Self {
            namespace: name.namespace.clone(),
            container: name.container.clone(),
            ..Self::of_pod(&name.pod, pod, container)
        }
    }

    /// Identity of a container that no source has a name for: the Pod's UID and the first digits of
    /// the container id, without a namespace.
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

    /// Identity of a unit in host mode. `path_below_root` is its cgroup's path below the root of
    /// the hierarchy (`system.slice/ssh.service`), `name` the last component; both as
    /// [`crate::escape::name`] writes them.
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
    fn fallback_identity_has_the_ids() {
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
    fn log_name_gives_namespace_pod_and_container() {
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
    fn host_unit_has_its_path() {
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
