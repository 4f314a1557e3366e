//! Share of each container in what is known of the cgroup tree: of those nested in it, a limited
//! number counts. Pure.

use std::collections::{HashMap, HashSet};

use super::CgroupId;
use super::tree::{Role, Tree};
use super::walk::Found;

/// Cgroups that a walk found, by what they are.
#[derive(Debug, Default)]
pub struct Shared {
    /// Roles of those that are within their container's share, parents before their children.
    pub roles: Vec<(CgroupId, Role)>,
    /// Cgroups beyond that share, and all below them.
    pub refused: HashSet<CgroupId>,
}

/// Decides which of the cgroups that a walk found are within the share of the container that they
/// are nested in: the first `nested_max` of each. Those that are `known` come first.
#[must_use]
pub fn share(
    roles: &Tree,
    found: &[Found],
    known: impl Fn(CgroupId) -> bool,
    nested_max: usize,
) -> Shared {
    let role_of = |id: CgroupId| roles.get(id).map(|entry| &entry.role);
    let nested_in = |id: CgroupId| match role_of(id) {
        Some(Role::Nested { container }) => Some(*container),
        _ => None,
    };
    let mut taken = HashMap::<CgroupId, usize>::new();
    for found in found.iter().filter(|found| known(found.id)) {
        if let Some(container) = nested_in(found.id) {
            *taken.entry(container).or_default() += 1;
        }
    }
    let mut shared = Shared::default();
    for Found { id, parent, .. } in found {
        let Some(role) = role_of(*id) else { continue };
        if parent.is_some_and(|parent| shared.refused.contains(&parent)) {
            shared.refused.insert(*id);
            continue;
        }
        if let Role::Nested { container } = role
            && !known(*id)
        {
            let taken = taken.entry(*container).or_default();
            if *taken >= nested_max {
                shared.refused.insert(*id);
                continue;
            }
            *taken += 1;
        }
        shared.roles.push((*id, role.clone()));
    }
    shared
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cgroup::tree::Mode;

    fn found(id: u64, parent: u64, name: &str) -> Found {
        let parent = Some(CgroupId(parent)).filter(|parent| parent.0 != 0);
        Found { id: CgroupId(id), parent, name: name.into() }
    }

    /// Two containers, the first with so many cgroups, one of which has one of its own.
    fn node(nested: u64) -> (Tree, Vec<Found>) {
        let id = |digit: char| format!("cri-containerd-{}.scope", String::from(digit).repeat(64));
        let pod = "kubepods-pod11111111_2222_3333_4444_555555555555.slice";
        let mut all = vec![
            found(1, 0, "kubepods.slice"),
            found(2, 1, pod),
            found(3, 2, &id('a')),
            found(4, 2, &id('b')),
            found(5, 4, "inner"),
        ];
        all.extend((0..nested).map(|n| found(100 + n, 3, &format!("n{n}"))));
        all.push(found(10_000, 99 + nested, "deep"));
        let mut tree = Tree::new(Mode::Kubernetes);
        assert!(tree.insert_all(Path::new("/kubepods.slice"), &all).is_empty());
        (tree, all)
    }

    #[test]
    fn a_container_has_so_many_nested_cgroups_and_others_keep_theirs() {
        let (tree, all) = node(17);
        let shared = share(&tree, &all, |_| false, 10);
        let taken: Vec<u64> = shared.roles.iter().map(|(id, _)| id.0).collect();
        assert_eq!(taken, [1, 2, 3, 4, 5].into_iter().chain(100..110).collect::<Vec<_>>());
        assert_eq!(shared.refused.len(), 8, "with what is below them");
        let shared = share(&tree, &all, |_| false, 18);
        assert!(shared.refused.is_empty());
    }

    #[test]
    fn those_that_are_known_keep_their_places() {
        let (tree, all) = node(17);
        let shared = share(&tree, &all, |id| id.0 >= 110 && id.0 < 117, 10);
        let taken: Vec<u64> =
            shared.roles.iter().map(|(id, _)| id.0).filter(|id| *id >= 100).collect();
        assert_eq!(taken, (100..103).chain(110..117).collect::<Vec<_>>());
        assert!(shared.refused.contains(&CgroupId(10_000)));
    }
}
