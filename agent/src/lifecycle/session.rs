//! Exec sessions: probes, hooks, `kubectl exec`; and which of them is the preStop hook.

use std::collections::VecDeque;

use super::settle::SETTLE_NS;
use crate::event::TaskKey;

/// Leaders of exec sessions that are kept for one container.
const SESSIONS_MAX: usize = 256;

/// From the exec of a session's program to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// `CLOCK_BOOTTIME`.
    pub begin_boot_ns: u64,
    /// `None` while it goes on.
    pub end_boot_ns: Option<u64>,
}

/// The leaders of a container's exec sessions.
///
/// One that has ended is kept for the settling time, for records that come late.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    leaders: VecDeque<(TaskKey, Option<u64>)>,
    last: Option<(TaskKey, Session)>,
    kill: Option<Kill>,
}

/// The container is being stopped.
#[derive(Debug)]
struct Kill {
    since_boot_ns: u64,
    /// The first session since then.
    first: Option<(TaskKey, Session)>,
}

impl Sessions {
    pub(super) fn insert(&mut self, key: TaskKey, time_boot_ns: u64) {
        if self.contains(key) {
            return;
        }
        self.leaders.retain(|(_, ended)| {
            !ended.is_some_and(|end| end.saturating_add(SETTLE_NS) <= time_boot_ns)
        });
        if self.leaders.len() >= SESSIONS_MAX {
            self.leaders.pop_front();
        }
        self.leaders.push_back((key, None));
        let session = (key, Session { begin_boot_ns: time_boot_ns, end_boot_ns: None });
        self.last = Some(session);
        if let Some(kill) = &mut self.kill
            && kill.first.is_none()
            && kill.since_boot_ns <= time_boot_ns
        {
            kill.first = Some(session);
        }
    }

    pub(super) fn ended(&mut self, key: TaskKey, time_boot_ns: u64) {
        let later = |end: &mut Option<u64>| {
            *end = Some(end.map_or(time_boot_ns, |end| end.max(time_boot_ns)));
        };
        if let Some((_, ended)) = self.leaders.iter_mut().find(|(known, _)| *known == key) {
            later(ended);
        }
        let first = self.kill.as_mut().and_then(|kill| kill.first.as_mut());
        for (known, session) in self.last.iter_mut().chain(first) {
            if *known == key {
                later(&mut session.end_boot_ns);
            }
        }
    }

    pub(super) fn contains(&self, key: TaskKey) -> bool {
        self.leaders.iter().any(|(known, _)| *known == key)
    }

    /// It is news that the container is to be stopped; a hook may have begun a moment before.
    pub(super) fn kill_begins(&mut self, since_boot_ns: u64) {
        let begun = |(_, session): &(TaskKey, Session)| {
            session.begin_boot_ns >= since_boot_ns && session.end_boot_ns.is_none()
        };
        if self.kill.is_none() {
            self.kill = Some(Kill { since_boot_ns, first: self.last.filter(begun) });
        }
    }

    /// The session that is the preStop hook, if the container has one of that kind: the kubelet's
    /// first act when it stops a container. Where the beginning was no news, as for a failed
    /// probe, the last session: the probes of a container that is being stopped are over.
    pub(super) fn hook(&self) -> Option<Session> {
        let session = match &self.kill {
            Some(kill) => kill.first,
            None => self.last,
        };
        session.map(|(_, session)| session)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.leaders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32) -> TaskKey {
        TaskKey { tgid, start_boot_ns: tgid.into() }
    }

    fn session(begin_boot_ns: u64, end_boot_ns: Option<u64>) -> Option<Session> {
        Some(Session { begin_boot_ns, end_boot_ns })
    }

    #[test]
    fn the_hook_is_the_first_session_of_the_kill() {
        let mut sessions = Sessions::default();
        sessions.insert(key(1), 10);
        sessions.ended(key(1), 12);
        sessions.kill_begins(20);
        assert_eq!(sessions.hook(), None);
        sessions.insert(key(2), 25);
        sessions.insert(key(3), 30);
        sessions.ended(key(3), 31);
        sessions.ended(key(2), 90);
        sessions.insert(key(4), 95);
        assert_eq!(sessions.hook(), session(25, Some(90)));
        sessions.kill_begins(94);
        assert_eq!(sessions.hook(), session(25, Some(90)), "the first news counts");
    }

    #[test]
    fn the_kubelet_may_be_faster_than_the_news() {
        let mut sessions = Sessions::default();
        sessions.insert(key(1), 19);
        sessions.kill_begins(15);
        assert_eq!(sessions.hook(), session(19, None));
        sessions.ended(key(1), 40);
        assert_eq!(sessions.hook(), session(19, Some(40)));
        // A probe that was over by then was no hook.
        let mut sessions = Sessions::default();
        sessions.insert(key(1), 17);
        sessions.ended(key(1), 18);
        sessions.kill_begins(15);
        assert_eq!(sessions.hook(), None);
    }

    #[test]
    fn without_news_it_is_the_last() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.hook(), None);
        sessions.insert(key(1), 10);
        sessions.ended(key(1), 12);
        sessions.insert(key(2), 13);
        assert_eq!(sessions.hook(), session(13, None));
        sessions.ended(key(2), 20);
        sessions.ended(key(2), 19);
        assert_eq!(sessions.hook(), session(13, Some(20)));
    }
}
