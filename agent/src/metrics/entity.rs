//! Entities: what a series is about, composed of the states of the groups.
//!
//! A group whose collector is off has no state, so it costs nothing and exports nothing.

use std::sync::Arc;

use opentelemetry::trace::TraceId;

use super::agent::Agent;
use super::collector::{Collector, Collectors};
use super::expose::Block;
use super::table::Id;
use super::usage::{Usage, UsageFamilies};
use super::{
    grace, info, mismatch, oom, prestop, probe, requests, restart, shutdown, signals, startup,
    terminations,
};
use crate::cgroup::CgroupId;
use crate::kube::identity::Identity;
use crate::kube::pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::Who;

/// A container of a Pod, by name.
#[derive(Debug)]
pub struct Container {
    /// Usage of the cgroups under this name.
    pub usage: Usage,
    /// The UID in the name of the Pod's cgroup and the container's name, by which the API knows it;
    /// `None` for a unit.
    pub in_api: Option<(Box<str>, Box<str>)>,
    /// The workload of the newest instance.
    pub workload: Option<Id>,
    /// The last time at which the API knew it as waiting to run again, `CLOCK_BOOTTIME`.
    pub waited_boot_ns: u64,
    pub(super) info: Option<info::OfContainer>,
    pub(super) startup: Option<startup::OfContainer>,
    pub(super) restart: Option<restart::OfContainer>,
    pub(super) terminations: Option<terminations::OfContainer>,
    pub(super) shutdown: Option<shutdown::OfContainer>,
    pub(super) grace: Option<grace::OfContainer>,
    pub(super) requests: Option<requests::OfContainer>,
    pub(super) probes: Option<probe::container::OfContainer>,
}

impl Container {
    /// The labels of a container's series. Values that are too long are cut.
    #[must_use]
    pub fn block(namespace: &str, pod: &str, container: &str) -> Block {
        Block::new(&[
            ("namespace", info::prefix(namespace)),
            ("pod", info::prefix(pod)),
            ("container", info::prefix(container)),
        ])
    }

    /// A container without a cgroup yet.
    #[must_use]
    pub fn new(collectors: Collectors, families: &Arc<UsageFamilies>) -> Self {
        Self {
            usage: Usage::new(families),
            in_api: None,
            workload: None,
            waited_boot_ns: 0,
            info: collectors.state(Collector::Info, Default::default),
            startup: collectors.state(Collector::Startup, Default::default),
            restart: collectors.state(Collector::Restart, Default::default),
            terminations: collectors.state(Collector::Terminations, Default::default),
            shutdown: collectors.state(Collector::Shutdown, Default::default),
            grace: collectors.state(Collector::Grace, Default::default),
            requests: collectors.state(Collector::Requests, Default::default),
            probes: collectors.state(Collector::Probes, Default::default),
        }
    }

    /// Takes over the identity of the newest instance.
    pub fn identify(&mut self, newest: &Who) {
        let container = || newest.identity.container.as_str().into();
        self.in_api = newest.origin.pod().map(|(pod, _)| (pod.uid.as_str().into(), container()));
        if let Some(info) = &mut self.info {
            info.identify(&info::cut(&newest.identity));
        }
    }

    /// The moment since which it only lingers, with no instance left and none to come, as far as is
    /// known.
    #[must_use]
    pub fn lingers_since_boot_ns(&self) -> Option<u64> {
        Some(self.usage.gone_since_boot_ns()?.max(self.waited_boot_ns))
    }

    /// Takes in the spec and status of the container. Returns the number of label sets that gave way.
    pub fn pod(&mut self, pod: &pod::Pod, container: &pod::Container) -> u64 {
        let is_there = self.usage.live().next().is_some();
        if let Some(requests) = &mut self.requests
            && is_there
        {
            requests.request(container.requests);
        }
        if let Some(restart) = &mut self.restart {
            restart.report(pod.lasting_uid(), container.restarts);
        }
        self.probes.as_mut().map_or(0, |probes| probes.declare(container, is_there))
    }

    /// Takes in a fact about an instance. Returns the number of label sets that gave way.
    pub fn fact(&mut self, cgroup: CgroupId, fact: &Fact) -> u64 {
        self.usage.fact(cgroup, fact);
        if let Some(startup) = &mut self.startup {
            startup.fact(fact);
        }
        if let Some(restart) = &mut self.restart {
            restart.fact(fact);
        }
        if let Some(terminations) = &mut self.terminations {
            terminations.fact(fact);
        }
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.fact(fact);
        }
        if let Some(grace) = &mut self.grace {
            grace.fact(fact);
        }
        self.probes.as_mut().map_or(0, |probes| probes.fact(fact))
    }

    /// The cgroup of an instance was removed. Returns whether that was news.
    pub fn gone(&mut self, cgroup: CgroupId, now_boot_ns: u64) -> bool {
        let news = self.usage.gone(cgroup, now_boot_ns);
        if self.usage.live().next().is_none() {
            if let Some(requests) = &mut self.requests {
                requests.gone();
            }
            if let Some(probes) = &mut self.probes {
                probes.gone();
            }
        }
        news
    }
}

/// A container of a workload: the history of its instances on this node.
#[derive(Debug)]
pub struct Workload {
    pub(super) shutdown: Option<shutdown::OfWorkload>,
    pub(super) grace: Option<grace::OfWorkload>,
    pub(super) prestop: Option<prestop::OfWorkload>,
    pub(super) terminations: Option<terminations::OfWorkload>,
    pub(super) mismatch: Option<mismatch::OfWorkload>,
    pub(super) signals: Option<signals::OfWorkload>,
    pub(super) oom: Option<oom::OfWorkload>,
    pub(super) restart: Option<restart::OfWorkload>,
    pub(super) startup: Option<startup::OfWorkload>,
    pub(super) probes: Option<probe::workload::OfWorkload>,
    pub(super) probe_phases: Option<probe::phase::OfWorkload>,
    /// Whether anything was counted.
    pub counted: bool,
    /// Instances whose cgroup is there.
    pub live: usize,
    /// The moment at which the last of them went, or was known to come again.
    pub gone_boot_ns: u64,
}

impl Workload {
    /// The labels of a workload's series.
    #[must_use]
    pub fn block(identity: &Identity) -> Block {
        Block::new(&[
            ("namespace", info::prefix(&identity.namespace)),
            ("workload_kind", info::prefix(&identity.workload_kind)),
            ("workload", info::prefix(&identity.workload)),
            ("container", info::prefix(&identity.container)),
        ])
    }

    /// A workload to which nothing has happened: what has few label sets is initialised at 0.
    #[must_use]
    pub fn new(collectors: Collectors) -> Self {
        Self {
            shutdown: collectors.state(Collector::Shutdown, Default::default),
            grace: collectors.state(Collector::Grace, Default::default),
            prestop: collectors.state(Collector::Prestop, Default::default),
            terminations: collectors.state(Collector::Terminations, Default::default),
            mismatch: collectors.state(Collector::Mismatch, Default::default),
            signals: collectors.state(Collector::Signals, Default::default),
            oom: collectors.state(Collector::Oom, Default::default),
            restart: collectors.state(Collector::Restart, Default::default),
            startup: collectors.state(Collector::Startup, Default::default),
            probes: collectors.state(Collector::Probes, Default::default),
            probe_phases: collectors.state(Collector::ProbePhases, Default::default),
            counted: false,
            live: 0,
            gone_boot_ns: 0,
        }
    }

    /// The moment since which it has no instance.
    #[must_use]
    pub const fn lingers_since_boot_ns(&self) -> Option<u64> {
        if self.live == 0 { Some(self.gone_boot_ns) } else { None }
    }

    /// Takes in the spec of one of its containers. Returns as [`Self::fact`] does.
    pub fn pod(&mut self, container: &pod::Container) -> u64 {
        let hooks = match (&mut self.prestop, container.pre_stop) {
            (Some(prestop), Some(handler)) => prestop.has(handler),
            _ => 0,
        };
        hooks + self.probes.as_mut().map_or(0, |probes| probes.declare(container))
    }

    /// Takes in a fact about one of its containers. Returns the number of label sets that found no
    /// room in their family: those counted under another, and those that gave way.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        self.counted |= fact.is_counted();
        let mut folded = 0;
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.fact(fact);
        }
        if let Some(grace) = &mut self.grace {
            grace.fact(fact);
        }
        if let Some(prestop) = &mut self.prestop {
            folded += prestop.fact(fact);
        }
        if let Some(terminations) = &mut self.terminations {
            terminations.fact(fact);
        }
        if let Some(mismatch) = &mut self.mismatch {
            folded += mismatch.fact(fact);
        }
        if let Some(signals) = &mut self.signals {
            folded += signals.fact(fact);
        }
        if let Some(oom) = &mut self.oom {
            oom.fact(fact);
        }
        if let Some(restart) = &mut self.restart {
            restart.fact(fact);
        }
        if let Some(startup) = &mut self.startup {
            startup.fact(fact);
        }
        if let Some(probes) = &mut self.probes {
            folded += probes.fact(fact);
        }
        if let Some(phases) = &mut self.probe_phases {
            folded += phases.fact(fact);
        }
        folded
    }

    /// Takes in the trace that tells of a fact that was counted: what the fact was in a histogram has
    /// it as its exemplar. No series comes of it.
    pub fn traced(&mut self, fact: &Fact, trace: TraceId) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.traced(fact, trace);
        }
        if let Some(grace) = &mut self.grace {
            grace.traced(fact, trace);
        }
        if let Some(prestop) = &mut self.prestop {
            prestop.traced(fact, trace);
        }
        if let Some(restart) = &mut self.restart {
            restart.traced(fact, trace);
        }
        if let Some(startup) = &mut self.startup {
            startup.traced(fact, trace);
        }
    }
}

/// A Pod's own cgroup.
#[derive(Debug)]
pub struct Pod {
    /// Usage of the cgroups under this name: a Pod of a StatefulSet comes again under the same name.
    pub usage: Usage,
}

impl Pod {
    /// The labels of a Pod's series.
    #[must_use]
    pub fn block(namespace: &str, pod: &str) -> Block {
        Block::new(&[("namespace", info::prefix(namespace)), ("pod", info::prefix(pod))])
    }

    /// A Pod without a cgroup yet.
    #[must_use]
    pub fn new(families: &Arc<UsageFamilies>) -> Self {
        Self { usage: Usage::new(families) }
    }
}

/// The node, and the agent itself.
#[derive(Debug)]
pub struct Node {
    /// The agent about itself.
    pub agent: Agent,
    pub(super) terminations: Option<terminations::OfNode>,
    pub(super) oom: Option<oom::OfNode>,
}

impl Node {
    /// A node on which nothing has happened.
    #[must_use]
    pub fn new(collectors: Collectors) -> Self {
        Self {
            agent: Agent::default(),
            terminations: collectors.state(Collector::Terminations, Default::default),
            oom: collectors.state(Collector::Oom, Default::default),
        }
    }

    /// Takes in a fact about any container.
    pub fn fact(&mut self, fact: &Fact) {
        if let Some(terminations) = &mut self.terminations {
            terminations.fact(fact);
        }
        if let Some(oom) = &mut self.oom {
            oom.fact(fact);
        }
    }
}
