//! The end of a container: when it has ended, what has to be asked before, and which facts follow.

use std::cell::Cell;

use super::{Container, Question};
use crate::lifecycle::fact::{EndSource, FactKind, OomVictim};
use crate::lifecycle::output::Output;
use crate::lifecycle::settle::SETTLE_NS;
use crate::lifecycle::who::CgroupIndex;

/// Time that the service manager has to start a unit's next process after the last one, if it does
/// not remove the cgroup, and nobody has asked it to stop the unit.
const NEXT_NS: u64 = 2_000_000_000;
/// Time that the service manager has to end what a unit's main process leaves behind
/// (`DefaultTimeoutStopSec=`). With `KillMode=process` it stays.
const LEFT_OVER_NS: u64 = 90_000_000_000;
/// Longest life of a command that cleans up after a unit's main process (`ExecStopPost=`).
const BRIEF_NS: u64 = 10_000_000_000;

/// The end of a container, and when it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    time_boot_ns: u64,
    source: EndSource,
    due_boot_ns: u64,
}

impl Death {
    const fn new((time_boot_ns, source): (u64, EndSource), due_boot_ns: u64) -> Self {
        Self { time_boot_ns, source, due_boot_ns }
    }

    const fn settled(end: (u64, EndSource)) -> Self {
        Self::new(end, end.0.saturating_add(SETTLE_NS))
    }
}

impl Container {
    fn settle_ooms(&mut self, now_boot_ns: Option<u64>, out: &mut Vec<Output>) {
        let (init, sessions) = (self.init(), &self.sessions);
        let before = self.before.as_ref().map(|it| it.key);
        // Before the start, the death of any process makes the start fail.
        let starting = init.is_none() && self.search.is_starting();
        let (init_killed, before_killed) = (Cell::new(false), Cell::new(false));
        let settled = self.ooms.settle(now_boot_ns, |victim| {
            if init == Some(victim.key) {
                init_killed.set(true);
                OomVictim::Init
            } else if before == Some(victim.key) {
                before_killed.set(true);
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
        if let Some(before) = &mut self.before {
            before.oom_killed |= before_killed.get();
        }
        for oom in settled {
            self.fact(oom.time_boot_ns, FactKind::Oom(oom.fact), out);
        }
    }

    /// The end with the best record of it.
    pub(super) fn death(&self) -> Option<Death> {
        let init = self.init.as_ref()?;
        let empty = self.empty_boot_ns.filter(|time| *time >= init.since_boot_ns);
        let empty = empty.map(|time| (time, EndSource::CgroupEmpty));
        let removed = self.removed_boot_ns.map(|time| (time, EndSource::CgroupRemoved));
        let Some(end_boot_ns) = init.end_boot_ns() else {
            let gone = self.presumed_gone || removed.is_some() || init.left_boot_ns().is_some();
            return empty.filter(|_| gone).or(removed).map(Death::settled);
        };
        let by_init = (end_boot_ns, EndSource::ParentNotified);
        if !self.is_unit {
            return Some(Death::settled(by_init));
        }
        // Other processes of a unit may remain, and others may follow.
        let alone = (self.alone == Some(init.key)).then_some(by_init);
        let Some(last) = alone.or(empty).or(removed) else {
            let is_main = init.signals.is_stopping() || !init.succeeded();
            return is_main.then(|| Death::new(by_init, end_boot_ns.saturating_add(LEFT_OVER_NS)));
        };
        let late = last.0 > end_boot_ns.saturating_add(SETTLE_NS);
        let last = if late { last } else { by_init };
        Some(match self.removed_boot_ns {
            Some(removed) => Death::new(last, removed.max(last.0).saturating_add(SETTLE_NS)),
            None if init.signals.is_stopping() => Death::settled(last),
            None => Death::new(last, last.0.saturating_add(NEXT_NS)),
        })
    }

    /// The question that the owner has to be asked, and when.
    fn question(&self) -> Option<(u64, Question)> {
        let init = self.init.as_ref().filter(|_| !self.terminated)?;
        if self.death().is_some() {
            return None;
        }
        let due = match (init.end_boot_ns(), self.empty_boot_ns) {
            // A daemon is there before its parent leaves.
            (Some(end), _) => (end, Question::Remaining(init.key)),
            (None, Some(empty)) if empty >= init.since_boot_ns => {
                (empty.saturating_add(SETTLE_NS), Question::Moved(empty))
            }
            (None, _) => return None,
        };
        (self.asked != Some(due.1)).then_some(due)
    }

    /// Deadline at which something of this container settles.
    pub(in crate::lifecycle) fn deadline(&self) -> Option<u64> {
        let death = self.death().filter(|_| !self.terminated).map(|death| death.due_boot_ns);
        let removed = self.removed_boot_ns.filter(|_| self.terminated || self.init.is_none());
        let removed = removed.map(|time| time.saturating_add(SETTLE_NS));
        let settles = death.into_iter().chain(removed);
        let question = self.question().map(|(due, _)| due);
        let asks = question.into_iter().chain(self.search_deadline());
        settles.chain(self.ooms.deadline()).chain(asks).chain(self.held_deadline()).min()
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
        let due = |time: u64| now_boot_ns.is_none_or(|now| time <= now);
        let removed = self.removed_boot_ns.is_some_and(|time| due(time.saturating_add(SETTLE_NS)));
        if removed
            && self.init.is_none()
            && let Some(found) = self.search.gone()
        {
            self.set_init(found, index, out);
        }
        if self.held_deadline().is_some_and(due) {
            self.tell_start(out);
        }
        self.settle_ooms(now_boot_ns, out);
        if let Some(death) = self.death()
            && !self.terminated
            && due(death.due_boot_ns)
        {
            self.settle_ooms(None, out);
            self.terminate(death, out);
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

    fn terminate(&mut self, death: Death, out: &mut Vec<Output>) {
        let Death { time_boot_ns, source, .. } = death;
        self.tell_start(out);
        let Some(mut main) = self.init.take() else { return };
        // The longer-lived of two was the main one, unless the other lived too long for a command
        // that cleans up.
        let lived_ns = main.lived_ns();
        let is_brief = lived_ns.is_some_and(|lived_ns| lived_ns <= BRIEF_NS);
        let mut before = self.before.take().filter(|it| is_brief && it.lived_ns() > lived_ns);
        let ended = before.as_deref_mut().unwrap_or(&mut main);
        // What a daemon's parent left behind ended later, and unseen.
        let unseen = ended.end_boot_ns().is_some_and(|end| {
            end.saturating_add(SETTLE_NS) < time_boot_ns
                && ended.succeeded()
                && !ended.signals.is_stopping()
        });
        let status = ended.status().filter(|_| !unseen);
        let facts = ended.signals.ended(time_boot_ns, status, ended.oom_killed, &self.reported);
        let termination = ended.termination(time_boot_ns, source, !unseen, &self.reported);
        self.init = Some(main);
        self.terminated = true;
        self.facts(facts, out);
        self.fact(time_boot_ns, FactKind::Ended(termination), out);
    }
}
