//! The kubelet's own cgroup: where it is on the distributions of Kubernetes.
//!
//! The agent has no access to the node's processes, so it is found by its path. It is a system
//! service almost everywhere, and systemd makes another cgroup for it at each start.

use std::io;
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

/// The kubelet's cgroup, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletCgroup {
    /// The directory.
    pub directory: PathBuf,
    /// Id of the cgroup: another one after each restart.
    pub id: CgroupId,
    /// Short name of the process whose connections are the kubelet's; zeros where all are.
    pub comm: [u8; COMM_BYTES],
}

/// Finds the kubelet's cgroup below `root`. `given`: the path that the user names, below the root or
/// from the root of the file system.
///
/// # Errors
/// No such cgroup; the message, a sentence, names the path or the remedy.
pub fn find(root: &Path, given: Option<&Path>) -> Result<KubeletCgroup, String> {
    if let Some(given) = given {
        let candidates = [root.join(given.strip_prefix("/").unwrap_or(given)), given.to_owned()];
        let found = candidates.into_iter().find_map(|directory| at(directory, "").ok());
        return found.ok_or_else(|| {
            let given = crate::escape::path(given);
            format!("{given} is no cgroup below {}", crate::escape::path(root))
        });
    }
    PLACES.iter().find_map(|place| at(root.join(place.path), place.comm).ok()).ok_or_else(|| {
        let root = crate::escape::path(root);
        format!(
            "the kubelet's cgroup is in none of its usual places below {root}: name it with \
                 --kubelet.cgroup"
        )
    })
}

/// Whether a cgroup with this directory name may be the kubelet's.
#[must_use]
pub fn may_be(name: &[u8], given: Option<&Path>) -> bool {
    let is = |path: &Path| path.file_name().is_some_and(|last| last.as_encoded_bytes() == name);
    given.map_or_else(|| PLACES.iter().any(|place| is(Path::new(place.path))), is)
}

/// The cgroup in a directory.
fn at(directory: PathBuf, comm: &str) -> io::Result<KubeletCgroup> {
    // Every cgroup has it but the root of the hierarchy.
    std::fs::metadata(directory.join("cgroup.events"))?;
    let id = CgroupId(std::fs::metadata(&directory)?.ino());
    let mut padded = [0; COMM_BYTES];
    for (to, from) in padded.iter_mut().zip(comm.bytes()) {
        *to = from;
    }
    Ok(KubeletCgroup { directory, id, comm: padded })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(root: &Path, path: &str) -> CgroupId {
        let directory = root.join(path);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cgroup.events"), "populated 1\n").unwrap();
        CgroupId(std::fs::metadata(directory).unwrap().ino())
    }

    #[test]
    fn a_service_of_its_own_comes_before_a_shared_one() {
        let root = tempfile::tempdir().unwrap();
        let why = find(root.path(), None).unwrap_err();
        assert!(why.contains("--kubelet.cgroup"), "{why}");
        let shared = cgroup(root.path(), "system.slice/k3s-agent.service");
        let found = find(root.path(), None).unwrap();
        assert_eq!((found.id, &found.comm), (shared, b"k3s-agent\0\0\0\0\0\0\0"));
        let own = cgroup(root.path(), "system.slice/kubelet.service");
        let found = find(root.path(), None).unwrap();
        assert_eq!((found.id, found.comm), (own, [0; 16]));
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
            assert_eq!(find(root.path(), Some(Path::new(given))).unwrap().id, own, "{given}");
        }
        let why = find(root.path(), Some(Path::new("other/kubelet\n"))).unwrap_err();
        assert!(why.contains(r"other/kubelet\x0a"), "{why}");
        assert!(may_be(b"kubelet", Some(Path::new("my.slice/kubelet"))));
        assert!(!may_be(b"kubelet.service", Some(Path::new("my.slice/kubelet"))));
        assert!(may_be(b"kubelet.service", None) && !may_be(b"docker.service", None));
    }

    #[test]
    fn every_short_name_fits() {
        assert!(PLACES.iter().all(|place| place.comm.len() < COMM_BYTES));
    }
}
