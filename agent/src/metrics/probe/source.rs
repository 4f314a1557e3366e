//! The agent about how it observes probes. Absent where the collector `probes` is off, and without a
//! Pod source, which alone knows of probes.

use super::super::collector::Collector;
use super::super::expose::{Exposition, StateFamily, Value};
use super::super::family::{Family, Need, Scope};

/// How probes are observed, and what was seen. Counters are totals since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeStats {
    /// How the kubelet's connections are observed: `sock_ops`, `tracepoint` (times alone) or
    /// `none`.
    pub source: &'static str,
    /// Why it is not `sock_ops`, or that no connection is seen, in a word; empty if all is well.
    pub reason: &'static str,
    /// Connections of the kubelet by what became of them, all outcomes from the start on.
    pub connections: Vec<(&'static str, u64)>,
    /// Commands that were run in containers by what became of them, all outcomes from the start on.
    pub exec_sessions: Vec<(&'static str, u64)>,
}

/// Way of observing.
pub static INFO: StateFamily<ProbeStats> = StateFamily {
    family: Family::gauge(
        "probe_source_info",
        Scope::Node,
        "How connections of the kubelet are observed; always 1. sock_ops: with answers; tracepoint: \
         times alone; none: not at all. reason: why it is not sock_ops; no_connections: none is seen, \
         though probes are due, so the cgroup may be the wrong one.",
    )
    .of(Collector::Probes)
    .labels(&["source", "reason"], 1)
    .needs(&[Need::Pods]),
    write: |_, stats, to| {
        let labels = [("source", stats.source), ("reason", stats.reason)];
        to.sample(b"", &labels.as_slice(), Value::Count(1));
    },
};

/// Connections by outcome.
pub static CONNECTIONS: StateFamily<ProbeStats> = StateFamily {
    family: Family::counter(
        "probe_connections_total",
        Scope::Node,
        "Connections of the kubelet that were observed. probe: an attempt of a probe, or part of one; \
         hook: of a container's lifecycle; not_a_probe: nothing that a probe asks for; other_request: \
         something else at a probe's address; ambiguous: it may be of several containers, or of none; \
         no_container: of a container that is not known; abandoned: the kubelet gave it up before its \
         time; no_room: too many waited for their Pod.",
    )
    .of(Collector::Probes)
    .labels(&["outcome"], 8)
    .needs(&[Need::Pods]),
    write: |_, stats, to| outcomes(&stats.connections, to),
};

/// Commands by outcome.
pub static EXEC_SESSIONS: StateFamily<ProbeStats> = StateFamily {
    family: Family::counter(
        "probe_exec_sessions_total",
        Scope::Node,
        "Commands that were run in containers from outside, with the outcomes of \
         probe_connections_total.",
    )
    .of(Collector::Probes)
    .labels(&["outcome"], 8)
    .needs(&[Need::Pods]),
    write: |_, stats, to| outcomes(&stats.exec_sessions, to),
};

fn outcomes(counts: &[(&'static str, u64)], to: &mut Exposition) {
    for (outcome, count) in counts {
        to.sample(b"", &[("outcome", *outcome)].as_slice(), Value::Count(*count));
    }
}
