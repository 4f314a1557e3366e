//! Looking at the cgroups that are there: at the start, and again where events may be missing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::containers::{Container, Origin};
use super::{Kernel, Node, Source};
use crate::bpf::load::RunningTasks;
use crate::bpf::tasks::self_check;
use crate::cgroup::{
    CgroupId,
    reader::Reader,
    tree::{Mode, Role},
    walk::{self, Found},
};
use crate::event::{Event, EventKind, OomLevel};
use crate::clock;
use crate::lifecycle::Input;

impl Node {
    /// Learns what is there: tracks the root, walks, walks again, and finds the inits of the
    /// containers that are older than the agent.
    pub fn begin(&mut self) {
        match self.find_root() {
            Some(root) => self.scan(&root),
            None => tracing::warn!(
                root = %self.options.cgroup_root.display(),
                "no kubepods cgroup yet: waiting for the kubelet to make one"
            ),
        }
        self.next_rescan_ns = clock::boot_ns() + super::RESCAN_NS;
        tracing::info!(
            cgroups = self.tree.len(),
            containers = self.containers.len(),
            "the node was looked at"
        );
    }

    /// The directory below which everything is watched.
    fn find_root(&self) -> Option<PathBuf> {
        match self.options.mode {
            Mode::Host => Some(self.options.cgroup_root.clone()),
            Mode::Kubernetes => walk::find_kubepods(&self.options.cgroup_root),
        }
    }

    fn scan(&mut self, root: &Path) {
        let now = clock::boot_ns();
        let Some(id) = self.track_root(root) else { return };
        self.tree.insert_root(id, root.to_owned());
        self.begin_snapshots(root);
        // What is made after its parent is tracked tells itself. What was made before is found by
        // the first walk, and what was made below that before it was tracked, by the second.
        self.track_all(&walk::walk(root).0);
        let (found, errors) = walk::walk(root);
        for error in errors {
            tracing::warn!(error = %error, "part of the cgroup tree is not seen");
        }
        self.track_all(&found);

        let mut events = Vec::new();
        if let Some(kernel) = &mut self.kernel {
            kernel.ring.drain(&mut events);
        }
        let told: HashMap<CgroupId, u64> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::CgroupMade(made) => Some((made.cgroup, event.time_boot_ns)),
                _ => None,
            })
            .collect();
        for Found { id, parent, name, has_children } in &found {
            if let Some(parent) = parent {
                self.insert(*id, *parent, name, *has_children, told.get(id).copied());
            }
        }
        self.find_inits();
        for event in &events {
            self.event(event);
        }
        self.resolve_names(now);
        self.learn_statistics();
    }

    fn track_root(&mut self, root: &Path) -> Option<CgroupId> {
        use std::os::unix::fs::MetadataExt as _;
        let id = match std::fs::metadata(root) {
            Ok(metadata) => CgroupId(metadata.ino()),
            Err(error) => {
                tracing::error!(%error, root = %root.display(), "the cgroup root is not readable");
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

    /// Binds the cgroup iterator to the root, where there is one.
    fn begin_snapshots(&mut self, root: &Path) {
        let Some(kernel) = &mut self.kernel else { return };
        let loaded = kernel
            .programs
            .attached
            .iter()
            .any(|attached| attached.name == "cgroup_figures" && attached.outcome.is_ok());
        if !loaded || self.options.source == Source::Files {
            return;
        }
        match kernel.programs.snapshot(root) {
            Ok(snapshot) => kernel.snapshot = Some(snapshot),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "no snapshots: figures are read from the files of each cgroup"
            ),
        }
    }

    fn track_all(&mut self, found: &[Found]) {
        let Some(kernel) = &mut self.kernel else { return };
        for found in found.iter().filter(|found| found.parent.is_some()) {
            if let Err(error) = kernel.programs.track(found.id) {
                tracing::error!(error = format!("{error:#}"), "a cgroup is not tracked");
                return;
            }
        }
    }

    /// Asks the task iterator, first of all whether it can be trusted.
    fn find_inits(&mut self) {
        let Some(Kernel { programs, .. }) = &mut self.kernel else { return };
        let mut tasks_read = false;
        match programs.running_tasks() {
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "inits of older containers unknown");
            }
            Ok(RunningTasks { tasks, complete }) => {
                if let Err(error) = self_check(&tasks) {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the kernel side reads wrong data and is unloaded: no events"
                    );
                    self.kernel = None;
                    return;
                }
                tasks_read = complete;
                for task in &tasks {
                    self.apply(Input::Running(&task.running));
                }
            }
        }
        self.apply(Input::WalkDone { tasks_read });
    }

    /// A cgroup is there. `made_boot_ns` is when it was made, if that was seen; else it is older
    /// than the agent.
    pub(super) fn insert(
        &mut self,
        id: CgroupId,
        parent: CgroupId,
        name: &[u8],
        has_children: bool,
        made_boot_ns: Option<u64>,
    ) {
        let Some(inserted) = self.tree.insert(id, parent, name, has_children) else {
            self.unresolved += 1;
            return;
        };
        if !inserted.new {
            return;
        }
        match inserted.role {
            Role::Inner | Role::Pod(_) => {}
            Role::Skipped => {
                if let Some(kernel) = &mut self.kernel {
                    kernel.programs.untrack(id);
                }
            }
            Role::Nested { container } => self.apply(Input::NestedMade { cgroup: id, container }),
            Role::Container(name) => {
                let pod = self.tree.pod_of(id).and_then(|pod| self.tree.get(pod));
                let Some(Role::Pod(pod)) = pod.map(|entry| entry.role.clone()) else { return };
                self.container_made(id, Origin::Pod(pod, name), made_boot_ns);
            }
            Role::Unit => {
                let path = self.tree.path_below_root(id).unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                let origin = Origin::Unit(path.to_string_lossy().into_owned(), name);
                self.container_made(id, origin, made_boot_ns);
            }
        }
    }

    fn container_made(&mut self, id: CgroupId, origin: Origin, made_boot_ns: Option<u64>) {
        let now = clock::boot_ns();
        let since = made_boot_ns.unwrap_or(now);
        let oom_seen = self.oom_seen(id);
        if made_boot_ns.is_none()
            && let Some(own) = oom_seen.first()
        {
            self.unseen_oom_kills += own.oom_kill;
        }
        self.containers.insert(id, Container::new(origin, since, made_boot_ns.is_some()));
        self.apply(Input::ContainerMade {
            container: id,
            pod: self.tree.pod_of(id),
            time_boot_ns: since,
            existing: made_boot_ns.is_none(),
            oom_seen: &oom_seen,
        });
        self.resolve_name(id, now);
    }

    /// The OOM counters of a container's cgroup and of those above, as its files have them now.
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

    /// Looks around where events do not tell all: no programs, records lost, or no root yet.
    pub(super) fn rescan_if_needed(&mut self, now_boot_ns: u64) {
        if self.tree.is_empty() {
            if let Some(root) = self.find_root() {
                self.scan(&root);
            }
            return;
        }
        let blind = match &self.kernel {
            None => true,
            Some(kernel) => {
                let losses = kernel.programs.losses();
                let lost = losses.ring_full + losses.tracked_full;
                let more = lost > self.losses_seen;
                self.losses_seen = lost;
                more || kernel.programs.attached.iter().any(|attached| {
                    attached.name.starts_with("cgroup_") && attached.outcome.is_err()
                })
            }
        };
        if !blind {
            return;
        }
        let Some(root) = self.find_root() else { return };
        let (found, _) = walk::walk(&root);
        self.track_all(&found);
        let there: HashSet<_> = found.iter().map(|found| found.id).collect();
        let gone: Vec<_> =
            self.tree.iter().map(|(id, _)| id).filter(|id| !there.contains(id)).collect();
        for id in gone {
            let kind = EventKind::CgroupRemoved(id);
            self.event(&Event { time_boot_ns: now_boot_ns, kind });
        }
        for Found { id, parent, name, has_children } in &found {
            if let Some(parent) = parent {
                self.insert(*id, *parent, name, *has_children, None);
            }
        }
        self.find_inits();
    }
}
