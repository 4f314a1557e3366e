use super::*;
use crate::cgroup::path::{ContainerName, PodName, Qos, Runtime};
use proptest::prelude::*;
use std::path::Path;

const UID: &str = "b15d8c96-12da-479d-8b9f-b569fbda4d2d";
const HEX: &str = "3a31a360e5aea903274416e0c4cf8ca8c050fd523cc5d91a82ec5707d5ee9fa1";
const NESTED: &str = "/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice";

fn id(id: u64) -> CgroupId {
    CgroupId(id)
}

fn add(tree: &mut Tree, child: u64, parent: u64, name: &str) -> Role {
    assert_eq!(tree.insert(id(child), id(parent), name.as_bytes()), Some(true), "{name}");
    role(tree, child)
}

fn role(tree: &Tree, id: u64) -> Role {
    tree.get(CgroupId(id)).unwrap().role.clone()
}

fn kubernetes() -> Tree {
    let mut tree = Tree::new(Mode::Kubernetes);
    tree.insert_root(id(1), PathBuf::from("/sys/fs/cgroup/kubepods"));
    tree
}

fn host() -> Tree {
    let mut tree = Tree::new(Mode::Host);
    tree.insert_root(id(1), PathBuf::from("/sys/fs/cgroup"));
    tree
}

#[test]
fn a_pod_and_its_containers() {
    let mut tree = kubernetes();
    let pod = PodName { uid: UID.to_owned(), qos: Qos::Burstable };
    let container = ContainerName { id: HEX.to_owned(), runtime: Runtime::Unknown };
    assert_eq!(add(&mut tree, 2, 1, "burstable"), Role::Inner);
    assert_eq!(add(&mut tree, 3, 2, &format!("pod{UID}")), Role::Pod(pod.clone()));
    assert_eq!(add(&mut tree, 4, 3, HEX), Role::Container(pod, container));
    assert_eq!(add(&mut tree, 5, 4, "system.slice"), Role::Nested { container: id(4) });
    assert_eq!(add(&mut tree, 6, 5, HEX), Role::Nested { container: id(4) });
    assert_eq!(add(&mut tree, 7, 3, &format!("crio-conmon-{HEX}")), Role::Skipped);
    assert_eq!(add(&mut tree, 8, 7, HEX), Role::Skipped);
    assert_eq!(add(&mut tree, 9, 3, "between"), Role::Inner);
    assert!(matches!(add(&mut tree, 10, 9, &format!("crio-{HEX}")), Role::Container(..)));
    assert_eq!(add(&mut tree, 11, 2, HEX), Role::Inner, "no Pod above");

    for nested in [4, 5, 6] {
        assert_eq!(tree.container_of(id(nested)), Some(id(4)));
        assert_eq!(tree.pod_of(id(nested)), Some(id(3)));
    }
    assert_eq!(tree.container_of(id(3)), None);
    assert_eq!(tree.pod_of(id(3)), Some(id(3)));
    assert_eq!(tree.pod_of(id(2)), None);
    assert_eq!(tree.container_of(id(99)), None);
    assert_eq!(tree.len(), 11);
    assert_eq!(tree.ancestors(id(5)).map(|(id, _)| id.0).collect::<Vec<_>>(), [4, 3, 2, 1]);
    let below = format!("burstable/pod{UID}/{HEX}");
    assert_eq!(tree.path(id(4)), Some(Path::new("/sys/fs/cgroup/kubepods").join(&below)));
    assert_eq!(tree.path_below_root(id(4)), Some(PathBuf::from(below)));
    assert_eq!(tree.path(id(1)), Some(PathBuf::from("/sys/fs/cgroup/kubepods")));
    assert_eq!(tree.path_below_root(id(1)), Some(PathBuf::new()));
    assert_eq!(tree.path(id(99)), None);
}

#[test]
fn the_cgroupfs_class_is_the_parents() {
    let mut tree = kubernetes();
    assert!(matches!(
        add(&mut tree, 2, 1, &format!("pod{UID}")),
        Role::Pod(PodName { qos: Qos::Guaranteed, .. })
    ));
    add(&mut tree, 3, 1, "besteffort");
    assert!(matches!(
        add(&mut tree, 4, 3, &format!("pod{UID}")),
        Role::Pod(PodName { qos: Qos::BestEffort, .. })
    ));
}

#[test]
fn inserting_again_changes_nothing() {
    let mut tree = kubernetes();
    add(&mut tree, 2, 1, &format!("pod{UID}"));
    assert_eq!(tree.take_changes().len(), 2);
    let again = tree.insert(id(2), id(1), format!("pod{UID}").as_bytes());
    assert_eq!(again, Some(false));
    assert_eq!(tree.take_changes(), []);
    tree.insert_root(id(1), PathBuf::from("/sys/fs/cgroup/kubepods"));
    assert_eq!(tree.len(), 2, "the same root keeps what is below it");
    assert_eq!(tree.remove_subtree(id(1)).len(), 2);
}

#[test]
fn an_unknown_parent_is_told() {
    let mut tree = kubernetes();
    assert_eq!(tree.insert(id(2), id(9), b"a"), None);
    assert_eq!(tree.insert(id(2), id(2), b"a"), None);
    assert_eq!(tree.len(), 1);
}

#[test]
fn another_place_replaces() {
    let mut tree = kubernetes();
    add(&mut tree, 2, 1, "a");
    add(&mut tree, 3, 2, "b");
    assert_eq!(tree.insert(id(2), id(3), b"a"), None, "not below itself");
    assert_eq!(tree.len(), 3);
    assert_eq!(tree.insert(id(2), id(1), b"c"), Some(true));
    assert_eq!(role(&tree, 2), Role::Inner);
    assert!(tree.get(id(3)).is_none());
    assert_eq!(tree.path(id(2)), Some(PathBuf::from("/sys/fs/cgroup/kubepods/c")));
    assert_eq!(tree.insert(id(1), id(2), b"kubepods"), Some(false), "a root stays one");
}

#[test]
fn removal_takes_what_is_below() {
    let mut tree = kubernetes();
    add(&mut tree, 2, 1, "burstable");
    add(&mut tree, 3, 2, &format!("pod{UID}"));
    add(&mut tree, 4, 3, HEX);
    add(&mut tree, 5, 1, "besteffort");
    let removed: Vec<_> = tree.remove_subtree(id(2)).into_iter().map(|(id, _)| id.0).collect();
    assert_eq!(removed, [4, 3, 2]);
    assert_eq!(tree.len(), 2);
    assert_eq!(tree.remove(id(4)), None, "the late event of a child");
    assert_eq!(tree.remove(id(5)).map(|entry| entry.name), Some(b"besteffort".to_vec()));
    assert!(tree.remove(id(1)).is_some());
    assert!(tree.is_empty());
    assert_eq!(tree.iter().count(), 0);
}

#[test]
fn several_roots() {
    let mut tree = kubernetes();
    tree.insert_root(id(50), PathBuf::from(NESTED));
    let name = format!("kubelet-kubepods-pod{}.slice", UID.replace('-', "_"));
    assert!(matches!(add(&mut tree, 51, 50, &name), Role::Pod(_)));
    assert_eq!(tree.path(id(51)), Some(Path::new(NESTED).join(name)));
    tree.remove(id(1));
    assert_eq!(tree.len(), 2);
}

#[test]
fn a_host_shows_units() {
    let mut tree = host();
    let cases = [
        ("system.slice", false, Role::Inner),
        ("init.scope", false, Role::Unit),
        ("docker", false, Role::Inner),
        ("dev-hugepages.mount", false, Role::Skipped),
        ("dev-sda2.swap", true, Role::Skipped),
        ("docker.socket", false, Role::Skipped),
        ("ssh.service", true, Role::Unit),
        ("lxc.payload.web", false, Role::Unit),
        ("group-of-groups", true, Role::Inner),
        ("kubepods", false, Role::Inner),
        (HEX, true, Role::Unit),
    ];
    for (at, (name, has_child, want)) in cases.into_iter().enumerate() {
        let at = 100 + at as u64;
        add(&mut tree, at, 1, name);
        if has_child {
            add(&mut tree, 200 + at, at, "child");
        }
        assert_eq!(role(&tree, at), want, "{name}");
    }
    let conmon = format!("libpod-conmon-{HEX}.scope");
    assert_eq!(add(&mut tree, 200, 100, &conmon), Role::Skipped);
    assert_eq!(add(&mut tree, 201, 100, &format!("docker-{HEX}.scope")), Role::Unit);
    assert_eq!(add(&mut tree, 202, 109, &format!("pod{UID}")), Role::Inner);
    assert_eq!(add(&mut tree, 203, 202, HEX), Role::Unit);
}

#[test]
fn a_users_manager_is_one_unit() {
    let mut tree = host();
    assert_eq!(add(&mut tree, 2, 1, "user.slice"), Role::Inner);
    assert_eq!(add(&mut tree, 3, 2, "user-1000.slice"), Role::Inner);
    assert_eq!(add(&mut tree, 4, 3, "user@1000.service"), Role::Unit);
    assert_eq!(add(&mut tree, 5, 4, "app.slice"), Role::Nested { container: id(4) });
    assert_eq!(add(&mut tree, 6, 5, "a.service"), Role::Nested { container: id(4) });
    assert_eq!(add(&mut tree, 7, 3, "session-1.scope"), Role::Unit);
    assert_eq!(tree.container_of(id(6)), Some(id(4)));
    assert_eq!(
        tree.path_below_root(id(4)),
        Some(PathBuf::from("user.slice/user-1000.slice/user@1000.service"))
    );
}

#[test]
fn names_need_not_be_text() {
    let mut tree = host();
    assert_eq!(tree.insert(id(2), id(1), b"\xff\xfe"), Some(true));
    assert_eq!(role(&tree, 2), Role::Unit);
    assert!(tree.path(id(2)).unwrap().as_os_str().as_bytes().ends_with(b"/\xff\xfe"));
}

proptest! {
    /// Property: any history leaves no entry without its parent, no cycle, and right counts.
    #[test]
    fn any_history_leaves_a_tree(
        on_host in any::<bool>(),
        steps in prop::collection::vec((0..4_u8, 0..12_u64, 0..12_u64, 0..5_usize), 0..80),
    ) {
        let names = ["a", "burstable", "b.service", &format!("pod{UID}"), HEX];
        let mut tree = if on_host { host() } else { kubernetes() };
        for (step, child, parent, name) in steps {
            match step {
                0 => { tree.remove(id(child)); }
                1 if child < 2 => tree.insert_root(id(child), PathBuf::from("/r").join(names[name])),
                _ => { tree.insert(id(child), id(parent), names[name].as_bytes()); }
            }
            for (known, entry) in tree.iter() {
                let below = tree.iter().filter(|(_, other)| other.parent == Some(known)).count();
                prop_assert_eq!(entry.children, below);
                prop_assert!(tree.ancestors(known).count() < tree.len());
                prop_assert!(tree.path(known).is_some());
                match entry.parent {
                    Some(parent) => prop_assert!(tree.get(parent).is_some()),
                    None => prop_assert!(tree.roots.contains_key(&known)),
                }
                if let Some(container) = tree.container_of(known) {
                    prop_assert!(tree.get(container).is_some());
                }
            }
            prop_assert!(tree.roots.keys().all(|root| tree.get(*root).is_some()));
        }
    }
}
