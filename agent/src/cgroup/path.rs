//! Names of cgroup directories: a Pod, a container, or neither.
//!
//! Names come from two writers. The kubelet creates the Pod's directory
//! (`pkg/kubelet/cm/pod_container_manager_linux.go`, `cgroup_manager_linux.go`): with the systemd
//! driver its name has the names of all parents, and `-` in the UID becomes `_`; with the cgroupfs
//! driver its name is `pod<uid>`, and the QoS class is only in the parent's name. The runtime
//! creates the container's directory below it.
//!
//! One form is not parsed: `kubepods-….slice:cri-containerd:<id>`, a single directory outside of
//! kubepods, which containerd creates when its driver is not the kubelet's. Kubernetes calls that
//! set-up broken, since no limit of the Pod applies there.

/// QoS class of a Pod, from its place in the hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Class of a Pod directly below kubepods.
    Guaranteed,
    /// Class of a Pod below `burstable`.
    Burstable,
    /// Class of a Pod below `besteffort`.
    BestEffort,
}

impl Qos {
    /// Value of the label: `guaranteed`, `burstable`, `besteffort`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Guaranteed => "guaranteed",
            Self::Burstable => "burstable",
            Self::BestEffort => "besteffort",
        }
    }
}

/// Runtime that created a container's cgroup, from the form of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Names `cri-containerd-<id>.scope`, `nerdctl-<id>.scope`.
    Containerd,
    /// Names `crio-<id>.scope`, `crio-<id>`.
    CriO,
    /// Name `docker-<id>.scope`, of Docker.
    Docker,
    /// Names `libpod-<id>.scope`, `libpod-<id>`.
    Podman,
    /// Name that is a bare id: of containerd and of Docker with the cgroupfs driver.
    Unknown,
}

impl Runtime {
    /// Value of the label: `containerd`, `cri-o`, `docker`, `podman`, `unknown`.
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

/// Identity of a Pod, from the name of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodName {
    /// UID of the Pod with its dashes; the config hash (32 hexadecimal digits) of most static Pods.
    pub uid: String,
    /// QoS class of the Pod.
    pub qos: Qos,
}

/// Origin of a container, from the path of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Container of a Pod: the names of both.
    Pod(PodName, ContainerName),
    /// Unit of a plain machine: the path below the root, and the directory's name.
    Unit(String, String),
}

impl Origin {
    /// Names of the Pod and of the container; `None` for a unit.
    #[must_use]
    pub const fn pod(&self) -> Option<(&PodName, &ContainerName)> {
        match self {
            Self::Pod(pod, container) => Some((pod, container)),
            Self::Unit(..) => None,
        }
    }

    /// Whether it is a unit of the service manager, and no container of any runtime.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        match self {
            Self::Pod(..) => false,
            Self::Unit(_, name) => container(name.as_bytes()).is_none(),
        }
    }
}

/// Identity of a container, from the name of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerName {
    /// Container id: 64 hexadecimal digits.
    pub id: String,
    /// Runtime that created the container.
    pub runtime: Runtime,
}

/// Meaning of one directory name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    /// Root of all Pods' cgroups.
    Kubepods,
    /// Directory of a Pod.
    Pod(PodName),
    /// Directory of a container or of a sandbox: their names do not differ.
    Container(ContainerName),
    /// Directory of the runtime's monitor process beside the container; never shown.
    Monitor,
    /// Directory of any other kind.
    Other,
}

/// Meaning of the directory `name` in the directory `parent`. Any bytes may be given; `parent` is a
/// name too, not a path, and matters for the cgroupfs driver only.
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
/// The UID need not be a UUID: that of a static Pod is a hash, or the value in its manifest.
#[must_use]
pub fn pod(name: &[u8], parent: &[u8]) -> Option<PodName> {
    pod_systemd(name).or_else(|| pod_cgroupfs(name, parent))
}

fn pod_systemd(name: &[u8]) -> Option<PodName> {
    const ROOT: &[u8] = b"kubepods-";
    let stem = name.strip_suffix(b".slice")?;
    // The last one: the kubelet's cgroup root may have any name, and a UID has no dash here.
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

/// Container that a directory of this name belongs to, for all runtimes and drivers.
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

/// Container id that these bytes spell: 64 lower-case hexadecimal digits.
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

/// Pod and container of a whole cgroup path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPath {
    /// Outermost Pod in the path.
    pub pod: PodName,
    /// First container below that Pod; `None` for the Pod's own cgroup and for a monitor's.
    pub container: Option<ContainerName>,
    /// Flag: the path goes on below the container, or below the Pod if there is no container.
    pub deeper: bool,
}

/// Parses a whole path, absolute or not, as in `/proc/<pid>/cgroup`. `None` outside of all Pods.
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
