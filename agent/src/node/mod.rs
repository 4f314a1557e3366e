//! The owner of the node's state. It orders: takes what the kernel, the files and the Pod source
//! say, and passes it between the rooms. What follows from it is decided elsewhere
//! ([`crate::lifecycle`]). There is one owner, in one task, so nothing here is locked; the clock is
//! read once for each tick and passed in.

mod collect;
mod events;
mod kubelet;
mod looks;
mod options;
pub mod owner;
mod pods;
mod probes;
mod publish;
mod registry;
mod sampler;
mod search;
mod silence;
mod status;
#[cfg(test)]
mod tests;
mod tracking;

use std::time::Duration;

use crate::bpf::start::Kernel;
use crate::cgroup::{files::Parts, role::Mode, statistics::Elements};
use crate::clock::{Now, ShownOffset};
use crate::kube::pods::Pods;
use crate::lifecycle::{Input, Lifecycle, reason::Reasons};
use crate::metrics::agent::AgentStats;
use crate::metrics::scrapers::Connection;
use crate::metrics::text::Text;
use crate::metrics::variant::{Format, Generation, Seen};
use crate::probe::Probes;
use kubelet::KubeletWatch;
pub use options::{Options, Source};
use publish::Publish;
use registry::Registry;
use sampler::Sampler;
use tracking::Tracking;

/// Interval between walks over the cgroup tree while cgroups come and go unseen.
const RESCAN_NS: u64 = 10_000_000_000;
/// Number of records in one drain from which on some may have been lost: the smallest ring holds
/// more.
const BURST_RECORDS: usize = 256;
/// Time after such a burst at which it is seen whether any were.
const AFTER_BURST_NS: u64 = 1_000_000_000;
/// Interval between attempts to name the containers that wait for a name, while one is due.
const NAMES_NS: u64 = 250_000_000;
/// Interval between attempts to find the names that were not there in time.
const LATE_NAMES_NS: u64 = 10_000_000_000;
/// Interval at which what has been kept long enough is given up.
const EXPIRE_NS: u64 = 5_000_000_000;

/// The result of a collection, beside what the readers have.
#[derive(Debug)]
pub struct Collection {
    generation: Generation,
    stats: AgentStats,
}

/// All that is known of this node.
pub struct Node {
    options: Options,
    now: Now,
    tracking: Tracking,
    sampler: Sampler,
    lifecycle: Lifecycle,
    registry: Registry,
    pods: Pods,
    reasons: Reasons,
    probes: Probes,
    publish: Publish,
    kubelet: KubeletWatch,
    shown_wall: ShownOffset,
    /// The start of the agent.
    began_boot_ns: u64,
    next_rescan_ns: u64,
    next_names_ns: u64,
    next_late_names_ns: u64,
    next_expire_ns: u64,
}

impl Node {
    /// An owner that knows nothing yet; see [`Self::start`].
    #[must_use]
    pub fn new(mut options: Options, kernel: Option<Kernel>) -> Self {
        let pods_may_come = options.pods.is_some();
        let (covered, elements) = kernel.as_ref().map_or_else(
            || (Parts::NONE, Elements::none()),
            |kernel| (kernel.covered, kernel.elements.clone()),
        );
        Self {
            now: Now::default(),
            tracking: Tracking::new(options.mode, options.cgroup_root.clone(), kernel),
            sampler: Sampler::new(
                options.max_fds,
                options.store.collectors.parts(),
                covered,
                elements,
            ),
            lifecycle: Lifecycle::new(),
            registry: Registry::new(options.log_dir.clone(), pods_may_come),
            pods: Pods::new(),
            reasons: Reasons::new(pods_may_come),
            probes: Probes::new(),
            publish: Publish::new(options.store, options.traces.take()),
            kubelet: KubeletWatch::new(options.kubelet_cgroup.take()),
            shown_wall: ShownOffset::default(),
            began_boot_ns: 0,
            next_rescan_ns: 0,
            next_names_ns: 0,
            next_late_names_ns: 0,
            next_expire_ns: 0,
            options,
        }
    }

    /// Waits until the kernel side has records that cannot wait; for ever without a kernel side.
    pub async fn woken(&self) {
        match self.tracking.kernel() {
            Some(kernel) => kernel.woken().await,
            None => std::future::pending().await,
        }
    }

    /// Learns what is there: tracks the root, walks, walks again, and finds the inits of the
    /// containers that are older than the agent.
    pub fn start(&mut self, now: Now) {
        self.now = now;
        self.began_boot_ns = now.boot_ns;
        self.begin_tracking();
        let tree = self.tracking.tree();
        if tree.mode() == Mode::Kubernetes && !tree.has_kubepods() {
            tracing::warn!(
                root = crate::escape::path(&self.options.cgroup_root),
                "no kubepods cgroup yet: waiting for the kubelet to make one"
            );
        }
        self.next_rescan_ns = now.boot_ns + RESCAN_NS;
        self.look_for_kubelet(false);
        tracing::info!(
            mode = self.tracking.tree().mode().describe(),
            cgroups = self.tracking.tree().len(),
            containers = self.registry.len(),
            "initial scan done"
        );
    }

    /// The agent was away, and all that it waits for may have come meanwhile and is not read yet: what
    /// waits for names and reasons has its time from now on. What the kernel recorded has the times
    /// that it had.
    pub fn resumed(&mut self, now: Now) {
        tracing::warn!("the agent could not run for some seconds: what is told now is late");
        self.kubelet.heard(now.boot_ns);
        self.pods.resumed(now.boot_ns);
        self.registry.resumed(now.boot_ns);
        self.reasons.resumed(now.boot_ns);
        self.next_names_ns = 0;
    }

    /// Does what has to be done now: records, settled facts, names, a walk.
    pub fn tick(&mut self, now: Now) {
        self.now = now;
        self.drain();
        let now_boot_ns = now.boot_ns;
        self.apply(Input::Tick { now_boot_ns });
        if self.probes.deadline().is_some_and(|deadline| deadline <= now_boot_ns) {
            self.settle_probes();
        }
        if self.reasons.deadline().is_some_and(|deadline| deadline <= now_boot_ns) {
            self.settle_reasons();
        }
        if now_boot_ns >= self.next_names_ns && self.registry.hurries(now_boot_ns) {
            self.next_names_ns = now_boot_ns + NAMES_NS;
            self.resolve_names();
        }
        if now_boot_ns >= self.next_rescan_ns {
            self.next_rescan_ns = now_boot_ns + RESCAN_NS;
            self.rescan_if_needed();
            // Events tell of a restart at once, where there are any.
            self.look_for_kubelet(false);
            self.listen_to_kubelet();
        }
        if now_boot_ns >= self.next_late_names_ns {
            self.next_late_names_ns = now_boot_ns + LATE_NAMES_NS;
            if self.registry.unsettled().next().is_some() {
                self.resolve_names();
            }
        }
        if now_boot_ns >= self.next_expire_ns {
            self.next_expire_ns = now_boot_ns + EXPIRE_NS;
            self.expire();
        }
    }

    /// Gives up what has been kept long enough, and shows what finds room instead.
    fn expire(&mut self) {
        let mut overdue = Vec::new();
        self.probes.expire(&self.pods, self.now.boot_ns, &mut overdue);
        self.probed(overdue);
        let Self { pods, publish, reasons, now, .. } = self;
        let shown = publish.expire(now.boot_ns, |pod, container| pods.waits(pod, container));
        reasons.expire(now.boot_ns, pods);
        publish.settle_traces(*now);
        for id in shown {
            self.spec_known(id);
        }
    }

    /// Time until the next tick, if nothing wakes the owner.
    #[must_use]
    pub fn next_wakeup(&self, now_boot_ns: u64) -> Duration {
        /// Records that can wait are drained this often. Those that cannot wake the owner, as
        /// does a ring that fills, and each tick drains before it settles anything.
        const DRAIN_NS: u64 = 1_000_000_000;
        /// The same while a new container has no init: who that is, is one of those records, and
        /// until the kernel side is told, signals from inside the container are not.
        const DRAIN_SOON_NS: u64 = 50_000_000;
        let mut until = self.next_rescan_ns.min(self.next_late_names_ns);
        if self.tracking.kernel().is_some() {
            let soon = self.awaits_init(now_boot_ns);
            until = until.min(now_boot_ns + if soon { DRAIN_SOON_NS } else { DRAIN_NS });
        }
        if self.registry.hurries(now_boot_ns) {
            until = until.min(self.next_names_ns);
        }
        let probes = self.probes.deadline();
        for deadline in [self.lifecycle.next_deadline(), self.reasons.deadline(), probes] {
            until = until.min(deadline.unwrap_or(u64::MAX));
        }
        Duration::from_nanos(until.saturating_sub(now_boot_ns)).max(Duration::from_millis(1))
    }

    /// Whether a container was made a moment ago and has not begun to run.
    fn awaits_init(&self, now_boot_ns: u64) -> bool {
        /// A runtime that takes longer is stuck.
        const SOON_NS: u64 = 10_000_000_000;
        let mut young = self.registry.younger_than(now_boot_ns.saturating_sub(SOON_NS));
        young.any(|id| self.lifecycle.init_of(id).is_none())
    }

    /// The agent stops: what is not settled is published as it is.
    pub fn stop(&mut self, now: Now) {
        self.now = now;
        self.drain();
        self.apply(Input::Flush { now_boot_ns: now.boot_ns });
        self.settle_probes();
        let mut out = Vec::new();
        self.reasons.flush(&self.pods, now, &mut out);
        self.publish_all(out);
        self.publish.flush_traces(now);
    }

    /// The whole exposition, as of a collection, which is to be the last one.
    #[must_use]
    pub fn expose(&mut self, collection: &Collection, format: Format) -> Text {
        self.publish.encode(collection.generation, &collection.stats, format)
    }

    /// Series that a scraper has seen before a collection, which it is shown now.
    #[must_use]
    pub fn seen(&mut self, collection: &Collection, from: &Connection) -> Seen {
        self.publish.seen(collection.generation, from)
    }
}
