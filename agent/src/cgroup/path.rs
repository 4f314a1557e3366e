//! Names of cgroup directories: a Pod, a container, a machine, or none of these.
//!
//! Names come from two writers. The kubelet creates the Pod's directory
//! (`pkg/kubelet/cm/pod_container_manager_linux.go`, `cgroup_manager_linux.go`): with the systemd
//! driver its name has the names of all parents, and `-` in the UID becomes `_`; with the cgroupfs
//! driver its name is `pod<uid>`, and the QoS class is only in the parent's name. The runtime
//! creates the container's directory below it.
//!
//! A runtime is told the place of a container with the systemd driver as `<slice>:<prefix>:<id>`
//! (runtime-spec, `cgroupsPath`). One whose library knows the cgroupfs driver only, such as the
//! shims of WebAssembly, takes that for the name of a single directory and creates it beside
//! kubepods. No limit of the Pod applies there; the container is the Pod's all the same.

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
    /// Directory of a Pod's container whose name is the whole path: it lies outside of the Pod's.
    PodContainer(PodName, ContainerName),
    /// Directory of a system container or of a virtual machine: LXC, Incus, systemd-nspawn,
    /// libvirt.
    Machine,
    /// Directory of the runtime's monitor process beside the container; never shown.
    Monitor,
    /// Directory of any other kind.
    Other,
}

/// Meaning of the directory `name` in the directory `parent`. Any bytes may be given; `parent` is a
/// name too, not a path, and matters for the cgroupfs driver, for Podman's pods and for machines only.
#[must_use]
pub fn component(name: &[u8], parent: &[u8]) -> Component {
    if is_kubepods(name) {
        return Component::Kubepods;
    }
    if let Some(pod) = pod(name, parent) {
        return Component::Pod(pod);
    }
    if let Some((pod, container)) = pod_container(name) {
        return Component::PodContainer(pod, container);
    }
    if is_podman_pod(name, parent) {
        return Component::Other;
    }
    if let Some(container) = container(name) {
        return Component::Container(container);
    }
    if is_monitor(name) {
        return Component::Monitor;
    }
    if is_machine(name, parent) { Component::Machine } else { Component::Other }
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
    if let Some((_, container)) = whole_path(name) {
        return Some(container);
    }
    if let Some(id) = container_id(name) {
        return Some(ContainerName { id, runtime: Runtime::Unknown });
    }
    let stem = name.strip_suffix(b".scope").unwrap_or(name);
    RUNTIMES.iter().find_map(|&(prefix, runtime)| {
        let id = container_id(stem.strip_prefix(prefix)?.strip_prefix(b"-")?)?;
        Some(ContainerName { id, runtime })
    })
}

/// Prefixes of the runtimes in the names of their containers.
const RUNTIMES: [(&[u8], Runtime); 6] = [
    (b"cri-containerd", Runtime::Containerd),
    (b"nerdctl", Runtime::Containerd),
    (b"crio", Runtime::CriO),
    (b"docker", Runtime::Docker),
    (b"libpod-payload", Runtime::Podman),
    (b"libpod", Runtime::Podman),
];

/// Whether the directory `name` in the directory `parent` is that of a container of Docker's.
#[must_use]
pub fn is_dockers(name: &[u8], parent: &[u8]) -> bool {
    let runtime = container(name).map(|container| container.runtime);
    runtime == Some(Runtime::Docker) || (runtime.is_some() && parent == b"docker")
}

/// Slice and container of a name of the form `<slice>:<prefix>:<id>`; the slice may be empty.
fn whole_path(name: &[u8]) -> Option<(&[u8], ContainerName)> {
    let mut parts = name.splitn(3, |&b| b == b':');
    let (slice, prefix, id) = (parts.next()?, parts.next()?, parts.next()?);
    if !(slice.is_empty() || slice.ends_with(b".slice")) {
        return None;
    }
    let known = RUNTIMES.iter().find(|(known, _)| *known == prefix);
    let runtime = known.map_or(Runtime::Unknown, |(_, runtime)| *runtime);
    Some((slice, ContainerName { id: container_id(id)?, runtime }))
}

/// Pod and container of a directory whose name is the whole path,
/// `kubepods-….slice:<prefix>:<id>`.
#[must_use]
pub fn pod_container(name: &[u8]) -> Option<(PodName, ContainerName)> {
    let (slice, container) = whole_path(name)?;
    Some((pod_systemd(slice)?, container))
}

/// Container id that these bytes spell: 64 lower-case hexadecimal digits.
#[must_use]
pub fn container_id(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 64 || !bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    Some(bytes.iter().copied().map(char::from).collect())
}

/// Whether a directory of this name contains a container id, in whatever form.
#[must_use]
pub fn has_container_id(name: &[u8]) -> bool {
    let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    name.split(|b| !is_digit(b)).any(|run| run.len() == 64)
}

/// Whether the directory `name` in the directory `parent` holds the containers of one of Podman's own
/// pods, with the cgroupfs driver: `libpod_parent/<id>`. With systemd's it is a slice.
#[must_use]
pub fn is_podman_pod(name: &[u8], parent: &[u8]) -> bool {
    parent == b"libpod_parent" && container_id(name).is_some()
}

/// Whether a directory of this name holds a runtime's monitor: `crio-conmon-<id>`,
/// `libpod-conmon-<id>`, with or without `.scope`, `conmon` with Podman's cgroupfs driver, and `lxc.monitor.<name>`, `lxc.monitor/<name>`
/// with the place to which LXC moves it at the end.
#[must_use]
pub fn is_monitor(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"crio-conmon-", b"libpod-conmon-", b"lxc.monitor."];
    matches!(name, b"lxc.monitor" | b"lxc.pivot" | b"conmon")
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the directory `name` in the directory `parent` is that of a container, of a sandbox or
/// of a machine: what lies below is its own business.
#[must_use]
pub fn is_container(name: &[u8], parent: &[u8]) -> bool {
    container(name).is_some() && !is_podman_pod(name, parent)
        || !is_monitor(name) && is_machine(name, parent)
}

/// Whether the directory `name` in the directory `parent` is that of a system container or of a
/// virtual machine: `lxc.payload.<name>`, `lxc.payload/<name>`, `lxc/<name>`, the units of
/// systemd-machined, and libvirt's directories.
#[must_use]
pub fn is_machine(name: &[u8], parent: &[u8]) -> bool {
    let has = |suffix: &[u8]| name.ends_with(suffix);
    let is_unit = has(b".scope") || has(b".service");
    matches!(parent, b"lxc" | b"lxc.payload")
        || name.starts_with(b"lxc.payload.")
        || has(b".libvirt-qemu")
        || has(b".libvirt-lxc")
        || is_unit
            && (parent == b"machine.slice"
                || name.starts_with(b"machine-")
                || name.starts_with(b"systemd-nspawn@"))
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
        if let Some((pod, container)) = pod_container(name) {
            let deeper = parts.next().is_some();
            return Some(PodPath { pod, container: Some(container), deeper });
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
