//! Roles in the tree: decided from what is known, and again where that has changed.

use std::collections::BTreeSet;

use super::{Entry, Tree};
use crate::cgroup::CgroupId;
use crate::cgroup::path;
use crate::cgroup::role::{self, Mode, Place, Role};

impl Tree {
    /// Top-level cgroups that hold one that is shown: reading their statistics makes the kernel add
    /// up those of all below.
    #[must_use]
    pub fn tops(&self) -> BTreeSet<CgroupId> {
        let mut tops = BTreeSet::new();
        for (id, entry) in &self.entries {
            let in_pod = || {
                let above = entry.parent.and_then(|parent| self.entries.get(&parent));
                above.is_some_and(|above| matches!(above.role, Role::Pod(_)))
            };
            match entry.role {
                Role::Pod(_) | Role::Unit => {}
                Role::Container(..) if !in_pod() => {}
                _ => continue,
            }
            let mut top = *id;
            for (above, entry) in self.ancestors(*id) {
                if entry.parent.is_some() {
                    top = above;
                }
            }
            tops.insert(top);
        }
        tops
    }

    /// Decides about the role of a cgroup again. That of those below does not follow: they depend on
    /// it only where it changes with the first child, or with the mode.
    pub(super) fn decide(&mut self, id: CgroupId) {
        let Some((place, entry)) = self.place(id) else { return };
        let is_leaf = entry.children == 0;
        let role = role::role(self.mode, place, &entry.name, is_leaf);
        let unclassified = role::is_unclassified(&role, place, &entry.name, is_leaf);
        let is_root_of_pods = path::is_kubepods(&entry.name) && !place.in_container;
        if unclassified {
            self.unclassified.insert(id);
        } else {
            self.unclassified.remove(&id);
        }
        if is_root_of_pods {
            self.kubepods.insert(id);
        }
        if let Role::Pod(pod) = &role
            && !self.pods.contains_key(&pod.uid)
        {
            self.pods.insert(pod.uid.clone(), id);
        }
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.role != role
        {
            let before = std::mem::replace(&mut entry.role, role);
            self.changes.push((id, Some(before)));
        }
    }

    /// Place of a cgroup, and its entry; `None` for a root, whose role is fixed.
    fn place(&self, id: CgroupId) -> Option<(Place<'_>, &Entry)> {
        let entry = self.entries.get(&id)?;
        let parent = entry.parent?;
        let above = self.entries.get(&parent)?;
        let name_of = |id: Option<CgroupId>| {
            let entry = id.and_then(|id| self.entries.get(&id));
            entry.map(|entry| entry.name.as_slice()).unwrap_or_default()
        };
        let is_class = matches!(above.name.as_slice(), b"burstable" | b"besteffort");
        let in_kubepods =
            path::is_kubepods(&above.name) || is_class && path::is_kubepods(name_of(above.parent));
        let pod = self.self_and_ancestors(parent).find_map(|(_, entry)| match &entry.role {
            Role::Pod(pod) | Role::Container(pod, _) => Some(pod),
            _ => None,
        });
        let place = Place {
            parent,
            parent_name: &above.name,
            parent_role: &above.role,
            in_kubepods,
            pod,
            in_container: above.in_container,
        };
        Some((place, entry))
    }

    /// Decides about all roles again if the mode has to change.
    pub(super) fn settle_mode(&mut self) {
        if self.mode != Mode::Auto || self.kubepods.is_empty() {
            return;
        }
        self.mode = Mode::Kubernetes;
        let depth = |id: CgroupId| self.ancestors(id).count();
        let mut ids: Vec<_> = self.entries.keys().map(|id| (depth(*id), *id)).collect();
        ids.sort_unstable();
        for (_, id) in ids {
            self.decide(id);
        }
    }
}
