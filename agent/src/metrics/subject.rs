//! What a series is about, with all that is known of it.

use super::catalog;
use super::cell::Cells;
use super::ending::{CauseAndTrigger, Mismatch, Ratio};
use super::expose::Block;
use super::histogram::Histogram;
use super::node::NodeStats;
use super::oom::{self, ScopeAndVictim, ScopeLabel};
use super::restart::{self, Restarts};
use super::shutdown;
use super::signals::{self, SignalCells};
use super::table::Id;
use super::terminations::{self, LastTermination};
use super::usage::Usage;
use crate::kube::pod::Resources;
use crate::lifecycle::fact::Cause;
use crate::lifecycle::start::Phase;

/// A container of a Pod, by name.
#[derive(Debug)]
pub struct Container {
    /// Its cgroups.
    pub usage: Usage,
    /// All labels of `container_info`.
    pub info: Block,
    /// The workload of the newest instance.
    pub workload: Option<Id>,
    /// Restarts.
    pub restarts: Restarts,
    /// What it was promised.
    pub requests: Resources,
    /// From the last end to the start after it.
    pub last_outage_ns: Option<u64>,
    /// The last end.
    pub last_termination: Option<LastTermination>,
    /// When the last stop that began with a stop signal ended (boot time), and how long it took.
    pub last_shutdown: Option<(u64, u64)>,
    /// The share of its grace that the last stop took.
    pub last_ratio: Option<Ratio>,
    /// The grace period that counted then.
    pub last_grace_s: Option<u64>,
    /// The phases of the last start.
    pub startup: [Option<u64>; Phase::ALL.len()],
}

impl Container {
    /// Without a cgroup yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            usage: Usage::new(catalog::CONTAINER_USAGE),
            info: Block::EMPTY,
            workload: None,
            restarts: Restarts::default(),
            requests: Resources::default(),
            last_outage_ns: None,
            last_termination: None,
            last_shutdown: None,
            last_ratio: None,
            last_grace_s: None,
            startup: [None; Phase::ALL.len()],
        }
    }
}

impl Default for Container {
    fn default() -> Self {
        Self::new()
    }
}

/// A container of a workload: what its instances on this node went through.
#[derive(Debug)]
pub struct Workload {
    /// Stop signal to end, of those that ended by themselves.
    pub shutdown_exited: Histogram,
    /// Stop signal to end, of those that were killed.
    pub shutdown_killed: Histogram,
    /// Shares of the grace used, from the first on.
    pub ratio: Option<Histogram>,
    /// Scheduled to ready, from the first on.
    pub startup: Option<Histogram>,
    /// preStop hooks, by handler.
    pub pre_stop: Vec<(&'static str, Histogram)>,
    /// What runtimes reported otherwise.
    pub mismatches: Cells<Mismatch>,
    /// Ends.
    pub terminations: Cells<Cause>,
    /// Stop signals that init ignores.
    pub ignored: SignalCells,
    /// Signals that ended init.
    pub fatal: SignalCells,
    /// OOMs.
    pub oom: Cells<ScopeAndVictim>,
    /// End to start.
    pub outage: Histogram,
    /// Cgroups that facts may still be about.
    pub members: usize,
    /// When the last of them went.
    pub gone_boot_ns: u64,
}

impl Workload {
    /// All that is few is at 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shutdown_exited: Histogram::new(shutdown::BOUNDS),
            shutdown_killed: Histogram::new(shutdown::BOUNDS),
            ratio: None,
            startup: None,
            pre_stop: Vec::new(),
            mismatches: Cells::default(),
            terminations: terminations::born(),
            ignored: signals::born_ignored(),
            fatal: SignalCells::default(),
            oom: oom::born(),
            outage: Histogram::new(restart::BOUNDS),
            members: 0,
            gone_boot_ns: 0,
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self::new()
    }
}

/// A Pod's own cgroup.
#[derive(Debug)]
pub struct Pod {
    /// Its cgroups: a Pod of a StatefulSet comes again under the same name.
    pub usage: Usage,
}

impl Pod {
    /// Without a cgroup yet.
    #[must_use]
    pub fn new() -> Self {
        Self { usage: Usage::new(catalog::POD_USAGE) }
    }
}

impl Default for Pod {
    fn default() -> Self {
        Self::new()
    }
}

/// The node and the agent.
#[derive(Debug)]
pub struct Node<'a> {
    /// What the owner knows.
    pub stats: &'a NodeStats,
    /// OOMs of all containers.
    pub oom: &'a mut Cells<ScopeLabel>,
    /// Ends of all containers.
    pub by_trigger: &'a mut Cells<CauseAndTrigger>,
    /// Series that were not made.
    pub series_dropped: u64,
}
