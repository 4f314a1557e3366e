//! Collector `oom`: OOMs by scope and victim.

use super::collector::Collector;
use super::counters::Counters;
use super::expose::{Labels, StateFamily};
use super::family::{Family, Scope};
use crate::lifecycle::fact::{Fact, FactKind, OomScope, OomVictim};

/// OOMs of a workload's containers.
pub static EVENTS: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "oom_events_total",
        Scope::Workload,
        "OOMs by scope (the limit that was reached) and victim (the most important process killed). \
         An OOM that kills several processes counts once.",
    )
    .of(Collector::Oom)
    // Each scope, and unknown.
    .labels(&["scope", "victim"], (OomScope::ALL.len() + 1) * OomVictim::ALL.len()),
    write: |block, oom, to| oom.0.write(block, to),
};

/// OOMs of all containers.
pub static NODE_EVENTS: StateFamily<OfNode> = StateFamily {
    family: Family::counter(
        "node_oom_events_total",
        Scope::Node,
        "OOMs in containers of this node by scope: the limit that was reached.",
    )
    .of(Collector::Oom)
    .labels(&["scope"], OomScope::ALL.len() + 1),
    write: |block, oom, to| oom.0.write(block, to),
};

/// The label `scope`; `None` is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ScopeLabel(Option<OomScope>);

impl Labels for ScopeLabel {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("scope", self.0.map_or("unknown", OomScope::label));
    }
}

/// The labels `scope` and `victim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ScopeAndVictim(ScopeLabel, OomVictim);

impl Labels for ScopeAndVictim {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        self.0.each(label);
        label("victim", self.1.label());
    }
}

/// OOMs of a workload's containers.
#[derive(Debug)]
pub struct OfWorkload(Counters<ScopeAndVictim>);

impl OfWorkload {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Oom(oom) = &fact.kind {
            self.0.add_one(ScopeAndVictim(ScopeLabel(oom.scope), oom.victim));
        }
    }
}

impl Default for OfWorkload {
    fn default() -> Self {
        let of_scope =
            |scope| OomVictim::ALL.map(|victim| ScopeAndVictim(ScopeLabel(Some(scope)), victim));
        Self(Counters::initialised(OomScope::ALL.into_iter().flat_map(of_scope)))
    }
}

/// OOMs of all containers of the node.
#[derive(Debug)]
pub struct OfNode(Counters<ScopeLabel>);

impl OfNode {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Oom(oom) = &fact.kind {
            self.0.add_one(ScopeLabel(oom.scope));
        }
    }
}

impl Default for OfNode {
    fn default() -> Self {
        Self(Counters::initialised(OomScope::ALL.map(|scope| ScopeLabel(Some(scope)))))
    }
}
