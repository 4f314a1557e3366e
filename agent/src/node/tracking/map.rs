//! The map of the kernel side, kept in step with the tree.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Tracking;
use crate::bpf::tracked::{NESTED_MAX, Place, TrackedMap};
use crate::cgroup::{
    CgroupId,
    share::{self, Shared},
    tree::{Role, Tree},
    walk::Found,
};
use crate::escape;

impl Tracking {
    pub(super) fn track_root(&mut self, root: &Path) -> Option<CgroupId> {
        let id = match std::fs::metadata(root) {
            Ok(metadata) => CgroupId(metadata.ino()),
            Err(error) => {
                tracing::error!(%error, root = escape::path(root), "the cgroup root is not readable");
                return None;
            }
        };
        if let Some(map) = self.tracked_map()
            && let Err(error) = map.track(id, Place::Holder)
        {
            tracing::error!(error = format!("{error:#}"), "the root is not tracked: no events");
        }
        Some(id)
    }

    /// Tracks what a walk found, in its places. Returns those that are beyond their container's
    /// share.
    pub(super) fn track_all(&mut self, root: &Path, found: &[Found]) -> HashSet<CgroupId> {
        let mut roles = Tree::new(self.tree.mode());
        for Found { id, parent, name, has_children } in found {
            match parent {
                None => roles.insert_root(*id, root.to_owned()),
                Some(parent) => drop(roles.insert(*id, *parent, name, *has_children)),
            }
        }
        let known = |id| self.tree.get(id).is_some();
        let Shared { roles, refused } = share::share(&roles, found, known, NESTED_MAX);
        let below = found.iter().filter(|found| found.parent.is_some());
        let below: HashSet<CgroupId> = below.map(|found| found.id).collect();
        let places = roles
            .into_iter()
            .filter(|(id, _)| below.contains(id))
            .filter_map(|(id, role)| Some((id, place(&role)?)));
        if let Some(map) = self.kernel.as_mut().and_then(|kernel| kernel.programs.tracked())
            && let Err(error) = map.track_all(places)
        {
            tracing::error!(error = format!("{error:#}"), "a cgroup is not tracked");
        }
        refused
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

    /// A cgroup is new in the tree. The kernel side has tracked it from its first moment on, as what
    /// its parent was taken for, and is told what it is.
    pub(super) fn told(&mut self, id: CgroupId, role: &Role) {
        let Some(map) = self.tracked_map() else { return };
        match place(role) {
            None => map.untrack(id),
            Some(Place::Unknown) => {}
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

/// Place of a cgroup with this role on the kernel side; `None` if it is not to be tracked.
fn place(role: &Role) -> Option<Place> {
    match role {
        Role::Inner | Role::Pod(_) => Some(Place::Unknown),
        Role::Container(_) => Some(Place::Container),
        Role::Unit => Some(Place::Unit),
        Role::Nested { container } => Some(Place::Nested(*container)),
        Role::Skipped => None,
    }
}
