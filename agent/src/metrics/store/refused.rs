//! Containers and Pods that found no room, and wait for some.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::lifecycle::fact::{Fact, FactKind};
use crate::lifecycle::subject::Who;

/// Limit of those that wait, of containers and of Pods: as many as the kernel side tracks.
const REFUSED_MAX: usize = agent_common::map::TRACKED_MAX as usize;
/// Time between two warnings that the limit of series is reached.
const WARN_NS: u64 = 3_600_000_000_000;

/// Containers and Pods that found no room.
#[derive(Debug, Default)]
pub(super) struct Refused {
    containers: HashMap<CgroupId, Hidden>,
    pods: HashSet<CgroupId>,
    warned_boot_ns: Option<u64>,
}

/// A container that waits for room.
#[derive(Debug)]
struct Hidden {
    who: Arc<Who>,
    /// Start of the container, for when it is shown.
    started: Option<Fact>,
}

impl Refused {
    /// Number of containers that wait.
    pub(super) fn containers(&self) -> usize {
        self.containers.len()
    }

    /// Whether a container waits.
    pub(super) fn has(&self, container: CgroupId) -> bool {
        self.containers.contains_key(&container)
    }

    /// Takes in a container that found no room. Returns whether it did not wait before.
    pub(super) fn insert(&mut self, who: &Arc<Who>) -> bool {
        if self.containers.contains_key(&who.cgroup) {
            return false;
        }
        if self.containers.len() < REFUSED_MAX {
            let hidden = Hidden { who: Arc::clone(who), started: None };
            self.containers.insert(who.cgroup, hidden);
        }
        true
    }

    /// Takes in a Pod that found no room. Returns whether it did not wait before.
    pub(super) fn insert_pod(&mut self, cgroup: CgroupId) -> bool {
        self.pods.len() < REFUSED_MAX && self.pods.insert(cgroup)
    }

    /// Takes in a fact about a container. Returns whether it is kept; `None` if the container does
    /// not wait for room.
    pub(super) fn fact(&mut self, container: CgroupId, fact: &Fact) -> Option<bool> {
        let hidden = self.containers.get_mut(&container)?;
        let starts = matches!(fact.kind, FactKind::Started(_));
        if starts {
            hidden.started = Some(fact.clone());
        }
        Some(starts)
    }

    /// Containers that wait, the oldest first.
    pub(super) fn oldest_first(&self) -> Vec<Arc<Who>> {
        let waiting = self.containers.values().map(|hidden| Arc::clone(&hidden.who));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|who| (who.birth.since_boot_ns(), who.cgroup.0));
        waiting
    }

    /// Removes a container that is shown now. Returns its start, if that was seen meanwhile.
    pub(super) fn admit(&mut self, container: CgroupId) -> Option<Fact> {
        self.containers.remove(&container)?.started
    }

    pub(super) fn remove(&mut self, cgroup: CgroupId) {
        self.containers.remove(&cgroup);
        self.pods.remove(&cgroup);
    }

    /// Whether a warning is due, which then counts as given.
    pub(super) fn warns(&mut self, now_boot_ns: u64) -> bool {
        let lately = |warned: u64| now_boot_ns.saturating_sub(warned) < WARN_NS;
        let due = !self.warned_boot_ns.is_some_and(lately);
        if due {
            self.warned_boot_ns = Some(now_boot_ns);
        }
        due
    }
}
