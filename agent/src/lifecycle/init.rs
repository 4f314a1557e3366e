//! The init of a container: since when, what was sent to it, and how it left.

use super::fact::{EndSource, Termination};
use super::settle::SETTLE_NS;
use super::shutdown::Signals;
use crate::event::{ExitStatus, TaskKey};

/// What is known of init.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) key: TaskKey,
    /// Since when it is init: its exec, or the start of its process if that was not seen.
    pub(super) since_boot_ns: u64,
    pub(super) signals: Signals,
    exit: Option<Left>,
    end: Option<Ends>,
    /// The owner was asked to read the cgroup's counters.
    pub(super) read_last: bool,
}

/// Init has left: its last thread has exited, or its parent was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) time_boot_ns: u64,
    pub(super) status: ExitStatus,
    pub(super) cpu_runtime_ns: u64,
}

/// The parent was told, maybe more than once.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first_boot_ns: u64,
    last: Left,
}

impl Init {
    pub(super) fn new(key: TaskKey, since_boot_ns: u64) -> Self {
        let signals = Signals::default();
        Self { key, since_boot_ns, signals, exit: None, end: None, read_last: false }
    }

    /// The last thread exits. Two can both see themselves as the last; the later one knows more
    /// of the CPU time.
    pub(super) fn exited(&mut self, exit: Left) {
        if self.exit.is_none_or(|known| known.time_boot_ns < exit.time_boot_ns) {
            self.exit = Some(exit);
        }
    }

    /// The parent is told. It may be told again; the last counts, if it is the same matter.
    pub(super) fn ended(&mut self, end: Left) {
        let time = end.time_boot_ns;
        self.end = Some(match self.end {
            None => Ends { first_boot_ns: time, last: end },
            Some(Ends { first_boot_ns, last }) => {
                if first_boot_ns.abs_diff(time) > SETTLE_NS {
                    return;
                }
                let last = if time > last.time_boot_ns { end } else { last };
                Ends { first_boot_ns: first_boot_ns.min(time), last }
            }
        });
    }

    /// When it began to leave, if it has.
    pub(super) fn left_boot_ns(&self) -> Option<u64> {
        let exit = self.exit.map(|exit| exit.time_boot_ns);
        let end = self.end.map(|end| end.first_boot_ns);
        exit.into_iter().chain(end).min()
    }

    /// When its parent was told of its end.
    pub(super) fn end_boot_ns(&self) -> Option<u64> {
        self.end.map(|end| end.last.time_boot_ns)
    }

    /// What is to be said of its end at `time_boot_ns`.
    pub(super) fn termination(
        &self,
        time_boot_ns: u64,
        end_source: EndSource,
        oom_killed: bool,
    ) -> Termination {
        let left = self.end.map(|end| end.last).or(self.exit);
        let status = left.map(|left| left.status);
        let conclusion = self.signals.conclude(status, time_boot_ns, oom_killed);
        Termination {
            cause: conclusion.cause,
            status,
            stop_boot_ns: conclusion.stop_boot_ns,
            end_boot_ns: time_boot_ns,
            outcome: conclusion.outcome,
            fatal: conclusion.fatal,
            end_source,
            init_cpu_ns: left.map(|left| left.cpu_runtime_ns),
        }
    }
}
