//! Tree of the known cgroups, with their roles and paths. Pure: updated by a walk or by the
//! kernel's mkdir and rmdir events.

mod kubelet;
mod roles;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::CgroupId;
use super::path;
pub use super::role::{Mode, Role};
use super::walk::Found;

/// Entry of the tree: a known cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Parent of the cgroup; `None` for a root.
    pub parent: Option<CgroupId>,
    /// Name of the cgroup's directory.
    pub name: Vec<u8>,
    /// Role of the cgroup.
    pub role: Role,
    /// Flag: the names say that the cgroup is, or lies in, a container or a machine.
    in_container: bool,
    children: usize,
}

/// Cgroup that is new, or whose role has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Id of the cgroup.
    pub id: CgroupId,
    /// Role that it had; `None` if it was unknown.
    pub before: Option<Role>,
    /// Role that it has.
    pub role: Role,
}

/// Known cgroups below one or several roots.
///
/// Every entry except a root has its parent in the tree: all cgroups below a removed one are
/// removed with it. A role follows from the names above, from whether there are children, and from
/// the mode; so it is the same in whatever order the cgroups became known. It may change with what
/// becomes known later, and each change is kept until it is taken.
#[derive(Debug)]
pub struct Tree {
    mode: Mode,
    entries: HashMap<CgroupId, Entry>,
    roots: HashMap<CgroupId, PathBuf>,
    /// Pods by UID, for their containers that lie elsewhere.
    pods: HashMap<String, CgroupId>,
    /// Roots of Pods outside of all containers.
    kubepods: BTreeSet<CgroupId>,
    unclassified: BTreeSet<CgroupId>,
    /// Cgroups that may have changed, the first change first, with the role before that.
    changes: Vec<(CgroupId, Option<Role>)>,
}

impl Tree {
    /// Tree without a root.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            entries: HashMap::new(),
            roots: HashMap::new(),
            pods: HashMap::new(),
            kubepods: BTreeSet::new(),
            unclassified: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    /// Mode of the tree. [`Mode::Auto`] becomes [`Mode::Kubernetes`] with the first kubepods
    /// directory outside of all containers, and stays so: a kubelet that restarts may remove the
    /// directory and make it again.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether there is a kubepods directory outside of all containers.
    #[must_use]
    pub fn has_kubepods(&self) -> bool {
        !self.kubepods.is_empty()
    }

    /// Cgroups that look like a container's and are in no known form, the oldest first.
    pub fn unclassified(&self) -> impl ExactSizeIterator<Item = CgroupId> {
        self.unclassified.iter().copied()
    }

    /// Adds a root: the root of the hierarchy. `path` is absolute. A known root stays as it is; one
    /// that was known as another's child, or under another path, is re-created without the cgroups
    /// below it.
    pub fn insert_root(&mut self, id: CgroupId, path: PathBuf) {
        if self.roots.get(&id) == Some(&path) {
            return;
        }
        self.remove(id);
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default().to_vec();
        if path::is_kubepods(&name) {
            self.kubepods.insert(id);
        }
        let entry =
            Entry { parent: None, name, role: Role::Inner, in_container: false, children: 0 };
        self.entries.insert(id, entry);
        self.roots.insert(id, path);
        self.changes.push((id, None));
        self.settle_mode();
    }

    /// Adds the directory `name` in `parent`. Returns whether it is new; `None` if the parent is not
    /// known, and nothing changes.
    ///
    /// A second insert of the same cgroup changes nothing; one with the same id but another place
    /// replaces the cgroup and all below it.
    pub fn insert(&mut self, id: CgroupId, parent: CgroupId, name: &[u8]) -> Option<bool> {
        let above = self.entries.get(&parent)?;
        let known = self.entries.get(&id);
        if let Some(known) = known {
            let same = known.parent == Some(parent) && known.name == name;
            if same || self.roots.contains_key(&id) {
                return Some(false);
            }
            if parent == id || self.ancestors(parent).any(|(ancestor, _)| ancestor == id) {
                return None;
            }
        }
        let in_container = above.in_container || path::is_container(name, &above.name);
        let before = known.map(|known| known.role.clone());
        self.remove(id);
        if let Some(above) = self.entries.get_mut(&parent) {
            above.children = above.children.saturating_add(1);
            if above.children == 1 {
                // What the parent is may change, and with it what the child is.
                self.decide(parent);
            }
        }
        let entry = Entry {
            parent: Some(parent),
            name: name.to_vec(),
            role: Role::Inner,
            in_container,
            children: 0,
        };
        self.entries.insert(id, entry);
        self.changes.push((id, before));
        self.decide(id);
        self.settle_mode();
        Some(true)
    }

    /// Adds what a walk found, parents before their children. Returns those that had no place.
    pub fn insert_all(&mut self, root: &Path, found: &[Found]) -> HashSet<CgroupId> {
        let mut unplaced = HashSet::new();
        for Found { id, parent, name } in found {
            match parent {
                None => self.insert_root(*id, root.to_owned()),
                Some(parent) => {
                    if self.insert(*id, *parent, name).is_none() {
                        unplaced.insert(*id);
                    }
                }
            }
        }
        unplaced
    }

    /// Cgroups that are new, and those whose role has changed, since this was last asked; without
    /// those that are gone again.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut seen = HashSet::new();
        let changes = std::mem::take(&mut self.changes).into_iter();
        changes
            .filter(|(id, _)| seen.insert(*id))
            .filter_map(|(id, before)| {
                let role = self.entries.get(&id)?.role.clone();
                (before.as_ref() != Some(&role)).then_some(Change { id, before, role })
            })
            .collect()
    }

    /// Removes a cgroup and all below it; returns the cgroup's own entry.
    pub fn remove(&mut self, id: CgroupId) -> Option<Entry> {
        self.remove_subtree(id).pop().map(|(_, entry)| entry)
    }

    /// Removes a cgroup and all below it; returns their entries, that of the cgroup itself last.
    ///
    /// The kernel removes children first, so there is more than one only where events were lost
    /// or arrived in another order.
    pub fn remove_subtree(&mut self, id: CgroupId) -> Vec<(CgroupId, Entry)> {
        let Some(entry) = self.entries.remove(&id) else { return Vec::new() };
        self.roots.remove(&id);
        if let Some(parent) = entry.parent
            && let Some(above) = self.entries.get_mut(&parent)
        {
            above.children = above.children.saturating_sub(1);
            if above.children == 0 {
                self.decide(parent);
            }
        }
        let mut removed = vec![(id, entry)];
        let mut next = 0;
        while let Some((parent, entry)) = removed.get(next) {
            next += 1;
            if entry.children > 0 {
                let parent = Some(*parent);
                removed.extend(self.entries.extract_if(|_, entry| entry.parent == parent));
            }
        }
        for (id, entry) in &removed {
            self.kubepods.remove(id);
            self.unclassified.remove(id);
            if let Role::Pod(pod) = &entry.role
                && self.pods.get(&pod.uid) == Some(id)
            {
                self.pods.remove(&pod.uid);
            }
        }
        removed.reverse();
        removed
    }

    /// Entry of a cgroup; `None` if it is unknown.
    #[must_use]
    pub fn get(&self, id: CgroupId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Absolute path of the cgroup's directory.
    #[must_use]
    pub fn path(&self, id: CgroupId) -> Option<PathBuf> {
        let (root, names) = self.names(id)?;
        let mut path = self.roots.get(&root)?.clone();
        path.extend(names.into_iter().rev().map(OsStr::from_bytes));
        Some(path)
    }

    /// Path of the cgroup's directory below its root; empty for the root itself.
    #[must_use]
    pub fn path_below_root(&self, id: CgroupId) -> Option<PathBuf> {
        let (_, names) = self.names(id)?;
        Some(names.into_iter().rev().map(OsStr::from_bytes).collect())
    }

    /// Root above a cgroup, and the names from the cgroup upwards, without the root's.
    fn names(&self, id: CgroupId) -> Option<(CgroupId, Vec<&[u8]>)> {
        let mut names = Vec::new();
        for (id, entry) in self.self_and_ancestors(id) {
            if entry.parent.is_none() {
                return Some((id, names));
            }
            names.push(entry.name.as_slice());
        }
        None
    }

    /// Container, in host mode unit, that this cgroup is or is nested in.
    #[must_use]
    pub fn container_of(&self, id: CgroupId) -> Option<CgroupId> {
        match self.entries.get(&id)?.role {
            Role::Container(..) | Role::Unit => Some(id),
            Role::Nested { container } => Some(container),
            Role::Inner | Role::Pod(_) | Role::Skipped => None,
        }
    }

    /// Pod that this cgroup is or is in, or whose container it is or is in.
    #[must_use]
    pub fn pod_of(&self, id: CgroupId) -> Option<CgroupId> {
        let mut above = self.self_and_ancestors(id);
        let elsewhere = above.find_map(|(id, entry)| match &entry.role {
            Role::Pod(_) => Some(Ok(id)),
            Role::Container(pod, _) => Some(Err(pod)),
            _ => None,
        });
        match elsewhere? {
            Ok(id) => Some(id),
            // A container lies in its Pod's cgroup, or its name is the whole path.
            Err(pod) => above
                .find_map(|(id, entry)| matches!(entry.role, Role::Pod(_)).then_some(id))
                .or_else(|| self.pods.get(&pod.uid).copied()),
        }
    }

    /// Cgroups above this one, the nearest first.
    pub fn ancestors(&self, id: CgroupId) -> impl Iterator<Item = (CgroupId, &Entry)> {
        self.self_and_ancestors(id).skip(1)
    }

    fn self_and_ancestors(&self, id: CgroupId) -> impl Iterator<Item = (CgroupId, &Entry)> {
        let first = self.entries.get(&id).map(|entry| (id, entry));
        std::iter::successors(first, |(_, entry)| {
            let parent = entry.parent?;
            Some((parent, self.entries.get(&parent)?))
        })
    }

    /// Iterator over all known cgroups, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (CgroupId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Number of known cgroups, with the roots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no cgroup is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
