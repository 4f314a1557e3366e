//! The store of all that is exported. The owner task has the only one, so there are no locks.
//!
//! A **container key** (namespace, Pod, container) has **instances**: the cgroups that were under
//! it, one after the other and for a moment together. Counters are the sum over all of them, so a
//! restart goes on counting; gauges and `container_info` are those of the newest. The reason of a death
//! may come after the removal of the cgroup, so an instance is held until then, a minute at most, and
//! only then added to the key's base. What is told later of one that is gone counts by its names.

mod expected;
mod read;
mod refused;
mod retention;
mod room;
mod traced;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::agent::AgentStats;
use super::catalog::{self, Entry};
use super::collector::Collectors;
use super::entity::{Container, Node, Pod, Workload};
use super::expose::Exposition;
use super::scrapers::{Connection, Scrapers};
use super::table::{Id, Table};
use super::text::Text;
use super::usage::{Terminating, UsageFamilies, UsageFamily};
use super::variant::{Format, Generation, Seen};
use crate::cgroup::CgroupId;
use crate::lifecycle::OpenShutdown;
use expected::Expected;
use refused::Refused;

/// Settings of the store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// The collectors that are on.
    pub collectors: Collectors,
    /// Retention of counters and last values after the last cgroup of a key is gone.
    pub retention: Duration,
    /// Retention of a workload after the last of its containers on this node.
    pub workload_retention: Duration,
    /// Most series of containers, Pods and workloads together. What only lingers gives way to what
    /// is there, and has a part of the limit at most.
    pub max_series: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            collectors: Collectors::DEFAULT,
            retention: Duration::from_secs(10 * 60),
            workload_retention: Duration::from_secs(60 * 60),
            max_series: 400_000,
        }
    }
}

/// Place of a container's cgroup.
#[derive(Clone, Copy, Debug)]
struct Member {
    container: Id,
    workload: Id,
}

/// The families that are exported: those whose collector is on.
struct Families {
    container: Vec<&'static dyn Entry<Container>>,
    container_usage: Arc<UsageFamilies>,
    pod_usage: Arc<UsageFamilies>,
    workload: Vec<&'static dyn Entry<Workload>>,
    node: Vec<&'static dyn Entry<Node>>,
}

impl Families {
    fn new(collectors: Collectors) -> Self {
        fn entries<E>(
            list: &[&'static dyn Entry<E>],
            collectors: Collectors,
        ) -> Vec<&'static dyn Entry<E>> {
            let on = |entry: &&&'static dyn Entry<E>| catalog::is_on(entry.family(), collectors);
            list.iter().filter(on).copied().collect()
        }
        let usage = |list: &'static [&'static UsageFamily]| {
            let on = |family: &&UsageFamily| catalog::is_on(&family.family, collectors);
            UsageFamilies::new(list.iter().copied().filter(on))
        };
        Self {
            container: entries(catalog::CONTAINER, collectors),
            container_usage: usage(catalog::CONTAINER_USAGE),
            pod_usage: usage(catalog::POD_USAGE),
            workload: entries(catalog::WORKLOAD, collectors),
            node: entries(catalog::NODE, collectors),
        }
    }
}

/// The store.
pub struct Store {
    options: StoreOptions,
    families: Families,
    members: HashMap<CgroupId, Member>,
    pod_members: HashMap<CgroupId, Id>,
    containers: Table<Container>,
    workloads: Table<Workload>,
    pods: Table<Pod>,
    node: Node,
    scrapers: Scrapers,
    /// Containers and Pods that found no room.
    refused: Refused,
    expected: Expected,
    /// Series of the last exposition.
    series: u64,
    /// Series that the last exposition left out.
    left_out: u64,
    generation: Generation,
    /// Time of the last expiry.
    now_boot_ns: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let containers = self.containers.count();
        f.debug_struct("Store").field("containers", &containers).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        Self {
            families: Families::new(options.collectors),
            members: HashMap::new(),
            pod_members: HashMap::new(),
            containers: Table::default(),
            workloads: Table::default(),
            pods: Table::default(),
            node: Node::new(options.collectors),
            scrapers: Scrapers::default(),
            refused: Refused::default(),
            expected: Expected::new(options.collectors),
            series: 0,
            left_out: 0,
            generation: Generation::FIRST,
            now_boot_ns: 0,
            options,
        }
    }

    /// Takes over which containers are terminating now, with the moment of their stop signal; no
    /// other is.
    pub fn set_terminating(
        &mut self,
        now_boot_ns: u64,
        open: impl IntoIterator<Item = (CgroupId, OpenShutdown)>,
    ) {
        for container in self.containers.iter_mut() {
            for instance in container.usage.live_mut() {
                instance.terminating = None;
            }
        }
        for (cgroup, shutdown) in open {
            if let Some(container) = self.container_mut(cgroup)
                && let Some(instance) = container.usage.instance_mut(cgroup)
            {
                let for_ns = now_boot_ns.saturating_sub(shutdown.since_boot_ns);
                instance.terminating = Some(Terminating { for_ns, killed: shutdown.killed });
            }
        }
    }

    /// Begins a generation: the expositions that are written before anything changes.
    pub fn next_generation(&mut self, now_boot_ns: u64) -> Generation {
        self.generation = self.generation.next(now_boot_ns);
        self.generation
    }

    /// Series that a scraper has seen before a generation, which it is shown now.
    pub fn seen(&mut self, generation: Generation, from: &Connection) -> Seen {
        self.scrapers.scrape(from, generation)
    }

    /// The whole exposition.
    pub fn encode(&mut self, generation: Generation, stats: &AgentStats, format: Format) -> Text {
        self.node.agent.stats.clone_from(stats);
        let mut to = self.write(generation, format);
        if to.left_out() > 0 && self.evict(to.left_out()) {
            to = self.write(generation, format);
        }
        self.overflows(to.left_out());
        self.series = to.series();
        to.finish()
    }

    /// Writes all families, and counts the series of each entity.
    fn write(&mut self, generation: Generation, format: Format) -> Exposition {
        let mut to = Exposition::new(format, generation).at(self.node.agent.stats.wall);
        to.set_limit(self.options.max_series as u64);
        self.node.agent.containers_hidden = self.refused.containers() as u64;
        self.node.agent.scrapers_forgotten = self.scrapers.strangers();
        let Self { families, containers, pods, workloads, node, .. } = self;
        containers.restart_count();
        pods.restart_count();
        workloads.restart_count();
        for entry in &families.container {
            entry.write_all(containers, &mut to);
        }
        for (first, family) in families.container_usage.iter() {
            to.family(&family.family);
            containers.each_counted(|block, container| {
                let before = to.entity();
                container.usage.write(family, first, block, &mut to);
                to.wanted() - before
            });
        }
        for (first, family) in families.pod_usage.iter() {
            to.family(&family.family);
            pods.each_counted(|block, pod| {
                let before = to.entity();
                pod.usage.write(family, first, block, &mut to);
                to.wanted() - before
            });
        }
        for entry in &families.workload {
            entry.write_all(workloads, &mut to);
        }
        to.set_limit(u64::MAX);
        for entry in &families.node {
            to.family(entry.family());
            entry.write(b"", node, &mut to);
        }
        to
    }

    /// Series of the last exposition.
    #[must_use]
    pub const fn series(&self) -> u64 {
        self.series
    }

    /// Container keys that are shown, those that retention included.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.containers.count()
    }

    /// The limit of series, with the series of containers, Pods and workloads, as people read it.
    #[must_use]
    pub fn room(&self) -> String {
        format!("{} of {} at most", self.taken(), self.options.max_series)
    }

    /// Containers that are not shown because there is no room for their series.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.refused.containers()
    }

    fn container_mut(&mut self, container: CgroupId) -> Option<&mut Container> {
        let member = self.members.get(&container)?;
        self.containers.get_mut(member.container)
    }
}
