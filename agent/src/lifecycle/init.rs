//! Init of a container: its start, the signals sent to it, and its end.

use super::fact::{EndSource, Termination};
use super::request::Reported;
use super::settle::SETTLE_NS;
use super::shutdown::Signals;
use crate::event::{ExitStatus, TaskKey};

/// The init of a container.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) key: TaskKey,
    /// Time since which the process is init: its exec, or the start of the process if the exec was
    /// not seen.
    pub(super) since_boot_ns: u64,
    pub(super) signals: Signals,
    exit: Option<Left>,
    end: Option<Ends>,
    /// Whether the OOM killer killed it.
    pub(super) oom_killed: bool,
    /// Whether the owner was requested to read the cgroup's last counters.
    pub(super) read_last: bool,
}

/// A record of init's exit: that of its last thread, or the SIGCHLD to its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) time_boot_ns: u64,
    pub(super) status: ExitStatus,
    pub(super) cpu_runtime_ns: u64,
}

/// Notifications of the parent, which may repeat.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first_boot_ns: u64,
    last: Left,
}

impl Init {
    /// `before_agent`: init is older than the agent, so earlier signals to it were not seen.
    pub(super) fn new(key: TaskKey, since_boot_ns: u64, before_agent: bool) -> Self {
        Self {
            key,
            since_boot_ns,
            signals: Signals::new(before_agent),
            exit: None,
            end: None,
            oom_killed: false,
            read_last: false,
        }
    }

    /// Takes in the exit of the last thread. Two threads can both see themselves as the last; the
    /// later record has more of the CPU time.
    pub(super) fn exited(&mut self, exit: Left) {
        if self.exit.is_none_or(|known| known.time_boot_ns < exit.time_boot_ns) {
            self.exit = Some(exit);
        }
    }

    /// Takes in a notification of the parent. It may repeat; the last one counts, if it belongs to
    /// the same end.
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

    /// Time at which init began to exit, if it has.
    pub(super) fn left_boot_ns(&self) -> Option<u64> {
        let exit = self.exit.map(|exit| exit.time_boot_ns);
        let end = self.end.map(|end| end.first_boot_ns);
        exit.into_iter().chain(end).min()
    }

    /// Time at which the parent was notified of the end.
    pub(super) fn end_boot_ns(&self) -> Option<u64> {
        self.end.map(|end| end.last.time_boot_ns)
    }

    /// Exit status, as far as a record has it.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.end.map(|end| end.last).or(self.exit).map(|left| left.status)
    }

    /// Whether it exited with success.
    pub(super) fn succeeded(&self) -> bool {
        self.status() == Some(ExitStatus::Code(0))
    }

    /// Time from its start to its end; `None` while it runs.
    pub(super) fn lived_ns(&self) -> Option<u64> {
        Some(self.left_boot_ns()?.saturating_sub(self.since_boot_ns))
    }

    /// The termination at `time_boot_ns`, as far as the records show it. Without `by_init` the end
    /// was not init's own, and its status is not known.
    pub(super) fn termination(
        &self,
        time_boot_ns: u64,
        end_source: EndSource,
        by_init: bool,
        reported: &Reported,
    ) -> Termination {
        let left = self.end.map(|end| end.last).or(self.exit);
        let status = self.status().filter(|_| by_init);
        let conclusion = self.signals.conclude(status, time_boot_ns, self.oom_killed, reported);
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
