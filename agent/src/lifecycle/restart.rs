//! Restarts: a container of the same name that runs again. Pure.

use std::collections::BTreeMap;

use super::fact::{Cause, Restart, Termination};
use super::subject::Who;

/// Time for which a start waits for the previous end. An end is published when it has settled, and
/// so may arrive a second or so after the start that follows it.
const END_WAIT_NS: u64 = 2_000_000_000;
/// Time for which a container is remembered after its last start or end, if nothing tells whether it
/// may come again: longer than any usual back-off.
const KEEP_NS: u64 = 3_600_000_000_000;
/// Limit of containers that are remembered; beyond it, the one with the oldest start or end is
/// forgotten.
const ENTRIES_MAX: usize = 8_192;

/// Longest downtime of a unit's restart. systemd waits 100 ms by default, and a few minutes where it
/// backs off; what comes later was started by somebody.
const UNIT_DOWNTIME_MAX_NS: u64 = 300_000_000_000;

/// Whether the end is one after which a new start is no restart, but another run: a unit of the host
/// has done its work, as one that a timer starts now and then.
///
/// Containers run again by their Pod's restart policy or their runtime's, also after a success.
#[must_use]
pub fn is_final(who: &Who, end: &Termination) -> bool {
    is_plain_unit(who) && end.cause == Cause::Completed && end.stop_boot_ns.is_none()
}

/// Whether a start after a start is a restart. Of a unit it has to follow soon on an end that was
/// seen: else nothing tells a restart from a run by a timer, or by hand.
#[must_use]
pub fn is_restart(who: &Who, restart: Restart) -> bool {
    !is_plain_unit(who) || restart.downtime_ns().is_some_and(|ns| ns <= UNIT_DOWNTIME_MAX_NS)
}

/// Whether it is a unit of the host, and not a container of a runtime beside Kubernetes.
fn is_plain_unit(who: &Who) -> bool {
    who.origin.pod().is_none() && who.identity.container_id.is_empty()
}

/// Starts and ends of containers, under a key that stays the same over restarts.
///
/// A restart is returned once: with the previous end if that is known within two seconds of the
/// start, in whichever order the two arrive, else without it.
#[derive(Debug)]
pub struct History<K> {
    entries: BTreeMap<K, Entry>,
    /// Starts that wait for the previous end. They are few, and asked for at every wake-up.
    waiting: BTreeMap<K, u64>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// Time of the start before the last one.
    previous_boot_ns: Option<u64>,
    started_boot_ns: Option<u64>,
    /// Time of the last end.
    ended_boot_ns: Option<u64>,
    /// Whether the last start is a restart that waits for the previous end.
    waits: bool,
}

impl Entry {
    /// The last start with the previous end, if it waits for that and it is known.
    fn complete(&mut self) -> Option<Restart> {
        let (started_boot_ns, ended) = self.started_boot_ns.zip(self.ended_boot_ns)?;
        // An end before the previous start belongs to an earlier instance: the end of the previous
        // one was not seen.
        let between = ended <= started_boot_ns && self.previous_boot_ns <= Some(ended);
        if !self.waits || !between {
            return None;
        }
        self.waits = false;
        Some(Restart { ended_boot_ns: Some(ended), started_boot_ns })
    }

    /// The last start without the previous end, if it has waited until `before`.
    fn give_up(&mut self, before_boot_ns: u64) -> Option<Restart> {
        let started_boot_ns =
            self.started_boot_ns.filter(|at| self.waits && *at <= before_boot_ns)?;
        self.waits = false;
        Some(Restart { ended_boot_ns: None, started_boot_ns })
    }

    fn last_boot_ns(&self) -> u64 {
        self.started_boot_ns.max(self.ended_boot_ns).unwrap_or(0)
    }

    /// Whether the last instance has ended, as far as is known.
    fn is_over(&self) -> bool {
        self.ended_boot_ns >= self.started_boot_ns
    }
}

impl<K: Ord> Default for History<K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), waiting: BTreeMap::new(), dropped: 0 }
    }
}

impl<K: Ord + Clone> History<K> {
    /// Records a start. Returns the restarts that are complete now: this one, if the previous end
    /// is known, and the last one, if it still waits for its own.
    pub fn started(&mut self, key: K, boot_ns: u64) -> Vec<Restart> {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.started_boot_ns == Some(boot_ns) {
            // The same start, told again.
            return Vec::new();
        }
        let again = entry.started_boot_ns.is_some() || entry.ended_boot_ns.is_some();
        if entry.started_boot_ns > Some(boot_ns) {
            // Two starts that arrive out of order both count; the later one is the newest.
            let restart = Restart { ended_boot_ns: None, started_boot_ns: boot_ns };
            return Vec::from_iter(again.then_some(restart));
        }
        let mut restarts = Vec::from_iter(entry.give_up(u64::MAX));
        entry.previous_boot_ns = entry.started_boot_ns.replace(boot_ns);
        entry.waits = again;
        restarts.extend(entry.complete());
        if entry.waits {
            self.waiting.insert(key, boot_ns);
        } else {
            self.waiting.remove(&key);
        }
        restarts
    }

    /// Records an end. Returns the restart that has waited for it.
    pub fn ended(&mut self, key: &K, boot_ns: u64) -> Option<Restart> {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.ended_boot_ns = entry.ended_boot_ns.max(Some(boot_ns));
        let restart = entry.complete();
        if restart.is_some() {
            self.waiting.remove(key);
        }
        restart
    }

    /// Records an end after which a new start is no restart: what came before it is forgotten, and a
    /// start that was reported before it is a first one.
    pub fn over(&mut self, key: &K, boot_ns: u64) {
        self.waiting.remove(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.started_boot_ns > Some(boot_ns) {
            *entry = Entry { started_boot_ns: entry.started_boot_ns, ..Entry::default() };
        } else {
            self.entries.remove(key);
        }
    }

    /// Forgets a key; returns its last start and its last end. For a container that turns out to
    /// have another name, or to be none.
    pub fn take(&mut self, key: &K) -> (Option<u64>, Option<u64>) {
        self.waiting.remove(key);
        let entry = self.entries.remove(key).unwrap_or_default();
        (entry.started_boot_ns, entry.ended_boot_ns)
    }

    /// Restarts that have waited in vain for the previous end.
    pub fn settle(&mut self, now_boot_ns: u64) -> Vec<(K, Restart)> {
        let before = now_boot_ns.saturating_sub(END_WAIT_NS);
        let late = |(_, at): &(&K, &u64)| **at <= before;
        let keys: Vec<K> = self.waiting.iter().filter(late).map(|(key, _)| key.clone()).collect();
        let mut restarts = Vec::new();
        for key in keys {
            self.waiting.remove(&key);
            let restart = self.entries.get_mut(&key).and_then(|entry| entry.give_up(before));
            restarts.extend(restart.map(|restart| (key, restart)));
        }
        restarts
    }

    /// Whether this start of a container waits for the previous end.
    #[must_use]
    pub fn waits(&self, key: &K, started_boot_ns: u64) -> bool {
        self.waiting.get(key) == Some(&started_boot_ns)
    }

    /// Deadline of the first restart that waits, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.waiting.values().min().map(|at| at.saturating_add(END_WAIT_NS))
    }

    /// Forgets containers that ended an hour ago, unless they are known to be able to come again,
    /// and those over the limit.
    pub fn expire(&mut self, now_boot_ns: u64, may_come: impl Fn(&K) -> bool) {
        let over = |entry: &Entry| {
            entry.is_over() && entry.last_boot_ns().saturating_add(KEEP_NS) <= now_boot_ns
        };
        self.entries.retain(|key, entry| !over(entry) || may_come(key));
        while self.entries.len() > ENTRIES_MAX {
            let quiet = self.entries.iter().min_by_key(|(_, entry)| entry.last_boot_ns());
            let Some(key) = quiet.map(|(key, _)| key.clone()) else { return };
            self.entries.remove(&key);
            self.waiting.remove(&key);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Forgets containers that cannot come again. A restart that waits for the end before it is
    /// kept until that is settled, and then for an hour.
    pub fn forget(&mut self, cannot_come: impl Fn(&K) -> bool) {
        self.entries.retain(|key, entry| entry.waits || !cannot_come(key));
    }

    /// Total of containers that were forgotten because of the limit.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Number of containers that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no container is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(started_boot_ns: u64, ended: u64) -> Restart {
        Restart { ended_boot_ns: Some(ended), started_boot_ns }
    }

    fn without_end(started_boot_ns: u64) -> Restart {
        Restart { ended_boot_ns: None, started_boot_ns }
    }

    #[test]
    fn first_start_is_no_restart() {
        let mut history = History::default();
        assert_eq!(history.started("web", 10), []);
        assert_eq!(history.settle(u64::MAX), []);
        assert_eq!(history.deadline(), None);
    }

    #[test]
    fn a_start_that_is_told_again_is_no_restart() {
        let mut history = History::default();
        history.started("web", 10);
        assert_eq!(history.started("web", 10), []);
        history.ended(&"web", 30);
        history.started("web", 75);
        assert_eq!(history.started("web", 75), []);
        assert_eq!((history.waits(&"web", 75), history.deadline()), (false, None));
    }

    #[test]
    fn what_is_taken_has_no_restart_after_it() {
        let mut history = History::default();
        history.started("web", 10);
        history.ended(&"web", 30);
        history.started("web", 20);
        history.started("web", 40);
        assert_eq!(history.take(&"web"), (Some(40), Some(30)));
        assert_eq!(history.take(&"web"), (None, None));
        assert!(history.is_empty() && history.deadline().is_none());
        assert_eq!(history.started("web", 75), []);
    }

    #[test]
    fn restart_has_the_end_before_it() {
        let mut history = History::default();
        history.started("web", 10);
        assert_eq!(history.ended(&"web", 30), None);
        assert_eq!(history.started("web", 75), [complete(75, 30)]);
        assert_eq!(history.ended(&"web", 80), None);
        assert_eq!(history.started("web", 100), [complete(100, 80)]);
        assert_eq!(complete(100, 80).downtime_ns(), Some(20));
    }

    #[test]
    fn end_that_arrives_after_the_next_start_gives_the_same_restart() {
        let mut history = History::default();
        history.started("web", 10);
        assert_eq!(history.started("web", 75), [], "the end may still come");
        assert_eq!(history.deadline(), Some(75 + END_WAIT_NS));
        assert_eq!(history.ended(&"web", 30), Some(complete(75, 30)));
        assert_eq!(history.ended(&"web", 30), None, "once");
        assert_eq!(history.settle(u64::MAX), []);
        assert_eq!(history.deadline(), None);
    }

    #[test]
    fn lost_end_gives_a_restart_without_it() {
        let mut history = History::default();
        history.started("web", 10);
        history.ended(&"web", 20);
        history.started("web", 30);
        assert_eq!(history.started("web", 90), [], "the end at 20 belongs to another instance");
        assert_eq!(history.settle(89 + END_WAIT_NS), []);
        assert_eq!(history.settle(90 + END_WAIT_NS), [("web", without_end(90))]);
        assert_eq!(history.settle(u64::MAX), [], "once");
        assert_eq!(history.ended(&"web", 95), None);
        assert_eq!(history.started("web", 99), [complete(99, 95)]);
        // The next start ends the wait as well.
        history.started("web", 200);
        assert_eq!(history.started("web", 300), [without_end(200)]);
    }

    #[test]
    fn starts_out_of_order_both_count() {
        let mut history = History::default();
        history.started("web", 10);
        history.ended(&"web", 20);
        assert_eq!(history.started("web", 50), [complete(50, 20)]);
        assert_eq!(history.started("web", 40), [without_end(40)]);
    }

    #[test]
    fn end_seen_without_its_start_makes_the_next_start_a_restart() {
        let mut history = History::default();
        history.ended(&"web", 30);
        assert_eq!(history.started("web", 31), [complete(31, 30)]);
    }

    #[test]
    fn what_starts_after_a_final_end_is_no_restart() {
        let mut history = History::default();
        history.started("job", 10);
        history.over(&"job", 30);
        assert_eq!(history.len(), 0);
        assert_eq!(history.started("job", 75), []);
        // The next start is reported before the end.
        assert_eq!(history.started("job", 90), []);
        history.over(&"job", 80);
        assert_eq!((history.settle(u64::MAX), history.deadline()), (vec![], None));
        assert_eq!(history.ended(&"job", 95), None);
        assert_eq!(history.started("job", 99), [complete(99, 95)]);
    }

    #[test]
    fn containers_are_distinct_and_forgotten_after_their_end() {
        let mut history = History::default();
        history.ended(&("shop", "web"), 30);
        assert_eq!(history.started(("shop", "db"), 31), []);
        history.expire(29 + KEEP_NS, |_| false);
        assert_eq!(history.len(), 2);
        history.expire(30 + KEEP_NS, |key| *key == ("shop", "web"));
        assert_eq!(history.len(), 2, "it may come again");
        history.expire(30 + KEEP_NS, |_| false);
        assert_eq!((history.len(), history.is_empty()), (1, false), "db still runs");
        assert_eq!(history.started(("shop", "web"), 32), []);
        history.expire(u64::MAX, |_| false);
        assert_eq!(history.len(), 2);
    }

    #[test]
    fn the_number_of_containers_is_bounded() {
        let mut history = History::default();
        for key in 0..ENTRIES_MAX as u64 + 10 {
            history.started(key, key);
        }
        history.expire(0, |_| false);
        assert_eq!((history.len(), history.dropped()), (ENTRIES_MAX, 10));
        assert_eq!(history.started(9, 1_000_000), [], "the oldest are forgotten");
        assert_eq!(history.started(ENTRIES_MAX as u64, 1_000_000), [], "an end may come");
        assert_eq!(history.deadline(), Some(1_000_000 + END_WAIT_NS));
    }

    #[test]
    fn what_cannot_come_again_is_forgotten_but_for_a_restart_that_waits() {
        let mut history = History::default();
        history.ended(&"web", 30);
        history.started("db", 10);
        history.started("db", 50);
        history.forget(|_| true);
        assert_eq!(history.len(), 1);
        assert_eq!(history.ended(&"db", 40), Some(complete(50, 40)));
        history.forget(|_| true);
        assert!(history.is_empty());
    }
}
