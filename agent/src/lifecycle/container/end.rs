//! The end of a container: when it has ended, what has to be asked before, and what is told of it.

use std::cell::Cell;

use super::{Container, Question};
use crate::event::ExitStatus;
use crate::lifecycle::fact::{EndSource, FactKind, OomVictim};
use crate::lifecycle::output::Output;
use crate::lifecycle::settle::SETTLE_NS;
use crate::lifecycle::who::CgroupIndex;

impl Container {
    fn settle_ooms(&mut self, now_boot_ns: Option<u64>, out: &mut Vec<Output>) {
        let (init, sessions) = (self.init(), &self.sessions);
        let failed = self.failed.as_ref().map(|it| it.key);
        // Before the start, the death of any process makes the start fail.
        let starting = init.is_none() && self.search.is_starting();
        let (init_killed, failed_killed) = (Cell::new(false), Cell::new(false));
        let settled = self.ooms.settle(now_boot_ns, |victim| {
            if init == Some(victim.key) {
                init_killed.set(true);
                OomVictim::Init
            } else if failed == Some(victim.key) {
                failed_killed.set(true);
                OomVictim::Init
            } else if starting {
                OomVictim::Init
            } else if victim.exec || sessions.contains(victim.key) {
                OomVictim::Exec
            } else {
                OomVictim::Child
            }
        });
        if let Some(init) = &mut self.init {
            init.oom_killed |= init_killed.get();
        }
        if let Some(failed) = &mut self.failed {
            failed.oom_killed |= failed_killed.get();
        }
        for oom in settled {
            self.fact(oom.time_boot_ns, FactKind::Oom(oom.fact), out);
        }
    }

    /// Time of the end with the best record of it.
    pub(super) fn death(&self) -> Option<(u64, EndSource)> {
        let init = self.init.as_ref()?;
        let empty = self.empty_boot_ns.filter(|time| *time >= init.since_boot_ns);
        let empty = empty.map(|time| (time, EndSource::CgroupEmpty));
        let removed = self.removed_boot_ns.map(|time| (time, EndSource::CgroupRemoved));
        let Some(end) = init.end_boot_ns() else {
            let gone = self.presumed_gone || removed.is_some() || init.left_boot_ns().is_some();
            return empty.filter(|_| gone).or(removed);
        };
        let by_init = Some((end, EndSource::ParentNotified));
        if !self.is_unit {
            return by_init;
        }
        // Other processes of a unit may remain.
        let last = empty.or(removed)?;
        if last.0 <= end.saturating_add(SETTLE_NS) { by_init } else { Some(last) }
    }

    /// The question that the owner has to be asked, and when.
    fn question(&self) -> Option<(u64, Question)> {
        let init = self.init.as_ref().filter(|_| !self.terminated)?;
        if self.death().is_some() {
            return None;
        }
        let (since, question) = match (init.end_boot_ns(), self.empty_boot_ns) {
            // A daemon's parent leaves with success; what a failed process leaves is not the main.
            (Some(end), _) => (end, Question::Remaining(init.key)),
            (None, Some(empty)) if empty >= init.since_boot_ns => (empty, Question::Moved(empty)),
            (None, _) => return None,
        };
        let succeeded = init.status() == Some(ExitStatus::Code(0));
        let asks = match question {
            Question::Remaining(_) => succeeded && self.may_be_followed(u64::MAX),
            Question::Moved(_) => true,
        };
        let due = (since.saturating_add(SETTLE_NS), question);
        (asks && self.asked != Some(question)).then_some(due)
    }

    /// Deadline at which something of this container settles.
    pub(in crate::lifecycle) fn deadline(&self) -> Option<u64> {
        let death = self.death().filter(|_| !self.terminated).map(|(time, _)| time);
        let removed = self.removed_boot_ns.filter(|_| self.terminated || self.init.is_none());
        let settles = death.into_iter().chain(removed).map(|time| time.saturating_add(SETTLE_NS));
        let question = self.question().map(|(due, _)| due);
        settles.chain(self.ooms.deadline()).chain(question).chain(self.search_deadline()).min()
    }

    fn search_deadline(&self) -> Option<u64> {
        let searching = self.init.is_none() && self.removed_boot_ns.is_none();
        self.search.deadline().filter(|_| searching)
    }

    /// Asks the owner who is there, where it is time.
    fn ask(&mut self, now_boot_ns: u64, out: &mut Vec<Output>) {
        let searches = self.search_deadline().is_some_and(|due| due <= now_boot_ns);
        if searches {
            self.search.look();
        }
        let question = self.question().filter(|(due, _)| *due <= now_boot_ns);
        if let Some((_, question)) = question {
            self.asked = Some(question);
        }
        if searches || question.is_some() {
            out.push(Output::Look { container: self.id });
        }
    }

    /// Publishes what is settled at `now_boot_ns`, or with `None` all that has an end. Returns
    /// whether the container can be forgotten: it is removed, and all about it is published.
    pub(in crate::lifecycle) fn settle(
        &mut self,
        now_boot_ns: Option<u64>,
        index: &CgroupIndex,
        out: &mut Vec<Output>,
    ) -> bool {
        if let Some(now_boot_ns) = now_boot_ns {
            self.ask(now_boot_ns, out);
        }
        let due = |time: u64| now_boot_ns.is_none_or(|now| time.saturating_add(SETTLE_NS) <= now);
        let removed = self.removed_boot_ns.is_some_and(due);
        if removed
            && self.init.is_none()
            && let Some(found) = self.search.gone()
        {
            self.set_init(found, index, out);
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
        let start_seen = self.inhabited && self.search.start_was_seen();
        if let (None, true, Some(time)) = (&self.init, start_seen, self.removed_boot_ns) {
            self.fact(time, FactKind::StartFailed, out);
        }
        self.init.is_none() || self.terminated
    }

    fn terminate(&mut self, time_boot_ns: u64, end_source: EndSource, out: &mut Vec<Output>) {
        let Some(mut main) = self.init.take() else { return };
        // The longer-lived of two was the main one.
        let other = self.failed.take().filter(|it| it.lived_ns() > main.lived_ns());
        let mut failed = other.map(|it| *it);
        let ended = failed.as_mut().unwrap_or(&mut main);
        // What a daemon's parent left behind ended later, and unseen.
        let outlived = ended.end_boot_ns().is_some_and(|end| {
            end.saturating_add(SETTLE_NS) < time_boot_ns
                && ended.status() == Some(ExitStatus::Code(0))
                && !ended.signals.is_stopping()
        });
        let status = ended.status().filter(|_| !outlived);
        let facts = ended.signals.ended(time_boot_ns, status, ended.oom_killed, &self.reported);
        let termination = ended.termination(time_boot_ns, end_source, !outlived);
        self.init = Some(main);
        self.terminated = true;
        self.facts(facts, out);
        self.fact(time_boot_ns, FactKind::Ended(termination), out);
    }
}
