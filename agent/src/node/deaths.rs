//! Deaths that wait for the word of the API, and what follows from it.
//!
//! A death is published once, with its trigger: at once if nothing can be learned any more, else
//! when the API has told what decides, [`PATIENCE_NS`] after its end at the latest.

use std::collections::VecDeque;

use super::Node;
use super::containers::{Key, Origin};
use crate::cgroup::CgroupId;
use crate::clock;
use crate::kube::pod::{Container, Pod, PreStop, Role, State};
use crate::kube::pods::Known;
use crate::lifecycle::fact::{Fact, Sender, StopSignal, Termination};
use crate::lifecycle::grace::{self, Before, Periods};
use crate::lifecycle::session::Session;
use crate::lifecycle::trigger::{self, Answer, Asked, Disruption, Failing, Over, Said, Trigger};
use crate::metrics::ending::{Ending, Hook, Ratio};
use crate::clock::WallOffset;

/// How long after its end a death waits for the API.
///
/// In a well cluster the API tells within a second or two; what takes longer is a kubelet under load
/// (15 s were seen on an emulated node), and then the late truth is worth more than an early
/// `unknown`.
const PATIENCE_NS: u64 = 30_000_000_000;
/// Deaths that wait; of more, the oldest are published as they are.
const WAITING_MAX: usize = 512;
/// Stop signals that are remembered.
const STOPS_MAX: usize = 1024;
/// Stop signals to containers of one Pod belong together if no more than this is between them.
const TOGETHER_NS: u64 = 120_000_000_000;
/// Published deaths whose report by the runtime is still to come.
const UNREPORTED_MAX: usize = 1024;
/// For how long it may come.
const REPORT_NS: u64 = 60_000_000_000;
/// The API's times are whole seconds, cut.
const API_SECOND_NS: u64 = 1_000_000_000;
/// A hook that ended more than this before the stop signal was none.
const HOOK_NEAR_NS: u64 = 1_000_000_000;

/// A stop signal, and what was known when it came.
#[derive(Debug)]
struct Stop {
    container: CgroupId,
    /// What the Pod's cgroup is called after.
    pod: String,
    time_boot_ns: u64,
    sender: Sender,
    /// The session that is the hook, if there is a hook of that kind.
    hook: Option<Session>,
    /// `started`, as the API had it for this very instance.
    started: Option<bool>,
}

/// A death that waits.
#[derive(Debug)]
struct Waiting {
    key: Key,
    names: Names,
    fact: Fact,
    end: Termination,
}

/// What a cgroup's path says of a container.
type Names = (crate::cgroup::path::PodName, crate::cgroup::path::ContainerName);

/// A death that the runtime has not reported yet.
#[derive(Debug)]
struct Unreported {
    names: Names,
    container: CgroupId,
    end: Termination,
    until_boot_ns: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    stops: VecDeque<Stop>,
    waiting: Vec<Waiting>,
    unreported: VecDeque<Unreported>,
}

impl Deaths {
    /// When the first of those who wait has waited long enough.
    pub(super) fn deadline(&self) -> Option<u64> {
        let due = |waiting: &Waiting| waiting.fact.time_boot_ns.saturating_add(PATIENCE_NS);
        self.waiting.iter().map(due).min()
    }
}

impl Node {
    /// A container was asked to stop.
    pub(super) fn stop_signal(&mut self, fact: &Fact, stop: &StopSignal) {
        let Some(Origin::Pod(pod, name)) = self.containers.get(&fact.container).map(|c| &c.origin)
        else {
            return;
        };
        let started = self.pods.container(pod, name).and_then(|(_, container)| {
            // What is said of another instance says nothing of this one.
            container.started.filter(|_| container.id.as_deref() == Some(&*name.id))
        });
        let hook = self.lifecycle.hook_of(fact.container);
        if self.deaths.stops.len() >= STOPS_MAX {
            self.deaths.stops.pop_front();
        }
        self.deaths.stops.push_back(Stop {
            container: fact.container,
            pod: pod.uid.clone(),
            time_boot_ns: fact.time_boot_ns,
            sender: stop.sender,
            hook,
            started,
        });
    }

    /// A container ended.
    pub(super) fn death(&mut self, key: &Key, fact: Fact, end: Termination) {
        let Some(Origin::Pod(pod, name)) = self.containers.get(&fact.container).map(|c| &c.origin)
        else {
            let ending = Ending::untold(&end);
            return self.publish(key, &fact, &end, ending);
        };
        let names = (pod.clone(), name.clone());
        self.deaths.waiting.push(Waiting { key: key.clone(), names, fact, end });
        if self.deaths.waiting.len() > WAITING_MAX {
            let oldest = self.deaths.waiting.remove(0);
            self.decide(oldest, Some(0));
        }
        self.settle_deaths(Some(clock::boot_ns()));
    }

    /// Publishes those who wait for nothing any more; with `None` all.
    pub(super) fn settle_deaths(&mut self, now_boot_ns: Option<u64>) {
        let mut still = Vec::new();
        for waiting in std::mem::take(&mut self.deaths.waiting) {
            let deadline = waiting.fact.time_boot_ns.saturating_add(PATIENCE_NS);
            let left_ns = now_boot_ns.map_or(0, |now| deadline.saturating_sub(now));
            still.extend(self.decide(waiting, Some(left_ns)));
        }
        // One that came meanwhile stays.
        still.append(&mut self.deaths.waiting);
        self.deaths.waiting = still;
    }

    /// Publishes a death, or gives it back if it is to wait.
    fn decide(&mut self, waiting: Waiting, left_ns: Option<u64>) -> Option<Waiting> {
        let Waiting { names: (pod, name), fact, end, .. } = &waiting;
        let stop = self.deaths.stops.iter().rev().find(|stop| stop.container == fact.container);
        let asked = asked(end, stop);
        let more_may_come = left_ns != Some(0) && self.options.pods.is_some();
        let wall = WallOffset::now().unwrap_or_default();
        let asked_boot_ns = asked_at(fact, end);
        let found = self.pods.of_cgroup(pod).map(|known| (known, known.container(&name.id)));
        let said = found.map(|(known, container)| {
            let others_asked = self.deaths.stops.iter().any(|other| {
                other.pod == pod.uid
                    && other.container != fact.container
                    && other.time_boot_ns.abs_diff(asked_boot_ns) <= TOGETHER_NS
            });
            Said {
                deleted: deleted_before(known, asked_boot_ns, wall),
                others_asked,
                ..said(&known.pod, container, &name.id, stop.and_then(|stop| stop.started))
            }
        });
        let (trigger, source) = match trigger::decide(asked, said.as_ref(), more_may_come) {
            Answer::Wait => return Some(waiting),
            Answer::Is(trigger, source) => (trigger, source),
        };
        let mut ending = Ending { trigger, source, ..Ending::untold(end) };
        if let Some((known, Some(container))) = found
            && let Some(shutdown_ns) = end.shutdown_ns.filter(|_| asked == Asked::ByRuntime)
        {
            let kill = Kill {
                begin_boot_ns: kill_begin(known, trigger, wall),
                signal_boot_ns: asked_boot_ns,
                session: stop.and_then(|stop| stop.hook),
            };
            ending.hook = hook(container, &kill);
            let periods = Periods {
                deletion_s: known.pod.deletion.and_then(|deletion| deletion.grace_s),
                pod_s: known.pod.grace_s,
                startup_s: container.startup.and_then(|probe| probe.grace_s),
                liveness_s: container.liveness.and_then(|probe| probe.grace_s),
            };
            ending.grace_s = periods.effective_s(trigger);
            let before = before(container, &kill, ending.hook);
            let budget = ending.grace_s.and_then(|grace_s| grace::budget_ns(grace_s, before));
            ending.ratio = budget.map(|budget_ns| Ratio { used_ns: shutdown_ns, budget_ns });
        }
        let unreported = Unreported {
            names: (pod.clone(), name.clone()),
            container: fact.container,
            end: *end,
            until_boot_ns: fact.time_boot_ns.saturating_add(REPORT_NS),
        };
        self.publish(&waiting.key, &waiting.fact, &waiting.end, ending);
        if self.options.pods.is_some() {
            self.deaths.unreported.push_back(unreported);
            self.compare_reports();
        }
        None
    }

    fn publish(&mut self, key: &Key, fact: &Fact, end: &Termination, ending: Ending) {
        let Key { namespace, pod, container } = key;
        tracing::info!(
            ?namespace,
            ?pod,
            ?container,
            cause = end.cause.label(),
            trigger = ending.trigger.label(),
            trigger_source = ending.source.label(),
            status = ?end.status,
            shutdown_ms = end.shutdown_ns.map(|ns| ns / 1_000_000),
            "the container ended"
        );
        // The clock may have been set since the fact before.
        self.store.terminated(fact, end, ending, WallOffset::now().unwrap_or_default());
    }

    /// Holds what the runtime reported against what the kernel saw.
    pub(super) fn compare_reports(&mut self) {
        let Self { deaths, pods, store, .. } = self;
        let now = clock::boot_ns();
        deaths.unreported.retain(|death| {
            let (pod, name) = &death.names;
            let report =
                pods.container(pod, name).and_then(|(_, container)| container.terminated(&name.id));
            if let Some(report) = report {
                store.reported(death.container, &report.reason, &death.end);
            }
            report.is_none() && now < death.until_boot_ns
        });
        while deaths.unreported.len() > UNREPORTED_MAX {
            deaths.unreported.pop_front();
        }
    }
}

/// Who asked.
fn asked(end: &Termination, stop: Option<&Stop>) -> Asked {
    let by_signal = stop.filter(|_| end.shutdown_ns.is_some()).map(|stop| stop.sender);
    // SIGKILL without a stop signal before: a grace period of 0.
    let by_kill = || end.fatal.filter(|(signal, _)| *signal == 9).map(|(_, sender)| sender);
    match by_signal.or_else(by_kill) {
        Some(Sender::Runtime) => Asked::ByRuntime,
        Some(Sender::Host | Sender::OtherContainer) => Asked::ByOther,
        Some(Sender::Kernel | Sender::Own | Sender::SameContainer) | None => Asked::No,
    }
}

/// When it was asked; its end, if it was not.
fn asked_at(fact: &Fact, end: &Termination) -> u64 {
    fact.time_boot_ns.saturating_sub(end.shutdown_ns.unwrap_or(0))
}

/// Whether the Pod's deletion was asked for before that moment.
///
/// A static Pod's mirror may be deleted: that stops nothing.
fn deleted_before(known: &Known, time_boot_ns: u64, wall: WallOffset) -> bool {
    if known.pod.is_mirror() {
        return false;
    }
    let noticed = known.deletion.is_some_and(|noticed| noticed.time_boot_ns <= time_boot_ns);
    // The kubelet may have heard of it before us, and a list tells late.
    let requested = known.pod.deletion.is_some_and(|deletion| {
        let request_s = deletion.request_unix_s();
        let time_unix_ns = wall.unix_ns(time_boot_ns).saturating_add(API_SECOND_NS);
        u64::try_from(request_s)
            .is_ok_and(|request_s| request_s.saturating_mul(API_SECOND_NS) <= time_unix_ns)
    });
    noticed || requested
}

/// When the kubelet began to stop the container, where that was news.
fn kill_begin(known: &Known, trigger: Trigger, wall: WallOffset) -> Option<u64> {
    match trigger {
        Trigger::PodDeletion | Trigger::ApiEviction | Trigger::Preemption | Trigger::Taint => {
            let noticed = known.deletion?;
            if noticed.at_once {
                return Some(noticed.time_boot_ns);
            }
            let request_s = u64::try_from(known.pod.deletion?.request_unix_s()).ok()?;
            wall.boot_ns(request_s.saturating_mul(API_SECOND_NS))
        }
        _ => None,
    }
}

/// A kill, from its begin to the stop signal.
struct Kill {
    begin_boot_ns: Option<u64>,
    signal_boot_ns: u64,
    session: Option<Session>,
}

impl Kill {
    fn so_far_ns(&self) -> Option<u64> {
        Some(self.signal_boot_ns.saturating_sub(self.begin_boot_ns?))
    }

    /// The session, if it can have been the hook: the signal follows it, or ends the wait for it.
    fn hook_session(&self) -> Option<Session> {
        self.session.filter(|session| {
            let near = |end: u64| end.saturating_add(HOOK_NEAR_NS) >= self.signal_boot_ns;
            session.begin_boot_ns <= self.signal_boot_ns
                && (self.begin_boot_ns.is_some() || session.end_boot_ns.is_none_or(near))
        })
    }
}

/// The container's preStop hook and how long it took, as far as that is known.
fn hook(container: &Container, kill: &Kill) -> Option<Hook> {
    let duration_ns = match container.pre_stop? {
        PreStop::Exec => kill.hook_session().map(|session| {
            let end = session.end_boot_ns.unwrap_or(kill.signal_boot_ns);
            end.min(kill.signal_boot_ns).saturating_sub(session.begin_boot_ns)
        }),
        // The kubelet's own sleep: nobody sees it, and it is as long as it says.
        PreStop::Sleep { seconds } => {
            let slept_ns = seconds.saturating_mul(API_SECOND_NS);
            Some(kill.so_far_ns().map_or(slept_ns, |so_far_ns| so_far_ns.min(slept_ns)))
        }
        // The kubelet's request is seen by nobody; all that came before the signal was it.
        PreStop::Http if container.role == Role::Sidecar => None,
        PreStop::Http => kill.so_far_ns(),
    };
    let handler = container.pre_stop?;
    Some(Hook { handler, duration_ns })
}

/// What the kubelet takes off the grace period.
fn before(container: &Container, kill: &Kill, hook: Option<Hook>) -> Before {
    if container.role == Role::Sidecar {
        // Also the wait for the main containers and for later sidecars.
        return kill.so_far_ns().map_or(Before::Unknown, |ns| Before::Took { ns });
    }
    match hook {
        None => Before::Nothing,
        Some(hook) => hook.duration_ns.map_or(Before::Unknown, |ns| Before::Took { ns }),
    }
}

/// What the Pod says of the instance `id` that has ended.
fn said(pod: &Pod, container: Option<&Container>, id: &str, started: Option<bool>) -> Said {
    let mut mains = pod.containers.iter().filter(|other| other.role == Role::App).peekable();
    let some_main = mains.peek().is_some();
    Said {
        disruption: pod
            .disruption
            .as_ref()
            .map(|it| Disruption::announced(&it.reason, &it.message)),
        over: pod.is_terminal().then(|| Over::from_reason(&pod.reason)),
        role: container.map_or(Role::App, |container| container.role),
        mains_over: some_main && mains.all(|main| matches!(main.state, State::Terminated(_))),
        probe: container.and_then(|container| failing(container, started)),
        replaced: container.is_some_and(|container| replaced(container, id)),
        told_last: container.is_some_and(|container| container.terminated(id).is_some())
            && !pod.containers.iter().any(|other| matches!(other.state, State::Running { .. })),
        ..Said::default()
    }
}

/// The probe that can have failed.
fn failing(container: &Container, started: Option<bool>) -> Option<Failing> {
    if container.startup.is_some() && started != Some(true) {
        return Some(Failing::Startup);
    }
    container.liveness.map(|_| Failing::Liveness)
}

/// The kubelet has started the container anew, or waits to.
fn replaced(container: &Container, id: &str) -> bool {
    let other = container.id.as_deref().is_some_and(|newest| newest != id)
        && container.last_id.as_deref() == Some(id);
    other
        || matches!(&container.state, State::Waiting { .. } if container.last_id.as_deref() == Some(id))
}

#[cfg(test)]
#[path = "deaths_tests.rs"]
mod tests;
