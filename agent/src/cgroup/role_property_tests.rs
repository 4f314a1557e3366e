//! Roles follow from the directories alone: not from their order, nor from what is gone.

use proptest::prelude::*;

use super::{Dirs, tree, walked};
use crate::cgroup::CgroupId;
use crate::cgroup::role::{Mode, Role};
use crate::cgroup::tree::{Change, Tree};

impl Dirs {
    /// Indices in an order in which parents come first, otherwise as these numbers say.
    fn order(&self, by: &[u16]) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let mut left: Vec<usize> = (0..self.0.len()).collect();
        while !left.is_empty() {
            let ready = |at: &usize| {
                let parent = self.0[*at].1;
                parent == CgroupId(1) || order.iter().any(|done| self.0[*done].0 == parent)
            };
            let mut may: Vec<usize> = left.iter().copied().filter(ready).collect();
            may.sort_by_key(|at| by.get(*at).copied().unwrap_or_default());
            let next = may[0];
            left.retain(|at| *at != next);
            order.push(next);
        }
        order
    }
}

/// Applies changes to what was known of the roles before.
fn replay(known: &mut Vec<(CgroupId, Role)>, changes: Vec<Change>) {
    for Change { id, before, role } in changes {
        let at = known.iter().position(|(known, _)| *known == id);
        assert_eq!(at.map(|at| known[at].1.clone()), before, "{id}");
        if let Some(at) = at {
            known.remove(at);
        }
        known.push((id, role));
    }
}

const NAMES: [&str; 17] = [
    "a",
    "b",
    "docker",
    "lxc",
    "lxc.payload.x",
    "lxc.monitor.x",
    "user.slice",
    "user@1000.service",
    "x.scope",
    "machine.slice",
    "kubepods",
    "burstable",
    "podUID",
    "kubepods-podUID_.slice",
    "kubepods-podUID_.slice:cri-containerd:ID",
    "docker-OTHER.scope",
    "ID",
];

fn any_dirs() -> impl Strategy<Value = Dirs> {
    let path_of = prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..6);
    prop::collection::vec(path_of, 1..8).prop_map(|paths| {
        let paths: Vec<String> = paths.iter().map(|names| names.join("/")).collect();
        Dirs::of(&paths.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

fn roles(tree: &Tree) -> Vec<(CgroupId, Role)> {
    let mut roles: Vec<_> = tree.iter().map(|(id, entry)| (id, entry.role.clone())).collect();
    roles.sort_by_key(|(id, _)| *id);
    roles
}

proptest! {
    /// Property: the roles are the same in whatever order the directories became known, and the
    /// changes add up to them.
    #[test]
    fn roles_do_not_depend_on_the_order(
        dirs in any_dirs(),
        by in prop::collection::vec(any::<u16>(), 40),
        mode in prop::sample::select(vec![Mode::Auto, Mode::Kubernetes, Mode::Host]),
    ) {
        let want = walked(mode, &dirs);
        let mut made = tree(mode);
        let mut known = vec![(CgroupId(1), Role::Inner)];
        for at in dirs.order(&by) {
            let (id, parent, name) = &dirs.0[at];
            made.insert(*id, *parent, name.as_bytes());
            replay(&mut known, made.take_changes());
        }
        known.sort_by_key(|(id, _)| *id);
        prop_assert_eq!(&roles(&made), &roles(&want));
        prop_assert_eq!(&known, &roles(&want));
        prop_assert_eq!(made.mode(), want.mode());
        let unclassified = |tree: &Tree| tree.unclassified().collect::<Vec<_>>();
        prop_assert_eq!(unclassified(&made), unclassified(&want));
    }

    /// Property: what was removed leaves no trace in the roles of the others.
    #[test]
    fn roles_do_not_depend_on_what_is_gone(
        dirs in any_dirs(),
        gone in prop::collection::vec(any::<bool>(), 40),
        mode in prop::sample::select(vec![Mode::Kubernetes, Mode::Host]),
    ) {
        let mut tree = walked(mode, &dirs);
        let mut known = roles(&tree);
        tree.take_changes();
        for ((id, ..), _) in dirs.0.iter().zip(gone).filter(|(_, gone)| *gone) {
            let removed: Vec<_> = tree.remove_subtree(*id).into_iter().map(|(id, _)| id).collect();
            known.retain(|(id, _)| !removed.contains(id));
            replay(&mut known, tree.take_changes());
        }
        let left = Dirs(dirs.0.into_iter().filter(|(id, ..)| tree.get(*id).is_some()).collect());
        let want = walked(mode, &left);
        known.sort_by_key(|(id, _)| *id);
        prop_assert_eq!(&roles(&tree), &roles(&want));
        prop_assert_eq!(&known, &roles(&want));
    }
}
