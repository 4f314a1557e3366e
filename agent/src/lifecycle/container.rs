//! Container instances, each from its cgroup's birth to its removal.

use std::collections::VecDeque;

use super::fact::{EndSource, Fact, FactKind, OomScope, OomVictim, Started};
use super::init::{Init, Left};
use super::oom::{Counters, Ooms, Victim};
use super::output::{OpenShutdown, Output};
use super::session::{ExecSession, ExecSessions};
use super::settle::SETTLE_NS;
use super::subject::Birth;
use super::who::{self, CgroupIndex};
use crate::cgroup::CgroupId;
use crate::event::{Comm, End, Event, EventKind, Exec, Exit, Oom, RunningTask, Signal, TaskKey};

/// Limit of events that wait until init is known.
const EARLY_MAX: usize = 32;

/// Source from which init becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A new container: the first exec that qualifies.
    Exec,
    /// A container older than the agent: the walk over all processes.
    Walk,
    /// A container older than the agent whose processes could not be read: a later exec is most
    /// likely that of an exec session.
    Nothing,
}

/// State machine of one container instance.
#[derive(Debug)]
pub(super) struct Container {
    id: CgroupId,
    pod: Option<CgroupId>,
    birth: Birth,
    source: Source,
    /// The oldest running process whose parent is outside the container.
    candidate: Option<(TaskKey, Comm)>,
    init: Option<Init>,
    /// Whether a process, of the runtime or of the image, has been in the cgroup.
    inhabited: bool,
    /// Whether a stage of the runtime was seen when the container started.
    staged: bool,
    early: VecDeque<Event>,
    /// Events that found no room there.
    early_dropped: u64,
    sessions: ExecSessions,
    /// The container's own stop signal, where the Pod source reports it.
    stop_signal: Option<u32>,
    ooms: Ooms,
    init_oom_killed: bool,
    empty_boot_ns: Option<u64>,
    removed_boot_ns: Option<u64>,
    terminated: bool,
}

impl Container {
    pub(super) fn new(id: CgroupId, pod: Option<CgroupId>, birth: Birth) -> Self {
        Self {
            id,
            pod,
            birth,
            source: if birth.is_seen() { Source::Exec } else { Source::Walk },
            candidate: None,
            init: None,
            inhabited: false,
            staged: false,
            early: VecDeque::new(),
            early_dropped: 0,
            sessions: ExecSessions::default(),
            stop_signal: None,
            ooms: Ooms::default(),
            init_oom_killed: false,
            empty_boot_ns: None,
            removed_boot_ns: None,
            terminated: false,
        }
    }

    /// Total of events that came before init was known and found no room.
    pub(super) const fn early_dropped(&self) -> u64 {
        self.early_dropped
    }

    pub(super) const fn pod(&self) -> Option<CgroupId> {
        self.pod
    }

    /// Records the container's own stop signal, as the Pod source reports it.
    pub(super) const fn set_stop_signal(&mut self, signal: u32) {
        self.stop_signal = Some(signal);
    }

    /// Records that the Pod source reports the container's Pod as being deleted.
    pub(super) fn kill_begins(&mut self, since_boot_ns: u64) {
        self.sessions.kill_begins(since_boot_ns);
    }

    /// Exec session of the preStop hook, as in [`ExecSessions::pre_stop`].
    pub(super) fn pre_stop_session(&self) -> Option<ExecSession> {
        self.sessions.pre_stop()
    }

    pub(super) fn init(&self) -> Option<TaskKey> {
        self.init.as_ref().map(|init| init.key)
    }

    /// Takes in a second report of the same container: by the walk and by its own record.
    pub(super) fn reported_again(
        &mut self,
        pod: Option<CgroupId>,
        birth: Birth,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        self.pod = self.pod.or(pod);
        if birth.is_seen() && !self.birth.is_seen() && self.init.is_none() {
            // The birth was seen after all, and so were all execs in the container.
            self.birth = birth;
            self.accept_execs(index, out);
        }
    }

    /// Takes in a running process whose parent is outside its cgroup.
    pub(super) fn running(&mut self, running: &RunningTask, index: &CgroupIndex) {
        self.inhabited = true;
        self.staged |= self.init.is_none() && who::is_named_stage(&running.task.comm);
        let from_inside = index.container_of(running.parent_cgroup) == Some(self.id);
        if self.init.is_some() || from_inside || who::is_named_stage(&running.task.comm) {
            return;
        }
        let older = |(known, _): &(TaskKey, Comm)| {
            let key = |task: &TaskKey| (task.start_boot_ns, task.tgid);
            key(&running.task.key) < key(known)
        };
        if self.candidate.as_ref().is_none_or(older) {
            self.candidate = Some((running.task.key, running.task.comm));
        }
    }

    /// Concludes from the walk over all processes, which is complete.
    pub(super) fn walk_done(
        &mut self,
        tasks_read: bool,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        if self.init.is_some() || self.birth.is_seen() {
            return;
        }
        if self.candidate.is_some() {
            self.adopt_candidate(index, out);
        } else if tasks_read {
            self.accept_execs(index, out);
        } else if self.source == Source::Walk {
            self.source = Source::Nothing;
            self.early.clear();
        }
    }

    fn accept_execs(&mut self, index: &CgroupIndex, out: &mut Vec<Output>) {
        if self.source != Source::Exec {
            self.source = Source::Exec;
            self.replay_early(index, out);
        }
    }

    fn adopt_candidate(&mut self, index: &CgroupIndex, out: &mut Vec<Output>) {
        if let Some((key, comm)) = self.candidate.take() {
            self.set_init(key, &comm, key.start_boot_ns, true, index, out);
        }
    }

    fn set_init(
        &mut self,
        key: TaskKey,
        comm: &Comm,
        since_boot_ns: u64,
        before_agent: bool,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        self.init = Some(Init::new(key, since_boot_ns, before_agent));
        out.push(Output::SetInit { container: self.id, tgid: key.tgid });
        let is_pause = comm.bytes() == b"pause";
        let started = Started { init: key, before_agent, is_pause };
        self.fact(since_boot_ns, FactKind::Started(started), out);
        self.replay_early(index, out);
    }

    fn replay_early(&mut self, index: &CgroupIndex, out: &mut Vec<Output>) {
        for event in std::mem::take(&mut self.early) {
            self.event(&event, index, out);
        }
    }

    fn keep_early(&mut self, event: &Event) {
        if self.source == Source::Nothing {
            return;
        }
        if self.early.len() >= EARLY_MAX {
            self.early.pop_front();
            self.early_dropped = self.early_dropped.saturating_add(1);
        }
        self.early.push_back(event.clone());
    }

    /// Takes in an event of this container. [`EventKind::Oom`] goes to [`Self::oom`].
    pub(super) fn event(&mut self, event: &Event, index: &CgroupIndex, out: &mut Vec<Output>) {
        let time_boot_ns = event.time_boot_ns;
        match &event.kind {
            EventKind::Exec(exec) => self.exec(event, exec, index, out),
            EventKind::Signal(signal) => self.signal(event, signal, index, out),
            EventKind::Exit(exit) => self.exit(event, exit, out),
            EventKind::End(end) => self.end(event, end, out),
            EventKind::CgroupEmpty(cgroup) if *cgroup == self.id => {
                self.empty_boot_ns = self.empty_boot_ns.max(Some(time_boot_ns));
                self.inhabited = true;
                self.read_last(time_boot_ns, out);
            }
            EventKind::CgroupRemoved(cgroup) if *cgroup == self.id => {
                self.removed_boot_ns = self.removed_boot_ns.or(Some(time_boot_ns));
            }
            EventKind::CgroupEmpty(_)
            | EventKind::CgroupRemoved(_)
            | EventKind::CgroupMade(_)
            | EventKind::Oom(_) => {}
        }
    }

    fn exec(&mut self, event: &Event, exec: &Exec, index: &CgroupIndex, out: &mut Vec<Output>) {
        if index.container_of(exec.parent.cgroup) == Some(self.id) {
            return;
        }
        self.inhabited = true;
        let key = exec.task.key;
        match (self.init(), self.source) {
            (Some(init), _) if init == key => {}
            (Some(_), _) | (None, Source::Nothing) => self.sessions.insert(key, event.time_boot_ns),
            (None, Source::Walk) => self.keep_early(event),
            (None, Source::Exec) if who::is_stage(exec) => self.staged = true,
            (None, Source::Exec) => {
                self.set_init(key, &exec.task.comm, event.time_boot_ns, false, index, out);
            }
        }
    }

    fn signal(
        &mut self,
        event: &Event,
        signal: &Signal,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        if self.terminated {
            return;
        }
        let Some(init) = &mut self.init else { return self.keep_early(event) };
        let time_boot_ns = event.time_boot_ns;
        if init.key != signal.target.key || time_boot_ns < init.since_boot_ns {
            return;
        }
        let sender = who::sender_of(signal, self.id, index);
        let left = init.left_boot_ns();
        let facts = init.signals.take(time_boot_ns, signal, sender, left, self.stop_signal);
        let container = self.id;
        out.extend(facts.into_iter().map(|fact| Output::Fact { container, fact }));
    }

    fn exit(&mut self, event: &Event, exit: &Exit, out: &mut Vec<Output>) {
        self.inhabited = true;
        let time_boot_ns = event.time_boot_ns;
        let Some(init) = &mut self.init else { return self.keep_early(event) };
        if init.key != exit.task.key {
            return self.sessions.ended(exit.task.key, time_boot_ns);
        }
        let Exit { status, cpu_runtime_ns, .. } = *exit;
        init.exited(Left { time_boot_ns, status, cpu_runtime_ns });
        self.read_last(time_boot_ns, out);
    }

    fn end(&mut self, event: &Event, end: &End, out: &mut Vec<Output>) {
        self.inhabited = true;
        let time_boot_ns = event.time_boot_ns;
        let Some(init) = &mut self.init else { return self.keep_early(event) };
        if init.key != end.task.key {
            return self.sessions.ended(end.task.key, time_boot_ns);
        }
        let End { status, cpu_runtime_ns, .. } = *end;
        init.ended(Left { time_boot_ns, status, cpu_runtime_ns });
        // CPU time for freeing the memory, since the last thread's exit, counts as well.
        init.read_last = false;
        self.read_last(time_boot_ns, out);
    }

    /// Requests the cgroup's last counters: when init exits, since the runtime may remove the
    /// cgroup as soon as init has ended, and again when it has ended, if the cgroup still exists.
    fn read_last(&mut self, time_boot_ns: u64, out: &mut Vec<Output>) {
        let gone = self.terminated || self.removed_boot_ns.is_some();
        if let Some(init) = &mut self.init
            && !gone
            && !init.read_last
            && init.since_boot_ns <= time_boot_ns
        {
            init.read_last = true;
            out.push(Output::ReadLast { container: self.id });
        }
    }

    /// Takes in an OOM record whose victim is one of this container's processes.
    pub(super) fn oom(
        &mut self,
        time_boot_ns: u64,
        oom: &Oom,
        counters: &mut Counters,
        index: &CgroupIndex,
    ) {
        self.inhabited = true;
        let key = oom.victim.key;
        // A runtime stage of an exec session has not executed the session's program yet.
        let exec = self.sessions.contains(key)
            || (self.init.is_some() && who::is_named_stage(&oom.victim.comm));
        let scope_of = |level: CgroupId| {
            if index.container_of(level) == Some(self.id) {
                OomScope::Container
            } else if self.pod == Some(level) {
                OomScope::Pod
            } else {
                OomScope::Node
            }
        };
        self.ooms.take(time_boot_ns, oom, Victim { key, exec }, counters, scope_of);
    }

    fn settle_ooms(&mut self, now_boot_ns: Option<u64>, out: &mut Vec<Output>) {
        let (init, sessions) = (self.init(), &self.sessions);
        // Before the start, the death of any process makes the start fail.
        let starting = init.is_none() && self.source == Source::Exec;
        let settled = self.ooms.settle(now_boot_ns, |victim| {
            if starting || init == Some(victim.key) {
                OomVictim::Init
            } else if victim.exec || sessions.contains(victim.key) {
                OomVictim::Exec
            } else {
                OomVictim::Child
            }
        });
        for oom in settled {
            self.init_oom_killed |= oom.fact.victim == OomVictim::Init && !starting;
            self.fact(oom.time_boot_ns, FactKind::Oom(oom.fact), out);
        }
    }

    /// Time of init's end with the best record of it.
    fn death(&self) -> Option<(u64, EndSource)> {
        let init = self.init.as_ref()?;
        if let Some(end) = init.end_boot_ns() {
            return Some((end, EndSource::ParentNotified));
        }
        let empty = self.empty_boot_ns.filter(|time| *time >= init.since_boot_ns);
        let empty = empty.map(|time| (time, EndSource::CgroupEmpty));
        empty.or_else(|| self.removed_boot_ns.map(|time| (time, EndSource::CgroupRemoved)))
    }

    /// Deadline at which something of this container settles.
    pub(super) fn deadline(&self) -> Option<u64> {
        let death = self.death().filter(|_| !self.terminated).map(|(time, _)| time);
        let removed = self.removed_boot_ns.filter(|_| self.terminated || self.init.is_none());
        let settles = death.into_iter().chain(removed).map(|time| time.saturating_add(SETTLE_NS));
        settles.chain(self.ooms.deadline()).min()
    }

    /// Publishes what is settled at `now_boot_ns`, or with `None` all that has an end. Returns
    /// whether the container can be forgotten: it is removed, and all about it is published.
    pub(super) fn settle(
        &mut self,
        now_boot_ns: Option<u64>,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) -> bool {
        let due = |time: u64| now_boot_ns.is_none_or(|now| time.saturating_add(SETTLE_NS) <= now);
        let removed = self.removed_boot_ns.is_some_and(due);
        if removed && self.init.is_none() {
            self.adopt_candidate(index, out);
        }
        self.settle_ooms(now_boot_ns, out);
        if let Some((time, source)) = self.death()
            && !self.terminated
            && due(time)
        {
            self.settle_ooms(None, out);
            self.terminate(time, source, out);
        }
        if !removed {
            return false;
        }
        self.settle_ooms(None, out);
        // An existing container without init may have ended just before the agent started, and a
        // cgroup that never had a process belongs to a sandbox with processes elsewhere (gVisor).
        let start_seen = self.inhabited && (self.birth.is_seen() || self.staged);
        if let (None, true, Some(time)) = (&self.init, start_seen, self.removed_boot_ns) {
            self.fact(time, FactKind::StartFailed, out);
        }
        self.init.is_none() || self.terminated
    }

    fn terminate(&mut self, time_boot_ns: u64, end_source: EndSource, out: &mut Vec<Output>) {
        let Some(init) = &self.init else { return };
        let termination = init.termination(time_boot_ns, end_source, self.init_oom_killed);
        self.terminated = true;
        self.early.clear();
        self.fact(time_boot_ns, FactKind::Ended(termination), out);
    }

    /// The shutdown that is in progress, if there is one.
    pub(super) fn open_shutdown(&self) -> Option<OpenShutdown> {
        if self.terminated || self.death().is_some() {
            return None;
        }
        let (since_boot_ns, killed) = self.init.as_ref()?.signals.open()?;
        Some(OpenShutdown { since_boot_ns, killed })
    }

    fn fact(&self, time_boot_ns: u64, kind: FactKind, out: &mut Vec<Output>) {
        out.push(Output::Fact { container: self.id, fact: Fact { time_boot_ns, kind } });
    }
}
