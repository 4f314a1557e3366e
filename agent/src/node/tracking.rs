//! Tracking: which cgroups are there, and the kernel side that watches them.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::bpf::programs::RunningTasks;
use crate::bpf::snapshot::Snapshot;
use crate::bpf::start::Kernel;
use crate::bpf::subjects::SubjectId;
use crate::bpf::tasks::self_check;
use crate::cgroup::{
    CgroupId,
    path::Origin,
    reader::Reader,
    tree::{Mode, Role, Tree},
    walk::{self, Found, WalkError},
};
use crate::escape;
use crate::event::{CgroupMade, Event, EventKind, OomLevel, RunningTask};
use crate::lifecycle::subject::Birth;

/// A cgroup that was met for the first time, and matters.
#[derive(Debug)]
pub(super) enum Met {
    /// A container's own cgroup.
    Container {
        id: CgroupId,
        pod: Option<CgroupId>,
        origin: Origin,
        birth: Birth,
        /// The OOM counters of the cgroup and of those above, as its files have them now.
        oom_seen: Vec<OomLevel>,
    },
    /// A cgroup below a container's own.
    Nested { cgroup: CgroupId, container: CgroupId },
}

/// The result of a walk over the cgroup tree.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) met: Vec<Met>,
    /// Records that came during the walk, to be taken in after it.
    pub(super) events: Vec<Event>,
    /// Cgroups that are known and were not found.
    pub(super) gone: Vec<CgroupId>,
}

/// The running processes of the node.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) running: Vec<RunningTask>,
    /// Nothing can be concluded from the absence of a process if they are not all there.
    pub(super) complete: bool,
}

/// The cgroup tree and the kernel side.
pub(super) struct Tracking {
    kernel: Option<Kernel>,
    tree: Tree,
    cgroup_root: PathBuf,
    /// Cgroups whose place in the tree is not known.
    unresolved: u64,
    /// Processes that the OOM killer ended in containers before the agent came.
    unseen_oom_kills: u64,
    losses_seen: u64,
    /// Number of walks over the cgroup tree.
    walks: u64,
}

impl Tracking {
    pub(super) fn new(mode: Mode, cgroup_root: PathBuf, kernel: Option<Kernel>) -> Self {
        Self {
            kernel,
            tree: Tree::new(mode),
            cgroup_root,
            unresolved: 0,
            unseen_oom_kills: 0,
            losses_seen: 0,
            walks: 0,
        }
    }

    pub(super) fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref()
    }

    /// Whether a cgroup is known, and is neither a container's own nor below one.
    pub(super) fn is_no_container(&self, id: CgroupId) -> bool {
        let role = self.tree.get(id).map(|entry| &entry.role);
        matches!(role, Some(Role::Inner | Role::Pod(_) | Role::Skipped))
    }

    /// Whether there are programs that report events.
    pub(super) fn has_events(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.programs.has_events())
    }

    /// Number of walks over the cgroup tree.
    pub(super) fn walks(&self) -> u64 {
        self.walks
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn unresolved(&self) -> u64 {
        self.unresolved
    }

    pub(super) fn unseen_oom_kills(&self) -> u64 {
        self.unseen_oom_kills
    }

    /// Takes all records that are there.
    pub(super) fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(kernel) = &mut self.kernel {
            kernel.rings.drain(&mut events);
        }
        events
    }

    /// The directory below which everything is watched, if it is there.
    pub(super) fn find_root(&self) -> Option<PathBuf> {
        match self.tree.mode() {
            Mode::Host => Some(self.cgroup_root.clone()),
            Mode::Kubernetes => walk::find_kubepods(&self.cgroup_root),
        }
    }

    /// Tracks the root and all below it. What is made after its parent is tracked reports itself.
    /// What was made before is found by a first walk, and what was made below that before it was
    /// tracked, by a second.
    pub(super) fn scan(&mut self, root: &Path, now_boot_ns: u64) -> Walk {
        let Some(id) = self.track_root(root) else { return Walk::default() };
        self.tree.insert_root(id, root.to_owned());
        let (found, _) = self.walk(root);
        self.track_all(&found);
        let (found, errors) = self.walk(root);
        for error in errors {
            tracing::warn!(error = %error, "part of the cgroup tree is not seen");
        }
        self.track_all(&found);
        self.meet_all(&found, Vec::new(), now_boot_ns)
    }

    /// Walks again if events do not tell all: no programs, or records lost.
    pub(super) fn rescan_if_blind(&mut self, now_boot_ns: u64) -> Option<Walk> {
        if !self.is_blind() {
            return None;
        }
        let root = self.find_root();
        let (found, _) = root.map(|root| self.walk(&root)).unwrap_or_default();
        let is_root = |found: &&Found| found.parent.is_none() && self.tree.get(found.id).is_some();
        if !found.iter().any(|found| is_root(&found)) {
            // The root is gone, or another one is in its place: nothing that is known is there.
            let gone = self.tree.iter().map(|(id, _)| id).collect();
            return Some(Walk { gone, ..Walk::default() });
        }
        self.track_all(&found);
        let there: HashSet<_> = found.iter().map(|found| found.id).collect();
        let gone = self.tree.iter().map(|(id, _)| id).filter(|id| !there.contains(id)).collect();
        Some(self.meet_all(&found, gone, now_boot_ns))
    }

    fn walk(&mut self, root: &Path) -> (Vec<Found>, Vec<WalkError>) {
        self.walks += 1;
        walk::walk(root)
    }

    fn is_blind(&mut self) -> bool {
        let Some(kernel) = &self.kernel else { return true };
        let losses = kernel.programs.losses();
        let lost = losses.ring_full + losses.tracked_full;
        let more = lost > self.losses_seen;
        self.losses_seen = lost;
        more || kernel.is_blind()
    }

    /// Takes in what a walk found. Records came meanwhile: what one of them says was made is no older
    /// than the agent, though the walk met it first.
    fn meet_all(&mut self, found: &[Found], gone: Vec<CgroupId>, now_boot_ns: u64) -> Walk {
        let events = self.drain();
        let made: HashMap<CgroupId, u64> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::CgroupMade(made) => Some((made.cgroup, event.time_boot_ns)),
                _ => None,
            })
            .collect();
        let mut met = Vec::new();
        for Found { id, parent, name, has_children } in found {
            if let Some(parent) = parent {
                let birth = Birth::new(made.get(id).copied(), now_boot_ns);
                met.extend(self.meet(*id, *parent, name, *has_children, birth));
            }
        }
        Walk { met, events, gone }
    }

    fn track_root(&mut self, root: &Path) -> Option<CgroupId> {
        let id = match std::fs::metadata(root) {
            Ok(metadata) => CgroupId(metadata.ino()),
            Err(error) => {
                tracing::error!(%error, root = escape::path(root), "the cgroup root is not readable");
                return None;
            }
        };
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.programs.track_root(id)
        {
            tracing::error!(error = format!("{error:#}"), "the root is not tracked: no events");
        }
        Some(id)
    }

    fn track_all(&mut self, found: &[Found]) {
        let Some(kernel) = &mut self.kernel else { return };
        let below = found.iter().filter(|found| found.parent.is_some());
        if let Err(error) = kernel.programs.track_all(below.map(|found| found.id)) {
            tracing::error!(error = format!("{error:#}"), "a cgroup is not tracked");
        }
    }

    /// The cgroup iterator, bound to a root, where the kernel has one.
    pub(super) fn snapshot(&mut self, root: &Path) -> Option<Snapshot> {
        let kernel = self.kernel.as_mut()?;
        if !kernel.programs.is_attached(SubjectId::CgroupIter) {
            return None;
        }
        match kernel.programs.snapshot(root) {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "no cgroup iterator: the files of each cgroup are read"
                );
                None
            }
        }
    }

    /// The running processes, by the task iterator; the kernel side is unloaded if it cannot be
    /// trusted.
    pub(super) fn running_tasks(&mut self) -> Tasks {
        let Some(Kernel { programs, .. }) = &mut self.kernel else { return Tasks::default() };
        match programs.running_tasks() {
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "inits of older containers unknown");
                Tasks::default()
            }
            Ok(RunningTasks { tasks, complete }) => {
                if let Err(error) = self_check(&tasks) {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the kernel side reads wrong data and is unloaded: no events"
                    );
                    self.kernel = None;
                    return Tasks::default();
                }
                Tasks { running: tasks.into_iter().map(|task| task.running).collect(), complete }
            }
        }
    }

    /// A cgroup was made, as its own record says.
    pub(super) fn made(&mut self, made: &CgroupMade, boot_ns: u64) -> Option<Met> {
        let name = made.name.clone().or_else(|| self.name_on_disk(made.parent, made.cgroup));
        let Some(name) = name else {
            // Gone before it could be looked up, on a kernel that does not tell names.
            self.unresolved += 1;
            return None;
        };
        self.meet(made.cgroup, made.parent, &name, false, Birth::Seen { boot_ns })
    }

    /// The name of a cgroup's directory, found by its inode number.
    fn name_on_disk(&self, parent: CgroupId, id: CgroupId) -> Option<Vec<u8>> {
        let entries = std::fs::read_dir(self.tree.path(parent)?).ok()?;
        let entry = entries.flatten().find(|entry| entry.ino() == id.0)?;
        Some(entry.file_name().as_bytes().to_vec())
    }

    /// A cgroup is there. Returns what it is if it was not known, and matters.
    pub(super) fn meet(
        &mut self,
        id: CgroupId,
        parent: CgroupId,
        name: &[u8],
        has_children: bool,
        birth: Birth,
    ) -> Option<Met> {
        let Some(inserted) = self.tree.insert(id, parent, name, has_children) else {
            self.unresolved += 1;
            return None;
        };
        if !inserted.new {
            return None;
        }
        match inserted.role {
            Role::Inner | Role::Pod(_) => None,
            Role::Skipped => {
                if let Some(kernel) = &mut self.kernel {
                    kernel.programs.untrack(id);
                }
                None
            }
            Role::Nested { container } => Some(Met::Nested { cgroup: id, container }),
            Role::Container(name) => {
                let pod = self.tree.pod_of(id).and_then(|pod| self.tree.get(pod));
                let Some(Role::Pod(pod)) = pod.map(|entry| entry.role.clone()) else {
                    return None;
                };
                Some(self.met_container(id, Origin::Pod(pod, name), birth))
            }
            Role::Unit => {
                let path = self.tree.path_below_root(id).unwrap_or_default();
                let origin = Origin::Unit(escape::path(&path), escape::name(name));
                Some(self.met_container(id, origin, birth))
            }
        }
    }

    fn met_container(&mut self, id: CgroupId, origin: Origin, birth: Birth) -> Met {
        let oom_seen = self.oom_seen(id);
        if let (Birth::BeforeAgent { .. }, Some(own)) = (birth, oom_seen.first()) {
            self.unseen_oom_kills += own.oom_kill;
        }
        Met::Container { id, pod: self.tree.pod_of(id), origin, birth, oom_seen }
    }

    fn oom_seen(&self, id: CgroupId) -> Vec<OomLevel> {
        let above = self.tree.ancestors(id).map(|(id, _)| id);
        std::iter::once(id)
            .chain(above)
            .filter_map(|cgroup| {
                let events = Reader::read_events_local(&self.tree.path(cgroup)?)?;
                Some(OomLevel { cgroup, oom: events.oom?, oom_kill: events.oom_kill? })
            })
            .collect()
    }

    /// A cgroup was removed, and with it all below it: the kernel side forgets them. Returns them.
    pub(super) fn removed(&mut self, id: CgroupId) -> Vec<CgroupId> {
        let removed: Vec<_> = self.tree.remove_subtree(id).into_iter().map(|(id, _)| id).collect();
        if let Some(kernel) = &mut self.kernel {
            for id in &removed {
                kernel.programs.untrack(*id);
            }
        }
        removed
    }

    /// A container's init is known: the kernel side is told whose signals matter.
    pub(super) fn set_init(&mut self, container: CgroupId, tgid: u32) {
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.programs.set_init(container, tgid)
        {
            // The container may be gone already.
            tracing::debug!(%container, error = format!("{error:#}"), "no init set");
        }
    }
}
