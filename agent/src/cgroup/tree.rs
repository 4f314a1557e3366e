//! Tree of the known cgroups, with their roles and paths. Pure: updated by a walk or by the
//! kernel's mkdir and rmdir events.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::CgroupId;
use super::path::{self, Component, ContainerName, PodName};

/// Mode in which the node is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Kubernetes node: only what is below kubepods, Pods and their containers.
    Kubernetes,
    /// Plain machine: systemd's units and containers of any runtime.
    Host,
}

/// Role of a cgroup in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Inner cgroup, which only holds others.
    Inner,
    /// Cgroup of a Pod; in Kubernetes mode only.
    Pod(PodName),
    /// Cgroup of a container or of a sandbox; in Kubernetes mode only.
    Container(ContainerName),
    /// Cgroup of a systemd service or scope, or of a container; in host mode only.
    Unit,
    /// Cgroup that a container or a unit created within its own.
    Nested {
        /// Cgroup of that container or unit.
        container: CgroupId,
    },
    /// Cgroup of a runtime's monitor, of a mount or of a socket unit; never shown, nor any below
    /// it.
    Skipped,
}

/// Entry of the tree: a known cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Parent of the cgroup; `None` for a root.
    pub parent: Option<CgroupId>,
    /// Name of the cgroup's directory.
    pub name: Vec<u8>,
    /// Role of the cgroup.
    pub role: Role,
    children: usize,
}

/// Result of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Role of the inserted cgroup.
    pub role: Role,
    /// Flag: false if the cgroup was known before.
    pub new: bool,
}

/// Known cgroups below one or several roots.
///
/// Every entry except a root has its parent in the tree: all cgroups below a removed one are
/// removed with it.
#[derive(Debug)]
pub struct Tree {
    mode: Mode,
    entries: HashMap<CgroupId, Entry>,
    roots: HashMap<CgroupId, PathBuf>,
}

impl Tree {
    /// Tree without a root.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, entries: HashMap::new(), roots: HashMap::new() }
    }

    /// Mode of the tree.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Adds a root: the kubepods directory, or in host mode the root of the hierarchy. `path` is
    /// absolute. A known root stays as it is; one that was known as another's child, or under
    /// another path, is re-created without the cgroups below it.
    pub fn insert_root(&mut self, id: CgroupId, path: PathBuf) {
        if self.roots.get(&id) == Some(&path) {
            return;
        }
        self.remove(id);
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default().to_vec();
        self.entries.insert(id, Entry { parent: None, name, role: Role::Inner, children: 0 });
        self.roots.insert(id, path);
    }

    /// Adds the directory `name` in `parent`. `None` if the parent is not known, and nothing
    /// changes. `has_children` matters in host mode only, and only for a cgroup that is new.
    ///
    /// A second insert of the same cgroup changes nothing; one with the same id but another place
    /// replaces the cgroup and all below it.
    pub fn insert(
        &mut self,
        id: CgroupId,
        parent: CgroupId,
        name: &[u8],
        has_children: bool,
    ) -> Option<Inserted> {
        let above = self.entries.get(&parent)?;
        if let Some(known) = self.entries.get(&id) {
            let same = known.parent == Some(parent) && known.name == name;
            if same || self.roots.contains_key(&id) {
                return Some(Inserted { role: known.role.clone(), new: false });
            }
            if parent == id || self.ancestors(parent).any(|(ancestor, _)| ancestor == id) {
                return None;
            }
        }
        let role = self.role_below(parent, above, name, has_children);
        self.remove(id);
        if let Some(above) = self.entries.get_mut(&parent) {
            above.children = above.children.saturating_add(1);
        }
        let entry =
            Entry { parent: Some(parent), name: name.to_vec(), role: role.clone(), children: 0 };
        self.entries.insert(id, entry);
        Some(Inserted { role, new: true })
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
        if let Some(above) = entry.parent.and_then(|parent| self.entries.get_mut(&parent)) {
            above.children = above.children.saturating_sub(1);
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
            Role::Container(_) | Role::Unit => Some(id),
            Role::Nested { container } => Some(container),
            Role::Inner | Role::Pod(_) | Role::Skipped => None,
        }
    }

    /// Pod that this cgroup is or is in.
    #[must_use]
    pub fn pod_of(&self, id: CgroupId) -> Option<CgroupId> {
        self.self_and_ancestors(id)
            .find(|(_, entry)| matches!(entry.role, Role::Pod(_)))
            .map(|(id, _)| id)
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

    fn role_below(&self, id: CgroupId, above: &Entry, name: &[u8], has_children: bool) -> Role {
        match above.role {
            Role::Skipped => Role::Skipped,
            Role::Container(_) | Role::Unit => Role::Nested { container: id },
            Role::Nested { container } => Role::Nested { container },
            Role::Pod(_) => in_pod(name),
            Role::Inner => match self.mode {
                Mode::Host => in_host(name, &above.name, has_children),
                // The runtime may put a directory of its own between Pod and container.
                Mode::Kubernetes if self.pod_of(id).is_some() => in_pod(name),
                Mode::Kubernetes => path::pod(name, &above.name).map_or(Role::Inner, Role::Pod),
            },
        }
    }
}

fn in_pod(name: &[u8]) -> Role {
    if path::is_monitor(name) {
        return Role::Skipped;
    }
    path::container(name).map_or(Role::Inner, Role::Container)
}

fn in_host(name: &[u8], parent: &[u8], has_children: bool) -> Role {
    // Units that have a cgroup but no lifecycle of interest (systemd.unit(5)).
    const DULL: [&[u8]; 4] = [b".mount", b".automount", b".swap", b".socket"];
    // Directories that runtimes and kubelets with the cgroupfs driver create to hold containers.
    // They may be empty when first seen.
    const HOLDERS: [&[u8]; 4] = [b"docker", b"libpod_parent", b"burstable", b"besteffort"];
    match path::component(name, parent) {
        Component::Monitor => return Role::Skipped,
        Component::Container(_) => return Role::Unit,
        Component::Kubepods | Component::Pod(_) => return Role::Inner,
        Component::Other => {}
    }
    if DULL.iter().any(|suffix| name.ends_with(suffix)) {
        Role::Skipped
    } else if name.ends_with(b".service") || name.ends_with(b".scope") {
        Role::Unit
    } else if name.ends_with(b".slice") || HOLDERS.contains(&name) || has_children {
        Role::Inner
    } else {
        Role::Unit
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
