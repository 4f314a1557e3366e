//! Series that are expected of what is new, before its first exposition tells how many it has.

use super::super::catalog;
use super::super::collector::{Collector, Collectors};
use super::super::entity::Workload;
use super::super::expose::Exposition;
use super::super::family::Scope;
use super::super::variant::{Format, Generation};

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
        // Most containers have no probe of each kind, and what each has is not known yet.
        let probes = collectors.without(Collector::Probes);
        Self {
            container: catalog::series_max(Scope::Container, probes).into(),
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
