//! What is shown. The owner task has the only one, so there are no locks.
//!
//! A **container key** (namespace, Pod, container) has **instances**: the cgroups that were under
//! it, one after the other and for a moment together. Counters are the sum over all of them, so a
//! restart goes on counting; gauges and `container_info` are those of the newest. Facts and last
//! counters may come after the removal of their cgroup, so an instance is held for another
//! minute and only then added to the key's base.

mod read;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::catalog::{self, Scope};
use super::cell::Cells;
use super::edition::{Edition, Round};
use super::ending::{self, CauseAndTrigger};
use super::expose::Exposition;
use super::node::NodeStats;
use super::oom::{self, ScopeLabel};
use super::subject::{Container, Node, Pod, Workload};
use super::table::{Id, Table};
use super::usage::Terminating;
use crate::cgroup::CgroupId;
use crate::lifecycle::OpenShutdown;

/// How long facts may be about a cgroup that was removed.
const HOLD_NS: u64 = 60_000_000_000;

/// Refused cgroups that are remembered, so that each is counted once. As many as the kernel side
/// tracks.
const REFUSED_MAX: usize = agent_common::map::TRACKED_MAX as usize;

/// What the user can set.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// How long counters and the last things known stay after the last cgroup of a key is gone.
    pub linger: Duration,
    /// How long a workload stays after the last of its containers on this node.
    pub workload_linger: Duration,
    /// Series of containers, Pods and workloads together. Each is taken to have as many as its
    /// kind can have, so the exposition never has more.
    pub max_series: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            linger: Duration::from_secs(5 * 60),
            workload_linger: Duration::from_secs(60 * 60),
            max_series: 100_000,
        }
    }
}

/// Where a cgroup belongs.
#[derive(Clone, Copy, Debug)]
struct Member {
    container: Id,
    workload: Id,
}

/// What is shown.
#[derive(Debug)]
pub struct Store {
    options: StoreOptions,
    members: HashMap<CgroupId, Member>,
    pod_members: HashMap<CgroupId, Id>,
    containers: Table<Container>,
    workloads: Table<Workload>,
    pods: Table<Pod>,
    /// Cgroups that found no room.
    refused: HashSet<CgroupId>,
    series_dropped: u64,
    node_oom: Cells<ScopeLabel>,
    by_trigger: Cells<CauseAndTrigger>,
    /// Series that a container, a workload, a Pod can have.
    costs: [usize; 3],
    series: u64,
    round: Round,
}

impl Store {
    /// Empty.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        let costs = [Scope::Container, Scope::Workload, Scope::Pod]
            .map(|scope| scope.series_max() as usize);
        Self {
            options,
            members: HashMap::new(),
            pod_members: HashMap::new(),
            containers: Table::default(),
            workloads: Table::default(),
            pods: Table::default(),
            refused: HashSet::new(),
            series_dropped: 0,
            node_oom: oom::born_node(),
            by_trigger: ending::born_by_trigger(),
            costs,
            series: 0,
            round: Round::FIRST,
        }
    }

    /// Whether `cost` more series may be made; if not, it is counted.
    fn has_room(&mut self, cgroup: CgroupId, cost: usize) -> bool {
        let [container, workload, pod] = self.costs;
        let taken = self.containers.len() * container
            + self.workloads.len() * workload
            + self.pods.len() * pod;
        let room = cost == 0 || taken + cost <= self.options.max_series;
        if room {
            self.refused.remove(&cgroup);
        } else if self.refused.len() < REFUSED_MAX && self.refused.insert(cgroup) {
            self.series_dropped = self.series_dropped.saturating_add(cost as u64);
        }
        room
    }

    /// All containers that are terminating now, with the moment of their stop signal; what is not
    /// among them is not.
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

    /// Gives up what has lingered long enough. Cheap; once in a few seconds is enough.
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
        let passed = |since_boot_ns: u64, linger: Duration| {
            u128::from(now_boot_ns.saturating_sub(since_boot_ns)) >= linger.as_nanos()
        };
        let Self { options, containers, pods, workloads, .. } = self;
        containers.retain(|container| {
            !container.usage.empty_since_boot_ns().is_some_and(|at| passed(at, options.linger))
        });
        pods.retain(|pod| {
            !pod.usage.empty_since_boot_ns().is_some_and(|at| passed(at, options.linger))
        });
        workloads.retain(|workload| {
            workload.members > 0 || !passed(workload.gone_boot_ns, options.workload_linger)
        });
        // Ids are used again: one whose workload is gone must not lead to another workload.
        containers.each(|_, container| {
            container.workload = container.workload.filter(|id| workloads.contains(*id));
        });
    }

    /// A new look, for the editions that are written before anything changes.
    pub const fn next_round(&mut self) -> Round {
        self.round = self.round.next();
        self.round
    }

    /// The whole exposition, in pieces of about 64 KiB.
    pub fn encode(&mut self, round: Round, stats: &NodeStats, edition: Edition) -> Vec<Bytes> {
        let mut to = Exposition::new(edition, round);
        for entry in catalog::CONTAINER {
            to.family(&entry.family);
            self.containers.each(|block, container| (entry.write)(block, container, &mut to));
        }
        let mut first = 0;
        for family in catalog::CONTAINER_USAGE {
            to.family(&family.family);
            self.containers
                .each(|block, container| container.usage.write(family, first, block, &mut to));
            first += family.counters().len();
        }
        first = 0;
        for family in catalog::POD_USAGE {
            to.family(&family.family);
            self.pods.each(|block, pod| pod.usage.write(family, first, block, &mut to));
            first += family.counters().len();
        }
        for entry in catalog::WORKLOAD {
            to.family(&entry.family);
            self.workloads.each(|block, workload| (entry.write)(block, workload, &mut to));
        }
        let mut node = Node {
            stats,
            oom: &mut self.node_oom,
            by_trigger: &mut self.by_trigger,
            series_dropped: self.series_dropped,
        };
        for entry in catalog::NODE {
            to.family(&entry.family);
            (entry.write)(&mut node, &mut to);
        }
        self.series = to.series();
        to.finish()
    }

    /// Series of the last exposition.
    #[must_use]
    pub const fn series(&self) -> u64 {
        self.series
    }

    /// Container keys that are shown, those that linger included.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.containers.len()
    }

    fn container_mut(&mut self, container: CgroupId) -> Option<&mut Container> {
        let member = self.members.get(&container)?;
        self.containers.get_mut(member.container)
    }
}

/// A cgroup will not be heard of again.
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
