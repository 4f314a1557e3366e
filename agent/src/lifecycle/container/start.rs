//! Start of a container: which process is its init, and when its start is told.

use super::{Container, Question};
use crate::cgroup::CgroupId;
use crate::event::{Event, Exec, RunningTask};
use crate::lifecycle::fact::{FactKind, Started};
use crate::lifecycle::init::Init;
use crate::lifecycle::output::Output;
use crate::lifecycle::search::{self, Found};
use crate::lifecycle::subject::Birth;
use crate::lifecycle::who::{self, CgroupIndex};

impl Container {
    /// Takes in a second report of the same container: by the walk and by its own record.
    pub(in crate::lifecycle) fn reported_again(
        &mut self,
        pod: Option<CgroupId>,
        birth: Birth,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        self.pod = self.pod.or(pod);
        if self.init.is_none() && self.search.born(birth) {
            self.replay_early(index, out);
        }
    }

    /// Takes in a running process whose parent is outside its cgroup.
    pub(in crate::lifecycle) fn running(&mut self, running: &RunningTask, index: &CgroupIndex) {
        self.inhabited = true;
        if self.init.is_none() {
            let from_inside = index.container_of(running.parent_cgroup) == Some(self.id);
            self.search.running(running, from_inside);
        }
    }

    /// Concludes from the walk over all processes, which is complete.
    pub(in crate::lifecycle) fn walk_done(
        &mut self,
        tasks_read: bool,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        if self.init.is_some() {
            return;
        }
        match self.search.walk_done(tasks_read) {
            (Some(found), _) => self.set_init(found, index, out),
            (None, true) => self.replay_early(index, out),
            (None, false) => {}
        }
    }

    /// Takes in the owner's answer to [`Output::Look`].
    pub(in crate::lifecycle) fn looked(
        &mut self,
        (running, tasks_read): (&[RunningTask], bool),
        records_complete: bool,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) {
        let here = || search::entered(self.id, running, index);
        self.inhabited |= here().next().is_some();
        let Some(init) = &self.init else {
            if let Some(found) = self.search.looked(self.id, running, index) {
                self.set_init(found, index, out);
            }
            return;
        };
        match self.asked {
            Some(Question::Remaining(key)) if key == init.key && self.may_be_followed(u64::MAX) => {
                let others =
                    here().filter(|task| task.key != init.key && !who::is_named_stage(&task.comm));
                match others.min_by_key(|task| search::age(&task.key)).map(|task| task.key) {
                    Some(key) => self.follow(Init::new(key, key.start_boot_ns, false), out),
                    None => self.alone = tasks_read.then_some(key),
                }
            }
            Some(Question::Moved(empty)) if Some(empty) == self.empty_boot_ns => {
                if running.iter().any(|running| running.task.key == init.key) {
                    self.empty_boot_ns = None;
                } else {
                    // Where no record can be missing it runs out of sight, and its cgroup's removal
                    // is the next that will be known of it.
                    self.presumed_gone = !records_complete;
                }
            }
            Some(Question::Remaining(_) | Question::Moved(_)) | None => {}
        }
    }

    /// Whether another process may take the place of the main one, which has ended by then.
    pub(super) fn may_be_followed(&self, time_boot_ns: u64) -> bool {
        let left = self.init.as_ref().and_then(Init::left_boot_ns);
        self.is_unit && !self.terminated && left.is_some_and(|left| left <= time_boot_ns)
    }

    /// Takes another process for the main one of a unit. One before it that failed or was stopped is
    /// kept: its follower may be an `ExecStopPost=`.
    pub(super) fn follow(&mut self, next: Init, out: &mut Vec<Output>) {
        let Some(former) = self.init.replace(next) else { return };
        let longest_ns = self.before.as_ref().and_then(|known| known.lived_ns());
        let was_main = !former.succeeded() || former.signals.is_stopping();
        if was_main && longest_ns < former.lived_ns() {
            self.before = Some(Box::new(former));
        }
        self.announce_init(out);
    }

    fn announce_init(&self, out: &mut Vec<Output>) {
        if let Some(init) = &self.init {
            out.push(Output::SetInit { container: self.id, tgid: init.key.tgid });
        }
    }

    pub(super) fn set_init(&mut self, found: Found, index: &CgroupIndex, out: &mut Vec<Output>) {
        self.init = Some(Init::new(found.key, found.since_boot_ns, found.before_agent));
        self.announce_init(out);
        self.held = Some(found);
        if found.may_execute_until.is_none() {
            self.tell_start(out);
        }
        self.replay_early(index, out);
    }

    /// Tells init's start, if that is held back.
    pub(super) fn tell_start(&mut self, out: &mut Vec<Output>) {
        let Some(Found { key, comm, since_boot_ns, before_agent, .. }) = self.held.take() else {
            return;
        };
        let is_pause = comm.bytes() == b"pause";
        let started = Started { init: key, before_agent, is_pause };
        self.fact(since_boot_ns, FactKind::Started(started), out);
    }

    /// Init was a stage, or about to execute: the container's program runs from this exec on.
    pub(super) fn init_executed(&mut self, event: &Event, exec: &Exec, out: &mut Vec<Output>) {
        let Some(held) = self.held.as_mut().filter(|_| !who::is_stage(exec)) else { return };
        held.comm = exec.task.comm;
        held.since_boot_ns = event.time_boot_ns;
        held.before_agent = false;
        self.init = Some(Init::new(held.key, held.since_boot_ns, false));
        self.tell_start(out);
    }

    /// Time at which a start that is held back is told.
    pub(super) fn held_deadline(&self) -> Option<u64> {
        self.held.and_then(|held| held.may_execute_until)
    }

    fn replay_early(&mut self, index: &CgroupIndex, out: &mut Vec<Output>) {
        for event in self.search.take_early() {
            self.event(&event, index, out);
        }
    }
}
