//! The labels that a container is shown under.

/// Who a container is. Every string is as the source gave it: escaping is the encoder's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Kubernetes namespace; empty when not known, `host` in host mode.
    pub namespace: String,
    /// Pod name, else the Pod's UID, in host mode the cgroup's path below the root.
    pub pod: String,
    /// Container name, else the first 12 digits of its id.
    pub container: String,
    /// The Pod's UID, with dashes where it had some; empty in host mode.
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
