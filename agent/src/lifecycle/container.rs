//! Container instances, each from its cgroup's birth to its removal.

mod end;
mod start;

use super::fact::{Fact, FactKind, OomScope, OomTrigger};
use super::init::{Init, Left};
use super::oom::{Counters, Ooms, Victim};
use super::output::{OpenShutdown, Output};
use super::request::{Deletion, Reported};
use super::search::{Found, Search, Verdict};
use super::session::{ExecSession, ExecSessions, SessionBegin, SessionEnd};
use super::subject::Birth;
use super::who::{self, CgroupIndex};
use crate::cgroup::CgroupId;
use crate::event::{End, Event, EventKind, Exec, Exit, Oom, Signal, TaskKey};

/// State machine of one container instance, or in host mode of a unit.
#[derive(Debug)]
pub(super) struct Container {
    id: CgroupId,
    pod: Option<CgroupId>,
    /// Whether it is a unit that is no container. Its main process may follow others
    /// (`ExecStartPre=`, the parent of a forking daemon), and it ends when its cgroup is empty.
    is_unit: bool,
    search: Search,
    init: Option<Init>,
    /// Init's start, not told yet: see [`Found::may_execute_until`].
    held: Option<Found>,
    /// The longest-lived of the unit's former main processes that failed or were stopped.
    before: Option<Box<Init>>,
    /// Main process of a unit after which nobody was left.
    alone: Option<TaskKey>,
    /// Whether a process, of the runtime or of the image, has been in the cgroup.
    inhabited: bool,
    sessions: ExecSessions,
    reported: Reported,
    ooms: Ooms,
    empty_boot_ns: Option<u64>,
    /// Whether init is gone, though no record of it came.
    presumed_gone: bool,
    /// The process or the emptiness about which the owner was asked last.
    asked: Option<Question>,
    removed_boot_ns: Option<u64>,
    terminated: bool,
}

/// A question to the owner, about a cgroup whose init is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Question of who remains in a unit whose main process has ended.
    Remaining(TaskKey),
    /// Question of whether init runs, though its cgroup was empty at this time and no record tells
    /// of its exit.
    Moved(u64),
}

impl Container {
    pub(super) fn new(id: CgroupId, pod: Option<CgroupId>, birth: Birth, is_unit: bool) -> Self {
        Self {
            id,
            pod,
            is_unit,
            search: Search::new(birth),
            init: None,
            held: None,
            before: None,
            alone: None,
            inhabited: false,
            sessions: ExecSessions::default(),
            reported: Reported::default(),
            ooms: Ooms::default(),
            empty_boot_ns: None,
            presumed_gone: false,
            asked: None,
            removed_boot_ns: None,
            terminated: false,
        }
    }

    /// Total of events that came before init was known and found no room.
    pub(super) const fn early_dropped(&self) -> u64 {
        self.search.early_dropped()
    }

    /// Total of exec sessions that were forgotten for want of room.
    pub(super) const fn sessions_dropped(&self) -> u64 {
        self.sessions.dropped()
    }

    pub(super) const fn id(&self) -> CgroupId {
        self.id
    }

    pub(super) const fn birth(&self) -> Birth {
        self.search.birth()
    }

    pub(super) const fn pod(&self) -> Option<CgroupId> {
        self.pod
    }

    /// Records the container's own stop signal, as the Pod source reports it.
    pub(super) fn set_stop_signal(&mut self, signal: u32, out: &mut Vec<Output>) {
        self.reported.stop_signal = Some(signal);
        self.reported_now(out);
    }

    /// Notes that records were lost until then.
    pub(super) fn records_lost(&mut self, now_boot_ns: u64) {
        for init in self.init.iter_mut().chain(self.before.as_deref_mut()) {
            init.signals.records_lost(now_boot_ns);
        }
    }

    /// Records the longest grace period of the container's spec.
    pub(super) const fn set_grace_period(&mut self, grace_ns: u64) {
        self.reported.grace_ns = Some(grace_ns);
    }

    /// Records that the Pod source reports the container's Pod as being deleted, or with `None`
    /// that it is not, after all.
    pub(super) fn set_deletion(&mut self, deletion: Option<Deletion>, out: &mut Vec<Output>) {
        self.reported.deletion = match (self.reported.deletion, deletion) {
            (Some(known), Some(_)) => Some(known),
            (_, deletion) => deletion,
        };
        match deletion {
            Some(deletion) => self.sessions.kill_begins(deletion.since_boot_ns),
            None => self.sessions.no_kill(),
        }
        self.reported_now(out);
    }

    fn reported_now(&mut self, out: &mut Vec<Output>) {
        if self.terminated {
            return;
        }
        let Some(init) = &mut self.init else { return };
        let facts = init.signals.reported(&self.reported);
        self.facts(facts, out);
    }

    /// Exec session of the preStop hook, as in [`ExecSessions::pre_stop`].
    pub(super) fn pre_stop_session(&self) -> Option<ExecSession> {
        self.sessions.pre_stop()
    }

    pub(super) fn init(&self) -> Option<TaskKey> {
        self.init.as_ref().map(|init| init.key)
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
        let (key, time_boot_ns) = (exec.task.key, event.time_boot_ns);
        match self.init() {
            Some(init) if init == key => self.init_executed(event, exec, out),
            Some(_) if self.may_be_followed(time_boot_ns) => {
                self.follow(Init::new(key, time_boot_ns, false), out);
            }
            Some(_) => self.session(event, exec, out),
            None => match self.search.exec(event, exec) {
                Verdict::Init(found) => self.set_init(found, index, out),
                Verdict::Session => self.session(event, exec, out),
                Verdict::Look => out.push(Output::Look { container: self.id }),
                Verdict::Stage | Verdict::Waits => {}
            },
        }
    }

    /// Takes in the exec of a process that comes into the running container.
    fn session(&mut self, event: &Event, exec: &Exec, out: &mut Vec<Output>) {
        let (key, exec_boot_ns) = (exec.task.key, event.time_boot_ns);
        // Nothing is executed in a container that has not started.
        self.tell_start(out);
        if self.sessions.insert(key, exec_boot_ns) && !who::is_stage(exec) {
            let begin = SessionBegin { key, exec_boot_ns, argv: exec.argv.clone() };
            out.push(Output::SessionBegan { container: self.id, begin });
        }
    }

    /// Takes in the exit or the end of a process that is not init.
    fn session_ended(&mut self, end: SessionEnd, out: &mut Vec<Output>) {
        if self.sessions.ended(end.key, end.time_boot_ns) {
            out.push(Output::SessionEnded { container: self.id, end });
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
        let Some(init) = &mut self.init else { return self.search.keep_early(event) };
        let time_boot_ns = event.time_boot_ns;
        if init.key != signal.target.key || time_boot_ns < init.since_boot_ns {
            return;
        }
        let sender = who::sender_of(signal, self.id, index);
        let left = init.left_boot_ns();
        let facts = init.signals.take(time_boot_ns, signal, sender, left, &self.reported);
        if !facts.is_empty() {
            self.tell_start(out);
        }
        self.facts(facts, out);
    }

    fn exit(&mut self, event: &Event, exit: &Exit, out: &mut Vec<Output>) {
        self.inhabited = true;
        let time_boot_ns = event.time_boot_ns;
        let Some(init) = &mut self.init else { return self.search.keep_early(event) };
        let Exit { status, cpu_runtime_ns, .. } = *exit;
        if init.key != exit.task.key {
            let key = exit.task.key;
            let cpu_ns = cpu_runtime_ns.saturating_add(exit.children_cpu_ns);
            // What ends with the container stays nowhere.
            let left_behind = if init.left_boot_ns().is_none() { exit.children } else { 0 };
            let end = SessionEnd { key, time_boot_ns, status, cpu_ns, left_behind, settled: false };
            return self.session_ended(end, out);
        }
        init.exited(Left { time_boot_ns, status, cpu_runtime_ns });
        self.read_last(time_boot_ns, out);
    }

    fn end(&mut self, event: &Event, end: &End, out: &mut Vec<Output>) {
        self.inhabited = true;
        let time_boot_ns = event.time_boot_ns;
        let Some(init) = &mut self.init else { return self.search.keep_early(event) };
        let End { status, cpu_runtime_ns, .. } = *end;
        if init.key != end.task.key {
            let key = end.task.key;
            let cpu_ns = cpu_runtime_ns.saturating_add(end.children_cpu_ns);
            // Its children have a new parent by now.
            let left_behind = 0;
            let end = SessionEnd { key, time_boot_ns, status, cpu_ns, left_behind, settled: true };
            return self.session_ended(end, out);
        }
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
        triggered_by: OomTrigger,
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
        let victim = Victim { key, exec };
        self.ooms.take(time_boot_ns, oom, (victim, triggered_by), counters, scope_of);
    }

    /// The shutdown that is in progress, if there is one.
    pub(super) fn open_shutdown(&self, now_boot_ns: u64) -> Option<OpenShutdown> {
        if self.terminated || self.death().is_some() {
            return None;
        }
        let (since_boot_ns, killed) =
            self.init.as_ref()?.signals.open(now_boot_ns, &self.reported)?;
        Some(OpenShutdown { since_boot_ns, killed })
    }

    fn facts(&self, facts: Vec<Fact>, out: &mut Vec<Output>) {
        let container = self.id;
        out.extend(facts.into_iter().map(|fact| Output::Fact { container, fact }));
    }

    fn fact(&self, time_boot_ns: u64, kind: FactKind, out: &mut Vec<Output>) {
        out.push(Output::Fact { container: self.id, fact: Fact { time_boot_ns, kind } });
    }
}
