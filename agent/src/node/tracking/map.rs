//! The map of the kernel side, kept in step with the tree.

use std::collections::HashSet;

use super::Tracking;
use crate::bpf::tracked::{NESTED_MAX, Place, TrackedMap};
use crate::cgroup::{
    CgroupId,
    share::{self, Shared},
    tree::{Role, Tree},
    walk::Found,
};

impl Tracking {
    /// Takes in what a walk found, as far as it is within each container's share. The kernel side
    /// hears of it once it is decided what it is. Returns how many are beyond.
    pub(super) fn take_in(&mut self, found: &[Found]) -> u64 {
        let ids = found.iter().map(|found| found.id);
        let known: HashSet<CgroupId> = ids.filter(|id| self.tree.get(*id).is_some()).collect();
        self.unplaced = self.tree.insert_all(&self.cgroup_root, found);
        let Shared { roles, refused } =
            share::share(&self.tree, found, |id| known.contains(&id), NESTED_MAX);
        for id in &refused {
            self.tree.remove(*id);
        }
        let Self { kernel, tree, .. } = self;
        let places = roles.into_iter().filter_map(|(id, role)| Some((id, place(tree, id, &role)?)));
        if let Some(map) = kernel.as_mut().and_then(|kernel| kernel.programs.tracked())
            && let Err(error) = map.track_all(places)
        {
            tracing::error!(error = format!("{error:#}"), "a cgroup is not tracked");
        }
        refused.len() as u64
    }

    pub(super) fn tracked_map(&mut self) -> Option<&mut TrackedMap> {
        self.kernel.as_mut()?.programs.tracked()
    }

    /// The cgroups that the kernel side tracks.
    pub(crate) fn tracked_ids(&mut self) -> Vec<CgroupId> {
        self.tracked_map().map(|map| map.ids()).unwrap_or_default()
    }

    /// Cgroups nested in containers that were there before the agent, and are beyond their share.
    pub(crate) fn nested_refused(&self) -> u64 {
        self.nested_refused
    }

    /// Tells the kernel side what a cgroup is. It tracks each from its first moment on, as what its
    /// parent was taken for.
    pub(super) fn track(&mut self, id: CgroupId, role: &Role) {
        let place = place(&self.tree, id, role);
        let Some(map) = self.tracked_map() else { return };
        match place {
            None => map.untrack(id),
            Some(place) => map.place(id, place),
        }
    }

    /// A container's init is known: the kernel side is told whose signals matter.
    pub(crate) fn set_init(&mut self, container: CgroupId, tgid: u32) {
        if let Some(map) = self.tracked_map()
            && let Err(error) = map.set_init(container, tgid)
        {
            // The container may be gone already.
            tracing::debug!(%container, error = format!("{error:#}"), "no init set");
        }
    }
}

/// Place of a cgroup on the kernel side; `None` if it is not to be tracked. Within a Pod all tasks are
/// watched: a container's init may move there.
fn place(tree: &Tree, id: CgroupId, role: &Role) -> Option<Place> {
    match role {
        Role::Inner | Role::Pod(_) if tree.pod_of(id).is_some() => Some(Place::Unknown),
        Role::Inner | Role::Pod(_) => Some(Place::Holder),
        Role::Container(..) => Some(Place::Container),
        Role::Unit => Some(Place::Unit),
        Role::Nested { container } => Some(Place::Nested(*container)),
        Role::Skipped => None,
    }
}
