//! The owner of the node's state: takes what the kernel, the files and the names say, and passes it
//! between the rooms. There is one, in one task, so nothing here is locked.

mod containers;
mod deaths;
mod events;
mod names;
mod pods;
mod scan;
mod scrape;
mod starts;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::bpf::{load::Programs, ring::Ring, snapshot::Snapshot};
use crate::cgroup::{
    CgroupId,
    figures::Covered,
    reader::Reader,
    statistics::Elements,
    tree::{self, Tree},
};
use crate::kernel::host;
use crate::kube::{log_names::LogNames, news::Pulse, pods::Pods};
use crate::lifecycle::{Input, Lifecycle, restart::History};
use crate::metrics::store::{Store, StoreOptions};
use containers::{Container, Key};
pub use scrape::Look;

/// How often a node without (all) kernel programs, or one that lost records, is looked at anew.
const RESCAN_NS: u64 = 10_000_000_000;
/// How often names are looked for while somebody waits for one.
const NAMES_NS: u64 = 250_000_000;
/// How often what has lingered long enough is given up.
const EXPIRE_NS: u64 = 5_000_000_000;

/// Where the figures of cgroups come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// One pass of the kernel's cgroup iterator where it can, the files for the rest.
    Auto,
    /// The files of each cgroup.
    Files,
}

/// What the owner needs to know from the start.
#[derive(Debug)]
pub struct Options {
    /// What the cgroups are.
    pub mode: tree::Mode,
    /// The cgroup v2 directory to watch.
    pub cgroup_root: PathBuf,
    /// Where the kubelet leaves its links.
    pub log_dir: PathBuf,
    /// Who tells of Pods, for people, and when it was last heard; `None` if nobody does.
    pub pods: Option<(String, Pulse)>,
    /// Where figures come from.
    pub source: Source,
    /// What the store keeps.
    pub store: StoreOptions,
    /// How many files of cgroups may be kept open.
    pub max_fds: usize,
}

/// The kernel side, where it could be loaded.
pub struct Kernel {
    /// Programs and maps.
    pub programs: Programs,
    /// Their records.
    pub ring: Ring,
    /// All cgroups in one pass, once there is a root to begin at and if the kernel can.
    pub snapshot: Option<Snapshot>,
    /// What a pass says, so that the files need not.
    pub covered: Covered,
    /// How `memory.stat` is read from it.
    pub elements: Elements,
}

/// All that is known of this node.
pub struct Node {
    options: Options,
    kernel: Option<Kernel>,
    tree: Tree,
    lifecycle: Lifecycle,
    containers: HashMap<CgroupId, Container>,
    reader: Reader,
    names: LogNames,
    pods: Pods,
    deaths: deaths::Deaths,
    history: History<Key>,
    store: Store,
    /// Processes that the OOM killer ended in containers before the agent came.
    unseen_oom_kills: u64,
    /// Cgroups whose parent is not known.
    unresolved: u64,
    /// Cgroups whose memory.stat the last pass did not tell.
    unclear: Vec<CgroupId>,
    /// The last that was compared in turn.
    compared_last: CgroupId,
    page_bytes: u64,
    losses_seen: u64,
    runs: scrape::Runs,
    next_rescan_ns: u64,
    next_names_ns: u64,
    next_expire_ns: u64,
}

impl Node {
    /// An owner that knows nothing yet; see [`Self::begin`].
    #[must_use]
    pub fn new(options: Options, kernel: Option<Kernel>) -> Self {
        Self {
            kernel,
            tree: Tree::new(options.mode),
            lifecycle: Lifecycle::new(),
            containers: HashMap::new(),
            reader: Reader::new(options.max_fds),
            names: LogNames::new(options.log_dir.clone()),
            pods: Pods::new(),
            deaths: deaths::Deaths::default(),
            history: History::new(),
            store: Store::new(options.store),
            unseen_oom_kills: 0,
            unresolved: 0,
            unclear: Vec::new(),
            compared_last: CgroupId(0),
            page_bytes: host::page_bytes(),
            losses_seen: 0,
            runs: scrape::Runs::default(),
            next_rescan_ns: 0,
            next_names_ns: 0,
            next_expire_ns: 0,
            options,
        }
    }

    /// The ring to wait for, if there are programs.
    #[must_use]
    pub fn ring(&self) -> Option<&Ring> {
        self.kernel.as_ref().map(|kernel| &kernel.ring)
    }

    /// What has to be done now: records, settled facts, names, a look around.
    pub fn turn(&mut self) {
        self.drain();
        let now = clock::boot_ns();
        self.apply(Input::Tick { now_boot_ns: now });
        if self.deaths.deadline().is_some_and(|deadline| deadline <= now) {
            self.settle_deaths(Some(now));
        }
        if now >= self.next_names_ns && self.containers.values().any(Container::waits) {
            self.next_names_ns = now + NAMES_NS;
            self.resolve_names(now);
        }
        if now >= self.next_rescan_ns {
            self.next_rescan_ns = now + RESCAN_NS;
            self.rescan_if_needed(now);
        }
        if now >= self.next_expire_ns {
            self.next_expire_ns = now + EXPIRE_NS;
            self.store.expire(now);
        }
    }

    /// How long the next turn can wait if nothing wakes the owner.
    #[must_use]
    pub fn rest(&self) -> Duration {
        /// Records that can wait are drained this often. Those that cannot wake the owner, as
        /// does a ring that fills, and each turn drains before it settles anything.
        const DRAIN_NS: u64 = 1_000_000_000;
        /// The same while a new container has no init: who that is, is one of those records, and
        /// until the kernel side is told, signals from inside the container are not.
        const DRAIN_SOON_NS: u64 = 50_000_000;
        let now = clock::boot_ns();
        let mut until = self.next_rescan_ns;
        if self.kernel.is_some() {
            until = until.min(now + if self.awaits_init(now) { DRAIN_SOON_NS } else { DRAIN_NS });
        }
        if self.containers.values().any(Container::waits) {
            until = until.min(self.next_names_ns);
        }
        for deadline in [self.lifecycle.next_deadline(), self.deaths.deadline()] {
            until = until.min(deadline.unwrap_or(u64::MAX));
        }
        Duration::from_nanos(until.saturating_sub(now)).max(Duration::from_millis(1))
    }

    /// Whether a container was made a moment ago and has not begun to run.
    fn awaits_init(&self, now_boot_ns: u64) -> bool {
        /// A runtime that takes longer is stuck.
        const SOON_NS: u64 = 10_000_000_000;
        self.containers.iter().any(|(id, container)| {
            let age_ns = now_boot_ns.saturating_sub(container.since_boot_ns);
            age_ns < SOON_NS && self.lifecycle.init_of(*id).is_none()
        })
    }

    /// The agent stops: what is not settled is published as it is.
    pub fn stop(&mut self) {
        self.drain();
        self.apply(Input::Flush { now_boot_ns: clock::boot_ns() });
        self.settle_deaths(None);
    }
}
