//! What the name of a cgroup's directory says: a Pod, a container, or neither.
//!
//! Names come from two writers. The kubelet makes the Pod's directory
//! (`pkg/kubelet/cm/pod_container_manager_linux.go`, `cgroup_manager_linux.go`): with the systemd
//! driver the names of all parents are in it and `-` in the UID becomes `_`; with the cgroupfs
//! driver it is `pod<uid>`, and the class of service is only in the parent's name. The runtime
//! makes the container's directory below it.
//!
//! One form is not read: `kubepods-….slice:cri-containerd:<id>`, a single directory outside of
//! kubepods, which containerd makes when its driver is not the kubelet's. Kubernetes calls that
//! set-up broken, since no limit of the Pod holds there.

/// A Pod's class of service, as its place in the hierarchy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Directly below kubepods.
    Guaranteed,
    /// Below `burstable`.
    Burstable,
    /// Below `besteffort`.
    BestEffort,
}

impl Qos {
    /// The label's value: `guaranteed`, `burstable`, `besteffort`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Guaranteed => "guaranteed",
            Self::Burstable => "burstable",
            Self::BestEffort => "besteffort",
        }
    }
}

/// The runtime that made a container's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// `cri-containerd-<id>.scope`, `nerdctl-<id>.scope`.
    Containerd,
    /// `crio-<id>.scope`, `crio-<id>`.
    CriO,
    /// `docker-<id>.scope`.
    Docker,
    /// `libpod-<id>.scope`, `libpod-<id>`.
    Podman,
    /// A bare id: containerd's and Docker's name with the cgroupfs driver.
    Unknown,
}

impl Runtime {
    /// The label's value: `containerd`, `cri-o`, `docker`, `podman`, `unknown`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Unknown => "unknown",
        }
    }
}

/// A Pod, as its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodName {
    /// The UID with its dashes; the config hash (32 hexadecimal digits) of most static Pods.
    pub uid: String,
    /// Class of service.
    pub qos: Qos,
}

/// The origin of a container: what its cgroup's path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Pod's container.
    Pod(PodName, ContainerName),
    /// A unit of a plain machine: the path below the root, and the directory's name.
    Unit(String, String),
}

impl Origin {
    /// The names of a Pod's container.
    #[must_use]
    pub const fn pod(&self) -> Option<(&PodName, &ContainerName)> {
        match self {
            Self::Pod(pod, container) => Some((pod, container)),
            Self::Unit(..) => None,
        }
    }
}

/// A container, as its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerName {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Who made it.
    pub runtime: Runtime,
}

/// What one directory name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    /// The root of all Pods' cgroups.
    Kubepods,
    /// A Pod.
    Pod(PodName),
    /// A container, or a sandbox: the name does not tell them apart.
    Container(ContainerName),
    /// The runtime's own monitor process beside the container: never shown.
    Monitor,
    /// Anything else.
    Other,
}

/// Says what the directory `name` in the directory `parent` is. Any bytes may be given; `parent`
/// is a name too, not a path, and matters for the cgroupfs driver only.
#[must_use]
pub fn component(name: &[u8], parent: &[u8]) -> Component {
    if is_kubepods(name) {
        return Component::Kubepods;
    }
    if let Some(pod) = pod(name, parent) {
        return Component::Pod(pod);
    }
    if let Some(container) = container(name) {
        return Component::Container(container);
    }
    if is_monitor(name) { Component::Monitor } else { Component::Other }
}

/// Whether a directory of this name is the root of the Pods' cgroups: `kubepods` (cgroupfs),
/// `kubepods.slice` (systemd), `<cgroup root>-kubepods.slice` (systemd with `--cgroup-root`, as
/// in kind).
#[must_use]
pub fn is_kubepods(name: &[u8]) -> bool {
    matches!(name, b"kubepods" | b"kubepods.slice") || name.ends_with(b"-kubepods.slice")
}

/// The Pod that the directory `name` in the directory `parent` belongs to.
///
/// The UID need not be a UUID: that of a static Pod is a hash, or whatever its manifest says.
#[must_use]
pub fn pod(name: &[u8], parent: &[u8]) -> Option<PodName> {
    pod_systemd(name).or_else(|| pod_cgroupfs(name, parent))
}

fn pod_systemd(name: &[u8]) -> Option<PodName> {
    const ROOT: &[u8] = b"kubepods-";
    let stem = name.strip_suffix(b".slice")?;
    // The last one: the kubelet's own cgroup root may be called anything, a UID holds no dash here.
    let at = stem.windows(ROOT.len()).rposition(|window| window == ROOT)?;
    let (above, rest) = stem.split_at(at);
    if !(above.is_empty() || above.ends_with(b"-")) {
        return None;
    }
    let rest = rest.strip_prefix(ROOT)?;
    let (qos, rest) = if let Some(rest) = rest.strip_prefix(b"burstable-") {
        (Qos::Burstable, rest)
    } else if let Some(rest) = rest.strip_prefix(b"besteffort-") {
        (Qos::BestEffort, rest)
    } else {
        (Qos::Guaranteed, rest)
    };
    let uid = rest.strip_prefix(b"pod")?;
    Some(PodName { uid: uid_from(uid, b'_')?, qos })
}

fn pod_cgroupfs(name: &[u8], parent: &[u8]) -> Option<PodName> {
    let uid = name.strip_prefix(b"pod")?;
    let qos = match parent {
        b"burstable" => Qos::Burstable,
        b"besteffort" => Qos::BestEffort,
        other if is_kubepods(other) => Qos::Guaranteed,
        _ => return None,
    };
    Some(PodName { uid: uid_from(uid, b'-')?, qos })
}

fn uid_from(bytes: &[u8], dash: u8) -> Option<String> {
    if bytes.is_empty() || !bytes.iter().all(|&b| b == dash || b.is_ascii_alphanumeric()) {
        return None;
    }
    Some(bytes.iter().map(|&b| if b == dash { '-' } else { char::from(b) }).collect())
}

/// The container that a directory of this name belongs to, whichever runtime and driver.
#[must_use]
pub fn container(name: &[u8]) -> Option<ContainerName> {
    const PREFIXES: [(&[u8], Runtime); 6] = [
        (b"cri-containerd-", Runtime::Containerd),
        (b"nerdctl-", Runtime::Containerd),
        (b"crio-", Runtime::CriO),
        (b"docker-", Runtime::Docker),
        (b"libpod-payload-", Runtime::Podman),
        (b"libpod-", Runtime::Podman),
    ];
    let stem = name.strip_suffix(b".scope").unwrap_or(name);
    PREFIXES
        .iter()
        .find_map(|&(prefix, runtime)| {
            let id = container_id(stem.strip_prefix(prefix)?)?;
            Some(ContainerName { id, runtime })
        })
        .or_else(|| Some(ContainerName { id: container_id(name)?, runtime: Runtime::Unknown }))
}

/// The container id that these bytes are: 64 lower-case hexadecimal digits.
#[must_use]
pub fn container_id(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 64 || !bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    Some(bytes.iter().copied().map(char::from).collect())
}

/// Whether a directory of this name holds a runtime's monitor: `crio-conmon-<id>`,
/// `libpod-conmon-<id>`, with or without `.scope`.
#[must_use]
pub fn is_monitor(name: &[u8]) -> bool {
    name.starts_with(b"crio-conmon-") || name.starts_with(b"libpod-conmon-")
}

/// What a whole path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPath {
    /// The outermost Pod in the path.
    pub pod: PodName,
    /// The first container below that Pod; none for the Pod's own cgroup and for a monitor's.
    pub container: Option<ContainerName>,
    /// Whether the path goes on below the container, or below the Pod if there is none.
    pub deeper: bool,
}

/// Reads a whole path, absolute or not, as in `/proc/<pid>/cgroup`. `None`: it is in no Pod.
#[must_use]
pub fn parse(path: &[u8]) -> Option<PodPath> {
    let mut parts = path.split(|&b| b == b'/').filter(|part| !part.is_empty());
    let mut parent: &[u8] = b"";
    let pod = loop {
        let name = parts.next()?;
        if let Some(pod) = pod(name, parent) {
            break pod;
        }
        parent = name;
    };
    let mut between = false;
    for name in parts.by_ref() {
        if is_monitor(name) {
            return Some(PodPath { pod, container: None, deeper: true });
        }
        if let Some(container) = container(name) {
            let deeper = parts.next().is_some();
            return Some(PodPath { pod, container: Some(container), deeper });
        }
        between = true;
    }
    Some(PodPath { pod, container: None, deeper: between })
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
