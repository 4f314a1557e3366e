//! The agent about how it observes probes. Absent where the collector `probes` is off, and without a
//! Pod source, which alone knows of probes.

use super::super::agent::counts;
use super::super::collector::Collector;
use super::super::expose::{StateFamily, Value};
use super::super::family::{Family, Need, Scope};

/// How probes are observed, and what was seen. Counters are totals since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeStats {
    /// How the kubelet's connections are observed: `sock_ops`, `tracepoint` (times alone) or
    /// `none`.
    pub source: &'static str,
    /// Why it is not `sock_ops`, in a word; empty if it is.
    pub reason: &'static str,
    /// Connections of the kubelet by what they were for, all purposes from the start on.
    pub connections: Vec<(&'static str, u64)>,
    /// Commands that were run in containers by what they were for, all purposes from the start on.
    pub exec_sessions: Vec<(&'static str, u64)>,
}

/// Way of observing.
pub static INFO: StateFamily<ProbeStats> = StateFamily {
    family: Family::gauge(
        "probe_source_info",
        Scope::Node,
        "How connections of the kubelet are observed; always 1. sock_ops: with answers; tracepoint: \
         times alone; none: not at all. reason: why it is not sock_ops.",
    )
    .of(Collector::Probes)
    .labels(&["source", "reason"], 1)
    .needs(&[Need::Pods]),
    write: |_, stats, to| {
        let labels = [("source", stats.source), ("reason", stats.reason)];
        to.sample(b"", &labels.as_slice(), Value::Count(1));
    },
};

/// Connections by purpose.
pub static CONNECTIONS: StateFamily<ProbeStats> = StateFamily {
    family: Family::counter(
        "probe_connections_total",
        Scope::Node,
        "Connections of the kubelet that were observed, by what they were for. Those that are not \
         told to be of one probe count for none.",
    )
    .of(Collector::Probes)
    .labels(&["purpose"], 8)
    .needs(&[Need::Pods]),
    write: |_, stats, to| counts("purpose", &stats.connections, to),
};

/// Commands by purpose.
pub static EXEC_SESSIONS: StateFamily<ProbeStats> = StateFamily {
    family: Family::counter(
        "probe_exec_sessions_total",
        Scope::Node,
        "Commands that were run in containers from outside and have ended, by what they were for.",
    )
    .of(Collector::Probes)
    .labels(&["purpose"], 8)
    .needs(&[Need::Pods]),
    write: |_, stats, to| counts("purpose", &stats.exec_sessions, to),
};
