//! Restarts: a container of the same name that runs again.

use std::collections::BTreeMap;

/// A container runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// From the end of the instance before to the start of this one.
    pub outage_ns: u64,
}

/// Starts and ends of containers, by what identifies one over its restarts.
///
/// An end is published after it has settled, and so may be told after the start that follows it:
/// either order gives the same.
#[derive(Debug)]
pub struct History<K> {
    entries: BTreeMap<K, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    restarts: u64,
    /// The start before the last.
    previous_boot_ns: Option<u64>,
    started_boot_ns: Option<u64>,
    /// The last end.
    ended_boot_ns: Option<u64>,
    /// The last start still waits for the end before it.
    waits: bool,
}

impl Entry {
    /// Matches the last start with the end before it, if both are known.
    fn restart(&mut self) -> Option<Restart> {
        let (started, ended) = self.started_boot_ns.zip(self.ended_boot_ns)?;
        // An end before the start before belongs to an earlier instance: the one asked for was
        // not seen.
        let between = ended <= started && self.previous_boot_ns <= Some(ended);
        if !self.waits || !between {
            return None;
        }
        self.waits = false;
        Some(Restart { outage_ns: started - ended })
    }
}

impl<K: Ord> Default for History<K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<K: Ord> History<K> {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An instance has started. Returns the restart if the end of the instance before is known.
    pub fn started(&mut self, key: K, boot_ns: u64) -> Option<Restart> {
        let entry = self.entries.entry(key).or_default();
        let again = entry.started_boot_ns.is_some() || entry.ended_boot_ns.is_some();
        entry.restarts = entry.restarts.saturating_add(u64::from(again));
        if entry.started_boot_ns > Some(boot_ns) {
            return None;
        }
        entry.previous_boot_ns = entry.started_boot_ns.replace(boot_ns);
        entry.waits = again;
        entry.restart()
    }

    /// An instance has ended. Returns the restart if the one after it has started already.
    pub fn ended(&mut self, key: K, boot_ns: u64) -> Option<Restart> {
        let entry = self.entries.entry(key).or_default();
        entry.ended_boot_ns = entry.ended_boot_ns.max(Some(boot_ns));
        entry.restart()
    }

    /// Restarts seen: starts after the first, and after an end that was seen without its start.
    #[must_use]
    pub fn restarts(&self, key: &K) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.restarts)
    }

    /// Drops what is known of a container.
    pub fn forget(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// Containers that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No container is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_start_is_no_restart() {
        let mut history = History::new();
        assert_eq!(history.started("web", 10), None);
        assert_eq!(history.restarts(&"web"), 0);
    }

    #[test]
    fn restart_has_the_outage_between_end_and_start() {
        let mut history = History::new();
        history.started("web", 10);
        assert_eq!(history.ended("web", 30), None);
        assert_eq!(history.started("web", 75), Some(Restart { outage_ns: 45 }));
        assert_eq!(history.ended("web", 80), None);
        assert_eq!(history.started("web", 100), Some(Restart { outage_ns: 20 }));
        assert_eq!(history.restarts(&"web"), 2);
    }

    #[test]
    fn end_told_after_the_next_start_gives_the_same_restart() {
        let mut history = History::new();
        history.started("web", 10);
        assert_eq!(history.started("web", 75), None);
        assert_eq!(history.restarts(&"web"), 1);
        assert_eq!(history.ended("web", 30), Some(Restart { outage_ns: 45 }));
        assert_eq!(history.ended("web", 30), None, "once");
    }

    #[test]
    fn lost_end_gives_no_outage_but_counts() {
        let mut history = History::new();
        history.started("web", 10);
        history.ended("web", 20);
        history.started("web", 30);
        assert_eq!(history.started("web", 90), None, "the end at 20 is another instance's");
        assert_eq!(history.restarts(&"web"), 2);
        history.ended("web", 95);
        assert_eq!(history.started("web", 99), Some(Restart { outage_ns: 4 }));
    }

    #[test]
    fn end_seen_without_its_start_makes_the_next_start_a_restart() {
        let mut history = History::new();
        history.ended("web", 30);
        assert_eq!(history.started("web", 31), Some(Restart { outage_ns: 1 }));
        assert_eq!(history.restarts(&"web"), 1);
    }

    #[test]
    fn names_are_apart_and_can_be_forgotten() {
        let mut history = History::new();
        history.ended(("shop", "web"), 30);
        assert_eq!(history.started(("shop", "db"), 31), None);
        history.forget(&("shop", "web"));
        assert_eq!(history.started(("shop", "web"), 32), None);
        assert_eq!((history.len(), history.is_empty()), (2, false));
    }
}
