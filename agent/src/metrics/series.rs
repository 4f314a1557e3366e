//! The agent about what it exports: series, and what found no room. Always on.

use super::agent::{Agent, count};
use super::expose::StateFamily;
use super::family::{Family, Scope};

/// Label sets without room.
pub static LABEL_SETS_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "label_sets_dropped_total",
        Scope::Node,
        "Events counted without a label set of their own, or label sets dropped, because their \
         workload has too many.",
    ),
    write: |_, agent, to| count(agent.label_sets_folded, to),
};

/// Scrapers that are not known.
pub static SCRAPERS_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "scrapers_dropped_total",
        Scope::Node,
        "Scrapers that found no place among those that the agent knows, or lost it. They see the \
         first events of a new counter up to 5 minutes late.",
    ),
    write: |_, agent, to| count(agent.scrapers_forgotten, to),
};

/// Evictions from retention.
pub static RETENTION_EVICTIONS: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "retention_evictions_total",
        Scope::Node,
        "Containers, Pods and workloads that are gone and were dropped before the end of their \
         retention, to make room for series.",
    ),
    write: |_, agent, to| count(agent.retention_evictions, to),
};

/// Containers without room.
pub static CONTAINERS_HIDDEN: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "containers_hidden",
        Scope::Node,
        "Containers that are not exported, because of --metrics.max-series.",
    ),
    write: |_, agent, to| count(agent.containers_hidden, to),
};

/// Dropped series.
pub static SERIES_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "series_dropped_total",
        Scope::Node,
        "Series dropped because of --metrics.max-series: those that a hidden container \
         or Pod is expected to have, and those that one that is shown has beyond the limit.",
    ),
    write: |_, agent, to| count(agent.series_dropped, to),
};

/// Series of the exposition.
pub static SERIES: StateFamily<Agent> = StateFamily {
    family: Family::gauge("series", Scope::Node, "Series in this exposition, including this one."),
    write: |_, _, to| count(to.series() + 1, to),
};
