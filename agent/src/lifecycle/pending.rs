//! Events that came before their cgroup was known.

use std::collections::VecDeque;

use crate::cgroup::CgroupId;
use crate::event::{Event, EventKind};

/// Limit of events that are kept.
const PENDING_MAX: usize = 64;
/// Time for which they are kept.
const PENDING_NS: u64 = 1_000_000_000;

/// Events that wait for their cgroup.
#[derive(Debug, Default)]
pub(super) struct Pending {
    events: VecDeque<Event>,
    unmatched: u64,
}

impl Pending {
    /// Total of events whose cgroup did not become known in time.
    pub(super) const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    pub(super) fn keep(&mut self, event: &Event, latest_boot_ns: u64) {
        self.expire(latest_boot_ns);
        if self.events.len() >= PENDING_MAX {
            self.events.pop_front();
            self.unmatched = self.unmatched.saturating_add(1);
        }
        self.events.push_back(event.clone());
    }

    /// Drops what has waited too long.
    pub(super) fn expire(&mut self, latest_boot_ns: u64) {
        let before = self.events.len();
        let waits = |event: &Event| event.time_boot_ns.saturating_add(PENDING_NS) > latest_boot_ns;
        self.events.retain(waits);
        let expired = u64::try_from(before - self.events.len()).unwrap_or(u64::MAX);
        self.unmatched = self.unmatched.saturating_add(expired);
    }

    /// Removes and returns the events of a cgroup that is known now.
    pub(super) fn take(&mut self, cgroup: CgroupId) -> VecDeque<Event> {
        let of_cgroup = |event: &Event| match &event.kind {
            EventKind::Signal(signal) => signal.target.cgroup == cgroup,
            EventKind::End(end) => end.task.cgroup == cgroup,
            EventKind::Exec(exec) => exec.task.cgroup == cgroup,
            EventKind::Exit(exit) => exit.task.cgroup == cgroup,
            EventKind::Oom(oom) => oom.victim.cgroup == cgroup,
            EventKind::CgroupRemoved(id) | EventKind::CgroupEmpty(id) => *id == cgroup,
            EventKind::CgroupMade(_) => false,
        };
        let (taken, kept) = std::mem::take(&mut self.events).into_iter().partition(of_cgroup);
        self.events = kept;
        taken
    }
}
