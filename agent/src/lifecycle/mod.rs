//! Container lifecycle: kernel events in, facts out. Pure: no I/O, no clock, no locks.
//!
//! The records of one death come from several CPUs and from unrelated contexts: the signal, the OOM
//! killer's mark, the last thread's exit, the parent's SIGCHLD, the empty cgroup and its removal,
//! in any order, and any of them can be missing. So a container collects its records, and concludes
//! [`SETTLE_NS`] after the end. Facts that need no conclusion go out at once: a start, a stop
//! signal, the kill after it.

mod container;
pub mod death;
pub mod fact;
pub mod grace;
mod init;
mod input;
pub(crate) mod kill;
mod oom;
mod output;
mod pending;
pub mod phase;
mod probed;
pub mod reason;
pub mod report;
mod request;
pub mod restart;
mod sandbox;
mod search;
pub mod session;
mod settle;
mod shutdown;
pub mod start;
pub mod start_failure;
mod stop;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod trigger;
mod unseen;
mod who;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use self::container::Container;
use self::fact::{OomOrigin, OomTrigger};
pub use self::input::Input;
use self::oom::Counters;
pub use self::output::{OpenShutdown, Output};
use self::pending::Pending;
use self::request::Deletion;
use self::session::ExecSession;
pub use self::settle::SETTLE_NS;
use self::who::CgroupIndex;
use crate::cgroup::CgroupId;
use crate::event::{Event, EventKind, Oom, TaskKey};

/// Limit of removed nested cgroups per container that stay known, for late records.
const NESTED_GONE_MAX: usize = 64;

#[derive(Debug)]
struct Entry {
    container: Container,
    /// Deadline under which the container stands in [`Lifecycle::due`].
    deadline: Option<u64>,
    nested: BTreeSet<CgroupId>,
    nested_gone: VecDeque<CgroupId>,
}

/// State machines of all containers on the node.
///
/// For a container that is older than the agent, signals sent before the agent started are not
/// known: if it is killed and no stop signal was seen, there may have been one, and the cause is
/// [`fact::Cause::Unknown`]. The Pod's half knows for how long a stop can take.
#[derive(Debug, Default)]
pub struct Lifecycle {
    containers: BTreeMap<CgroupId, Entry>,
    index: CgroupIndex,
    /// Containers by the process of their init, which may move to an unknown cgroup.
    inits: HashMap<TaskKey, CgroupId>,
    counters: Counters,
    /// Number of containers of each Pod.
    pods: BTreeMap<CgroupId, usize>,
    due: BTreeSet<(u64, CgroupId)>,
    pending: Pending,
    latest_boot_ns: u64,
    /// Early events that containers which are gone have dropped.
    early_dropped: u64,
    /// Exec sessions that containers which are gone have forgotten.
    sessions_dropped: u64,
}

impl Lifecycle {
    /// A lifecycle without containers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one input and appends what follows from it to `out`.
    pub fn apply(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::ContainerMade { container, pod, birth, is_unit, oom_seen } => {
                self.latest_boot_ns = self.latest_boot_ns.max(birth.since_boot_ns());
                self.counters.seed(oom_seen);
                self.container_made(Container::new(container, pod, birth, is_unit), out);
            }
            Input::NoContainer { container } => self.forget(container),
            Input::NestedMade { cgroup, container } => self.nested_made(cgroup, container, out),
            Input::Running(running) => {
                if let Some(id) = self.index.container_of(running.task.cgroup)
                    && let Some(entry) = self.containers.get_mut(&id)
                {
                    entry.container.running(running, &self.index);
                }
            }
            Input::WalkDone { tasks_read } => {
                let ids: Vec<CgroupId> = self.containers.keys().copied().collect();
                for id in ids {
                    self.with(id, out, |container, index, out| {
                        container.walk_done(tasks_read, index, out);
                    });
                }
            }
            Input::Looked { container, running, tasks_read, records_complete } => {
                self.with(container, out, |it, index, out| {
                    it.looked((running, tasks_read), records_complete, index, out);
                });
            }
            Input::Event(event) => {
                self.latest_boot_ns = self.latest_boot_ns.max(event.time_boot_ns);
                self.event(event, out);
            }
            Input::KnownStopSignal { container, signal } => {
                self.with(container, out, |it, _, out| it.set_stop_signal(signal, out));
            }
            Input::GracePeriod { container, grace_ns } => {
                if let Some(entry) = self.containers.get_mut(&container) {
                    entry.container.set_grace_period(grace_ns);
                }
            }
            Input::KillBegins { container, since_boot_ns, noticed_boot_ns } => {
                let deletion = Some(Deletion { since_boot_ns, noticed_boot_ns });
                self.with(container, out, |it, _, out| it.set_deletion(deletion, out));
            }
            Input::NoKill { container } => {
                self.with(container, out, |it, _, out| it.set_deletion(None, out));
            }
            Input::RecordsLost { now_boot_ns } => {
                for entry in self.containers.values_mut() {
                    entry.container.records_lost(now_boot_ns);
                }
            }
            Input::Tick { now_boot_ns } => {
                self.latest_boot_ns = self.latest_boot_ns.max(now_boot_ns);
                self.pending.expire(now_boot_ns.max(self.latest_boot_ns));
                let last = (now_boot_ns, CgroupId(u64::MAX));
                let due: Vec<CgroupId> = self.due.range(..=last).map(|(_, id)| *id).collect();
                for id in due {
                    self.settle(id, Some(now_boot_ns), out);
                }
            }
            Input::Flush { now_boot_ns } => {
                self.latest_boot_ns = self.latest_boot_ns.max(now_boot_ns);
                let due: Vec<CgroupId> = self.due.iter().map(|(_, id)| *id).collect();
                for id in due {
                    self.settle(id, None, out);
                }
            }
        }
    }

    /// Deadline at which an [`Input::Tick`] next settles something, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.due.first().map(|(deadline, _)| *deadline)
    }

    /// Containers with a stop signal that have not ended yet, in the order of their cgroups.
    pub fn open_shutdowns(
        &self,
        now_boot_ns: u64,
    ) -> impl Iterator<Item = (CgroupId, OpenShutdown)> + '_ {
        self.containers.iter().filter_map(move |(id, entry)| {
            entry.container.open_shutdown(now_boot_ns).map(|shutdown| (*id, shutdown))
        })
    }

    /// Number of known containers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.containers.len()
    }

    /// Whether no container is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }

    /// Init of a container, if it is known.
    #[must_use]
    pub fn init_of(&self, container: CgroupId) -> Option<TaskKey> {
        self.containers.get(&container)?.container.init()
    }

    /// Whether a process is the init of a container.
    #[must_use]
    pub fn is_init(&self, task: TaskKey) -> bool {
        self.inits.contains_key(&task)
    }

    /// Exec session of a container that is its preStop hook, if the container has an exec hook and
    /// is being stopped.
    #[must_use]
    pub fn pre_stop_session(&self, container: CgroupId) -> Option<ExecSession> {
        self.containers.get(&container)?.container.pre_stop_session()
    }

    /// Total of events that were dropped because their cgroup belongs to no container, or became
    /// known too late.
    #[must_use]
    pub const fn unmatched(&self) -> u64 {
        self.pending.unmatched()
    }

    /// Total of events that were dropped because their container's init was not known yet, and too
    /// many waited for that.
    #[must_use]
    pub fn early_dropped(&self) -> u64 {
        let live = self.containers.values().map(|entry| entry.container.early_dropped());
        live.fold(self.early_dropped, u64::saturating_add)
    }

    /// Totals of evidence that was forgotten for want of room, by kind.
    #[must_use]
    pub fn dropped(&self) -> [(&'static str, u64); 2] {
        let live = self.containers.values().map(|entry| entry.container.sessions_dropped());
        let sessions = live.fold(self.sessions_dropped, u64::saturating_add);
        [("exec_session", sessions), ("oom_counter", self.counters.dropped())]
    }

    fn container_made(&mut self, container: Container, out: &mut Vec<Output>) {
        let (id, pod, birth) = (container.id(), container.pod(), container.birth());
        if self.containers.contains_key(&id) {
            let had_pod = self.containers.get(&id).and_then(|entry| entry.container.pod());
            self.with(id, out, |container, index, out| {
                container.reported_again(pod, birth, index, out);
            });
            if let (None, Some(pod)) = (had_pod, pod) {
                *self.pods.entry(pod).or_default() += 1;
            }
            return;
        }
        let entry = Entry {
            container,
            deadline: None,
            nested: BTreeSet::new(),
            nested_gone: VecDeque::new(),
        };
        self.containers.insert(id, entry);
        self.index.insert(id, id);
        if let Some(pod) = pod {
            *self.pods.entry(pod).or_default() += 1;
        }
        self.reschedule(id);
        self.replay_pending(id, out);
    }

    fn nested_made(&mut self, cgroup: CgroupId, container: CgroupId, out: &mut Vec<Output>) {
        let Some(entry) = self.containers.get_mut(&container) else { return };
        if cgroup == container {
            return;
        }
        entry.nested.insert(cgroup);
        self.index.insert(cgroup, container);
        self.replay_pending(cgroup, out);
    }

    fn event(&mut self, event: &Event, out: &mut Vec<Output>) {
        let (process, cgroup) = match &event.kind {
            EventKind::Signal(signal) => (Some(signal.target.key), signal.target.cgroup),
            EventKind::End(end) => (Some(end.task.key), end.task.cgroup),
            EventKind::Exec(exec) => (Some(exec.task.key), exec.task.cgroup),
            EventKind::Exit(exit) => (Some(exit.task.key), exit.task.cgroup),
            EventKind::Oom(oom) => (Some(oom.victim.key), oom.victim.cgroup),
            EventKind::CgroupRemoved(cgroup) | EventKind::CgroupEmpty(cgroup) => (None, *cgroup),
            EventKind::CgroupMade(_) => return,
        };
        let by_init = process.and_then(|key| self.inits.get(&key).copied());
        let by_cgroup = self.index.container_of(cgroup);
        let id = match &event.kind {
            // What executes after a move is the other container's.
            EventKind::Exec(_) => by_cgroup.or(by_init),
            _ => by_init.or(by_cgroup),
        };
        let Some(id) = id else {
            return self.pending.keep(event, self.latest_boot_ns);
        };
        if let EventKind::Oom(oom) = &event.kind {
            let triggered_by = self.trigger_of(oom, id);
            if let Some(entry) = self.containers.get_mut(&id) {
                let (time_boot_ns, counters) = (event.time_boot_ns, &mut self.counters);
                entry.container.oom(time_boot_ns, oom, triggered_by, counters, &self.index);
            }
            return self.reschedule(id);
        }
        if let EventKind::CgroupRemoved(removed) = &event.kind
            && *removed != id
        {
            return self.nested_removed(*removed, id);
        }
        self.with(id, out, |container, index, out| container.event(event, index, out));
        // One that has moved is init of both.
        if let (Some(process), Some(other)) = (process, by_cgroup)
            && other != id
            && self.init_of(other) == Some(process)
        {
            self.with(other, out, |container, index, out| container.event(event, index, out));
        }
    }

    /// The allocation that led to an OOM whose victim is a process of `container`.
    fn trigger_of(&self, oom: &Oom, container: CgroupId) -> OomTrigger {
        let pod_of = |id| self.containers.get(&id).and_then(|entry| entry.container.pod());
        let by = self.index.container_of(oom.current.cgroup);
        let origin = match by {
            Some(by) if by == container => OomOrigin::SameContainer,
            Some(by) if pod_of(by).is_some() && pod_of(by) == pod_of(container) => {
                OomOrigin::SamePod
            }
            Some(_) => OomOrigin::OtherContainer,
            None => OomOrigin::Host,
        };
        OomTrigger { origin, comm: oom.current.comm, container: by, who: None }
    }

    fn nested_removed(&mut self, cgroup: CgroupId, container: CgroupId) {
        let Some(entry) = self.containers.get_mut(&container) else { return };
        if entry.nested.remove(&cgroup) {
            entry.nested_gone.push_back(cgroup);
        }
        if entry.nested_gone.len() > NESTED_GONE_MAX
            && let Some(oldest) = entry.nested_gone.pop_front()
        {
            self.index.remove(oldest);
            self.counters.forget(oldest);
        }
    }

    /// Runs an action on one container, then records its new init and deadline.
    fn with(
        &mut self,
        id: CgroupId,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Container, &CgroupIndex, &mut Vec<Output>),
    ) {
        let Some(entry) = self.containers.get_mut(&id) else { return };
        let before = entry.container.init();
        act(&mut entry.container, &self.index, out);
        let after = entry.container.init();
        if before != after {
            self.forget_init(before, id);
            if let Some(init) = after {
                self.inits.entry(init).or_insert(id);
            }
        }
        self.reschedule(id);
    }

    /// Forgets the init of a container, unless it has become that of another one.
    fn forget_init(&mut self, init: Option<TaskKey>, container: CgroupId) {
        if let Some(init) = init
            && self.inits.get(&init) == Some(&container)
        {
            self.inits.remove(&init);
        }
    }

    fn reschedule(&mut self, id: CgroupId) {
        let Some(entry) = self.containers.get_mut(&id) else { return };
        let deadline = entry.container.deadline();
        if deadline == entry.deadline {
            return;
        }
        if let Some(old) = entry.deadline {
            self.due.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.due.insert((new, id));
        }
        entry.deadline = deadline;
    }

    fn settle(&mut self, id: CgroupId, now_boot_ns: Option<u64>, out: &mut Vec<Output>) {
        let mut is_done = false;
        self.with(id, out, |container, index, out| {
            is_done = container.settle(now_boot_ns, index, out);
        });
        if is_done {
            self.forget(id);
            out.push(Output::Forget { container: id });
        }
    }

    fn forget(&mut self, id: CgroupId) {
        let Some(entry) = self.containers.remove(&id) else { return };
        let container = &entry.container;
        self.early_dropped = self.early_dropped.saturating_add(container.early_dropped());
        self.sessions_dropped = self.sessions_dropped.saturating_add(container.sessions_dropped());
        if let Some(deadline) = entry.deadline {
            self.due.remove(&(deadline, id));
        }
        self.forget_init(entry.container.init(), id);
        for cgroup in entry.nested.iter().chain(&entry.nested_gone).chain([&id]) {
            self.index.remove(*cgroup);
            self.counters.forget(*cgroup);
        }
        if let Some(pod) = entry.container.pod()
            && let Some(containers) = self.pods.get_mut(&pod)
        {
            *containers = containers.saturating_sub(1);
            if *containers == 0 {
                self.pods.remove(&pod);
                self.counters.forget(pod);
            }
        }
    }

    /// Takes in the events that arrived before their cgroup was known.
    fn replay_pending(&mut self, cgroup: CgroupId, out: &mut Vec<Output>) {
        for event in self.pending.take(cgroup) {
            self.event(&event, out);
        }
    }
}
