//! Starts: where the time went between "scheduled" and "ready". Pure.
//!
//! The kernel reports the creation of the sandbox's and of the container's cgroup, and the exec of
//! the container's own program. The API reports the rest, in whole seconds of another clock
//! (scheduled, initialized) or by the moment of its watch event (started, ready).

use std::collections::HashMap;

use super::fact::{Fact, FactKind, Started};
use super::phase::Start;
use super::subject::Who;
use crate::cgroup::CgroupId;
use crate::clock::{SECOND_NS, WallOffset};
use crate::kube::known_pod::{KnownPod, Noticed, Via};
use crate::kube::pod::Role;
use crate::kube::pods::Pods;

/// State of the starts of all containers that are shown.
#[derive(Debug, Default)]
pub struct Starts {
    entries: HashMap<CgroupId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Exec of the container's own program, if it was seen.
    running_boot_ns: Option<u64>,
    /// Whether an instance of the same name ran before it.
    is_restart: bool,
    /// The container has another name now, under which its start is to be told.
    retell: bool,
    start: Start,
}

impl Starts {
    /// Records that the container's own program runs.
    pub fn started(&mut self, who: &Who, time_boot_ns: u64, started: &Started) {
        let running_boot_ns = Some(time_boot_ns).filter(|_| !started.before_agent);
        self.entries.entry(who.cgroup).or_default().running_boot_ns = running_boot_ns;
    }

    /// Records that a container's start is a restart.
    pub fn restarted(&mut self, container: CgroupId) {
        self.entries.entry(container).or_default().is_restart = true;
    }

    /// Records that a container has another name, under which its start is not told yet.
    pub fn retell(&mut self, container: CgroupId) {
        if let Some(entry) = self.entries.get_mut(&container) {
            entry.retell = true;
        }
    }

    /// Forgets a container whose cgroup is gone.
    pub fn forget(&mut self, container: CgroupId) {
        self.entries.remove(&container);
    }

    /// Number of known containers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no container is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The progress of a container's start, if there is any since the last call. `sandbox_boot_ns`
    /// is the birth of the sandbox of its Pod, if it was seen.
    pub fn progress(
        &mut self,
        who: &Who,
        sandbox_boot_ns: Option<u64>,
        pods: &Pods,
        wall: WallOffset,
    ) -> Option<Fact> {
        let created_boot_ns = who.birth.made_boot_ns()?;
        let (pod, name) = who.origin.pod()?;
        let entry = self.entries.entry(who.cgroup).or_default();
        let known = pods.of_cgroup(pod);
        let reported = known.and_then(|known| Some((known, known.container(&name.id)?)));
        // The API counts restarts; without it, the starts that the agent saw count.
        let restarts = reported.and_then(|(_, container)| container.restarts);
        let first = restarts.map_or(!entry.is_restart, |restarts| restarts == 0);
        let mut start = Start {
            first,
            sandbox_boot_ns,
            created_boot_ns: Some(created_boot_ns),
            running_boot_ns: entry.running_boot_ns,
            just_ready: false,
            ..entry.start
        };
        if let Some(known) = known {
            api_times(&mut start, known, wall);
        }
        let of_this = reported.filter(|(_, container)| container.id.as_deref() == Some(&*name.id));
        if let Some((known, container)) = of_this {
            // A list reports late, by an unknown time.
            let now = seen_live(known);
            if container.startup.is_some() && container.started == Some(true) {
                start.started_boot_ns = start.started_boot_ns.or(now);
            }
            if container.ready {
                start.ready_boot_ns = start.ready_boot_ns.or(now);
            }
        }
        if entry.start == start && !std::mem::take(&mut entry.retell) {
            return None;
        }
        entry.retell = false;
        let just_ready = entry.start.ready_boot_ns.is_none() && start.ready_boot_ns.is_some();
        entry.start = start;
        let times = [start.ready_boot_ns, start.started_boot_ns, start.running_boot_ns];
        let time_boot_ns = times.into_iter().flatten().max().unwrap_or(created_boot_ns);
        let kind = FactKind::Progressed(Start { just_ready, ..start });
        Some(Fact { time_boot_ns, kind })
    }
}

/// Takes over the API's times that can be true. A wrong clock would make a wrong phase: the API
/// server's, of the scheduler's decision, or this machine's before it was set, of the rest.
///
/// The agent learns of a Pod when that is scheduled to its node, and its sandbox is made after that
/// and before the end of its init containers.
fn api_times(start: &mut Start, known: &KnownPod, wall: WallOffset) {
    let Some(sandbox_boot_ns) = start.sandbox_boot_ns else { return };
    let times = known.pod.times;
    if start.scheduled_boot_ns.is_none() {
        let scheduled = times.scheduled_unix_s.and_then(|at| known.first.agreed(at, wall));
        let latest = sandbox_boot_ns.saturating_add(SECOND_NS);
        start.scheduled_boot_ns = scheduled.filter(|at| *at <= latest);
    }
    let has_init = known.pod.containers.iter().any(|container| container.role == Role::Init);
    if has_init && start.initialized_boot_ns.is_none() {
        let after_sandbox =
            Noticed { time_boot_ns: known.changed_boot_ns, via: Via::List, after_boot_ns: None };
        let initialized = times.initialized_unix_s.and_then(|at| after_sandbox.agreed(at, wall));
        let earliest = sandbox_boot_ns.saturating_sub(SECOND_NS);
        start.initialized_boot_ns = initialized.filter(|at| *at >= earliest);
    }
}

/// Time of the Pod's last change, if a watch reported it as it happened.
fn seen_live(known: &KnownPod) -> Option<u64> {
    (known.via == Via::Watch).then_some(known.changed_boot_ns)
}
