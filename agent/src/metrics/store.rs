//! What is shown. The owner task has the only one, so there are no locks.
//!
//! A **container key** (namespace, Pod, container) has **instances**: the cgroups that were under
//! it, one after the other and for a moment together. Counters are the sum over all of them, so a
//! restart goes on counting; gauges and `container_info` are those of the newest. Facts and last
//! counters may come after the removal of their cgroup, so an instance is held for another
//! minute and only then added to the key's base.

mod told;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::catalog::{self, Scope};
use super::cell::Cells;
use super::edition::{Edition, Round};
use super::ending::{self, CauseAndTrigger, Ending};
use super::expose::{Block, Exposition};
use super::info;
use super::node::NodeStats;
use super::oom::{self, ScopeLabel};
use super::restart;
use super::shutdown::OpenShutdown;
use super::signals;
use super::subject::{Container, Node, Pod, Workload};
use super::table::{Id, Table};
use super::wall::WallOffset;
use crate::cgroup::CgroupId;
use crate::cgroup::sample::Sample;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{Fact, FactKind};

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

    /// A container becomes visible. `since_boot_ns` is when its cgroup was made or first seen: of
    /// two with the same key, the later is the newest. A container that is known already keeps
    /// its identity. One that finds no room is not shown; the owner may try again later.
    pub fn appear(&mut self, container: CgroupId, identity: &Identity, since_boot_ns: u64) {
        if self.members.contains_key(&container) {
            return;
        }
        let identity = info::cut(identity);
        let block = Block::new(&[
            ("namespace", &identity.namespace),
            ("pod", &identity.pod),
            ("container", &identity.container),
        ]);
        let workload_block = Block::new(&[
            ("namespace", &identity.namespace),
            ("workload_kind", &identity.workload_kind),
            ("workload", &identity.workload),
            ("container", &identity.container),
        ]);
        let (key, workload) =
            (self.containers.find(block.bytes()), self.workloads.find(workload_block.bytes()));
        let [container_cost, workload_cost, _] = self.costs;
        let cost = if key.is_none() { container_cost } else { 0 }
            + if workload.is_none() { workload_cost } else { 0 };
        if !self.has_room(container, cost) {
            return;
        }
        let key = key.unwrap_or_else(|| self.containers.insert(block.bytes(), Container::new()));
        let workload = workload
            .unwrap_or_else(|| self.workloads.insert(workload_block.bytes(), Workload::new()));
        if let Some(entry) = self.containers.get_mut(key) {
            let (newest, forgotten) = entry.usage.appear(container, since_boot_ns);
            if newest {
                entry.info = info::labels(&identity);
            }
            if let Some(forgotten) = forgotten {
                release(&mut self.members, &mut self.workloads, forgotten);
            }
        }
        if let Some(workload) = self.workloads.get_mut(workload) {
            workload.members += 1;
        }
        self.members.insert(container, Member { container: key, workload });
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

    /// A fact. One about a container that is not shown counts for the node only.
    pub fn fact(&mut self, fact: &Fact, wall: WallOffset) {
        if let FactKind::Oom(oom) = &fact.kind {
            self.node_oom.add_one(ScopeLabel(oom.scope));
        }
        let Some(member) = self.members.get(&fact.container).copied() else { return };
        let workload = self.workloads.get_mut(member.workload);
        let Some(container) = self.containers.get_mut(member.container) else { return };
        let time_unix_ns = wall.unix_ns(fact.time_boot_ns);
        match &fact.kind {
            FactKind::Started(_) => {
                if let Some(instance) = container.usage.instance_mut(fact.container) {
                    instance.start_unix_ns = Some(time_unix_ns);
                }
            }
            FactKind::StopSignal(stop) => {
                if let Some(workload) = workload {
                    signals::stop_signal(workload, stop);
                }
            }
            FactKind::Oom(oom) => {
                if let Some(workload) = workload {
                    oom::happened(workload, oom);
                }
            }
            FactKind::Terminated(end) => self.terminated(fact, end, Ending::untold(end), wall),
            // The first is seen in `container_shutdown_open_seconds` and then in the outcome. The
            // second is no end of the container's own program, so it has no family.
            FactKind::KilledAfterStopSignal | FactKind::StartFailed => {}
        }
    }

    /// A container runs that is a restart; `outage_ns` from the end before it, if that was seen.
    pub fn restarted(&mut self, container: CgroupId, outage_ns: Option<u64>) {
        let Some(member) = self.members.get(&container) else { return };
        if let Some(container) = self.containers.get_mut(member.container) {
            restart::restarted(container, self.workloads.get_mut(member.workload), outage_ns);
        }
    }

    /// New figures of a container.
    pub fn sample(&mut self, container: CgroupId, sample: Sample) {
        if let Some(key) = self.container_mut(container) {
            key.usage.sample(container, sample);
        }
    }

    /// Counters of a container read at its end, before or after its removal. Only counters are
    /// taken, so it need not be whole.
    pub fn last_sample(&mut self, container: CgroupId, sample: &Sample) {
        if let Some(key) = self.container_mut(container) {
            key.usage.last_sample(container, sample);
        }
    }

    /// New figures of a Pod's own cgroup, known or not.
    pub fn pod_sample(&mut self, pod: CgroupId, namespace: &str, name: &str, sample: Sample) {
        let id = match self.pod_members.get(&pod) {
            Some(id) => *id,
            None => match self.pod_appears(pod, namespace, name) {
                Some(id) => id,
                None => return,
            },
        };
        if let Some(entry) = self.pods.get_mut(id) {
            entry.usage.sample(pod, sample);
        }
    }

    fn pod_appears(&mut self, pod: CgroupId, namespace: &str, name: &str) -> Option<Id> {
        let block =
            Block::new(&[("namespace", info::prefix(namespace)), ("pod", info::prefix(name))]);
        let known = self.pods.find(block.bytes());
        let [.., cost] = self.costs;
        if !self.has_room(pod, if known.is_none() { cost } else { 0 }) {
            return None;
        }
        let id = known.unwrap_or_else(|| self.pods.insert(block.bytes(), Pod::new()));
        if let Some(entry) = self.pods.get_mut(id) {
            // The order of appearance is the order of age here: a Pod's name is taken until it is
            // gone from the API.
            let (_, forgotten) = entry.usage.appear(pod, 0);
            forgotten.map(|forgotten| self.pod_members.remove(&forgotten));
        }
        self.pod_members.insert(pod, id);
        Some(id)
    }

    /// A Pod's cgroup was removed.
    pub fn pod_gone(&mut self, pod: CgroupId, now_boot_ns: u64) {
        self.refused.remove(&pod);
        if let Some(id) = self.pod_members.get(&pod)
            && let Some(entry) = self.pods.get_mut(*id)
        {
            entry.usage.gone(pod, now_boot_ns);
        }
    }

    /// All shutdowns that are open now; what is not among them is not open.
    pub fn set_open_shutdowns(&mut self, open: impl IntoIterator<Item = OpenShutdown>) {
        self.containers.each(|_, container| {
            for instance in container.usage.live_mut() {
                instance.open_shutdown = None;
            }
        });
        for shutdown in open {
            if let Some(container) = self.container_mut(shutdown.container)
                && let Some(instance) = container.usage.instance_mut(shutdown.container)
            {
                instance.open_shutdown = Some((shutdown.open_ns, shutdown.killed));
            }
        }
    }

    /// A container's cgroup was removed.
    pub fn gone(&mut self, container: CgroupId, now_boot_ns: u64) {
        self.refused.remove(&container);
        let Some(member) = self.members.get(&container).copied() else { return };
        if let Some(key) = self.containers.get_mut(member.container) {
            key.usage.gone(container, now_boot_ns);
        }
        if let Some(workload) = self.workloads.get_mut(member.workload) {
            workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
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
