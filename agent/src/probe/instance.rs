//! Instances: the containers that are probed, each with what is known of its probes. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidate::{Candidate, of_container};
use super::rhythm::Rhythm;
use super::schedule::{Due, PROBES, Schedule};
use super::thresholds::Run;
use crate::cgroup::CgroupId;
use crate::clock::SECOND_NS;
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::{Container, Handler, Probe};
use crate::kube::pods::Pods;
use crate::lifecycle::fact::{ProbeKind, ProbeResult};
use crate::lifecycle::subject::Who;

/// Longest time for which the kubelet may probe a container that has ended: it looks once a second.
const ENDED_NS: u64 = 5_000_000_000;
/// Time for which an instance is kept after its cgroup is gone: the kubelet may still ask, and a
/// connection is reported when it ends.
const KEEP_NS: u64 = 30_000_000_000;
/// Time for which the failures of a container are kept that is not there: longer than the longest
/// back-off, since the kubelet counts on over a restart.
const RUNS_KEEP_NS: u64 = 600_000_000_000;
/// Number of its periods after which the next attempt of a probe is overdue.
const OVERDUE_PERIODS: u64 = 2;
/// Time by which the record of an attempt may be late.
const RECORD_LATE_NS: u64 = 2_000_000_000;
/// Time after a container's start by which the kubelet has asked for the first time: it notices the start
/// within a second (`pkg/kubelet/pleg/generic.go`), and the runtime and the API take theirs.
const FIRST_NS: u64 = 3_000_000_000;
/// Limit of instances that are kept.
const INSTANCES_MAX: usize = 8_192;

/// An instance of a container.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) who: Arc<Who>,
    started_boot_ns: u64,
    /// Whether all that has happened to it was seen.
    seen_from_start: bool,
    ended_boot_ns: Option<u64>,
    gone_boot_ns: Option<u64>,
    /// Whether its startup probe has succeeded.
    startup_done: bool,
    schedule: Schedule,
    rhythm: Rhythm,
    runs: [Run; PROBES],
    /// The time from which on the next attempt is overdue, of probes of which the failures that are left
    /// were told.
    overdue_boot_ns: [Option<u64>; PROBES],
}

/// What an attempt may be instead, so that the time has to tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// It may be of no probe.
    pub(super) may_be_none: bool,
    /// It can be that of another Pod that asks here, too.
    pub(super) has_rival: bool,
}

/// A probe that an attempt is, of those that it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) kind: ProbeKind,
    pub(super) probe: Probe,
}

const fn index(kind: ProbeKind) -> Option<usize> {
    match kind {
        ProbeKind::Startup => Some(0),
        ProbeKind::Liveness => Some(1),
        ProbeKind::Readiness => Some(2),
        ProbeKind::LivenessOrReadiness => None,
    }
}

impl Instance {
    fn new(who: &Arc<Who>, started_boot_ns: u64, seen_from_start: bool) -> Self {
        let run = if seen_from_start { Run::fresh() } else { Run::default() };
        Self {
            who: Arc::clone(who),
            started_boot_ns,
            seen_from_start,
            ended_boot_ns: None,
            gone_boot_ns: None,
            startup_done: false,
            schedule: Schedule::default(),
            rhythm: Rhythm::default(),
            runs: [run; PROBES],
            overdue_boot_ns: [None; PROBES],
        }
    }

    /// Whether the kubelet may have probed it then.
    fn is_there(&self, time_boot_ns: u64) -> bool {
        let ended = self.ended_boot_ns;
        self.started_boot_ns <= time_boot_ns
            && ended.is_none_or(|end| end.saturating_add(ENDED_NS) >= time_boot_ns)
    }

    /// The container's Pod, if that is known and has a probe for it.
    fn probed_in<'a>(&self, pods: &'a Pods) -> Option<&'a KnownPod> {
        let known = pods.of_cgroup(self.who.origin.pod()?.0)?;
        let container = known.pod.container(&self.who.identity.container)?;
        of_container(container).next().map(|_| known)
    }

    /// The probe of an attempt that began at that time, if it is certain, or liveness and readiness
    /// cannot be told apart.
    pub(super) fn choose(
        &mut self,
        known: &KnownPod,
        container: &Container,
        candidates: &[Candidate<'_>],
        start_boot_ns: u64,
        doubt: Doubt,
    ) -> Option<Chosen> {
        let is_this = container.id.as_deref() == Some(&*self.who.identity.container_id);
        if container.startup.is_none() || (is_this && container.started == Some(true)) {
            self.startup_done = true;
        }
        let is_later = !candidates.iter().any(|it| it.kind == ProbeKind::Startup)
            || (self.schedule.is_between(0, start_boot_ns) && !doubt.may_be_none);
        if is_later && !doubt.has_rival {
            // The others begin when the startup probe has succeeded, be that in secret.
            self.startup_done = true;
        }
        let deleted = known.deletion_noticed().is_some_and(|it| it.time_boot_ns < start_boot_ns);
        let age_ns = start_boot_ns.saturating_sub(self.started_boot_ns);
        // The API has the start in whole seconds.
        let is_due = |it: &Candidate<'_>| {
            let delay_ns = it.probe.initial_delay_s.saturating_mul(SECOND_NS);
            age_ns.saturating_add(SECOND_NS) >= delay_ns
        };
        let can_be = |it: &Candidate<'_>| match it.kind {
            ProbeKind::Startup => !self.startup_done && !deleted,
            ProbeKind::Liveness => self.startup_done && !deleted,
            ProbeKind::Readiness | ProbeKind::LivenessOrReadiness => self.startup_done,
        };
        let mut left: Vec<Candidate<'_>> =
            candidates.iter().filter(|it| can_be(it) && is_due(it)).copied().collect();
        if left.is_empty() && !doubt.has_rival {
            // What was learned is late or wrong; the attempt is there.
            left = candidates.to_vec();
        }
        let periods_s: Vec<u64> = left.iter().map(|it| it.probe.period_s).collect();
        let is_known = doubt.has_rival || !doubt.may_be_none;
        if is_known && !self.rhythm.take(&periods_s, start_boot_ns, doubt.has_rival) {
            return None;
        }
        let due =
            |it: &Candidate<'_>| Some(Due { probe: index(it.kind)?, period_s: it.probe.period_s });
        let chosen = |it: &Candidate<'_>| Chosen { kind: it.kind, probe: it.probe };
        if doubt.may_be_none {
            let all: Vec<Due> = left.iter().filter_map(due).collect();
            let placed = self.schedule.place_doubtful(&all, start_boot_ns)?;
            return left.iter().find(|it| index(it.kind) == Some(placed)).map(chosen);
        }
        if let [only] = *left {
            self.schedule.note(due(&only)?, start_boot_ns);
            return Some(chosen(&only));
        }
        let all: Vec<Due> = left.iter().filter_map(due).collect();
        if self.schedule.is_new(&all)
            && self.seen_from_start
            && age_ns <= FIRST_NS
            && let Some(first) = left.iter().find(|it| it.kind == ProbeKind::Readiness)
            && first.probe.initial_delay_s == 0
            && let Some(first) = due(first)
        {
            // The kubelet asks for readiness at once when a container has started
            // (`pkg/kubelet/prober/prober_manager.go`, `UpdatePodStatus`). A guess: what follows has to
            // confirm it.
            self.schedule.note(first, start_boot_ns);
            return either(&left);
        }
        let placed = self.schedule.place(&all, start_boot_ns);
        let placed = placed.and_then(|at| left.iter().find(|it| index(it.kind) == Some(at)));
        placed.map(chosen).or_else(|| either(&left))
    }

    /// Whether a probe is due at that time, by what is known of it.
    pub(super) fn is_due(&self, kind: ProbeKind, time_boot_ns: u64) -> bool {
        index(kind).is_some_and(|index| self.schedule.is_due(index, time_boot_ns))
    }

    /// Takes in an attempt that ended in an error of the prober, which counts for nothing; returns the
    /// failures that are left.
    pub(super) fn error(&mut self, chosen: Chosen, start_boot_ns: u64) -> Option<u64> {
        let index = index(chosen.kind)?;
        let left = self.runs.get_mut(index)?.error(start_boot_ns, &chosen.probe);
        self.told(index, chosen.probe, left, start_boot_ns)
    }

    /// Notes the failures that are left after an attempt, and returns them.
    fn told(
        &mut self,
        index: usize,
        probe: Probe,
        left: Option<u64>,
        start_boot_ns: u64,
    ) -> Option<u64> {
        let longest_ns = probe.period_s.max(probe.timeout_s).saturating_mul(SECOND_NS);
        let overdue_boot_ns = start_boot_ns
            .saturating_add(longest_ns.saturating_mul(OVERDUE_PERIODS))
            .saturating_add(RECORD_LATE_NS);
        *self.overdue_boot_ns.get_mut(index)? = left.map(|_| overdue_boot_ns);
        left
    }

    /// Takes the probes whose next attempt is overdue, once, with the time since when. The kubelet asks
    /// nothing of a container that has ended.
    fn take_overdue(&mut self, now_boot_ns: u64) -> impl Iterator<Item = (ProbeKind, u64)> {
        let has_ended = self.ended_boot_ns.is_some();
        let kinds = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];
        kinds.into_iter().zip(&mut self.overdue_boot_ns).filter_map(move |(kind, overdue)| {
            Some((kind, overdue.take_if(|at| !has_ended && *at <= now_boot_ns)?))
        })
    }

    /// Takes in the result of an attempt; returns the failures that are left.
    pub(super) fn take(
        &mut self,
        chosen: Chosen,
        result: ProbeResult,
        start_boot_ns: u64,
    ) -> Option<u64> {
        let Chosen { kind, probe } = chosen;
        let restarts = matches!(kind, ProbeKind::Startup | ProbeKind::Liveness);
        self.startup_done |= kind == ProbeKind::Startup && result == ProbeResult::Success;
        let Some(index) = index(kind) else {
            for run in self.runs.iter_mut().skip(1) {
                run.unsure();
            }
            return None;
        };
        let left = self.runs.get_mut(index)?.take(result, start_boot_ns, &probe, restarts);
        self.told(index, probe, left, start_boot_ns)
    }
}

/// The liveness or the readiness probe, if it is one of these and they are asked in the same way.
fn either(candidates: &[Candidate<'_>]) -> Option<Chosen> {
    let [liveness, readiness] = candidates else { return None };
    let kinds = (liveness.kind, readiness.kind);
    let alike = kinds == (ProbeKind::Liveness, ProbeKind::Readiness)
        && liveness.probe.handler == readiness.probe.handler
        && liveness.probe.handler != Handler::Unknown;
    // The shorter time counts: it is what an attempt must not come close to.
    let shorter =
        if liveness.probe.timeout_s <= readiness.probe.timeout_s { liveness } else { readiness };
    alike.then_some(Chosen { kind: ProbeKind::LivenessOrReadiness, probe: shorter.probe })
}

/// All instances, by their cgroup, and by their Pod.
#[derive(Debug, Default)]
pub(super) struct Instances {
    /// Boxed, since a table has room for more than there are.
    by_cgroup: HashMap<CgroupId, Box<Instance>>,
    /// By the UID in the name of the Pod's cgroup.
    by_pod: HashMap<String, Vec<CgroupId>>,
    /// Failures of containers that are not there, with the time since when, by the Pod's UID and the
    /// container's name.
    former: HashMap<(String, String), (u64, [Run; PROBES])>,
    /// Time from which on all attempts are seen.
    unseen_until_boot_ns: u64,
    dropped: u64,
}

impl Instances {
    /// Takes in the start of a container's program, or another name of a container that has started.
    pub(super) fn started(&mut self, who: &Arc<Who>, time_boot_ns: u64, before_agent: bool) {
        let Some((pod, _)) = who.origin.pod() else { return };
        if let Some(known) = self.by_cgroup.get_mut(&who.cgroup) {
            known.who = Arc::clone(who);
            return;
        }
        if self.by_cgroup.len() >= INSTANCES_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let seen_from_start = !before_agent && time_boot_ns >= self.unseen_until_boot_ns;
        let mut instance = Instance::new(who, time_boot_ns, seen_from_start);
        let former =
            self.of_pod(&pod.uid, &who.identity.container).max_by_key(|it| it.started_boot_ns);
        // The kubelet's workers go on over a restart.
        if let Some(former) = former {
            instance.rhythm = former.rhythm.clone();
        }
        let key = (pod.uid.clone(), who.identity.container.clone());
        let stored = self.former.get(&key).map(|(_, runs)| *runs);
        if let Some(runs) = former.map(|it| it.runs).or(stored) {
            instance.runs = runs.map(Run::in_next_instance);
        }
        self.by_cgroup.insert(who.cgroup, Box::new(instance));
        self.by_pod.entry(pod.uid.clone()).or_default().push(who.cgroup);
    }

    /// Takes in the end of a container.
    pub(super) fn ended(&mut self, who: &Who, end_boot_ns: u64) {
        if let Some(instance) = self.by_cgroup.get_mut(&who.cgroup) {
            instance.ended_boot_ns.get_or_insert(end_boot_ns);
        }
    }

    /// Takes in the removal of a container's cgroup.
    pub(super) fn gone(&mut self, cgroup: CgroupId, now_boot_ns: u64) {
        if let Some(instance) = self.by_cgroup.get_mut(&cgroup) {
            instance.ended_boot_ns.get_or_insert(now_boot_ns);
            instance.gone_boot_ns.get_or_insert(now_boot_ns);
        }
    }

    /// Forgets what has been gone long enough, and what is gone and has no probe.
    pub(super) fn expire(&mut self, pods: &Pods, now_boot_ns: u64) {
        let over = |it: &Instance| {
            it.gone_boot_ns.is_some_and(|gone| {
                gone.saturating_add(KEEP_NS) <= now_boot_ns || it.probed_in(pods).is_none()
            })
        };
        let over: Vec<CgroupId> =
            self.by_cgroup.iter().filter(|(_, it)| over(it)).map(|(id, _)| *id).collect();
        for cgroup in over {
            self.keep_runs(cgroup, pods, now_boot_ns);
            self.forget(cgroup);
        }
        self.former.retain(|_, (since, _)| since.saturating_add(RUNS_KEEP_NS) > now_boot_ns);
    }

    /// Keeps the failures of a container that may come again.
    fn keep_runs(&mut self, cgroup: CgroupId, pods: &Pods, now_boot_ns: u64) {
        let Some(instance) = self.by_cgroup.get(&cgroup) else { return };
        if instance.probed_in(pods).is_none_or(KnownPod::lingers) {
            return;
        }
        let Some((pod, _)) = instance.who.origin.pod() else { return };
        let key = (pod.uid.clone(), instance.who.identity.container.clone());
        if self.former.len() < INSTANCES_MAX || self.former.contains_key(&key) {
            self.former.insert(key, (now_boot_ns, instance.runs));
        }
    }

    /// Forgets what is no container.
    pub(super) fn forget(&mut self, cgroup: CgroupId) {
        let Some(instance) = self.by_cgroup.remove(&cgroup) else { return };
        let Some((pod, _)) = instance.who.origin.pod() else { return };
        if let Some(all) = self.by_pod.get_mut(&pod.uid) {
            all.retain(|other| *other != cgroup);
            if all.is_empty() {
                self.by_pod.remove(&pod.uid);
            }
        }
    }

    /// Attempts before that time may not have been seen.
    pub(super) const fn unseen_until(&mut self, time_boot_ns: u64) {
        self.unseen_until_boot_ns = time_boot_ns;
    }

    /// The kubelet was started again: its workers are new, each with a count and a phase of its own.
    pub(super) fn kubelet_restarted(&mut self, since_boot_ns: u64, seen_from_start: bool) {
        self.former.clear();
        let run = Run::of_next_kubelet(since_boot_ns, seen_from_start);
        for instance in self.by_cgroup.values_mut() {
            instance.runs = [run; PROBES];
            instance.schedule = Schedule::default();
            instance.rhythm = Rhythm::default();
            // Nothing tells which of its probes is asked for first.
            instance.seen_from_start = false;
        }
    }

    /// Takes the probes whose next attempt is overdue, each with its container and the time since when.
    pub(super) fn take_overdue(&mut self, now_boot_ns: u64) -> Vec<(Arc<Who>, ProbeKind, u64)> {
        let all = self.by_cgroup.values_mut().flat_map(|instance| {
            let who = Arc::clone(&instance.who);
            let overdue = instance.take_overdue(now_boot_ns);
            overdue.map(move |(kind, since)| (Arc::clone(&who), kind, since))
        });
        all.collect()
    }

    /// Containers that run, each with the time since when.
    pub(super) fn running(&self) -> impl Iterator<Item = (&Who, u64)> {
        let running = self.by_cgroup.values().filter(|it| it.ended_boot_ns.is_none());
        running.map(|it| (&*it.who, it.started_boot_ns))
    }

    /// Total of instances that found no room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nothing is kept of any container.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_cgroup.is_empty() && self.by_pod.is_empty() && self.former.is_empty()
    }

    fn of_pod(&self, uid: &str, container: &str) -> impl Iterator<Item = &Instance> {
        let all = self.by_pod.get(uid).into_iter().flatten();
        let all = all.filter_map(|cgroup| self.by_cgroup.get(cgroup).map(|it| &**it));
        all.filter(move |it| it.who.identity.container == container)
    }

    /// The instance of a container that was there at that time, the newest first.
    pub(super) fn at(
        &self,
        known: &KnownPod,
        container: &str,
        time_boot_ns: u64,
    ) -> Option<CgroupId> {
        let all = self.of_pod(known.pod.lasting_uid(), container);
        let there = all.filter(|it| it.is_there(time_boot_ns));
        there.max_by_key(|it| it.started_boot_ns).map(|it| it.who.cgroup)
    }

    pub(super) fn get(&self, cgroup: CgroupId) -> Option<&Instance> {
        self.by_cgroup.get(&cgroup).map(|it| &**it)
    }

    pub(super) fn get_mut(&mut self, cgroup: CgroupId) -> Option<&mut Instance> {
        self.by_cgroup.get_mut(&cgroup).map(|it| &mut **it)
    }
}
