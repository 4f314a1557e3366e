//! Meaning of changes in the tree: containers that are met, and those that turn out to be none.

use super::{Met, Tracking};
use crate::cgroup::{CgroupId, path::Origin, reader::Reader, role::Role, tree::Change};
use crate::escape;
use crate::event::OomLevel;
use crate::lifecycle::subject::Birth;

impl Tracking {
    /// Takes the tree's changes; tells the kernel side, and returns what matters to others: what is
    /// no container any more, then what is one. `birth` is that of a cgroup that was unknown.
    pub(super) fn meet(&mut self, birth: impl Fn(CgroupId) -> Birth, now_boot_ns: u64) -> Vec<Met> {
        let changes = self.tree.take_changes();
        self.note_mode();
        let was_own = |change: &&Change| change.before.as_ref().is_some_and(Role::is_own);
        let no_more = changes.iter().filter(was_own).map(|change| Met::NoContainer(change.id));
        let mut met: Vec<_> = no_more.collect();
        for Change { id, before, role } in changes {
            self.track(id, &role);
            // What was known as something else begins to be a container now.
            let birth = || match before {
                None => birth(id),
                Some(_) => Birth::Seen { boot_ns: now_boot_ns },
            };
            met.extend(match role {
                Role::Inner | Role::Pod(_) | Role::Skipped => None,
                Role::Nested { container } => Some(Met::Nested { cgroup: id, container }),
                Role::Container(pod, name) => {
                    Some(self.met_container(id, Origin::Pod(pod, name), birth()))
                }
                Role::Unit => Some(self.met_container(id, self.unit(id), birth())),
            });
        }
        met
    }

    fn unit(&self, id: CgroupId) -> Origin {
        let path = self.tree.path_below_root(id).unwrap_or_default();
        let name = self.tree.get(id).map(|entry| entry.name.as_slice()).unwrap_or_default();
        Origin::Unit(escape::path(&path), escape::name(name))
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
                let (oom, oom_kill) = (events.oom?, events.oom_kill?);
                Some(OomLevel { cgroup, oom, oom_kill, charged: None })
            })
            .collect()
    }

    /// Says so, once, when the mode has changed.
    fn note_mode(&mut self) {
        let mode = self.tree.mode();
        if std::mem::replace(&mut self.mode, mode) != mode {
            tracing::info!(mode = mode.describe(), "Pods have cgroups here");
        }
    }
}
