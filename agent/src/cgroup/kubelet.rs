//! The kubelet's own cgroup: where it is on the distributions of Kubernetes.
//!
//! It is found by its path: it is a system service almost everywhere, and systemd makes another cgroup
//! for it at each start. Where it is elsewhere, its process tells, and then that place is known too.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::CgroupId;

/// Length of a process's short name, as the kernel pads it.
const COMM_BYTES: usize = 16;

/// A place at which distributions run the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Path below the root of the hierarchy.
    path: &'static str,
    /// Short name of the process that has the kubelet in it, where other processes share the cgroup
    /// and make connections too; empty where none do.
    comm: &'static str,
}

const fn alone(path: &'static str) -> Place {
    Place { path, comm: "" }
}

const fn shared(path: &'static str, comm: &'static str) -> Place {
    Place { path, comm }
}

/// List of all places, those of a service of the kubelet's own first.
const PLACES: [Place; 14] = [
    // kubeadm and most managed services.
    alone("system.slice/kubelet.service"),
    // Amazon Linux, Bottlerocket.
    alone("runtime.slice/kubelet.service"),
    // kind.
    alone("kubelet.slice/kubelet.service"),
    // Ubuntu's snaps.
    alone("system.slice/snap.kubelet-eks.daemon.service"),
    alone("system.slice/snap.kubelet.daemon.service"),
    // Talos.
    alone("podruntime/kubelet"),
    // k3s: one process is the API server, the kubelet and kube-proxy.
    shared("system.slice/k3s.service", "k3s-server"),
    shared("system.slice/k3s-agent.service", "k3s-agent"),
    // RKE2: the kubelet is a child of the service, beside containerd.
    shared("system.slice/rke2-server.service", "kubelet"),
    shared("system.slice/rke2-agent.service", "kubelet"),
    // MicroK8s: as k3s.
    shared("system.slice/snap.microk8s.daemon-kubelite.service", "kubelite"),
    alone("system.slice/snap.microk8s.daemon-kubelet.service"),
    // k0s: as RKE2.
    shared("system.slice/k0scontroller.service", "kubelet"),
    shared("system.slice/k0sworker.service", "kubelet"),
];

/// The way in which the kubelet's cgroup was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is in one of the usual places.
    Place,
    /// The user names it.
    Named,
    /// The kubelet's process is there.
    Process,
}

impl How {
    /// The way, for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Place => "in a usual place",
            Self::Named => "as named",
            Self::Process => "by its process",
        }
    }
}

/// A place where the kubelet's process was, which is looked at when no usual place has it: it may be
/// there again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The directory.
    pub directory: PathBuf,
    /// Short name of the process: nobody knows who else is there.
    pub comm: [u8; COMM_BYTES],
}

/// The kubelet's cgroup, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletCgroup {
    /// The directory.
    pub directory: PathBuf,
    /// Id of the cgroup: another one after each restart.
    pub id: CgroupId,
    /// Short name of the process whose connections are the kubelet's; zeros where all are.
    pub comm: [u8; COMM_BYTES],
    /// The way in which it was found.
    pub how: How,
}

impl KubeletCgroup {
    /// Whether the cgroup has a process, as far as its files tell.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        let events = std::fs::read_to_string(self.directory.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }
}

/// Finds the kubelet's cgroup below `root`. `given`: the path that the user names, below the root or
/// from the root of the file system. `learned`: where its process was.
///
/// # Errors
/// No such cgroup; the message says where it was looked for.
pub fn find(
    root: &Path,
    given: Option<&Path>,
    learned: Option<&Learned>,
) -> Result<KubeletCgroup, String> {
    if let Some(given) = given {
        let candidates = [root.join(given.strip_prefix("/").unwrap_or(given)), given.to_owned()];
        let found = candidates.into_iter().find_map(|directory| at(directory, [0; 16], How::Named));
        return found.ok_or_else(|| {
            let given = crate::escape::path(given);
            format!("{given} is no cgroup below {}", crate::escape::path(root))
        });
    }
    let mut places =
        PLACES.iter().filter_map(|it| at(root.join(it.path), padded(it.comm), How::Place));
    let learned = || learned.and_then(|it| at(it.directory.clone(), it.comm, How::Process));
    places.next().or_else(learned).ok_or_else(|| {
        let root = crate::escape::path(root);
        format!("the kubelet's cgroup is in none of its usual places below {root}")
    })
}

/// Whether a cgroup with this directory name may be the kubelet's.
#[must_use]
pub fn may_be(name: &[u8], given: Option<&Path>, learned: Option<&Learned>) -> bool {
    let is = |path: &Path| path.file_name().is_some_and(|last| last.as_encoded_bytes() == name);
    let is_usual = || {
        PLACES.iter().any(|place| is(Path::new(place.path)))
            || learned.is_some_and(|it| is(&it.directory))
    };
    given.map_or_else(is_usual, is)
}

fn padded(comm: &str) -> [u8; COMM_BYTES] {
    let mut padded = [0; COMM_BYTES];
    for (to, from) in padded.iter_mut().zip(comm.bytes()) {
        *to = from;
    }
    padded
}

/// The cgroup in a directory.
fn at(directory: PathBuf, comm: [u8; COMM_BYTES], how: How) -> Option<KubeletCgroup> {
    // Every cgroup has it but the root of the hierarchy.
    std::fs::metadata(directory.join("cgroup.events")).ok()?;
    let id = CgroupId(std::fs::metadata(&directory).ok()?.ino());
    Some(KubeletCgroup { directory, id, comm, how })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_common::map::KUBELET_COMMS;

    fn cgroup(root: &Path, path: &str) -> CgroupId {
        let directory = root.join(path);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cgroup.events"), "populated 1\n").unwrap();
        CgroupId(std::fs::metadata(directory).unwrap().ino())
    }

    #[test]
    fn a_service_of_its_own_comes_before_a_shared_one() {
        let root = tempfile::tempdir().unwrap();
        let find = |root, given| find(root, given, None);
        let why = find(root.path(), None).unwrap_err();
        assert!(why.contains("none of its usual places"), "{why}");
        let shared = cgroup(root.path(), "system.slice/k3s-agent.service");
        let found = find(root.path(), None).unwrap();
        assert_eq!((found.id, &found.comm), (shared, b"k3s-agent\0\0\0\0\0\0\0"));
        let own = cgroup(root.path(), "system.slice/kubelet.service");
        let found = find(root.path(), None).unwrap();
        assert_eq!((found.id, found.comm, found.how), (own, [0; 16], How::Place));
        std::fs::remove_dir_all(&found.directory).unwrap();
        assert_eq!(find(root.path(), None).unwrap().id, shared);
    }

    #[test]
    fn what_the_user_names_is_the_only_place() {
        let root = tempfile::tempdir().unwrap();
        cgroup(root.path(), "system.slice/kubelet.service");
        let own = cgroup(root.path(), "my.slice/kubelet");
        let absolute = root.path().join("my.slice/kubelet");
        for given in ["my.slice/kubelet", "/my.slice/kubelet", absolute.to_str().unwrap()] {
            let found = find(root.path(), Some(Path::new(given)), None).unwrap();
            assert_eq!((found.id, found.how), (own, How::Named), "{given}");
        }
        let why = find(root.path(), Some(Path::new("other/kubelet\n")), None).unwrap_err();
        assert!(why.contains(r"other/kubelet\x0a"), "{why}");
        let may_be = |name, given: Option<&str>| may_be(name, given.map(Path::new), None);
        assert!(may_be(b"kubelet", Some("my.slice/kubelet")));
        assert!(!may_be(b"kubelet.service", Some("my.slice/kubelet")));
        assert!(may_be(b"kubelet.service", None) && !may_be(b"docker.service", None));
    }

    #[test]
    fn a_learned_place_is_the_last_one() {
        let root = tempfile::tempdir().unwrap();
        let learned = |name: &str| Learned {
            directory: root.path().join(name),
            comm: *b"kubelet\0\0\0\0\0\0\0\0\0",
        };
        let odd = learned("odd/kube");
        assert!(find(root.path(), None, Some(&odd)).is_err(), "it is gone");
        let id = cgroup(root.path(), "odd/kube");
        let found = find(root.path(), None, Some(&odd)).unwrap();
        assert_eq!((found.id, found.how, found.comm), (id, How::Process, odd.comm));
        assert!(found.is_populated());
        std::fs::write(found.directory.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert!(!found.is_populated());
        assert!(may_be(b"kube", None, Some(&odd)) && !may_be(b"odd", None, Some(&odd)));
        assert!(!may_be(b"kube", Some(Path::new("named")), Some(&odd)));
        cgroup(root.path(), "system.slice/kubelet.service");
        assert_eq!(find(root.path(), None, Some(&odd)).unwrap().how, How::Place);
    }

    #[test]
    fn every_process_of_a_usual_place_is_looked_for() {
        let named = PLACES.iter().filter(|place| !place.comm.is_empty());
        let mut named = named.map(|place| padded(place.comm));
        assert!(named.all(|comm| KUBELET_COMMS.contains(&comm)));
    }

    #[test]
    fn every_short_name_fits() {
        assert!(PLACES.iter().all(|place| place.comm.len() < COMM_BYTES));
    }
}
