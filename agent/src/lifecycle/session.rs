//! Exec sessions: probes, preStop hooks, `kubectl exec`; and which of them is the preStop hook.

use std::collections::VecDeque;

use super::settle::SETTLE_NS;
use crate::event::{ExitStatus, TaskKey};

/// Limit of leaders of exec sessions that are kept for one container.
const SESSIONS_MAX: usize = 256;

/// An exec session, from the exec of its program to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecSession {
    /// Exec of its program, `CLOCK_BOOTTIME`.
    pub begin_boot_ns: u64,
    /// End of its leader, `CLOCK_BOOTTIME`; `None` while it runs.
    pub end_boot_ns: Option<u64>,
}

/// The begin of an exec session: its leader has executed its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionBegin {
    /// The leader's process, which is made in the container's cgroup or just before it enters that.
    pub key: TaskKey,
    /// Exec of its program, `CLOCK_BOOTTIME`.
    pub exec_boot_ns: u64,
    /// The first bytes of its arguments, each terminated by NUL; the last may be truncated.
    pub argv: Vec<u8>,
}

/// The end of an exec session's leader. It may be reported twice: when the last thread exits, and when
/// the process has ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The leader's process.
    pub key: TaskKey,
    /// The end, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// The exit status.
    pub status: ExitStatus,
    /// CPU time of all threads of the process, and of the children that it has waited for.
    pub cpu_ns: u64,
    /// Number of children that it leaves to the container: they run, or nobody has waited for them.
    pub left_behind: u32,
    /// Whether the process has ended for good.
    pub settled: bool,
}

/// Leaders of a container's exec sessions.
///
/// A leader that has ended is kept for the settling time, for records that come late.
#[derive(Debug, Default)]
pub(super) struct ExecSessions {
    leaders: VecDeque<(TaskKey, Option<u64>)>,
    dropped: u64,
    last: Option<(TaskKey, ExecSession)>,
    kill: Option<Kill>,
}

/// The stop of the container, as the Pod source reports it.
#[derive(Debug)]
struct Kill {
    since_boot_ns: u64,
    /// The first exec session since then.
    first: Option<(TaskKey, ExecSession)>,
}

impl ExecSessions {
    /// Takes in an exec. Returns whether a session begins with it.
    pub(super) fn insert(&mut self, key: TaskKey, time_boot_ns: u64) -> bool {
        if self.contains(key) {
            return false;
        }
        self.leaders.retain(|(_, ended)| {
            !ended.is_some_and(|end| end.saturating_add(SETTLE_NS) <= time_boot_ns)
        });
        if self.leaders.len() >= SESSIONS_MAX {
            self.leaders.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.leaders.push_back((key, None));
        let session = (key, ExecSession { begin_boot_ns: time_boot_ns, end_boot_ns: None });
        self.last = Some(session);
        if let Some(kill) = &mut self.kill
            && kill.first.is_none()
            && kill.since_boot_ns <= time_boot_ns
        {
            kill.first = Some(session);
        }
        true
    }

    /// Takes in the exit or the end of a process. Returns whether it is a session's leader.
    pub(super) fn ended(&mut self, key: TaskKey, time_boot_ns: u64) -> bool {
        let later = |end: &mut Option<u64>| {
            *end = Some(end.map_or(time_boot_ns, |end| end.max(time_boot_ns)));
        };
        let leader = self.leaders.iter_mut().find(|(known, _)| *known == key);
        let is_leader = leader.is_some();
        if let Some((_, ended)) = leader {
            later(ended);
        }
        let first = self.kill.as_mut().and_then(|kill| kill.first.as_mut());
        for (known, session) in self.last.iter_mut().chain(first) {
            if *known == key {
                later(&mut session.end_boot_ns);
            }
        }
        is_leader
    }

    /// Total of leaders that were forgotten for want of room: their signals and OOMs are told as those
    /// of any other process of the container.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn contains(&self, key: TaskKey) -> bool {
        self.leaders.iter().any(|(known, _)| *known == key)
    }

    /// Records that the container is going to be stopped. A preStop hook may have begun a moment
    /// before.
    pub(super) fn kill_begins(&mut self, since_boot_ns: u64) {
        let begun = |(_, session): &(TaskKey, ExecSession)| {
            session.begin_boot_ns >= since_boot_ns && session.end_boot_ns.is_none()
        };
        if self.kill.is_none() {
            self.kill = Some(Kill { since_boot_ns, first: self.last.filter(begun) });
        }
    }

    /// Records that the container is not going to be stopped, after all.
    pub(super) fn no_kill(&mut self) {
        self.kill = None;
    }

    /// The session of the preStop hook, if the container has an exec hook: the kubelet's first act
    /// when it stops a container. Where the begin of the stop was not reported, as after a failed
    /// probe, it is the last session: a container that is being stopped has no more exec probes.
    pub(super) fn pre_stop(&self) -> Option<ExecSession> {
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

    fn session(begin_boot_ns: u64, end_boot_ns: Option<u64>) -> Option<ExecSession> {
        Some(ExecSession { begin_boot_ns, end_boot_ns })
    }

    #[test]
    fn the_pre_stop_hook_is_the_first_session_of_the_kill() {
        let mut sessions = ExecSessions::default();
        sessions.insert(key(1), 10);
        sessions.ended(key(1), 12);
        sessions.kill_begins(20);
        assert_eq!(sessions.pre_stop(), None);
        sessions.insert(key(2), 25);
        sessions.insert(key(3), 30);
        sessions.ended(key(3), 31);
        sessions.ended(key(2), 90);
        sessions.insert(key(4), 95);
        assert_eq!(sessions.pre_stop(), session(25, Some(90)));
        sessions.kill_begins(94);
        assert_eq!(sessions.pre_stop(), session(25, Some(90)), "the first report counts");
    }

    #[test]
    fn the_pre_stop_hook_may_begin_before_the_watch_event() {
        let mut sessions = ExecSessions::default();
        sessions.insert(key(1), 19);
        sessions.kill_begins(15);
        assert_eq!(sessions.pre_stop(), session(19, None));
        sessions.ended(key(1), 40);
        assert_eq!(sessions.pre_stop(), session(19, Some(40)));
        // A probe that was over by then was not the preStop hook.
        let mut sessions = ExecSessions::default();
        sessions.insert(key(1), 17);
        sessions.ended(key(1), 18);
        sessions.kill_begins(15);
        assert_eq!(sessions.pre_stop(), None);
    }

    #[test]
    fn without_a_watch_event_it_is_the_last_session() {
        let mut sessions = ExecSessions::default();
        assert_eq!(sessions.pre_stop(), None);
        sessions.insert(key(1), 10);
        sessions.ended(key(1), 12);
        sessions.insert(key(2), 13);
        assert_eq!(sessions.pre_stop(), session(13, None));
        sessions.ended(key(2), 20);
        sessions.ended(key(2), 19);
        assert_eq!(sessions.pre_stop(), session(13, Some(20)));
    }
}
