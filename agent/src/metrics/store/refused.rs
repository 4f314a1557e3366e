//! What is expected of a new entity, and what found no room for its series.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::catalog;
use super::super::collector::Collectors;
use super::super::entity::Workload;
use super::super::expose::Exposition;
use super::super::family::Scope;
use super::super::variant::{Format, Generation};
use crate::cgroup::CgroupId;
use crate::lifecycle::fact::{Fact, FactKind};
use crate::lifecycle::subject::Who;

/// Containers that wait for room. As many as the kernel side tracks.
pub(super) const REFUSED_MAX: usize = agent_common::map::TRACKED_MAX as usize;

/// Series that are expected of a new entity.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) container: u64,
    pub(super) workload: u64,
    pub(super) pod: u64,
}

impl Expected {
    pub(super) fn new(collectors: Collectors) -> Self {
        let most = |scope| catalog::series_max(scope, collectors).into();
        Self {
            container: most(Scope::Container),
            workload: at_first(collectors),
            pod: most(Scope::Pod),
        }
    }
}

/// Series of a workload to which nothing has happened.
fn at_first(collectors: Collectors) -> u64 {
    let mut workload = Workload::new(collectors);
    let mut to = Exposition::new(Format::Text, Generation::FIRST);
    for entry in catalog::WORKLOAD {
        to.family(entry.family());
        entry.write(b"", &mut workload, &mut to);
    }
    to.series()
}

/// Containers and Pods that found no room.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) containers: HashMap<CgroupId, Hidden>,
    pub(super) pods: HashSet<CgroupId>,
    /// Time of the last warning, `CLOCK_BOOTTIME`.
    pub(super) warned_boot_ns: Option<u64>,
}

/// A container that waits for room.
#[derive(Debug)]
pub(super) struct Hidden {
    pub(super) who: Arc<Who>,
    /// Its start, for when it is shown.
    pub(super) started: Option<Fact>,
}

impl Refused {
    pub(super) fn containers(&self) -> usize {
        self.containers.len()
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

    pub(super) fn remove(&mut self, cgroup: CgroupId) {
        self.containers.remove(&cgroup);
        self.pods.remove(&cgroup);
    }
}
