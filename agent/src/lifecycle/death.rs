//! Deaths: they wait for the Pod source, which explains them. Pure.
//!
//! A death is explained once, with its trigger: at once if nothing more can be learned, else when
//! the Pod source has reported what decides, [`TIMEOUT_NS`] after its end at the latest.

use std::sync::Arc;

use super::fact::{Death, Fact, FactKind, ProbeAttempt, Sender, StopSignal, Termination};
use super::grace;
use super::kill::{self, KUBELET_AHEAD_NS, Kill};
use super::probed::Probed;
use super::sandbox::Sandboxes;
use super::session::ExecSession;
use super::stop::{Said, Spec, Stop, Stops};
use super::subject::Who;
use super::trigger::{self, Absence, Answer, Disruption, PodEvidence, StopRequest, TerminalReason};
use super::unseen;
use crate::cgroup::CgroupId;
use crate::clock::{Now, WallOffset};
use crate::kube::known_pod::{KnownPod, Via};
use crate::kube::pod::{Container, Pod, Role, State};
use crate::kube::pods::Pods;
use crate::signal::SIGKILL;

/// Longest time that a death waits for the Pod source after the end.
///
/// In a healthy cluster the API reports within a second or two. What takes longer is a kubelet
/// under load (15 s were seen on an emulated node), and then a late truth is worth more than an
/// early `unknown`.
const TIMEOUT_NS: u64 = 30_000_000_000;
/// Time for which a Pod has to be missing before it counts as gone for good. A list may come from a
/// server that lags behind, or from a kubelet that has just started.
const MISSING_NS: u64 = 10_000_000_000;
/// Limit of deaths that wait; beyond it the oldest are explained as they are.
const WAITING_MAX: usize = 512;

/// A death that waits for the Pod source.
#[derive(Debug)]
struct Waiting {
    who: Arc<Who>,
    end: Termination,
    /// Time at which the passage of time alone may decide, `CLOCK_BOOTTIME`.
    next_boot_ns: u64,
    /// Time from which it waits: its end, or the moment at which the agent was back.
    since_boot_ns: u64,
}

impl Waiting {
    const fn deadline_boot_ns(&self) -> u64 {
        self.since_boot_ns.saturating_add(TIMEOUT_NS)
    }
}

/// A death with its reason, and the container that died.
pub type Explained = (Arc<Who>, Fact);

/// Deaths of all containers that are shown.
#[derive(Debug)]
pub struct Deaths {
    /// Whether there is a Pod source, so that unknown Pods may still be reported.
    pods_may_come: bool,
    stops: Stops,
    probed: Probed,
    sandboxes: Sandboxes,
    waiting: Vec<Waiting>,
    hurried: u64,
    /// The moment at which the agent was back after it could not run.
    resumed_boot_ns: u64,
}

impl Deaths {
    /// Deaths of no container yet. `pods_may_come`: there is a Pod source to wait for.
    #[must_use]
    pub fn new(pods_may_come: bool) -> Self {
        Self {
            pods_may_come,
            stops: Stops::default(),
            probed: Probed::default(),
            sandboxes: Sandboxes::default(),
            waiting: Vec::new(),
            hurried: 0,
            resumed_boot_ns: 0,
        }
    }

    /// The agent could not run until now, and what the Pod source says of it is yet to be read.
    pub fn resumed(&mut self, now_boot_ns: u64) {
        self.resumed_boot_ns = now_boot_ns;
        for waiting in &mut self.waiting {
            waiting.since_boot_ns = waiting.since_boot_ns.max(now_boot_ns);
        }
    }

    /// Time at which the first death that waits may be decided, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.next_boot_ns).min()
    }

    /// Records a container's stop signal. `pre_stop_session` is the exec session of its preStop
    /// hook, if it has an exec hook.
    pub fn stop_signal(
        &mut self,
        who: &Who,
        time_boot_ns: u64,
        stop: &StopSignal,
        pre_stop_session: Option<ExecSession>,
        pods: &Pods,
    ) {
        self.stops.insert(who, time_boot_ns, stop, pre_stop_session, pods);
        self.probed.stopped(who.cgroup, time_boot_ns);
    }

    /// Records an attempt of a probe.
    pub fn probed(&mut self, who: &Who, attempt: &ProbeAttempt) {
        self.probed.attempt(who.cgroup, attempt);
    }

    /// Records the run of a container's preStop hook over HTTP.
    pub fn hooked(&mut self, container: CgroupId, run: ExecSession) {
        self.probed.hooked(container, run);
    }

    /// Records the start of a container.
    pub fn started(&mut self, who: &Who, time_boot_ns: u64) {
        self.stops.started(who, time_boot_ns);
    }

    /// Records the end of a Pod's sandbox, by the UID in the name of the Pod's cgroup.
    pub fn sandbox_ended(&mut self, cgroup_uid: &str, time_boot_ns: u64) {
        self.sandboxes.ended(cgroup_uid, time_boot_ns);
    }

    /// Records the end of a container. Returns the deaths that are explained now, this one or
    /// others.
    pub fn ended(
        &mut self,
        who: &Arc<Who>,
        end: Termination,
        pods: &Pods,
        now: Now,
    ) -> Vec<Explained> {
        if who.origin.pod().is_none() {
            let cause = unseen::cause(&end, who.birth, None, now.wall);
            let end = Termination { cause, ..end };
            return vec![explained(Arc::clone(who), Death::kernel_only(end))];
        }
        let since_boot_ns = end.end_boot_ns.max(self.resumed_boot_ns);
        let mut waiting = Waiting { who: Arc::clone(who), end, next_boot_ns: 0, since_boot_ns };
        waiting.next_boot_ns = waiting.deadline_boot_ns();
        self.waiting.push(waiting);
        let mut out = Vec::new();
        if self.waiting.len() > WAITING_MAX {
            let oldest = self.waiting.remove(0);
            self.hurried = self.hurried.saturating_add(1);
            let hurried = self.decide(&oldest, pods, now, false).ok();
            self.explained(oldest.who.cgroup);
            out.extend(hurried);
        }
        out.append(&mut self.settle(pods, now));
        out
    }

    /// Takes over another name of a container, for its death if that waits.
    pub fn rename(&mut self, who: &Arc<Who>) {
        self.stops.rename(who);
        for waiting in self.waiting.iter_mut().filter(|it| it.who.cgroup == who.cgroup) {
            waiting.who = Arc::clone(who);
        }
    }

    /// Drops what is known of a container that turns out to be a sandbox: its end is no death.
    pub fn retract(&mut self, container: CgroupId) {
        self.waiting.retain(|waiting| waiting.who.cgroup != container);
        self.stops.forget(container);
        self.probed.forget(container);
    }

    /// Drops evidence that is too old to be any. A call every few seconds suffices.
    pub fn expire(&mut self, now_boot_ns: u64) {
        self.probed.expire(now_boot_ns);
    }

    fn explained(&mut self, container: CgroupId) {
        self.stops.explained(container);
        self.probed.forget(container);
    }

    /// Total of deaths that were explained before their time, for want of room.
    #[must_use]
    pub const fn hurried(&self) -> u64 {
        self.hurried
    }

    /// Total of stop signals that were forgotten before the death was explained.
    #[must_use]
    pub const fn stops_dropped(&self) -> u64 {
        self.stops.dropped()
    }

    /// Explains the deaths that need to wait no longer.
    pub fn settle(&mut self, pods: &Pods, now: Now) -> Vec<Explained> {
        self.explain(pods, now, |waiting| now.boot_ns < waiting.deadline_boot_ns())
    }

    /// Explains all deaths as they are, since the agent stops.
    pub fn flush(&mut self, pods: &Pods, now: Now) -> Vec<Explained> {
        self.explain(pods, now, |_| false)
    }

    fn explain(
        &mut self,
        pods: &Pods,
        now: Now,
        has_time: impl Fn(&Waiting) -> bool,
    ) -> Vec<Explained> {
        self.stops.complete(pods, now.boot_ns);
        let mut out = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            match self.decide(&waiting, pods, now, has_time(&waiting)) {
                Ok(explained) => {
                    self.explained(explained.0.cgroup);
                    out.push(explained);
                }
                Err(Undecided { next_boot_ns }) => {
                    waiting.next_boot_ns = next_boot_ns;
                    self.waiting.push(waiting);
                }
            }
        }
        out
    }

    /// The death with its reason, unless it is to wait.
    fn decide(
        &self,
        waiting: &Waiting,
        pods: &Pods,
        now: Now,
        has_time: bool,
    ) -> Result<Explained, Undecided> {
        let Waiting { who, end, .. } = waiting;
        let (wall, deadline) = (now.wall, waiting.deadline_boot_ns());
        let Some((pod, name)) = who.origin.pod() else {
            return Ok(explained(Arc::clone(who), Death::kernel_only(*end)));
        };
        let stop = self.stops.of(who.cgroup);
        let at_boot_ns = end.stop_boot_ns.unwrap_or(end.end_boot_ns);
        let found = pods.of_cgroup(pod).map(|known| (known, known.container(&name.id)));
        let request = match stop_request(end, stop.map(|stop| stop.sender)) {
            StopRequest::None => unseen::stop_request(end, who.birth, found, wall),
            request => request,
        };
        let said = stop.map_or_else(|| Said::now(pods, pod, name), Stop::said);
        let deleted = |known: &KnownPod| deleted_before(known, at_boot_ns, request, wall);
        let some_time = |known: &KnownPod| is_unplaced(known, request, wall) && !deleted(known);
        let others = || self.stops.others(who, pod, at_boot_ns);
        let since_boot_ns = who.birth.since_boot_ns();
        let evidence = found.map(|(known, container)| {
            let age_ns = who.birth.made_boot_ns().map(|made| at_boot_ns.saturating_sub(made));
            let probe = said.container.and_then(|spec| spec.failed_probe(age_ns));
            let of_pod = evidence(&known.pod, container, &name.id, said.container);
            let grace_s = said.periods(None).longest_of_probes_s();
            let observed = said.container.map(|spec| spec.probes(grace_s));
            let observed = observed.map(|it| self.probed.observed(who.cgroup, it, at_boot_ns));
            let redefined =
                container.is_some_and(|it| known.redefined(&it.name, since_boot_ns, at_boot_ns));
            PodEvidence {
                deleted: deleted(known),
                deleted_some_time: some_time(known),
                absence: absence(known, at_boot_ns, now.boot_ns),
                others_stopped: others().next().is_some(),
                apps_stopped: others().any(|role| role == Role::App),
                other_reason: of_pod.other_reason
                    || redefined
                    || self.sandboxes.ended_since(&pod.uid, since_boot_ns),
                probe,
                observed: observed.unwrap_or_default(),
                ..of_pod
            }
        });
        let more_may_come = has_time && self.pods_may_come;
        let (trigger, source) = match trigger::decide(request, evidence.as_ref(), more_may_come) {
            Answer::Wait => {
                let sure = found.and_then(|(known, _)| sure_boot_ns(known));
                let sure = sure.filter(|sure| *sure > now.boot_ns);
                return Err(Undecided {
                    next_boot_ns: sure.map_or(deadline, |at| at.min(deadline)),
                });
            }
            Answer::Is(trigger, source) => (trigger, source),
        };
        let cause = unseen::cause(end, who.birth, found, wall);
        let end = Termination { cause, ..*end };
        let mut death = Death { trigger, source, ..Death::kernel_only(end) };
        if let Some((known, Some(_))) = found
            && let (Some(signal_boot_ns), Some(spec)) = (end.stop_boot_ns, said.container)
            && request == StopRequest::ByRuntime
        {
            // Reported after the signal, and requested before it.
            let requested = known.deletion.filter(|_| deleted(known) || some_time(known));
            let requested_s = requested.and_then(|it| it.first.grace_s);
            death.grace_s = said.periods(requested_s).effective_s(trigger);
            let kill = Kill {
                begin_boot_ns: kill::begin_boot_ns(
                    known,
                    trigger,
                    signal_boot_ns,
                    death.grace_s,
                    wall,
                ),
                signal_boot_ns,
                session: stop.and_then(|stop| stop.pre_stop_session),
                request: self.probed.hook(who.cgroup),
            };
            death.kill_begin_boot_ns = kill.begin_boot_ns;
            death.pre_stop = kill.pre_stop(spec);
            let before = kill.before(spec, death.pre_stop);
            death.budget_ns = death.grace_s.and_then(|grace_s| grace::budget_ns(grace_s, before));
        }
        Ok(explained(Arc::clone(who), death))
    }
}

/// A death that is to wait.
struct Undecided {
    /// Time at which the passage of time alone may decide, `CLOCK_BOOTTIME`.
    next_boot_ns: u64,
}

fn explained(who: Arc<Who>, death: Death) -> Explained {
    let time_boot_ns = death.end.end_boot_ns;
    (who, Fact { time_boot_ns, kind: FactKind::Explained(death) })
}

/// The request to stop the container.
fn stop_request(end: &Termination, stop: Option<Sender>) -> StopRequest {
    let by_signal = stop.filter(|_| end.stop_boot_ns.is_some());
    // SIGKILL without a stop signal before: a grace period of 0.
    let by_kill = || end.fatal.filter(|fatal| fatal.signal == SIGKILL).map(|fatal| fatal.sender);
    match by_signal.or_else(by_kill) {
        Some(Sender::Runtime) => StopRequest::ByRuntime,
        Some(Sender::Host | Sender::OtherContainer) => StopRequest::ByOther,
        Some(Sender::Kernel | Sender::Own | Sender::SameContainer) | None => StopRequest::None,
    }
}

/// Whether the Pod's deletion was requested before that moment, that of the stop or, if no stop was
/// requested, that of the end.
///
/// The kubelet may have learned of it before the agent, and a list reports late.
fn deleted_before(
    known: &KnownPod,
    time_boot_ns: u64,
    request: StopRequest,
    wall: WallOffset,
) -> bool {
    let Some(noticed) = known.deletion_noticed() else { return false };
    // What ended by itself may have been deleted in the same second, and because of it.
    let stopped = request == StopRequest::ByRuntime;
    let latest = time_boot_ns.saturating_add(if stopped { KUBELET_AHEAD_NS } else { 0 });
    if noticed.time_boot_ns <= time_boot_ns {
        return true;
    }
    // What the kubelet ended itself is deleted at once by its controller.
    if stopped && TerminalReason::of(&known.pod).is_some_and(TerminalReason::is_the_kubelets) {
        return false;
    }
    let requested = || known.deletion?.requested_boot_ns(wall);
    let late = stopped || noticed.via == Via::List;
    (stopped && noticed.via == Via::Watch && noticed.time_boot_ns < latest)
        || (late && requested().is_some_and(|requested| requested <= latest))
}

/// Whether the Pod's deletion was reported after the stop, and the API's time for it cannot be true:
/// its clock is wrong, this machine's was set, or the report was held up on its way.
fn is_unplaced(known: &KnownPod, request: StopRequest, wall: WallOffset) -> bool {
    let stopped = matches!(request, StopRequest::ByRuntime | StopRequest::Unseen { .. });
    let requested = known.deletion.filter(|_| stopped && !known.pod.is_mirror());
    requested.is_some_and(|deletion| deletion.requested_boot_ns(wall).is_none())
}

/// Time at which a Pod that is missing counts as gone for good, `CLOCK_BOOTTIME`.
fn sure_boot_ns(known: &KnownPod) -> Option<u64> {
    known.missing_since().map(|missing| missing.time_boot_ns.saturating_add(MISSING_NS))
}

/// Absence of the Pod, as evidence about a stop at that moment: a Pod that goes on after it was not
/// deleted before it.
fn absence(known: &KnownPod, stop_boot_ns: u64, now_boot_ns: u64) -> Option<Absence> {
    if known.made_boot_ns > Some(stop_boot_ns) {
        return None;
    }
    let sure = sure_boot_ns(known)?;
    Some(if sure <= now_boot_ns { Absence::ForGood } else { Absence::Missing })
}

/// Evidence of the Pod about the instance `id` that has ended.
fn evidence(pod: &Pod, container: Option<&Container>, id: &str, said: Option<Spec>) -> PodEvidence {
    let mut apps = pod.containers.iter().filter(|other| other.role == Role::App).peekable();
    let any = apps.peek().is_some();
    PodEvidence {
        disruption: pod
            .disruption
            .as_ref()
            .map(|it| Disruption::announced(&it.reason, &it.message)),
        terminal: TerminalReason::of(pod),
        role: said.map_or(Role::App, |spec| spec.role),
        app_containers_done: any && apps.all(|app| matches!(app.state, State::Terminated(_))),
        replaced: container.is_some_and(|container| replaced(container, id)),
        other_reason: container.is_some_and(|container| post_start_failed(container, id)),
        // A static Pod whose manifest is changed or removed is reported like one that goes on: what
        // its mirror does next decides.
        reported_last: !pod.is_mirror()
            && container.is_some_and(|container| container.terminated(id).is_some())
            && !pod.containers.iter().any(|other| matches!(other.state, State::Running { .. })),
        ..PodEvidence::default()
    }
}

/// Whether the kubelet has restarted the container, or waits to.
fn replaced(container: &Container, id: &str) -> bool {
    let other = container.id.as_deref().is_some_and(|newest| newest != id)
        && container.last_id.as_deref() == Some(id);
    other
        || matches!(&container.state, State::Waiting { .. } if container.last_id.as_deref() == Some(id))
}

/// Whether the kubelet has stopped the container because its postStart hook failed.
fn post_start_failed(container: &Container, id: &str) -> bool {
    matches!(&container.state, State::Waiting { reason } if reason == "PostStartHookError")
        && container.last_id.as_deref() == Some(id)
}

#[cfg(test)]
#[path = "death_tests.rs"]
mod tests;
