//! The explicit list of all families. Nothing registers itself.
//!
//! A family is declared in the file of its group and named once here, with the projection from its
//! entity to the group's state; the order is that of the exposition. The number of series that a
//! family may have for one entity is declared beside its labels, so the budget of a container is a
//! sum over this list.

use super::agent::{self, Agent};
use super::collector::{Collector, Collectors};
use super::entity::{Container, Node, Workload};
use super::expose::{Exposition, StateFamily};
use super::family::{Family, Scope};
use super::table::Table;
use super::usage::UsageFamily;
use super::{
    cpu, grace, info, memory, mismatch, oom, pressure, prestop, probe, process, requests, restart,
    series, shutdown, signals, startup, tasks, terminations, tracing,
};
use crate::trace::otlp::TraceStats;

/// A family of the entity `E`.
pub trait Entry<E>: Sync {
    /// The family.
    fn family(&self) -> &'static Family;

    /// Writes the samples of one entity, given its labels.
    fn write(&self, block: &[u8], entity: &mut E, to: &mut Exposition);

    /// Writes the samples of all entities, and counts their series.
    fn write_all(&self, entities: &mut Table<E>, to: &mut Exposition) {
        to.family(self.family());
        entities.each_counted(|block, entity| {
            let before = to.entity();
            self.write(block, entity, to);
            to.wanted() - before
        });
    }
}

/// A family with the projection from its entity to its state; without the state it is off.
struct Projected<S: 'static, P> {
    family: &'static StateFamily<S>,
    state: P,
}

const fn entry<E, S, P>(family: &'static StateFamily<S>, state: P) -> Projected<S, P>
where
    P: Fn(&mut E) -> Option<&mut S>,
{
    Projected { family, state }
}

impl<E, S, P> Entry<E> for Projected<S, P>
where
    P: Fn(&mut E) -> Option<&mut S> + Sync,
{
    fn family(&self) -> &'static Family {
        &self.family.family
    }

    fn write(&self, block: &[u8], entity: &mut E, to: &mut Exposition) {
        if let Some(state) = (self.state)(entity) {
            (self.family.write)(block, state, to);
        }
    }
}

/// Container families that come from facts and from names.
pub static CONTAINER: &[&dyn Entry<Container>] = &[
    &entry(&info::INFO, |c: &mut Container| c.info.as_mut()),
    &entry(&info::START_TIME, |c: &mut Container| Some(&mut c.usage)),
    &entry(&startup::PHASES, |c: &mut Container| c.startup.as_mut()),
    &entry(&restart::RESTARTS, |c: &mut Container| c.restart.as_mut()),
    &entry(&restart::LAST_DOWNTIME, |c: &mut Container| c.restart.as_mut()),
    &entry(&terminations::LAST, |c: &mut Container| c.terminations.as_mut()),
    &entry(&shutdown::LAST, |c: &mut Container| c.shutdown.as_mut()),
    &entry(&grace::LAST_RATIO, |c: &mut Container| c.grace.as_mut()),
    &entry(&grace::PERIOD, |c: &mut Container| c.grace.as_mut()),
    &entry(&shutdown::TERMINATING, |c: &mut Container| Some(&mut c.usage)),
    &entry(&requests::CPU, |c: &mut Container| c.requests.as_mut()),
    &entry(&requests::MEMORY, |c: &mut Container| c.requests.as_mut()),
    &entry(&probe::container::RESULTS, |c: &mut Container| c.probes.as_mut()),
    &entry(&probe::container::THRESHOLDS, |c: &mut Container| c.probes.as_mut()),
    &entry(&probe::container::LAST_DURATION, |c: &mut Container| c.probes.as_mut()),
    &entry(&probe::container::TIMEOUT, |c: &mut Container| c.probes.as_mut()),
    &entry(&probe::container::FAILURES_LEFT, |c: &mut Container| c.probes.as_mut()),
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
    &[&cpu::POD_LIMIT, &memory::POD_LIMIT, &memory::POD_WORKING_SET, &memory::POD_EVENTS];

/// Workload families.
pub static WORKLOAD: &[&dyn Entry<Workload>] = &[
    &entry(&shutdown::DURATION, |w: &mut Workload| w.shutdown.as_mut()),
    &entry(&grace::RATIO, |w: &mut Workload| w.grace.as_mut()),
    &entry(&prestop::DURATION, |w: &mut Workload| w.prestop.as_mut()),
    &entry(&terminations::TOTAL, |w: &mut Workload| w.terminations.as_mut()),
    &entry(&mismatch::TOTAL, |w: &mut Workload| w.mismatch.as_mut()),
    &entry(&signals::IGNORED, |w: &mut Workload| w.signals.as_mut()),
    &entry(&signals::FATAL, |w: &mut Workload| w.signals.as_mut()),
    &entry(&oom::EVENTS, |w: &mut Workload| w.oom.as_mut()),
    &entry(&restart::DOWNTIME, |w: &mut Workload| w.restart.as_mut()),
    &entry(&startup::DURATION, |w: &mut Workload| w.startup.as_mut()),
    &entry(&startup::FAILURES, |w: &mut Workload| w.startup.as_mut()),
    &entry(&probe::workload::DURATION, |w: &mut Workload| w.probes.as_mut()),
    &entry(&probe::workload::TIMEOUT_USED, |w: &mut Workload| w.probes.as_mut()),
    &entry(&probe::workload::EXEC_CPU, |w: &mut Workload| w.probes.as_mut()),
    &entry(&probe::workload::EXEC_LEAKED, |w: &mut Workload| w.probes.as_mut()),
    &entry(&probe::workload::EXEC_OVERRUNS, |w: &mut Workload| w.probes.as_mut()),
    &entry(&probe::phase::DURATION, |w: &mut Workload| w.probe_phases.as_mut()),
];

/// Node families; [`series::SERIES`] is the last because it counts the others.
pub static NODE: &[&dyn Entry<Node>] = &[
    &entry(&terminations::BY_TRIGGER, |n: &mut Node| n.terminations.as_mut()),
    &entry(&oom::NODE_EVENTS, |n: &mut Node| n.oom.as_mut()),
    &entry(&agent::BUILD_INFO, itself),
    &entry(&agent::PROGRAM_ATTACHED, itself),
    &entry(&agent::EVENTS_RECEIVED, itself),
    &entry(&agent::EVENTS_LOST, itself),
    &entry(&agent::EVENTS_REJECTED, itself),
    &entry(&agent::EVENTS_DROPPED, itself),
    &entry(&agent::EVIDENCE_DROPPED, itself),
    &entry(&agent::EVENTS_UNSEEN, itself),
    &entry(&agent::COLLECTOR_DURATION, itself),
    &entry(&agent::COLLECTOR_SUCCESS, itself),
    &entry(&agent::CGROUPS_TRACKED, itself),
    &entry(&agent::CGROUPS_UNRESOLVED, itself),
    &entry(&agent::CGROUP_FILES_READ, itself),
    &entry(&agent::CGROUP_READ_ERRORS, itself),
    &entry(&agent::CGROUP_EVICTIONS, itself),
    &entry(&agent::POD_METADATA_AGE, itself),
    &entry(&agent::PODS_DROPPED, itself),
    &entry(&agent::POD_ITEMS_DROPPED, itself),
    &entry(&agent::LOG_LINES_DROPPED, itself),
    &entry(&agent::HTTP_CONNECTIONS_CLOSED, itself),
    &entry(&agent::HTTP_SCRAPES_REFUSED, itself),
    &entry(&probe::source::INFO, its_probes),
    &entry(&probe::source::CONNECTIONS, its_probes),
    &entry(&probe::source::EXEC_SESSIONS, its_probes),
    &entry(&tracing::SPANS_EXPORTED, its_traces),
    &entry(&tracing::SPANS_DROPPED, its_traces),
    &entry(&tracing::EXPORT_FAILURES, its_traces),
    &entry(&tracing::LAST_EXPORT, its_traces),
    &entry(&tracing::QUEUE, its_traces),
    &entry(&tracing::QUEUE_LIMIT, its_traces),
    &entry(&tracing::OMITTED, its_traces),
    &entry(&tracing::LINKS_REJECTED, its_traces),
    &entry(&process::CPU, its_process),
    &entry(&process::MEMORY, its_process),
    &entry(&process::OPEN_FDS, its_process),
    &entry(&process::MAX_FDS, its_process),
    &entry(&process::START_TIME, its_process),
    &entry(&process::THREADS, its_process),
    &entry(&series::LABEL_SETS_DROPPED, itself),
    &entry(&series::SCRAPERS_DROPPED, itself),
    &entry(&series::RETENTION_EVICTIONS, itself),
    &entry(&series::CONTAINERS_HIDDEN, itself),
    &entry(&series::SERIES_DROPPED, itself),
    &entry(&series::SERIES, itself),
];

const fn itself(node: &mut Node) -> Option<&mut Agent> {
    Some(&mut node.agent)
}

const fn its_traces(node: &mut Node) -> Option<&mut TraceStats> {
    node.agent.stats.traces.as_mut()
}

const fn its_probes(node: &mut Node) -> Option<&mut probe::source::ProbeStats> {
    node.agent.stats.probes.as_mut()
}

const fn its_process(node: &mut Node) -> Option<&mut process::ProcessStats> {
    Some(&mut node.agent.stats.process)
}

/// All families, in the order of the exposition.
pub fn families() -> impl Iterator<Item = &'static Family> {
    let container = CONTAINER.iter().map(|entry| entry.family());
    let usage = CONTAINER_USAGE.iter().chain(POD_USAGE).map(|entry| &entry.family);
    let workload = WORKLOAD.iter().map(|entry| entry.family());
    let node = NODE.iter().map(|entry| entry.family());
    container.chain(usage).chain(workload).chain(node)
}

/// Whether the family's collector is on.
#[must_use]
pub fn is_on(family: &Family, collectors: Collectors) -> bool {
    family.collector.is_none_or(|collector| collectors.has(collector))
}

/// Series of one entity of the scope, at most: the sum over its families that are on.
#[must_use]
pub fn series_max(scope: Scope, collectors: Collectors) -> u32 {
    let families = families().filter(|family| family.scope == scope && is_on(family, collectors));
    families.map(|family| family.series_max).sum()
}

/// Cost of a collector: the most series of each entity, such as "5 a container, 1 a Pod".
#[must_use]
pub fn cost(collector: Collector) -> String {
    let each = |scope: &Scope| {
        let families = families().filter(|f| f.scope == *scope && f.collector == Some(collector));
        let series: u32 = families.map(|family| family.series_max).sum();
        (series > 0).then(|| match scope {
            Scope::Pod => format!("{series} a Pod"),
            Scope::Workload => format!("{series} a workload container"),
            scope => format!("{series} a {}", scope.name()),
        })
    };
    Scope::ALL.iter().filter_map(each).collect::<Vec<_>>().join(", ")
}
