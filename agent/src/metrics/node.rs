//! The agent about itself: programs, events, collectors, cgroups and series.

use super::catalog::{Family, NodeFamily, Scope, Type, Unit};
use super::expose::{Exposition, NONE, Value};
use super::process::ProcessStats;
use crate::event::EventKind;

/// What the owner knows at a scrape. Counters are totals since the agent's start. Lists name all
/// that can be counted from the start on, with 0, so that the first event is seen.
#[derive(Clone, Debug, Default)]
pub struct NodeStats {
    /// Version of the agent.
    pub version: &'static str,
    /// Programs, and whether each is attached.
    pub programs: Vec<(&'static str, bool)>,
    /// Events by [`EventKind::index`].
    pub events_received: [u64; EventKind::NAMES.len()],
    /// Events lost on the way, by reason.
    pub events_lost: Vec<(&'static str, u64)>,
    /// Records that were not understood, by reason.
    pub events_rejected: Vec<(&'static str, u64)>,
    /// Events that must have happened while nobody looked, by kind.
    pub events_unseen: Vec<(&'static str, u64)>,
    /// The last run of each collector.
    pub collectors: Vec<CollectorStats>,
    /// Cgroups whose events are watched; `None` if it could not be read.
    pub cgroups_tracked: Option<u64>,
    /// Containers that wait for their name or are shown without one.
    pub cgroups_unresolved: u64,
    /// Files of cgroups that were read for samples.
    pub cgroup_files_read: u64,
    /// Since the source of Pods was last heard; `None` without one, or if it never was.
    pub pod_metadata_age_ns: Option<u64>,
    /// Pods that found no room, or were forgotten early.
    pub pods_dropped: u64,
    /// The agent's own process.
    pub process: ProcessStats,
}

/// The last run of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorStats {
    /// Its name.
    pub name: &'static str,
    /// How long it took; `None` if it never ran.
    pub duration_ns: Option<u64>,
    /// Whether it could do its work. "There is nothing here" is a success.
    pub success: bool,
}

fn counts(name: &str, counts: &[(&'static str, u64)], to: &mut Exposition) {
    for (value, count) in counts {
        to.sample(b"", &[(name, *value)].as_slice(), Value::Count(*count));
    }
}

/// Version.
pub static BUILD_INFO: NodeFamily = NodeFamily {
    family: Family {
        name: "build_info",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["version"],
        series_max: 1,
        help: "Always 1: the version of the agent.",
    },
    write: |node, to| {
        to.sample(b"", &[("version", node.stats.version)].as_slice(), Value::Count(1));
    },
};

/// Programs.
pub static PROGRAM_ATTACHED: NodeFamily = NodeFamily {
    family: Family {
        name: "program_attached",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["program"],
        series_max: 16,
        help: "1 if the BPF program is attached, 0 if this kernel or its configuration refused it.",
    },
    write: |node, to| {
        for (program, attached) in &node.stats.programs {
            let labels = [("program", *program)];
            to.sample(b"", &labels.as_slice(), Value::Count((*attached).into()));
        }
    },
};

/// Events.
pub static EVENTS_RECEIVED: NodeFamily = NodeFamily {
    family: Family {
        name: "events_received_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["kind"],
        series_max: EventKind::NAMES.len() as u32,
        help: "Events that came from the kernel.",
    },
    write: |node, to| {
        for (kind, count) in EventKind::NAMES.iter().zip(node.stats.events_received) {
            to.sample(b"", &[("kind", *kind)].as_slice(), Value::Count(count));
        }
    },
};

/// Lost events.
pub static EVENTS_LOST: NodeFamily = NodeFamily {
    family: Family {
        name: "events_lost_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["reason"],
        series_max: 4,
        help: "Events that were lost between the kernel and the agent.",
    },
    write: |node, to| counts("reason", &node.stats.events_lost, to),
};

/// Rejected records.
pub static EVENTS_REJECTED: NodeFamily = NodeFamily {
    family: Family {
        name: "events_rejected_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["reason"],
        series_max: 4,
        help: "Records that the agent could not understand.",
    },
    write: |node, to| counts("reason", &node.stats.events_rejected, to),
};

/// Unseen events.
pub static EVENTS_UNSEEN: NodeFamily = NodeFamily {
    family: Family {
        name: "events_unseen_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["kind"],
        series_max: 4,
        help: "Events known to have happened while the agent was away.",
    },
    write: |node, to| counts("kind", &node.stats.events_unseen, to),
};

/// Cost of collectors.
pub static COLLECTOR_DURATION: NodeFamily = NodeFamily {
    family: Family {
        name: "collector_duration_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Node,
        labels: &["collector"],
        series_max: 8,
        help: "How long the collector's last run took.",
    },
    write: |node, to| {
        for collector in &node.stats.collectors {
            if let Some(duration_ns) = collector.duration_ns {
                let labels = [("collector", collector.name)];
                to.sample(b"", &labels.as_slice(), Value::Nanos(duration_ns));
            }
        }
    },
};

/// Success of collectors.
pub static COLLECTOR_SUCCESS: NodeFamily = NodeFamily {
    family: Family {
        name: "collector_success",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["collector"],
        series_max: 8,
        help: "1 if the collector's last run could do its work.",
    },
    write: |node, to| {
        for collector in &node.stats.collectors {
            let labels = [("collector", collector.name)];
            to.sample(b"", &labels.as_slice(), Value::Count(collector.success.into()));
        }
    },
};

/// Tracked cgroups.
pub static CGROUPS_TRACKED: NodeFamily = NodeFamily {
    family: Family {
        name: "cgroups_tracked",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Cgroups whose events are watched.",
    },
    write: |node, to| {
        if let Some(tracked) = node.stats.cgroups_tracked {
            to.sample(b"", &NONE, Value::Count(tracked));
        }
    },
};

/// Nameless containers.
pub static CGROUPS_UNRESOLVED: NodeFamily = NodeFamily {
    family: Family {
        name: "cgroups_unresolved",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Container cgroups without a known name.",
    },
    write: |node, to| to.sample(b"", &NONE, Value::Count(node.stats.cgroups_unresolved)),
};

/// Cost of what the pass does not tell.
pub static CGROUP_FILES_READ: NodeFamily = NodeFamily {
    family: Family {
        name: "cgroup_files_read_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Files of cgroups that were read for figures that one pass over all did not tell.",
    },
    write: |node, to| to.sample(b"", &NONE, Value::Count(node.stats.cgroup_files_read)),
};

/// Age of what is known of Pods.
pub static POD_METADATA_AGE: NodeFamily = NodeFamily {
    family: Family {
        name: "pod_metadata_age_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Time since the source of Pods last answered: the API server with anything on the \
               watch (at least a bookmark a minute while it is well), the kubelet with its list.",
    },
    write: |node, to| {
        if let Some(age_ns) = node.stats.pod_metadata_age_ns {
            to.sample(b"", &NONE, Value::Nanos(age_ns));
        }
    },
};

/// Pods that were not kept.
pub static PODS_DROPPED: NodeFamily = NodeFamily {
    family: Family {
        name: "pods_dropped_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Pods that found no room among the known, or were forgotten less than 10 minutes \
               after they had gone.",
    },
    write: |node, to| to.sample(b"", &NONE, Value::Count(node.stats.pods_dropped)),
};

/// Series that were not made.
pub static SERIES_DROPPED: NodeFamily = NodeFamily {
    family: Family {
        name: "series_dropped_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Series that containers and Pods beyond the limit on series could have had.",
    },
    write: |node, to| to.sample(b"", &NONE, Value::Count(node.series_dropped)),
};

/// Series of the exposition.
pub static SERIES: NodeFamily = NodeFamily {
    family: Family {
        name: "series",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &[],
        series_max: 1,
        help: "Series in this exposition, this one included.",
    },
    write: |_, to| to.sample(b"", &NONE, Value::Count(to.series() + 1)),
};
