//! Search for a container's init: the process that was first in its cgroup, with or without an exec.
//!
//! A runtime starts a container by an exec in a new cgroup. But a process that is restored from a
//! checkpoint never executes, nor does the one in which a wasm shim runs its program, and the first
//! exec is then that of a probe. No record tells that a process enters a cgroup, so the owner is
//! asked who is there: at the first exec, unless that is a start beyond doubt, and where there was
//! none a while after the creation.

use std::collections::VecDeque;

use super::subject::Birth;
use super::who::{self, CgroupIndex};
use crate::cgroup::CgroupId;
use crate::event::{Comm, Event, EventKind, Exec, ExitStatus, RunningTask, Task, TaskKey};

/// Limit of events that wait until init is known.
const EARLY_MAX: usize = 32;
/// Ages of a container without init at which the owner is asked who is there. By the first a
/// runtime has executed the program in all but extreme cases; what still has a stage's name at the
/// second most likely runs the program itself, unless that is no stage's way.
const LOOKS_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];
/// Time after a look in which an exec may come that was under way: the kernel gives the process its
/// new name first (fs/exec.c, `begin_new_exec`), and its record may be unread.
const EXECUTES_NS: u64 = 1_000_000_000;
/// Longest time for which a stage is waited for.
const STAGE_NS: u64 = 60_000_000_000;
/// Looks fall on multiples of this time, so that one walk over the processes serves many.
const LOOK_STEP_NS: u64 = 250_000_000;

/// Source from which init becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A new container: the first process in it.
    New,
    /// A container older than the agent: the walk over all processes.
    Walk,
    /// A container older than the agent whose processes could not be read: a later exec is most
    /// likely that of an exec session.
    Nothing,
}

/// A process that was found to be init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: TaskKey,
    pub(super) comm: Comm,
    /// Time since which it is init.
    pub(super) since_boot_ns: u64,
    pub(super) before_agent: bool,
    /// Time until which it may show that it was about to execute: it was found without an exec, in the
    /// midst of one perhaps, or with the name of a stage that runs some programs itself and executes
    /// others. `None` if it has executed, or is older than the agent.
    pub(super) may_execute_until: Option<u64>,
}

/// The meaning of an exec while init is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Init's own.
    Init(Found),
    /// Exec of a stage of the runtime.
    Stage,
    /// Most likely that of an exec session.
    Session,
    /// Not known yet: the event waits.
    Waits,
    /// The same, and the owner is asked who is there.
    Look,
}

/// The search in one container. Events that wait for its result are kept here.
#[derive(Debug)]
pub(super) struct Search {
    birth: Birth,
    source: Source,
    /// The oldest running process whose parent is outside the container.
    candidate: Option<(TaskKey, Comm)>,
    /// Whether a stage of the runtime was seen.
    staged: bool,
    /// Whether an exec waits for the owner's answer.
    asked: bool,
    /// Number of looks at their time so far.
    looks: usize,
    early: VecDeque<Event>,
    early_dropped: u64,
}

impl Search {
    pub(super) fn new(birth: Birth) -> Self {
        Self {
            birth,
            source: if birth.is_seen() { Source::New } else { Source::Walk },
            candidate: None,
            staged: false,
            asked: false,
            looks: 0,
            early: VecDeque::new(),
            early_dropped: 0,
        }
    }

    pub(super) const fn birth(&self) -> Birth {
        self.birth
    }

    /// Whether the container's start is under way as far as it is seen.
    pub(super) fn is_starting(&self) -> bool {
        self.source == Source::New
    }

    /// Whether a start of the container was seen, though init was not.
    pub(super) const fn start_was_seen(&self) -> bool {
        self.birth.is_seen() || self.staged
    }

    /// Total of events that found no room.
    pub(super) const fn early_dropped(&self) -> u64 {
        self.early_dropped
    }

    /// Events that have waited, the oldest first.
    pub(super) fn take_early(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.early)
    }

    /// Keeps an event until init is known.
    pub(super) fn keep_early(&mut self, event: &Event) {
        if self.source == Source::Nothing {
            return;
        }
        if self.early.len() >= EARLY_MAX {
            self.early.pop_front();
            self.early_dropped = self.early_dropped.saturating_add(1);
        }
        self.early.push_back(event.clone());
    }

    /// The birth was seen after all, and so was all that came after it. Returns whether the events
    /// that wait are to be taken in again.
    pub(super) fn born(&mut self, birth: Birth) -> bool {
        if !birth.is_seen() || self.birth.is_seen() {
            return false;
        }
        self.birth = birth;
        self.accept()
    }

    fn accept(&mut self) -> bool {
        let again = self.source != Source::New;
        self.source = Source::New;
        again
    }

    /// Takes in a running process whose parent is outside its cgroup.
    pub(super) fn running(&mut self, running: &RunningTask, from_inside: bool) {
        let Task { key, comm, .. } = running.task;
        self.staged |= who::is_named_stage(&comm);
        if from_inside || who::is_named_stage(&comm) {
            return;
        }
        if self.candidate.is_none_or(|(known, _)| age(&key) < age(&known)) {
            self.candidate = Some((key, comm));
        }
    }

    /// Concludes from the walk over all processes, which is complete. Returns init, and whether the
    /// events that wait are to be taken in again.
    pub(super) fn walk_done(&mut self, tasks_read: bool) -> (Option<Found>, bool) {
        if self.birth.is_seen() {
            return (None, false);
        }
        if let Some(found) = self.take_candidate() {
            return (Some(found), false);
        }
        if tasks_read {
            return (None, self.accept());
        }
        if self.source == Source::Walk {
            self.source = Source::Nothing;
            self.early.clear();
        }
        (None, false)
    }

    fn take_candidate(&mut self) -> Option<Found> {
        let (key, comm) = self.candidate.take()?;
        let before_agent = !self.birth.is_seen();
        let since_boot_ns = key.start_boot_ns;
        Some(Found { key, comm, since_boot_ns, before_agent, may_execute_until: None })
    }

    /// Judges an exec of a process whose parent is outside the container.
    pub(super) fn exec(&mut self, event: &Event, exec: &Exec) -> Verdict {
        match self.source {
            Source::Nothing => return Verdict::Session,
            Source::Walk => {}
            Source::New if who::is_stage(exec) => {
                self.staged = true;
                return Verdict::Stage;
            }
            Source::New if self.asked => {}
            Source::New if who::is_start(exec, self.birth) => {
                return Verdict::Init(executed(event, exec));
            }
            Source::New => {
                self.asked = true;
                self.keep_early(event);
                return Verdict::Look;
            }
        }
        self.keep_early(event);
        Verdict::Waits
    }

    /// Takes in the owner's answer: the running processes with parents outside their cgroups.
    pub(super) fn looked(
        &mut self,
        container: CgroupId,
        running: &[RunningTask],
        index: &CgroupIndex,
    ) -> Option<Found> {
        if self.source != Source::New {
            return None;
        }
        let asked = std::mem::take(&mut self.asked);
        let stages_count = !asked && self.looks >= LOOKS_NS.len();
        let mut oldest = None;
        for task in entered(container, running, index) {
            let is_stage = who::may_be_stage(&task.comm);
            self.staged |= is_stage;
            let older = oldest.is_none_or(|known: Task| age(&task.key) < age(&known.key));
            let counts = !is_stage || (stages_count && !who::always_executes(&task.comm));
            if older && counts {
                oldest = Some(*task);
            }
        }
        let executed = self.early.iter().filter(|_| asked).find_map(|event| match &event.kind {
            EventKind::Exec(exec) if !who::is_stage(exec) => Some(executed(event, exec)),
            _ => None,
        });
        match (executed, oldest) {
            (Some(found), Some(task)) if age(&task.key) < age(&found.key) => {
                Some(self.there(&task))
            }
            (Some(found), _) => Some(found),
            (None, task) => task.map(|task| self.there(&task)),
        }
    }

    /// A process that was there without an exec.
    fn there(&self, task: &Task) -> Found {
        let (start, since) = (task.key.start_boot_ns, self.birth.since_boot_ns());
        let before_agent = !self.birth.is_seen() && start < since;
        let since_boot_ns = if before_agent { start } else { start.max(since) };
        let wait_ns = if who::may_be_stage(&task.comm) {
            STAGE_NS
        } else {
            let looked = self.looks.checked_sub(1).and_then(|looks| LOOKS_NS.get(looks));
            looked.copied().unwrap_or(0).saturating_add(LOOK_STEP_NS).saturating_add(EXECUTES_NS)
        };
        let may_execute_until = Some(since.saturating_add(wait_ns)).filter(|_| !before_agent);
        Found { key: task.key, comm: task.comm, since_boot_ns, before_agent, may_execute_until }
    }

    /// Init of a container that is gone before it was found: a process that was running at the last
    /// walk, or one that never executed and ended well. A start that fails ends otherwise.
    pub(super) fn gone(&mut self) -> Option<Found> {
        if let Some(found) = self.take_candidate() {
            return Some(found);
        }
        if self.source != Source::New {
            return None;
        }
        let ended_well = self.early.iter().filter_map(|event| match &event.kind {
            EventKind::Exit(exit) => Some((&exit.task, exit.status)),
            EventKind::End(end) => Some((&end.task, end.status)),
            _ => None,
        });
        let is_init =
            |task: &Task| who::is_last_stage(&task.comm) || !who::may_be_stage(&task.comm);
        let ended_well = ended_well
            .filter(|(task, status)| *status == ExitStatus::Code(0) && is_init(task))
            .map(|(task, _)| *task);
        ended_well.min_by_key(|task| age(&task.key)).map(|task| self.there(&task))
    }

    /// Time of the next look, `CLOCK_BOOTTIME`.
    pub(super) fn deadline(&self) -> Option<u64> {
        let age_ns = *LOOKS_NS.get(self.looks).filter(|_| self.source == Source::New)?;
        let due = self.birth.since_boot_ns().saturating_add(age_ns);
        Some(due.checked_next_multiple_of(LOOK_STEP_NS).unwrap_or(u64::MAX))
    }

    /// Records that the owner is asked at [`Self::deadline`].
    pub(super) const fn look(&mut self) {
        self.looks = self.looks.saturating_add(1);
    }
}

/// Processes of a container whose parents are outside of it.
pub(super) fn entered<'a>(
    container: CgroupId,
    running: &'a [RunningTask],
    index: &CgroupIndex,
) -> impl Iterator<Item = &'a Task> {
    let is_in = move |cgroup| index.container_of(cgroup) == Some(container);
    running
        .iter()
        .filter(move |running| is_in(running.task.cgroup) && !is_in(running.parent_cgroup))
        .map(|running| &running.task)
}

/// Order of processes by their start.
pub(super) const fn age(key: &TaskKey) -> (u64, u32) {
    (key.start_boot_ns, key.tgid)
}

fn executed(event: &Event, exec: &Exec) -> Found {
    let Task { key, comm, .. } = exec.task;
    let since_boot_ns = event.time_boot_ns;
    Found { key, comm, since_boot_ns, before_agent: false, may_execute_until: None }
}
