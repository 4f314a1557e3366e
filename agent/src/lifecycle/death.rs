//! Deaths: they wait for the Pod source, which explains them. Pure.
//!
//! A death is explained once, with its trigger: at once if nothing more can be learned, else when
//! the Pod source has reported what decides, [`TIMEOUT_NS`] after its end at the latest.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fact::{Death, Fact, FactKind, PreStopRun, Sender, StopSignal, Termination};
use super::grace::{self, Before, Periods};
use super::session::ExecSession;
use super::subject::Who;
use super::trigger::{
    self, Answer, Disruption, FailedProbe, PodEvidence, StopRequest, TerminalReason, Trigger,
};
use crate::cgroup::CgroupId;
use crate::clock::{Now, SECOND_NS, WallOffset};
use crate::kube::pod::{Container, Pod, PreStop, Role, State};
use crate::kube::pods::{KnownPod, Pods, Via};

/// Longest time that a death waits for the Pod source after the end.
///
/// In a healthy cluster the API reports within a second or two. What takes longer is a kubelet
/// under load (15 s were seen on an emulated node), and then a late truth is worth more than an
/// early `unknown`.
const TIMEOUT_NS: u64 = 30_000_000_000;
/// Limit of deaths that wait; beyond it the oldest are explained as they are.
const WAITING_MAX: usize = 512;
/// Limit of stop signals that are remembered.
const STOPS_MAX: usize = 1024;
/// Longest time between stop signals to containers of one Pod that belong together.
const TOGETHER_NS: u64 = 120_000_000_000;
/// Longest time between the end of a preStop hook and the stop signal. A session that ended earlier
/// was no hook.
const PRE_STOP_NEAR_NS: u64 = 1_000_000_000;

/// A stop signal, with what was known when it came.
#[derive(Debug)]
struct Stop {
    container: CgroupId,
    /// UID in the name of the Pod's cgroup.
    pod: String,
    time_boot_ns: u64,
    sender: Sender,
    /// The exec session of the preStop hook, if the container has an exec hook.
    pre_stop_session: Option<ExecSession>,
    /// Field `started`, as the API had it for this very instance.
    started: Option<bool>,
}

/// A death that waits for the Pod source.
#[derive(Debug)]
struct Waiting {
    who: Arc<Who>,
    end: Termination,
}

impl Waiting {
    const fn deadline_boot_ns(&self) -> u64 {
        self.end.end_boot_ns.saturating_add(TIMEOUT_NS)
    }
}

/// A death with its reason, and the container that died.
pub type Explained = (Arc<Who>, Fact);

/// Deaths of all containers that are shown.
#[derive(Debug)]
pub struct Deaths {
    /// Whether there is a Pod source, so that unknown Pods may still be reported.
    pods_may_come: bool,
    stops: VecDeque<Stop>,
    waiting: Vec<Waiting>,
}

impl Deaths {
    /// Deaths of no container yet. `pods_may_come`: there is a Pod source to wait for.
    #[must_use]
    pub const fn new(pods_may_come: bool) -> Self {
        Self { pods_may_come, stops: VecDeque::new(), waiting: Vec::new() }
    }

    /// Deadline of the first death that waits, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.waiting.iter().map(Waiting::deadline_boot_ns).min()
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
        let Some((pod, name)) = who.origin.pod() else { return };
        let started = pods.container(pod, name).and_then(|(_, container)| {
            // The status of another instance proves nothing about this one.
            container.started.filter(|_| container.id.as_deref() == Some(&*name.id))
        });
        if self.stops.len() >= STOPS_MAX {
            self.stops.pop_front();
        }
        self.stops.push_back(Stop {
            container: who.cgroup,
            pod: pod.uid.clone(),
            time_boot_ns,
            sender: stop.sender,
            pre_stop_session,
            started,
        });
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
            return vec![explained(Arc::clone(who), Death::kernel_only(end))];
        }
        self.waiting.push(Waiting { who: Arc::clone(who), end });
        let mut out = Vec::new();
        if self.waiting.len() > WAITING_MAX {
            let oldest = self.waiting.remove(0);
            out.extend(self.decide(&oldest, pods, now.wall, false));
        }
        out.append(&mut self.settle(pods, now));
        out
    }

    /// Takes over another name of a container, for its death if that waits.
    pub fn rename(&mut self, who: &Arc<Who>) {
        for waiting in self.waiting.iter_mut().filter(|it| it.who.cgroup == who.cgroup) {
            waiting.who = Arc::clone(who);
        }
    }

    /// Drops what is known of a container that turns out to be a sandbox: its end is no death.
    pub fn retract(&mut self, container: CgroupId) {
        self.waiting.retain(|waiting| waiting.who.cgroup != container);
        self.stops.retain(|stop| stop.container != container);
    }

    /// Explains the deaths that need to wait no longer.
    pub fn settle(&mut self, pods: &Pods, now: Now) -> Vec<Explained> {
        self.explain(pods, now.wall, |waiting| now.boot_ns < waiting.deadline_boot_ns())
    }

    /// Explains all deaths as they are, since the agent stops.
    pub fn flush(&mut self, pods: &Pods, now: Now) -> Vec<Explained> {
        self.explain(pods, now.wall, |_| false)
    }

    fn explain(
        &mut self,
        pods: &Pods,
        wall: WallOffset,
        has_time: impl Fn(&Waiting) -> bool,
    ) -> Vec<Explained> {
        let mut out = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match self.decide(&waiting, pods, wall, has_time(&waiting)) {
                Some(explained) => out.push(explained),
                None => self.waiting.push(waiting),
            }
        }
        out
    }

    /// The death with its reason; `None` if it is to wait.
    fn decide(
        &self,
        Waiting { who, end }: &Waiting,
        pods: &Pods,
        wall: WallOffset,
        has_time: bool,
    ) -> Option<Explained> {
        let (pod, name) = who.origin.pod()?;
        let stop = self.stops.iter().rev().find(|stop| stop.container == who.cgroup);
        let request = stop_request(end, stop);
        let requested_boot_ns = end.stop_boot_ns.unwrap_or(end.end_boot_ns);
        let found = pods.of_cgroup(pod).map(|known| (known, known.container(&name.id)));
        let evidence = found.map(|(known, container)| {
            let others_stopped = self.stops.iter().any(|other| {
                other.pod == pod.uid
                    && other.container != who.cgroup
                    && other.time_boot_ns.abs_diff(requested_boot_ns) <= TOGETHER_NS
            });
            let started = stop.and_then(|stop| stop.started);
            PodEvidence {
                deleted: deleted_before(known, requested_boot_ns, wall),
                others_stopped,
                ..evidence(&known.pod, container, &name.id, started)
            }
        });
        let more_may_come = has_time && self.pods_may_come;
        let (trigger, source) = match trigger::decide(request, evidence.as_ref(), more_may_come) {
            Answer::Wait => return None,
            Answer::Is(trigger, source) => (trigger, source),
        };
        let mut death = Death { trigger, source, ..Death::kernel_only(*end) };
        if let Some((known, Some(container))) = found
            && let Some(signal_boot_ns) = end.stop_boot_ns
            && request == StopRequest::ByRuntime
        {
            let kill = Kill {
                begin_boot_ns: kill_begin(known, trigger, wall),
                signal_boot_ns,
                session: stop.and_then(|stop| stop.pre_stop_session),
            };
            let periods = Periods {
                deletion_s: known.pod.deletion.and_then(|deletion| deletion.grace_s),
                pod_s: known.pod.grace_s,
                startup_s: container.startup.and_then(|probe| probe.grace_s),
                liveness_s: container.liveness.and_then(|probe| probe.grace_s),
            };
            death.kill_begin_boot_ns = kill.begin_boot_ns;
            death.pre_stop = pre_stop(container, &kill);
            death.grace_s = periods.effective_s(trigger);
            let before = before(container, &kill, death.pre_stop);
            death.budget_ns = death.grace_s.and_then(|grace_s| grace::budget_ns(grace_s, before));
        }
        Some(explained(Arc::clone(who), death))
    }
}

fn explained(who: Arc<Who>, death: Death) -> Explained {
    let time_boot_ns = death.end.end_boot_ns;
    (who, Fact { time_boot_ns, kind: FactKind::Explained(death) })
}

/// The request to stop the container.
fn stop_request(end: &Termination, stop: Option<&Stop>) -> StopRequest {
    let by_signal = stop.filter(|_| end.stop_boot_ns.is_some()).map(|stop| stop.sender);
    // SIGKILL without a stop signal before: a grace period of 0.
    let by_kill = || end.fatal.filter(|fatal| fatal.signal == 9).map(|fatal| fatal.sender);
    match by_signal.or_else(by_kill) {
        Some(Sender::Runtime) => StopRequest::ByRuntime,
        Some(Sender::Host | Sender::OtherContainer) => StopRequest::ByOther,
        Some(Sender::Kernel | Sender::Own | Sender::SameContainer) | None => StopRequest::None,
    }
}

/// Whether the Pod's deletion was requested before that moment.
///
/// Deleting the mirror of a static Pod stops nothing.
fn deleted_before(known: &KnownPod, time_boot_ns: u64, wall: WallOffset) -> bool {
    if known.pod.is_mirror() {
        return false;
    }
    let noticed = known.deletion.is_some_and(|noticed| noticed.time_boot_ns <= time_boot_ns);
    // The kubelet may have learned of it before the agent, and a list reports late.
    let requested = known.pod.deletion.is_some_and(|deletion| {
        let request_s = deletion.request_unix_s();
        let time_unix_ns = wall.unix_ns(time_boot_ns).saturating_add(SECOND_NS);
        u64::try_from(request_s)
            .is_ok_and(|request_s| request_s.saturating_mul(SECOND_NS) <= time_unix_ns)
    });
    noticed || requested
}

/// Time at which the kubelet began to stop the container, where that was seen.
fn kill_begin(known: &KnownPod, trigger: Trigger, wall: WallOffset) -> Option<u64> {
    match trigger {
        Trigger::PodDeletion | Trigger::ApiEviction | Trigger::Preemption | Trigger::Taint => {
            let noticed = known.deletion?;
            if noticed.via == Via::Watch {
                return Some(noticed.time_boot_ns);
            }
            let request_s = u64::try_from(known.pod.deletion?.request_unix_s()).ok()?;
            wall.boot_ns(request_s.saturating_mul(SECOND_NS))
        }
        _ => None,
    }
}

/// The stop of a container, from the kubelet's first act to the stop signal.
struct Kill {
    begin_boot_ns: Option<u64>,
    signal_boot_ns: u64,
    session: Option<ExecSession>,
}

impl Kill {
    fn so_far_ns(&self) -> Option<u64> {
        Some(self.signal_boot_ns.saturating_sub(self.begin_boot_ns?))
    }

    /// The exec session, if it can have been the preStop hook: the signal follows it, or ends the
    /// wait for it.
    fn pre_stop_session(&self) -> Option<ExecSession> {
        self.session.filter(|session| {
            let near = |end: u64| end.saturating_add(PRE_STOP_NEAR_NS) >= self.signal_boot_ns;
            session.begin_boot_ns <= self.signal_boot_ns
                && (self.begin_boot_ns.is_some() || session.end_boot_ns.is_none_or(near))
        })
    }
}

/// The run of the container's preStop hook, as far as it is known.
fn pre_stop(container: &Container, kill: &Kill) -> Option<PreStopRun> {
    let handler = container.pre_stop?;
    let signal = kill.signal_boot_ns;
    let ran_boot_ns = match handler {
        PreStop::Exec => kill.pre_stop_session().map(|session| {
            let end = session.end_boot_ns.unwrap_or(signal).min(signal);
            (session.begin_boot_ns.min(end), end)
        }),
        // The kubelet's own sleep: it is not visible, and lasts as long as the spec says.
        PreStop::Sleep { seconds } => {
            let slept_ns = seconds.saturating_mul(SECOND_NS);
            Some(match kill.begin_boot_ns {
                Some(begin) => (begin.min(signal), begin.saturating_add(slept_ns).min(signal)),
                None => (signal.saturating_sub(slept_ns), signal),
            })
        }
        // The kubelet's request is not visible; all the time before the signal was for it.
        PreStop::Http if container.role == Role::Sidecar => None,
        PreStop::Http => kill.begin_boot_ns.map(|begin| (begin.min(signal), signal)),
    };
    Some(PreStopRun { handler, ran_boot_ns })
}

/// Time that the kubelet takes off the grace period.
fn before(container: &Container, kill: &Kill, pre_stop: Option<PreStopRun>) -> Before {
    if container.role == Role::Sidecar {
        // Includes the wait for the app containers and for later sidecars.
        return kill.so_far_ns().map_or(Before::Unknown, |ns| Before::Took { ns });
    }
    match pre_stop {
        None => Before::Nothing,
        Some(run) => run.duration_ns().map_or(Before::Unknown, |ns| Before::Took { ns }),
    }
}

/// Evidence of the Pod about the instance `id` that has ended.
fn evidence(
    pod: &Pod,
    container: Option<&Container>,
    id: &str,
    started: Option<bool>,
) -> PodEvidence {
    let mut apps = pod.containers.iter().filter(|other| other.role == Role::App).peekable();
    let any = apps.peek().is_some();
    PodEvidence {
        disruption: pod
            .disruption
            .as_ref()
            .map(|it| Disruption::announced(&it.reason, &it.message)),
        terminal: pod.is_terminal().then(|| TerminalReason::from_reason(&pod.reason)),
        role: container.map_or(Role::App, |container| container.role),
        app_containers_done: any && apps.all(|app| matches!(app.state, State::Terminated(_))),
        probe: container.and_then(|container| failed_probe(container, started)),
        replaced: container.is_some_and(|container| replaced(container, id)),
        reported_last: container.is_some_and(|container| container.terminated(id).is_some())
            && !pod.containers.iter().any(|other| matches!(other.state, State::Running { .. })),
        ..PodEvidence::default()
    }
}

/// The probe that can have failed.
fn failed_probe(container: &Container, started: Option<bool>) -> Option<FailedProbe> {
    if container.startup.is_some() && started != Some(true) {
        return Some(FailedProbe::Startup);
    }
    container.liveness.map(|_| FailedProbe::Liveness)
}

/// Whether the kubelet has restarted the container, or waits to.
fn replaced(container: &Container, id: &str) -> bool {
    let other = container.id.as_deref().is_some_and(|newest| newest != id)
        && container.last_id.as_deref() == Some(id);
    other
        || matches!(&container.state, State::Waiting { .. } if container.last_id.as_deref() == Some(id))
}

#[cfg(test)]
#[path = "death_tests.rs"]
mod tests;
