//! Tracking: which cgroups are there, and the kernel side that watches them.

mod map;
mod met;

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirEntryExt as _;
use std::path::PathBuf;

use crate::bpf::programs::{Programs, RunningTasks};
use crate::bpf::snapshot::Snapshot;
use crate::bpf::start::Kernel;
use crate::bpf::subjects::SubjectId;
use crate::bpf::tasks::self_check;
use crate::cgroup::{
    CgroupId,
    path::Origin,
    tree::{Mode, Role, Tree},
    walk::{self, Found, WalkError},
};
use crate::event::Connection;
use crate::event::{CgroupMade, Event, EventKind, OomLevel, RunningTask, Task};
use crate::lifecycle::subject::Birth;

/// Limit of cgroups without a place that are kept: each is looked for by a walk soon.
const UNPLACED_MAX: usize = 4_096;

/// A change that matters.
#[derive(Debug)]
pub(super) enum Met {
    /// A container's own cgroup is there.
    Container {
        id: CgroupId,
        pod: Option<CgroupId>,
        origin: Origin,
        birth: Birth,
        /// The OOM counters of the cgroup and of those above, as its files have them now.
        oom_seen: Vec<OomLevel>,
    },
    /// A cgroup below a container's own is there.
    Nested { cgroup: CgroupId, container: CgroupId },
    /// A cgroup that was taken for a container's own is none: it holds others.
    NoContainer(CgroupId),
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
    /// Whether all processes are there: if not, the absence of one proves nothing.
    pub(super) complete: bool,
}

/// The cgroup tree and the kernel side.
pub(super) struct Tracking {
    kernel: Option<Kernel>,
    tree: Tree,
    /// The tree's mode, as it was last noted.
    mode: Mode,
    cgroup_root: PathBuf,
    /// Cgroups whose place in the tree is not known, until they are removed or a walk finds it.
    unplaced: HashSet<CgroupId>,
    /// Processes that the OOM killer ended in containers before the agent came.
    unseen_oom_kills: u64,
    /// Cgroups beyond their container's share that were there before the agent.
    nested_refused: u64,
    losses_seen: u64,
    /// Lost records that are known to the lifecycle.
    signals_lost_seen: u64,
    /// Number of walks over the cgroup tree.
    walks: u64,
    /// Connections of the kubelet that are not taken in yet.
    connections: Vec<Connection>,
}

impl Tracking {
    pub(super) fn new(mode: Mode, cgroup_root: PathBuf, kernel: Option<Kernel>) -> Self {
        Self {
            kernel,
            tree: Tree::new(mode),
            mode,
            cgroup_root,
            unplaced: HashSet::new(),
            unseen_oom_kills: 0,
            nested_refused: 0,
            losses_seen: 0,
            signals_lost_seen: 0,
            walks: 0,
            connections: Vec::new(),
        }
    }

    pub(super) fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref()
    }

    pub(super) fn programs_mut(&mut self) -> Option<&mut Programs> {
        self.kernel.as_mut().map(|kernel| &mut kernel.programs)
    }

    /// Whether a cgroup is known, and is neither a container's own nor below one.
    pub(super) fn is_no_container(&self, id: CgroupId) -> bool {
        self.tree.get(id).is_some_and(|entry| holds_no_tasks(&entry.role))
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

    pub(super) fn unplaced(&self) -> u64 {
        self.unplaced.len() as u64
    }

    pub(super) fn unseen_oom_kills(&self) -> u64 {
        self.unseen_oom_kills
    }

    /// Takes all records that are there.
    pub(super) fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(kernel) = &mut self.kernel {
            kernel.rings.drain(&mut events, &mut self.connections);
            kernel.programs.drain_log();
        }
        events
    }

    /// Takes the kubelet's connections that have ended, as of the last drain.
    pub(super) fn take_connections(&mut self) -> Vec<Connection> {
        std::mem::take(&mut self.connections)
    }

    /// Tracks the root of the hierarchy and all below it. What is made after its parent is tracked
    /// reports itself. What was made before is found by a first walk, and what was made below that
    /// before it was tracked, by a second.
    pub(super) fn scan(&mut self, now_boot_ns: u64) -> Walk {
        let (found, _) = self.walk();
        self.take_in(&found);
        let (found, errors) = self.walk();
        for error in errors {
            tracing::warn!(error = %error, "part of the cgroup tree is not seen");
        }
        self.nested_refused += self.take_in(&found);
        self.walked(Vec::new(), now_boot_ns)
    }

    /// Walks again if events do not tell all: no programs, records lost, or a cgroup without a place.
    pub(super) fn rescan_if_blind(&mut self, now_boot_ns: u64) -> Option<Walk> {
        if !self.is_blind() {
            return None;
        }
        let tracked = self.tracked_ids();
        let (found, errors) = self.walk();
        let there: HashSet<_> = found.iter().map(|found| found.id).collect();
        // If the root is gone, or another one is in its place, nothing that is known is there.
        let gone = self.tree.iter().map(|(id, _)| id).filter(|id| !there.contains(id)).collect();
        self.take_in(&found);
        if errors.is_empty()
            && let Some(map) = self.tracked_map()
        {
            map.reconcile(&tracked, |id| there.contains(&id));
        }
        Some(self.walked(gone, now_boot_ns))
    }

    fn walk(&mut self) -> (Vec<Found>, Vec<WalkError>) {
        self.walks += 1;
        walk::walk(&self.cgroup_root)
    }

    fn is_blind(&mut self) -> bool {
        let Some(kernel) = &self.kernel else { return true };
        let lost = kernel.programs.losses().found_by_a_walk();
        let more = lost > self.losses_seen;
        self.losses_seen = lost;
        more || kernel.is_blind() || !self.unplaced.is_empty()
    }

    /// Changes by a walk. Records came meanwhile: what one of them says was made is no older
    /// than the agent, though the walk met it first.
    fn walked(&mut self, gone: Vec<CgroupId>, now_boot_ns: u64) -> Walk {
        let events = self.drain();
        let made: HashMap<CgroupId, u64> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::CgroupMade(made) => Some((made.cgroup, event.time_boot_ns)),
                _ => None,
            })
            .collect();
        let met = self.meet(|id| Birth::new(made.get(&id).copied(), now_boot_ns), now_boot_ns);
        Walk { met, events, gone }
    }

    /// The cgroup iterator, bound to the root, where the kernel has one.
    pub(super) fn snapshot(&mut self) -> Option<Snapshot> {
        let kernel = self.kernel.as_mut()?;
        if !kernel.programs.is_attached(SubjectId::CgroupIter) {
            return None;
        }
        match kernel.programs.snapshot(&self.cgroup_root) {
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
        if !programs.is_attached(SubjectId::RunningTasks) {
            return Tasks::default();
        }
        match programs.running_tasks() {
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the running processes are not known");
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

    /// The processes that may be the kubelet; `None` if not all processes of the node are seen.
    pub(super) fn kubelet_tasks(&mut self) -> Option<Vec<Task>> {
        let Kernel { programs, .. } = self.kernel.as_mut()?;
        if !programs.is_attached(SubjectId::RunningTasks) {
            return None;
        }
        let tasks = programs.kubelet_tasks();
        let why = |error: &anyhow::Error| {
            tracing::debug!(
                error = format!("{error:#}"),
                "the kubelet's process is not looked for"
            );
        };
        tasks.inspect_err(why).ok()
    }

    /// Whether records of signals were lost since the last call.
    pub(super) fn lost_more(&mut self) -> bool {
        let Some(Kernel { programs, .. }) = &self.kernel else { return false };
        let lost = programs.losses().ring_full;
        lost > std::mem::replace(&mut self.signals_lost_seen, lost)
    }

    /// Whether all signals and ends have been reported: their programs are attached, and no record
    /// was lost.
    pub(super) fn records_complete(&self) -> bool {
        let Some(Kernel { programs, .. }) = &self.kernel else { return false };
        let losses = programs.losses();
        let attached = |subject: &SubjectId| programs.is_attached(*subject);
        losses.ring_full + losses.tracked_full == 0
            && [SubjectId::SchedProcessExit, SubjectId::SignalGenerate].iter().all(attached)
    }

    /// A cgroup was made, as its own record says.
    pub(super) fn made(&mut self, made: &CgroupMade, boot_ns: u64) -> Vec<Met> {
        let name = made.name.clone().or_else(|| self.name_on_disk(made.parent, made.cgroup));
        let inserted = name.and_then(|name| self.tree.insert(made.cgroup, made.parent, &name));
        if inserted.is_none() && self.unplaced.len() < UNPLACED_MAX {
            // Gone before it could be looked up, on a kernel that does not tell names, or in a place
            // that is not known.
            self.unplaced.insert(made.cgroup);
        }
        self.changed(boot_ns)
    }

    /// Meaning of the tree's last changes.
    fn changed(&mut self, boot_ns: u64) -> Vec<Met> {
        self.meet(|_| Birth::Seen { boot_ns }, boot_ns)
    }

    /// A cgroup that a walk has found.
    #[cfg(test)]
    pub(super) fn found(
        &mut self,
        id: CgroupId,
        parent: CgroupId,
        name: &[u8],
        found_boot_ns: u64,
    ) -> Vec<Met> {
        self.tree.insert(id, parent, name);
        self.meet(|_| Birth::BeforeAgent { found_boot_ns }, found_boot_ns)
    }

    /// The name of a cgroup's directory, found by its inode number.
    fn name_on_disk(&self, parent: CgroupId, id: CgroupId) -> Option<Vec<u8>> {
        let entries = std::fs::read_dir(self.tree.path(parent)?).ok()?;
        let entry = entries.flatten().find(|entry| entry.ino() == id.0)?;
        Some(entry.file_name().as_bytes().to_vec())
    }

    /// A cgroup was removed, and with it all below it: the kernel side forgets them. Returns them,
    /// and what follows for those above.
    pub(super) fn removed(&mut self, id: CgroupId, boot_ns: u64) -> (Vec<CgroupId>, Vec<Met>) {
        self.unplaced.remove(&id);
        let removed: Vec<_> = self.tree.remove_subtree(id).into_iter().map(|(id, _)| id).collect();
        if let Some(map) = self.tracked_map() {
            // It may be tracked without being in the tree: where its place there was not known.
            for id in removed.iter().copied().chain(removed.is_empty().then_some(id)) {
                map.untrack(id);
            }
        }
        (removed, self.changed(boot_ns))
    }
}

/// Whether the tasks of a cgroup with this role belong to no container.
fn holds_no_tasks(role: &Role) -> bool {
    matches!(role, Role::Inner | Role::Pod(_) | Role::Skipped)
}
