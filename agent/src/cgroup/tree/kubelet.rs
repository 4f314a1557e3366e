//! Cgroups in the tree that may be the kubelet's.

use super::{Entry, Role, Tree};
use crate::cgroup::CgroupId;
use crate::cgroup::path;

impl Tree {
    /// Whether a process of a cgroup may be the kubelet: it is in no Pod, and in no container. One of
    /// Docker's own may be the kubelet's (RKE), but not a cgroup within (kind, whose Pods are not this
    /// node's).
    #[must_use]
    pub fn may_hold_kubelet(&self, id: CgroupId) -> bool {
        let Some(own) = self.get(id) else { return false };
        let mut above = self.ancestors(id);
        let allowed = match above.next() {
            None => true,
            Some((_, parent)) => {
                let is_plain = !own.in_container;
                !parent.in_container && (is_plain || path::is_dockers(&own.name, &parent.name))
            }
        };
        allowed && !self.self_and_ancestors(id).any(|(_, entry)| is_of_pods(entry))
    }

    /// Whether a cgroup is above those of Pods, so that programs on it see their connections too.
    #[must_use]
    pub fn is_above_pods(&self, id: CgroupId) -> bool {
        self.get(id).is_some_and(|entry| entry.parent.is_none())
            || self.iter().any(|(pods, entry)| {
                is_of_pods(entry) && self.ancestors(pods).any(|(above, _)| above == id)
            })
    }
}

fn is_of_pods(entry: &Entry) -> bool {
    matches!(entry.role, Role::Pod(_) | Role::Container(..))
        || path::is_kubepods(&entry.name)
        || path::pod_container(&entry.name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tree::Mode;

    const HEX: &str = "3a31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";

    fn tree(mode: Mode, paths: &[String]) -> (Tree, Vec<CgroupId>) {
        let mut tree = Tree::new(mode);
        tree.insert_root(CgroupId(1), "/sys/fs/cgroup".into());
        let mut next = 1;
        let ids = paths.iter().map(|path| {
            path.split('/').fold(CgroupId(1), |parent, name| {
                let there = tree.iter().find(|(_, entry)| {
                    entry.parent == Some(parent) && entry.name == name.as_bytes()
                });
                if let Some((id, _)) = there {
                    return id;
                }
                next += 1;
                tree.insert(CgroupId(next), parent, name.as_bytes());
                CgroupId(next)
            })
        });
        let ids = ids.collect();
        (tree, ids)
    }

    #[test]
    fn the_kubelet_is_in_no_pod_and_in_no_container_but_its_own() {
        const POD: &str = "kubepods.slice/kubepods-podb15d8c96_12da_479d_8b9f_b569fbda4d2d.slice";
        let cases = [
            ("odd.slice/kubelet".to_owned(), true),
            ("user.slice/user-0.slice/session-1.scope".to_owned(), true),
            (format!("system.slice/docker-{HEX}.scope"), true),
            (format!("docker/{HEX}"), true),
            (format!("docker/{HEX}/kubelet.slice/kubelet.service"), false),
            ("kubepods.slice".to_owned(), false),
            (POD.to_owned(), false),
            (format!("{POD}/cri-containerd-{HEX}.scope"), false),
            (format!("{POD}/docker-{HEX}.scope"), false),
            (format!("{POD}/cri-containerd-{HEX}.scope/deeper"), false),
            (format!("odd.slice/kubepods/besteffort/podx/{HEX}"), false),
            // Of a kubelet that makes no cgroups for Pods.
            (format!("system.slice/cri-containerd-{HEX}.scope"), false),
            (format!("system.slice/crio-{HEX}.scope"), false),
            (format!("k8s.io/{HEX}"), false),
            ("machine.slice/machine-a.scope".to_owned(), false),
        ];
        let paths: Vec<String> = cases.iter().map(|(path, _)| path.clone()).collect();
        for mode in [Mode::Kubernetes, Mode::Auto, Mode::Host] {
            let (tree, ids) = tree(mode, &paths);
            for ((path, may), id) in cases.iter().zip(ids) {
                assert_eq!(tree.may_hold_kubelet(id), *may, "{path} ({mode:?})");
            }
            assert!(!tree.may_hold_kubelet(CgroupId(99)), "it is not known");
        }
    }

    #[test]
    fn a_cgroup_above_pods_has_their_connections_too() {
        let paths = ["all/kubelet", "all/kubepods/burstable", "other"].map(str::to_owned);
        let (tree, ids) = tree(Mode::Kubernetes, &paths);
        assert_eq!(ids.iter().map(|id| tree.is_above_pods(*id)).collect::<Vec<_>>(), [false; 3]);
        let all = tree.get(ids[0]).unwrap().parent.unwrap();
        assert!(tree.is_above_pods(all));
        assert!(tree.is_above_pods(CgroupId(1)), "the root");
    }
}
