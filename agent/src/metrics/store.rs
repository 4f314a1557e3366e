//! The store of all that is exported. The owner task has the only one, so there are no locks.
//!
//! A **container key** (namespace, Pod, container) has **instances**: the cgroups that were under
//! it, one after the other and for a moment together. Counters are the sum over all of them, so a
//! restart goes on counting; gauges and `container_info` are those of the newest. Facts and last
//! counters may come after the removal of their cgroup, so an instance is held for another
//! minute and only then added to the key's base.

mod read;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::agent::AgentStats;
use super::catalog::{self, Entry};
use super::collector::Collectors;
use super::entity::{Container, Node, Pod, Workload};
use super::expose::Exposition;
use super::family::Scope;
use super::table::{Id, Table};
use super::usage::{Terminating, UsageFamilies, UsageFamily};
use super::variant::{Generation, Variant};
use crate::cgroup::CgroupId;
use crate::lifecycle::OpenShutdown;

/// Time after the removal of a cgroup in which facts about it are still taken in.
const HOLD_NS: u64 = 60_000_000_000;

/// Refused cgroups that are remembered, so that each is counted once. As many as the kernel side
/// tracks.
const REFUSED_MAX: usize = agent_common::map::TRACKED_MAX as usize;

/// Settings of the store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// The collectors that are on.
    pub collectors: Collectors,
    /// Retention of counters and last values after the last cgroup of a key is gone.
    pub retention: Duration,
    /// Retention of a workload after the last of its containers on this node.
    pub workload_retention: Duration,
    /// Most series of containers, Pods and workloads together. Each is taken to have as many as its
    /// kind can have with these collectors, so the exposition never has more.
    pub max_series: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            collectors: Collectors::ALL,
            retention: Duration::from_secs(5 * 60),
            workload_retention: Duration::from_secs(60 * 60),
            max_series: 100_000,
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
    /// Cgroups that found no room.
    refused: HashSet<CgroupId>,
    /// Most series of a container, a workload, a Pod.
    costs: [usize; 3],
    series: u64,
    generation: Generation,
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
        let costs = [Scope::Container, Scope::Workload, Scope::Pod]
            .map(|scope| catalog::series_max(scope, options.collectors) as usize);
        Self {
            families: Families::new(options.collectors),
            members: HashMap::new(),
            pod_members: HashMap::new(),
            containers: Table::default(),
            workloads: Table::default(),
            pods: Table::default(),
            node: Node::new(options.collectors),
            refused: HashSet::new(),
            costs,
            series: 0,
            generation: Generation::FIRST,
            options,
        }
    }

    /// Whether there is room for `cost` more series.
    fn fits(&self, cost: usize) -> bool {
        let [container, workload, pod] = self.costs;
        let taken = self.containers.count() * container
            + self.workloads.count() * workload
            + self.pods.count() * pod;
        cost == 0 || taken + cost <= self.options.max_series
    }

    /// Whether there is room for `cost` more series; if not, they are counted as dropped.
    fn has_room(&mut self, cgroup: CgroupId, cost: usize) -> bool {
        let room = self.fits(cost);
        if room {
            self.refused.remove(&cgroup);
        } else if self.refused.len() < REFUSED_MAX && self.refused.insert(cgroup) {
            let dropped = &mut self.node.agent.series_dropped;
            *dropped = dropped.saturating_add(cost as u64);
        }
        room
    }

    /// Takes over which containers are terminating now, with the moment of their stop signal; no
    /// other is.
    pub fn set_terminating(
        &mut self,
        now_boot_ns: u64,
        open: impl IntoIterator<Item = (CgroupId, OpenShutdown)>,
    ) {
        self.containers.each(|_, container| {
            for instance in container.usage.live_mut() {
                instance.terminating = None;
            }
        });
        for (cgroup, shutdown) in open {
            if let Some(container) = self.container_mut(cgroup)
                && let Some(instance) = container.usage.instance_mut(cgroup)
            {
                let for_ns = now_boot_ns.saturating_sub(shutdown.since_boot_ns);
                instance.terminating = Some(Terminating { for_ns, killed: shutdown.killed });
            }
        }
    }

    /// Drops what has been retained long enough. Cheap; once in a few seconds is enough.
    pub fn expire(&mut self, now_boot_ns: u64) {
        let before = now_boot_ns.saturating_sub(HOLD_NS);
        self.containers.each(|_, container| {
            container.usage.forget_gone_before(before, |cgroup| {
                release(&mut self.members, &mut self.workloads, cgroup);
            });
        });
        self.pods.each(|_, pod| {
            pod.usage.forget_gone_before(before, |cgroup| {
                self.pod_members.remove(&cgroup);
            });
        });
        let passed = |since_boot_ns: u64, retention: Duration| {
            u128::from(now_boot_ns.saturating_sub(since_boot_ns)) >= retention.as_nanos()
        };
        let Self { options, containers, pods, workloads, .. } = self;
        containers.retain(|container| {
            !container.usage.empty_since_boot_ns().is_some_and(|at| passed(at, options.retention))
        });
        pods.retain(|pod| {
            !pod.usage.empty_since_boot_ns().is_some_and(|at| passed(at, options.retention))
        });
        workloads.retain(|workload| {
            workload.members > 0 || !passed(workload.gone_boot_ns, options.workload_retention)
        });
        // Ids are used again: one whose workload is gone must not lead to another workload.
        containers.each(|_, container| {
            container.workload = container.workload.filter(|id| workloads.contains(*id));
        });
    }

    /// Begins a generation: the variants that are written before anything changes.
    pub const fn next_generation(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    /// The whole exposition, in chunks of about 64 KiB.
    pub fn encode(
        &mut self,
        generation: Generation,
        stats: &AgentStats,
        variant: Variant,
    ) -> Vec<Bytes> {
        let mut to = Exposition::new(variant, generation).at(stats.wall);
        let Self { families, containers, pods, workloads, node, .. } = self;
        for entry in &families.container {
            entry.write_all(containers, &mut to);
        }
        for (first, family) in families.container_usage.iter() {
            to.family(&family.family);
            containers
                .each(|block, container| container.usage.write(family, first, block, &mut to));
        }
        for (first, family) in families.pod_usage.iter() {
            to.family(&family.family);
            pods.each(|block, pod| pod.usage.write(family, first, block, &mut to));
        }
        for entry in &families.workload {
            entry.write_all(workloads, &mut to);
        }
        node.agent.stats.clone_from(stats);
        for entry in &families.node {
            to.family(entry.family());
            entry.write(b"", node, &mut to);
        }
        self.series = to.series();
        to.finish()
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

    fn container_mut(&mut self, container: CgroupId) -> Option<&mut Container> {
        let member = self.members.get(&container)?;
        self.containers.get_mut(member.container)
    }
}

/// Forgets a cgroup: no fact about it is taken in any more.
fn release(
    members: &mut HashMap<CgroupId, Member>,
    workloads: &mut Table<Workload>,
    cgroup: CgroupId,
) {
    if let Some(member) = members.remove(&cgroup)
        && let Some(workload) = workloads.get_mut(member.workload)
    {
        workload.members = workload.members.saturating_sub(1);
    }
}
