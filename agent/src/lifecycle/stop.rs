//! Stop signals, with what their Pods said when they came. Pure.

use std::collections::VecDeque;

use super::fact::{Sender, StopSignal};
use super::grace::Periods;
use super::probed;
use super::session::ExecSession;
use super::subject::Who;
use super::trigger::FailedProbe;
use crate::cgroup::CgroupId;
use crate::cgroup::path::{ContainerName, PodName};
use crate::clock::SECOND_NS;
use crate::kube::pod::{Container, PreStop, Probe, Role};
use crate::kube::pods::Pods;

/// Limit of stop signals that are remembered.
const STOPS_MAX: usize = 1024;
/// Longest time between stop signals to containers of one Pod that belong together.
const TOGETHER_NS: u64 = 120_000_000_000;

/// A stop signal, with what was known when it came.
#[derive(Debug)]
pub(super) struct Stop {
    container: CgroupId,
    pod: PodName,
    name: ContainerName,
    /// The container's name in its Pod, which its instances share.
    container_name: String,
    time_boot_ns: u64,
    /// Time at which the container ran again.
    restarted_boot_ns: Option<u64>,
    pub(super) sender: Sender,
    /// The exec session of the preStop hook, if the container has an exec hook.
    pub(super) pre_stop_session: Option<ExecSession>,
    /// Word of the Pod at the signal, or, if it was not known then, when it became known. A later
    /// change of the Pod does not rewrite a stop that is under way.
    said: Said,
    explained: bool,
}

/// Word of a Pod on the stop of one of its containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Grace period of the deletion, if one was requested.
    deletion_s: Option<u64>,
    pod: Option<OfPod>,
    pub(super) container: Option<Spec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfPod {
    grace_s: Option<u64>,
}

/// Part of a container's spec that matters when it is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) role: Role,
    pub(super) pre_stop: Option<PreStop>,
    pub(super) startup: Option<Probe>,
    pub(super) liveness: Option<Probe>,
    /// Field `started`, as the API had it for this very instance.
    pub(super) started: Option<bool>,
}

impl Spec {
    /// Spec of the container for its instance `id`.
    pub(super) fn of(container: &Container, id: &str) -> Self {
        Self {
            role: container.role,
            pre_stop: container.pre_stop,
            startup: container.startup.as_deref().copied(),
            liveness: container.liveness.as_deref().copied(),
            // The status of another instance proves nothing about this one.
            started: container.started.filter(|_| container.id.as_deref() == Some(id)),
        }
    }

    /// The same, learned after the signal: a container that is being stopped may be reported as not
    /// started.
    fn late(self) -> Self {
        Self { started: self.started.filter(|started| *started), ..self }
    }

    /// The probes that can have failed. `grace_s`: the longest grace period of a stop.
    pub(super) fn probes(self, grace_s: Option<u64>) -> probed::Spec {
        probed::Spec {
            startup_period_s: self
                .startup
                .filter(|_| self.started != Some(true))
                .map(|it| it.period_s),
            liveness_period_s: self.liveness.map(|it| it.period_s),
            grace_s,
        }
    }

    /// The probe that can have failed when the container was `age_ns` old; `None` for an age that is
    /// not known.
    pub(super) fn failed_probe(self, age_ns: Option<u64>) -> Option<FailedProbe> {
        let (probe, kind) = match (self.startup, self.liveness) {
            (Some(startup), _) if self.started != Some(true) => (startup, FailedProbe::Startup),
            (_, liveness) => (liveness?, FailedProbe::Liveness),
        };
        let earliest_ns = probe.earliest_s.saturating_mul(SECOND_NS);
        let possible = age_ns.is_none_or(|age_ns| age_ns.saturating_add(SECOND_NS) >= earliest_ns);
        possible.then_some(kind)
    }
}

impl Said {
    /// Word of the Pod on a container now.
    pub(super) fn now(pods: &Pods, pod: &PodName, name: &ContainerName) -> Self {
        let Some(known) = pods.of_cgroup(pod) else { return Self::default() };
        let container = pods.container(pod, name);
        Self {
            deletion_s: known.deletion_grace_s().filter(|_| !known.pod.is_mirror()),
            pod: Some(OfPod { grace_s: known.pod.grace_s }),
            container: container.map(|(_, container)| Spec::of(container, &name.id)),
        }
    }

    const fn is_complete(&self) -> bool {
        self.container.is_some()
    }

    /// Completes what was not known at the signal.
    fn complete(&mut self, later: Self) {
        self.deletion_s = self.deletion_s.or(later.deletion_s.filter(|_| self.pod.is_none()));
        self.pod = self.pod.or(later.pod);
        self.container = self.container.or(later.container.map(Spec::late));
    }

    /// The grace periods that may apply. `requested_s`: that of a deletion that was requested before
    /// the signal and reported after it.
    pub(super) fn periods(self, requested_s: Option<u64>) -> Periods {
        let probe = |probe: fn(Spec) -> Option<Probe>| self.container.and_then(probe)?.grace_s;
        Periods {
            deletion_s: self.deletion_s.or(requested_s),
            pod_s: self.pod.and_then(|pod| pod.grace_s),
            startup_s: probe(|spec| spec.startup),
            liveness_s: probe(|spec| spec.liveness),
        }
    }
}

/// Stop signals of all containers that are shown, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Stops {
    stops: VecDeque<Stop>,
    dropped: u64,
}

impl Stops {
    /// Records a container's stop signal.
    pub(super) fn insert(
        &mut self,
        who: &Who,
        time_boot_ns: u64,
        stop: &StopSignal,
        pre_stop_session: Option<ExecSession>,
        pods: &Pods,
    ) {
        let Some((pod, name)) = who.origin.pod() else { return };
        if self.stops.len() >= STOPS_MAX
            && let Some(oldest) = self.stops.pop_front()
            && !oldest.explained
        {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.stops.push_back(Stop {
            container: who.cgroup,
            pod: pod.clone(),
            name: name.clone(),
            container_name: who.identity.container.clone(),
            time_boot_ns,
            restarted_boot_ns: None,
            sender: stop.sender,
            pre_stop_session,
            said: Said::now(pods, pod, name),
            explained: false,
        });
    }

    /// Notes that a container's death is explained: only those of its Pod still need its stop.
    pub(super) fn explained(&mut self, container: CgroupId) {
        for stop in self.stops.iter_mut().filter(|stop| stop.container == container) {
            stop.explained = true;
        }
    }

    /// Total of stop signals that were forgotten before the death was explained.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Completes the recent ones with what has become known.
    pub(super) fn complete(&mut self, pods: &Pods, now_boot_ns: u64) {
        let recent = |stop: &&mut Stop| {
            stop.time_boot_ns.saturating_add(TOGETHER_NS) > now_boot_ns && !stop.said.is_complete()
        };
        for stop in self.stops.iter_mut().filter(recent) {
            stop.said.complete(Said::now(pods, &stop.pod, &stop.name));
        }
    }

    /// Takes over another name of a container.
    pub(super) fn rename(&mut self, who: &Who) {
        for stop in self.stops.iter_mut().filter(|stop| stop.container == who.cgroup) {
            stop.container_name.clone_from(&who.identity.container);
        }
    }

    /// Drops what is known of a container.
    pub(super) fn forget(&mut self, container: CgroupId) {
        self.stops.retain(|stop| stop.container != container);
    }

    /// The stop signal of a container.
    pub(super) fn of(&self, container: CgroupId) -> Option<&Stop> {
        self.stops.iter().rev().find(|stop| stop.container == container)
    }

    /// Notes that a container runs, as a former instance's successor if there is one.
    pub(super) fn started(&mut self, who: &Who, time_boot_ns: u64) {
        let Some((pod, _)) = who.origin.pod() else { return };
        for stop in &mut self.stops {
            let former = stop.pod.uid == pod.uid
                && stop.container_name == who.identity.container
                && stop.time_boot_ns < time_boot_ns;
            if former && stop.restarted_boot_ns.is_none() {
                stop.restarted_boot_ns = Some(time_boot_ns);
            }
        }
    }

    /// The roles of other containers of the Pod that were stopped at about that time, before the
    /// first of them ran again. Former instances of the container are no others: a probe that fails
    /// repeatedly has them stopped one by one.
    pub(super) fn others(
        &self,
        who: &Who,
        pod: &PodName,
        time_boot_ns: u64,
    ) -> impl Iterator<Item = Role> {
        let restarted_boot_ns = self.of(who.cgroup).and_then(|stop| stop.restarted_boot_ns);
        let others = self.stops.iter().filter(move |other| {
            let (first, later) = if other.time_boot_ns < time_boot_ns {
                (other.restarted_boot_ns, time_boot_ns)
            } else {
                (restarted_boot_ns, other.time_boot_ns)
            };
            other.pod.uid == pod.uid
                && other.container != who.cgroup
                && other.container_name != who.identity.container
                && other.time_boot_ns.abs_diff(time_boot_ns) <= TOGETHER_NS
                && first.is_none_or(|restarted| later < restarted)
        });
        others.map(|other| other.said.container.map_or(Role::App, |spec| spec.role))
    }
}

impl Stop {
    /// Word of the Pod at the signal.
    pub(super) const fn said(&self) -> Said {
        self.said
    }
}
