use std::path::{Path, PathBuf};

use super::*;
use crate::cgroup::path::Qos;
use crate::cgroup::tree::{Change, Tree};

#[path = "role_property_tests.rs"]
mod properties;

const UID: &str = "b15d8c96-12da-479d-8b9f-b569fbda4d2d";
const HEX: &str = "3a31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";
const OTHER: &str = "0b31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";

/// Paths with placeholders: `UID_` and `UID` of the Pod, `ID` and `OTHER` of containers.
fn path(template: &str) -> String {
    template
        .replace("UID_", &UID.replace('-', "_"))
        .replace("UID", UID)
        .replace("OTHER", OTHER)
        .replace("ID", HEX)
}

/// Directories of these paths, those above included, parents first; the root is `1`.
#[derive(Clone, Debug)]
struct Dirs(Vec<(CgroupId, CgroupId, String)>);

impl Dirs {
    fn of(paths: &[&str]) -> Self {
        let mut dirs: Vec<String> = Vec::new();
        for path_of in paths.iter().map(|template| path(template)) {
            let names: Vec<_> = path_of.split('/').collect();
            for end in 1..=names.len() {
                let dir = names[..end].join("/");
                if !dirs.contains(&dir) {
                    dirs.push(dir);
                }
            }
        }
        let id = |dir: &str| match dirs.iter().position(|known| known == dir) {
            Some(at) => CgroupId(at as u64 + 2),
            None => CgroupId(1),
        };
        let entry = |dir: &String| {
            let (parent, name) = dir.rsplit_once('/').unwrap_or(("", dir));
            (id(dir), id(parent), name.to_owned())
        };
        Self(dirs.iter().map(entry).collect())
    }
}

fn tree(mode: Mode) -> Tree {
    let mut tree = Tree::new(mode);
    tree.insert_root(CgroupId(1), PathBuf::from("/sys/fs/cgroup"));
    tree.take_changes();
    tree
}

/// A tree with all of these, as a walk finds them.
fn walked(mode: Mode, dirs: &Dirs) -> Tree {
    let mut tree = tree(mode);
    for (id, parent, name) in &dirs.0 {
        assert_eq!(tree.insert(*id, *parent, name.as_bytes()), Some(true));
    }
    tree
}

/// Roles that are shown, by path: Pods and containers of Pods as `pod` and `container`, others as `unit`.
fn shown(tree: &Tree) -> Vec<(String, &'static str)> {
    let mut shown: Vec<_> = tree
        .iter()
        .filter_map(|(id, entry)| {
            let what = match &entry.role {
                Role::Pod(pod) if pod.uid == UID => "pod",
                Role::Container(pod, name) if pod.uid == UID && name.id == HEX => "container",
                Role::Unit => "unit",
                Role::Inner | Role::Nested { .. } | Role::Skipped => return None,
                _ => "another",
            };
            Some((tree.path_below_root(id)?.to_string_lossy().into_owned(), what))
        })
        .collect();
    shown.sort();
    shown
}

/// Shape of a node: directories that are made, and what of them is shown in a mode.
struct Shape {
    what: &'static str,
    mode: Mode,
    dirs: &'static [&'static str],
    shown: &'static [(&'static str, &'static str)],
}

const MANAGER: &str = "user.slice/user-1000.slice/user@1000.service";

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_shape_is_shown_whenever_the_agent_comes() {
    use Mode::{Auto, Host, Kubernetes};
    let shapes = [
        Shape {
            what: "a shim of WebAssembly takes the path for a name",
            mode: Auto,
            dirs: &[
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice",
                "kubepods-burstable-podUID_.slice:cri-containerd:ID/inside",
                "system.slice/ssh.service",
            ],
            shown: &[
                ("kubepods-burstable-podUID_.slice:cri-containerd:ID", "container"),
                ("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice", "pod"),
            ],
        },
        Shape {
            what: "the same below the shim's own service, of the class guaranteed",
            mode: Kubernetes,
            dirs: &["system.slice/containerd.service/kubepods-podUID_.slice:crio:ID"],
            shown: &[(
                "system.slice/containerd.service/kubepods-podUID_.slice:crio:ID",
                "container",
            )],
        },
        Shape {
            what: "the same on a plain machine",
            mode: Auto,
            dirs: &["system.slice:docker:ID", "user.slice:libpod:OTHER/container"],
            shown: &[("system.slice:docker:ID", "unit"), ("user.slice:libpod:OTHER", "unit")],
        },
        Shape {
            what: "rootless Docker and Podman",
            mode: Auto,
            dirs: &[
                "user.slice/user-1000.slice/user@1000.service/init.scope",
                "user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
                "user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope/init.scope",
                "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-OTHER.scope/container",
                "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-OTHER.scope",
                "user.slice/user-1000.slice/session-2.scope",
            ],
            shown: &[
                ("user.slice/user-1000.slice/session-2.scope", "unit"),
                (MANAGER, "unit"),
                ("user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", "unit"),
                (
                    "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-OTHER.scope",
                    "unit",
                ),
            ],
        },
        Shape {
            what: "Podman's own pods with the cgroupfs driver",
            mode: Auto,
            dirs: &[
                "libpod_parent/ID/libpod-OTHER/container",
                "libpod_parent/ID/conmon",
                "libpod_parent/OTHER",
                "libpod_parent/libpod-ID",
                "libpod_parent/conmon",
                "user.slice/user-1000.slice/session-2.scope/libpod_parent/ID/libpod-OTHER",
            ],
            shown: &[
                ("libpod_parent/ID/libpod-OTHER", "unit"),
                ("libpod_parent/libpod-ID", "unit"),
                ("user.slice/user-1000.slice/session-2.scope", "unit"),
                (
                    "user.slice/user-1000.slice/session-2.scope/libpod_parent/ID/libpod-OTHER",
                    "unit",
                ),
            ],
        },
        Shape {
            what: "Docker in Docker is the outer container's business",
            mode: Auto,
            dirs: &[
                "system.slice/docker-ID.scope/docker/OTHER",
                "system.slice/docker-ID.scope/system.slice/lxc.payload.x",
            ],
            shown: &[("system.slice/docker-ID.scope", "unit")],
        },
        Shape {
            what: "folders of --cgroup-parent and of ECS",
            mode: Auto,
            dirs: &["ecs/task/ID", "mine/OTHER", "ecs/empty", "batch/a/b"],
            shown: &[
                ("batch/a/b", "unit"),
                ("ecs/empty", "unit"),
                ("ecs/task/ID", "unit"),
                ("mine/OTHER", "unit"),
            ],
        },
        Shape {
            what: "LXC, Incus, Proxmox and their monitors",
            mode: Auto,
            dirs: &[
                "lxc.payload.web/system.slice/ssh.service",
                "lxc.payload.web/init.scope",
                "lxc.monitor.web",
                "lxc.payload/db/init.scope",
                "lxc.monitor/db",
                "lxc/101/ns/system.slice/docker-ID.scope",
                "lxc.pivot",
            ],
            shown: &[("lxc.payload.web", "unit"), ("lxc.payload/db", "unit"), ("lxc/101", "unit")],
        },
        Shape {
            what: "machines of systemd-nspawn and libvirt",
            mode: Auto,
            dirs: &[
                "machine.slice/systemd-nspawn@web.service/payload/system.slice/docker-ID.scope",
                "machine.slice/systemd-nspawn@web.service/supervisor",
                "machine.slice/machine-qemu.scope/libvirt/emulator",
                "machine/vm.libvirt-qemu/vcpu0",
                "machine.slice/machine-libpod_pod_ID.slice/libpod-OTHER.scope/container",
                "machine.slice/libpod-conmon-OTHER.scope",
            ],
            shown: &[
                ("machine.slice/machine-libpod_pod_ID.slice/libpod-OTHER.scope", "unit"),
                ("machine.slice/machine-qemu.scope", "unit"),
                ("machine.slice/systemd-nspawn@web.service", "unit"),
                ("machine/vm.libvirt-qemu", "unit"),
            ],
        },
        Shape {
            what: "rootless k3s",
            mode: Auto,
            dirs: &[
                "user.slice/user-1000.slice/user@1000.service/init.scope",
                "user.slice/user-1000.slice/user@1000.service/k3s-rootless.service/kubepods/burstable/podUID/ID",
            ],
            shown: &[
                (
                    "user.slice/user-1000.slice/user@1000.service/k3s-rootless.service/kubepods/burstable/podUID",
                    "pod",
                ),
                (
                    "user.slice/user-1000.slice/user@1000.service/k3s-rootless.service/kubepods/burstable/podUID/ID",
                    "container",
                ),
            ],
        },
        Shape {
            what: "kind beside other containers",
            mode: Auto,
            dirs: &[
                "docker/OTHER/kubelet/kubepods/besteffort/podUID/ID/init.scope",
                "docker/ID/x",
                "system.slice/docker.service",
            ],
            shown: &[
                ("docker/ID", "unit"),
                ("docker/OTHER", "unit"),
                ("docker/OTHER/kubelet/kubepods/besteffort/podUID", "pod"),
                ("docker/OTHER/kubelet/kubepods/besteffort/podUID/ID", "container"),
                ("system.slice/docker.service", "unit"),
            ],
        },
        Shape {
            what: "kind with the systemd driver, on a node that is one itself",
            mode: Kubernetes,
            dirs: &[
                "system.slice/docker-OTHER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope",
                "system.slice/ssh.service",
            ],
            shown: &[
                (
                    "system.slice/docker-OTHER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice",
                    "pod",
                ),
                (
                    "system.slice/docker-OTHER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope",
                    "container",
                ),
            ],
        },
        Shape {
            what: "a Pod's container with all kinds of names inside",
            mode: Auto,
            dirs: &[
                "kubepods/podUID/ID/kubepods/podUID/OTHER",
                "kubepods/podUID/ID/kubepods-podUID_.slice:cri-containerd:OTHER",
                "kubepods/podUID/crio-conmon-ID",
                "a/burstable/podUID/OTHER",
            ],
            shown: &[("kubepods/podUID", "pod"), ("kubepods/podUID/ID", "container")],
        },
        Shape {
            what: "host mode knows no Pods",
            mode: Host,
            dirs: &["kubepods/burstable/podUID/ID", "a.slice/kubepods-podUID_.slice:crio:OTHER"],
            shown: &[
                ("a.slice/kubepods-podUID_.slice:crio:OTHER", "unit"),
                ("kubepods/burstable/podUID/ID", "unit"),
            ],
        },
    ];
    for Shape { what, mode, dirs, shown: want } in shapes {
        let mut want: Vec<_> = want.iter().map(|(dir, role)| (path(dir), *role)).collect();
        want.sort();
        let dirs = Dirs::of(dirs);
        assert_eq!(shown(&walked(mode, &dirs)), want, "{what}, found by a walk");
        // Each directory is empty when it is made, and those nearest to the root come first.
        let mut made = tree(mode);
        let mut by_depth = dirs.0.clone();
        by_depth.sort_by_key(|(id, ..)| {
            let mut depth = 0;
            let mut at = *id;
            while let Some((_, parent, _)) = dirs.0.iter().find(|(id, ..)| *id == at) {
                (at, depth) = (*parent, depth + 1);
            }
            depth
        });
        for (id, parent, name) in &by_depth {
            made.insert(*id, *parent, name.as_bytes());
            made.take_changes();
        }
        assert_eq!(shown(&made), want, "{what}, one by one");
    }
}

#[test]
fn a_leaf_that_turns_out_to_hold_containers_is_no_unit() {
    let mut tree = tree(Mode::Auto);
    tree.insert(CgroupId(2), CgroupId(1), b"task");
    let unit = Change { id: CgroupId(2), before: None, role: Role::Unit };
    assert_eq!(tree.take_changes(), [unit]);
    tree.insert(CgroupId(3), CgroupId(2), HEX.as_bytes());
    assert_eq!(
        tree.take_changes(),
        [
            Change { id: CgroupId(2), before: Some(Role::Unit), role: Role::Inner },
            Change { id: CgroupId(3), before: None, role: Role::Unit },
        ]
    );
    tree.remove(CgroupId(3));
    let again = Change { id: CgroupId(2), before: Some(Role::Inner), role: Role::Unit };
    assert_eq!(tree.take_changes(), [again]);
    tree.insert(CgroupId(3), CgroupId(2), HEX.as_bytes());
    tree.remove(CgroupId(2));
    assert_eq!(tree.take_changes(), [], "both are gone");
}

#[test]
fn pods_make_a_plain_machine_a_node_for_good() {
    let mut tree = tree(Mode::Auto);
    let dirs = Dirs::of(&["system.slice/ssh.service", "docker/OTHER", "mnt.mount"]);
    for (id, parent, name) in &dirs.0 {
        tree.insert(*id, *parent, name.as_bytes());
    }
    tree.take_changes();
    // A container's own tree changes nothing for the others.
    let node = dirs.0.iter().find(|(_, _, name)| name == OTHER).unwrap().0;
    tree.insert(CgroupId(50), node, b"kubepods");
    assert_eq!((tree.mode(), tree.has_kubepods()), (Mode::Auto, false));
    tree.insert(CgroupId(60), CgroupId(1), b"kubepods.slice");
    assert_eq!((tree.mode(), tree.has_kubepods()), (Mode::Kubernetes, true));
    let changes = tree.take_changes();
    let units: Vec<_> = changes.iter().filter(|it| it.before == Some(Role::Unit)).collect();
    assert_eq!(units.len(), 2);
    assert!(changes.iter().all(|change| change.role == Role::Inner), "{changes:?}");
    tree.remove(CgroupId(60));
    assert_eq!((tree.mode(), tree.has_kubepods()), (Mode::Kubernetes, false));
    tree.insert(CgroupId(61), CgroupId(1), b"kubepods");
    assert!(tree.has_kubepods());
    let pod = tree.insert(CgroupId(62), CgroupId(61), format!("pod{UID}").as_bytes());
    assert_eq!(pod, Some(true));
    let pod = PodName { uid: UID.into(), qos: Qos::Guaranteed };
    assert_eq!(tree.get(CgroupId(62)).map(|entry| &entry.role), Some(&Role::Pod(pod)));
}

#[test]
fn a_container_beside_its_pod_is_its_pods() {
    let mut tree = tree(Mode::Kubernetes);
    let name = path("kubepods-podUID_.slice:cri-containerd:ID");
    tree.insert(CgroupId(2), CgroupId(1), name.as_bytes());
    tree.insert(CgroupId(3), CgroupId(2), b"inside");
    assert_eq!(tree.pod_of(CgroupId(3)), None);
    let dirs = Dirs::of(&["x/x/kubepods/podUID/OTHER"]);
    for (id, parent, name) in &dirs.0 {
        let parent = if *parent == CgroupId(1) { *parent } else { CgroupId(parent.0 + 10) };
        tree.insert(CgroupId(id.0 + 10), parent, name.as_bytes());
    }
    let [pod, own] = [15, 16].map(CgroupId);
    assert!(matches!(tree.get(pod).unwrap().role, Role::Pod(_)));
    for id in [CgroupId(2), CgroupId(3), pod, own] {
        assert_eq!(tree.pod_of(id), Some(pod), "{id}");
    }
    assert_eq!(tree.tops().into_iter().collect::<Vec<_>>(), [CgroupId(2), CgroupId(12)]);
    tree.remove(pod);
    assert_eq!(tree.pod_of(CgroupId(2)), None);
    assert_eq!(tree.path(CgroupId(2)), Some(Path::new("/sys/fs/cgroup").join(name)));
}

#[test]
fn what_looks_like_a_container_in_no_known_form_is_unclassified() {
    let dirs = Dirs::of(&[
        "kubepods/podUID/ID",
        "kubepods/podUID/kata_overhead",
        "kubepods/podUID/between/crio-OTHER",
        "kubepods/podUID/crio-conmon-ID",
        "new_ID",
        "system.slice/docker-ID.scope/new-OTHER",
        "machine.slice/machine-libpod_pod_ID.slice",
        "system.slice/a.service/new-OTHER",
    ]);
    let paths = |tree: &Tree| {
        let mut paths: Vec<_> =
            tree.unclassified().filter_map(|id| tree.path_below_root(id)).collect();
        paths.sort();
        paths
    };
    let mut tree = walked(Mode::Kubernetes, &dirs);
    let mut want = ["kubepods/podUID/kata_overhead", "new_ID", "system.slice/a.service/new-OTHER"]
        .map(|dir| PathBuf::from(path(dir)))
        .to_vec();
    assert_eq!(paths(&tree), want);
    let overhead = dirs.0.iter().find(|(_, _, name)| name == "kata_overhead").unwrap().0;
    tree.remove(overhead);
    want.remove(0);
    assert_eq!(paths(&tree), want);
    // On a plain machine a leaf outside of all units is one of them.
    let host = walked(Mode::Host, &dirs);
    assert_eq!(paths(&host), [PathBuf::from(path("system.slice/a.service/new-OTHER"))]);
}

#[test]
fn plain_names_are_those_of_no_unit() {
    for name in ["ci", "burstable", "a.slice", "lxc"] {
        assert!(is_plain(name.as_bytes()), "{name}");
    }
    for name in ["a.service", "a.scope", "lxc.payload.web", HEX, "kubepods"] {
        assert!(!is_plain(name.as_bytes()), "{name}");
    }
}
