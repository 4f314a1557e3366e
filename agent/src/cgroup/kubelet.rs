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

/// What is known before a look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The path that the user names, below the root or from the root of the file system.
    pub given: Option<&'a Path>,
    /// Places where its process was, the first found first.
    pub learned: &'a [Learned],
    /// The one that is observed now.
    pub current: Option<&'a KubeletCgroup>,
    /// Flag: no connection comes from that, though some must have.
    pub is_silent: bool,
}

impl Known<'_> {
    /// Whether a cgroup with this directory name may be the kubelet's.
    #[must_use]
    pub fn may_be(&self, name: &[u8]) -> bool {
        let is = |path: &Path| path.file_name().is_some_and(|last| last.as_encoded_bytes() == name);
        let is_usual = || {
            PLACES.iter().any(|place| is(Path::new(place.path)))
                || self.learned.iter().any(|it| is(&it.directory))
        };
        self.given.map_or_else(is_usual, is)
    }
}

/// Finds the kubelet's cgroup below `root`.
///
/// Where several places are there, one with processes comes before one without: a unit is left over where
/// another distribution runs now. The one that is observed stays so while it has processes and connections,
/// even if one that comes before it appears: the unit of a kubelet that cannot start is there at each try.
///
/// # Errors
/// No such cgroup; the message says where it was looked for.
pub fn find(root: &Path, known: Known<'_>) -> Result<KubeletCgroup, String> {
    if let Some(given) = known.given {
        let candidates = [root.join(given.strip_prefix("/").unwrap_or(given)), given.to_owned()];
        let found = candidates.into_iter().find_map(|directory| at(directory, [0; 16], How::Named));
        return found.ok_or_else(|| {
            let given = crate::escape::path(given);
            format!("{given} is no cgroup below {}", crate::escape::path(root))
        });
    }
    let places = PLACES.iter().map(|it| (root.join(it.path), padded(it.comm), How::Place));
    // What was learned of a place is more than what is usual there.
    let places = places.filter(|(directory, ..)| {
        !known.learned.iter().any(|learned| learned.directory == *directory)
    });
    let learned = known.learned.iter().map(|it| (it.directory.clone(), it.comm, How::Process));
    let there = places.chain(learned).filter_map(|(directory, comm, how)| at(directory, comm, how));
    let mut there: Vec<KubeletCgroup> = there.collect();
    // As they are, but for these.
    there.sort_by_cached_key(|it| {
        let is_current = known.current.is_some_and(|now| (now.id, now.comm) == (it.id, it.comm));
        let stays = is_current && it.how == How::Place && !known.is_silent;
        let left = is_current && known.is_silent;
        (!it.is_populated(), left, !stays, known.is_silent && it.how == How::Place)
    });
    there.into_iter().next().ok_or_else(|| {
        let root = crate::escape::path(root);
        format!("the kubelet's cgroup is in none of its usual places below {root}")
    })
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

    fn named(given: &str) -> Known<'_> {
        Known { given: Some(Path::new(given)), ..Known::default() }
    }

    #[test]
    fn a_service_of_its_own_comes_before_a_shared_one() {
        let root = tempfile::tempdir().unwrap();
        let find = |root, given| find(root, Known { given, ..Known::default() });
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
            let found = find(root.path(), named(given)).unwrap();
            assert_eq!((found.id, found.how), (own, How::Named), "{given}");
        }
        let why = find(root.path(), named("other/kubelet\n")).unwrap_err();
        assert!(why.contains(r"other/kubelet\x0a"), "{why}");
        let may_be = |name: &[u8], given: Option<&str>| {
            Known { given: given.map(Path::new), ..Known::default() }.may_be(name)
        };
        assert!(may_be(b"kubelet", Some("my.slice/kubelet")));
        assert!(!may_be(b"kubelet.service", Some("my.slice/kubelet")));
        assert!(may_be(b"kubelet.service", None) && !may_be(b"docker.service", None));
    }

    fn ends(root: &Path, path: &str) {
        std::fs::write(root.join(path).join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
    }

    fn learned(root: &Path, path: &str) -> Learned {
        Learned { directory: root.join(path), comm: padded("kubelet") }
    }

    #[test]
    fn a_learned_place_comes_after_usual_ones_with_processes() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let odd = [learned(root, "odd/kube"), learned(root, "docker/3a31a360")];
        let known = Known { learned: &odd, ..Known::default() };
        assert!(find(root, known).is_err(), "they are gone");
        let other = cgroup(root, "docker/3a31a360");
        assert_eq!(find(root, known).unwrap().id, other);
        let id = cgroup(root, "odd/kube");
        let found = find(root, known).unwrap();
        assert_eq!((found.id, found.how, found.comm), (id, How::Process, padded("kubelet")));
        assert!(found.is_populated());
        ends(root, "odd/kube");
        assert!(!found.is_populated());
        let elsewhere = find(root, known).unwrap();
        assert_eq!(elsewhere.id, other);
        // It was found there first, and comes back.
        cgroup(root, "odd/kube");
        assert_eq!(find(root, Known { current: Some(&elsewhere), ..known }).unwrap().id, id);
        assert!(known.may_be(b"kube") && !known.may_be(b"odd"));
        assert!(!Known { given: Some(Path::new("named")), ..known }.may_be(b"kube"));
        let usual = cgroup(root, "system.slice/kubelet.service");
        let known = Known { current: Some(&found), ..known };
        assert_eq!(find(root, known).unwrap().id, usual);
        // It is left over, or somebody else's.
        ends(root, "system.slice/kubelet.service");
        assert_eq!(find(root, known).unwrap().id, id);
    }

    #[test]
    fn a_place_with_processes_and_connections_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let k3s = cgroup(root, "system.slice/k3s.service");
        let found = find(root, Known::default()).unwrap();
        let own = cgroup(root, "system.slice/kubelet.service");
        let known = Known { current: Some(&found), ..Known::default() };
        assert_eq!(find(root, known).unwrap().id, k3s, "a kubelet that cannot start");
        let silent = Known { is_silent: true, ..known };
        assert_eq!(find(root, silent).unwrap().id, own);
        // Its process has another name there.
        let other = [Learned { comm: padded("k3s"), ..learned(root, "system.slice/k3s.service") }];
        let found = find(root, Known { learned: &other, ..silent }).unwrap();
        assert_eq!((found.id, found.comm), (k3s, padded("k3s")));
        let known = Known { current: Some(&found), learned: &other, ..Known::default() };
        ends(root, "system.slice/kubelet.service");
        assert_eq!(find(root, known).unwrap(), found);
        ends(root, "system.slice/k3s.service");
        assert_eq!(find(root, Known { current: None, ..known }).unwrap().id, own, "none has any");
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
