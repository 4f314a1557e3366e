//! OOMs by whose limit it was and who died.

use super::catalog::{Family, NodeFamily, Scope, StateFamily, Type, Unit};
use super::cell::Cells;
use super::expose::Labels;
use super::subject::Workload;
use crate::lifecycle::fact::{OomFact, OomScope, OomVictim};

/// OOMs of a workload.
pub static EVENTS: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "oom_events_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Workload,
        labels: &["scope", "victim"],
        // Each scope, and unknown.
        series_max: ((OomScope::ALL.len() + 1) * OomVictim::ALL.len()) as u32,
        help: "OOMs, each once however many processes died; scope: whose limit; victim: the most \
               important process that died.",
    },
    write: |block, workload, to| workload.oom.write(block, to),
};

/// OOMs of all containers.
pub static NODE_EVENTS: NodeFamily = NodeFamily {
    family: Family {
        name: "node_oom_events_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["scope"],
        series_max: OomScope::ALL.len() as u32 + 1,
        help: "OOMs in containers of this node by whose limit it was.",
    },
    write: |node, to| node.oom.write(b"", to),
};

/// The label `scope`; `None` is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopeLabel(pub Option<OomScope>);

impl Labels for ScopeLabel {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("scope", self.0.map_or("unknown", OomScope::label));
    }
}

/// The labels `scope` and `victim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopeAndVictim(pub ScopeLabel, pub OomVictim);

impl Labels for ScopeAndVictim {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        self.0.each(label);
        label("victim", self.1.label());
    }
}

pub(super) fn born() -> Cells<ScopeAndVictim> {
    Cells::born(OomScope::ALL.into_iter().flat_map(|scope| {
        OomVictim::ALL.map(|victim| ScopeAndVictim(ScopeLabel(Some(scope)), victim))
    }))
}

pub(super) fn born_node() -> Cells<ScopeLabel> {
    Cells::born(OomScope::ALL.map(|scope| ScopeLabel(Some(scope))))
}

/// A container had an OOM.
pub(super) fn happened(workload: &mut Workload, oom: &OomFact) {
    workload.oom.add_one(ScopeAndVictim(ScopeLabel(oom.scope), oom.victim));
}
