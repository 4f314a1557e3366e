//! The explicit list of all families. Nothing registers itself.
//!
//! A family is declared in the file of its group and named once here; the order is that of the
//! exposition. The number of series that a family may have for one subject is declared beside its
//! labels, so the budget of a container is a sum over this list.

use super::expose::{Exposition, PREFIX};
use super::subject::{Container, Node, Workload};
use super::usage::UsageFamily;
use super::{
    cpu, ending, info, memory, node, oom, pod, pressure, process, requests, restart, shutdown,
    signals, startup, tasks, terminations,
};

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// Name without [`PREFIX`].
    pub name: &'static str,
    /// What it is to Prometheus.
    pub kind: Type,
    /// In what its values are.
    pub unit: Unit,
    /// What it is about, which gives the first labels.
    pub scope: Scope,
    /// Labels beside those of the scope, and `le`.
    pub labels: &'static [&'static str],
    /// Series of one subject, at most. Where the labels' values come from the outside (programs,
    /// collectors), what is usual.
    pub series_max: u32,
    /// One line for the reader.
    pub help: &'static str,
}

impl Family {
    /// What stands before [`Self::name`].
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        if self.scope == Scope::Process { "" } else { PREFIX }
    }

    /// [`Self::name`] as OpenMetrics has it: the `_total` of a counter belongs to its samples.
    #[must_use]
    pub fn open_metrics_name(&self) -> &'static str {
        match self.kind {
            Type::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Type::Gauge | Type::Histogram => self.name,
        }
    }
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only rises, but for a restart of what counts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets, their count and sum.
    Histogram,
}

impl Type {
    /// The word for it, in both formats. What is told by labels (`*_info`) is a gauge in both:
    /// OpenMetrics' type `info` would name the family otherwise, and needs the value 1.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Base unit of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, or 1 for a family whose labels are the news.
    None,
    /// Seconds; for a moment, since 1970.
    Seconds,
    /// Bytes.
    Bytes,
    /// CPUs.
    Cores,
}

impl Unit {
    /// The last word of the family's name in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Cores => Some("cores"),
        }
    }
}

/// What a family is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A container of a Pod, by name: restarts go on counting.
    Container,
    /// A Pod's own cgroup.
    Pod,
    /// A container of a workload, all its Pods on this node together.
    Workload,
    /// The node, or the agent.
    Node,
    /// The agent's process, under the names that all Prometheus clients use.
    Process,
}

impl Scope {
    /// The labels that each series of the scope has.
    #[must_use]
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Container => &["namespace", "pod", "container"],
            Self::Pod => &["namespace", "pod"],
            Self::Workload => &["namespace", "workload_kind", "workload", "container"],
            Self::Node | Self::Process => &[],
        }
    }

    /// Series of one subject, at most: the sum over the scope's families.
    #[must_use]
    pub fn series_max(self) -> u32 {
        families().filter(|family| family.scope == self).map(|family| family.series_max).sum()
    }
}

/// A family that is written from the state of its subject.
#[derive(Debug)]
pub struct StateFamily<S> {
    /// The family.
    pub family: Family,
    /// Writes the samples of one subject, given its labels.
    pub write: fn(&[u8], &mut S, &mut Exposition),
}

/// A family of the node.
#[derive(Debug)]
pub struct NodeFamily {
    /// The family.
    pub family: Family,
    /// Writes its samples.
    pub write: fn(&mut Node<'_>, &mut Exposition),
}

/// Container families that come from the lifecycle and from names.
pub static CONTAINER: &[&StateFamily<Container>] = &[
    &info::INFO,
    &info::START_TIME,
    &startup::PHASES,
    &restart::RESTARTS,
    &restart::LAST_OUTAGE,
    &terminations::LAST,
    &shutdown::LAST,
    &ending::LAST_RATIO,
    &ending::GRACE,
    &shutdown::OPEN,
    &requests::CPU,
    &requests::MEMORY,
];

/// Container families that come from samples of the cgroup.
pub static CONTAINER_USAGE: &[&UsageFamily] = &[
    &cpu::USAGE,
    &cpu::THROTTLED,
    &cpu::PERIODS,
    &cpu::THROTTLED_PERIODS,
    &cpu::LIMIT,
    &memory::USAGE,
    &memory::WORKING_SET,
    &memory::ANON,
    &memory::FILE,
    &memory::SHMEM,
    &memory::KERNEL,
    &memory::SWAP,
    &memory::PEAK,
    &memory::LIMIT,
    &memory::SWAP_LIMIT,
    &memory::FAULTS,
    &memory::EVENTS,
    &pressure::PRESSURE,
    &tasks::TASKS,
    &tasks::LIMIT,
];

/// Pod families: samples of the Pod's own cgroup.
pub static POD_USAGE: &[&UsageFamily] =
    &[&pod::CPU_LIMIT, &pod::MEMORY_LIMIT, &pod::MEMORY_WORKING_SET, &pod::MEMORY_EVENTS];

/// Workload families.
pub static WORKLOAD: &[&StateFamily<Workload>] = &[
    &shutdown::DURATION,
    &ending::RATIO,
    &ending::PRE_STOP,
    &terminations::TOTAL,
    &ending::MISMATCH,
    &signals::IGNORED,
    &signals::FATAL,
    &oom::EVENTS,
    &restart::OUTAGE,
    &startup::DURATION,
];

/// Node families; [`node::SERIES`] is the last because it counts the others.
pub static NODE: &[&NodeFamily] = &[
    &ending::BY_TRIGGER,
    &oom::NODE_EVENTS,
    &node::BUILD_INFO,
    &node::PROGRAM_ATTACHED,
    &node::EVENTS_RECEIVED,
    &node::EVENTS_LOST,
    &node::EVENTS_REJECTED,
    &node::EVENTS_UNSEEN,
    &node::COLLECTOR_DURATION,
    &node::COLLECTOR_SUCCESS,
    &node::CGROUPS_TRACKED,
    &node::CGROUPS_UNRESOLVED,
    &node::CGROUP_FILES_READ,
    &node::POD_METADATA_AGE,
    &node::PODS_DROPPED,
    &process::CPU,
    &process::MEMORY,
    &process::OPEN_FDS,
    &process::MAX_FDS,
    &process::START_TIME,
    &process::THREADS,
    &node::SERIES_DROPPED,
    &node::SERIES,
];

/// Families that no node shows without a source of Pods: the kernel does not know of them.
pub const NEED_PODS: [&str; 9] = [
    "container_cpu_request_cores",
    "container_grace_seconds",
    "container_last_shutdown_grace_used_ratio",
    "container_memory_request_bytes",
    "pod_metadata_age_seconds",
    "prestop_duration_seconds",
    "shutdown_grace_used_ratio",
    "startup_duration_seconds",
    "termination_reason_mismatch_total",
];

/// All families as text, a line each: name and type, and `pods` if it needs a source of Pods.
#[must_use]
pub fn list() -> String {
    families()
        .map(|family| {
            let pods = if NEED_PODS.contains(&family.name) { " pods" } else { "" };
            format!("{}{} {}{pods}\n", family.prefix(), family.name, family.kind.name())
        })
        .collect()
}

/// All families, in the order of the exposition.
pub fn families() -> impl Iterator<Item = &'static Family> {
    let container = CONTAINER.iter().map(|entry| &entry.family);
    let usage = CONTAINER_USAGE.iter().chain(POD_USAGE).map(|entry| &entry.family);
    let workload = WORKLOAD.iter().map(|entry| &entry.family);
    let node = NODE.iter().map(|entry| &entry.family);
    container.chain(usage).chain(workload).chain(node)
}
