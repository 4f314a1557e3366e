//! Shutdowns: the signals to a container's init, from the stop signal to the one that ended it.

use super::fact::{Cause, Fact, FactKind, FatalSignal, Outcome, Sender, StopSignal};
use crate::event::{ExitStatus, Signal, SignalResult};

pub(super) const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// Limit of different signals: the kernel has no more numbers (`_NSIG`).
const SIGNALS_MAX: usize = 64;

/// Whether this signal stops no container, whoever sends it.
///
/// SIGCHLD (17), SIGCONT (18), SIGSTOP (19), SIGTSTP (20), SIGTTIN (21), SIGTTOU (22) and SIGURG
/// (23). SIGWINCH is not among them: it is the stop signal of httpd. The kernel also sends one when
/// a terminal is resized, but then as its own.
fn never_stops(signal: u32) -> bool {
    matches!(signal, 17..=23) || signal == SIGKILL || signal == 0
}

/// Whether this signal requests the container to stop.
///
/// `known` is the container's own stop signal where a source reports it: it then counts from any
/// sender outside.
fn requests_stop(signal: u32, sender: Sender, known: Option<u32>) -> bool {
    if never_stops(signal) {
        return false;
    }
    match sender {
        Sender::Runtime => true,
        Sender::Host | Sender::OtherContainer => signal == SIGTERM || known == Some(signal),
        Sender::Kernel | Sender::Own | Sender::SameContainer => false,
    }
}

/// The effect of a signal on a process, in view of the process's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The process was alive and will receive the signal.
    Reached,
    /// The process was alive until this signal: nothing handles it, and the process dies of it.
    ///
    /// `signal_generate` runs after `complete_signal()`, which marks the process as dying
    /// (`SIGNAL_GROUP_EXIT`) at once if a signal's default action ends it without a core dump. From
    /// 5.18 on a process that was already dying drops all signals; 5.10 queues them, so there only
    /// the first of them, or the exit status, shows which one it was.
    Began,
    /// The same signal was pending already.
    Pending,
    /// The process ignores the signal, or there was no room in the queue.
    Refused,
    /// The process was dying or dead: the signal has no effect.
    TooLate,
}

fn effect(signal: &Signal) -> Effect {
    match (signal.result, signal.target_dying) {
        (SignalResult::Delivered | SignalResult::DeliveredWithoutInfo, true) => Effect::Began,
        (_, true) => Effect::TooLate,
        (SignalResult::Ignored | SignalResult::Overflow, false) => Effect::Refused,
        (SignalResult::AlreadyPending, false) => Effect::Pending,
        (
            SignalResult::Delivered | SignalResult::DeliveredWithoutInfo | SignalResult::Unknown(_),
            false,
        ) => Effect::Reached,
    }
}

/// Time and sender of a signal, ordered by time.
type Sent = (u64, Sender);

fn earlier(one: Option<Sent>, other: Sent) -> Option<Sent> {
    Some(one.map_or(other, |one| one.min(other)))
}

fn later(one: Option<Sent>, other: Sent) -> Option<Sent> {
    Some(one.map_or(other, |one| one.max(other)))
}

/// Record of all signals with the same number.
#[derive(Debug)]
struct Kind {
    signal: u32,
    began: Option<Sent>,
    first: Option<Sent>,
    last: Option<Sent>,
    pending: Option<Sent>,
}

/// The first stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stop {
    time_boot_ns: u64,
    signal: u32,
    /// Whether the process dies of it ([`Effect::Began`]).
    began: bool,
}

/// Record of the signals to one init.
#[derive(Debug, Default)]
pub(super) struct Signals {
    kinds: Vec<Kind>,
    stop: Option<Stop>,
    stop_reported: bool,
    /// Time of the first SIGKILL from outside.
    kill_boot_ns: Option<u64>,
    kill_reported: bool,
    /// Whether signals before these were not seen: init is older than the agent.
    earlier_unseen: bool,
}

impl Signals {
    /// Signals to an init. `earlier_unseen`: it is older than the agent.
    pub(super) fn new(earlier_unseen: bool) -> Self {
        Self { earlier_unseen, ..Self::default() }
    }

    /// Takes in one signal to init; returns the facts that follow. `left_boot_ns` is the time at
    /// which init exited or ended, if it has.
    pub(super) fn take(
        &mut self,
        time_boot_ns: u64,
        signal: &Signal,
        sender: Sender,
        left_boot_ns: Option<u64>,
        known_stop_signal: Option<u32>,
    ) -> Vec<Fact> {
        let mut facts = Vec::new();
        let effect = effect(signal);
        // Up to 5.10 a dying process queues signals like a living one.
        let killed = self.first_kill().is_some_and(|kill| kill < time_boot_ns);
        if effect == Effect::TooLate || (killed && signal.signal != SIGKILL) {
            return facts;
        }
        let other_began = self.began_before(time_boot_ns);
        self.remember(signal.signal, effect, (time_boot_ns, sender));
        if requests_stop(signal.signal, sender, known_stop_signal) {
            let stop = Stop { time_boot_ns, signal: signal.signal, began: effect == Effect::Began };
            self.stop = Some(self.stop.map_or(stop, |known| known.min(stop)));
            let left = left_boot_ns.is_some_and(|left| left <= time_boot_ns);
            let counts = !left && (!stop.began || !other_began);
            if counts && !self.stop_reported {
                self.stop_reported = true;
                let ignored = signal.result == SignalResult::Ignored;
                let stop = StopSignal { signal: signal.signal, sender, ignored };
                facts.push(Fact { time_boot_ns, kind: FactKind::StopSignal(stop) });
            }
        }
        let from_outside =
            matches!(sender, Sender::Runtime | Sender::Host | Sender::OtherContainer);
        if signal.signal == SIGKILL && from_outside && effect != Effect::Refused {
            let first = self.kill_boot_ns.map_or(time_boot_ns, |kill| kill.min(time_boot_ns));
            self.kill_boot_ns = Some(first);
        }
        // The stop signal and the kill can arrive in either order.
        if let (true, Some(stop), Some(kill)) = (self.stop_reported, self.stop, self.kill_boot_ns)
            && !self.kill_reported
            && stop.time_boot_ns <= kill
        {
            self.kill_reported = true;
            facts.push(Fact { time_boot_ns: kill, kind: FactKind::KilledAfterStopSignal });
        }
        facts
    }

    /// Time of the first SIGKILL that reached init, whoever sent it: no later signal has an effect.
    fn first_kill(&self) -> Option<u64> {
        let kind = self.kinds.iter().find(|kind| kind.signal == SIGKILL)?;
        let times = [kind.began, kind.first].into_iter().flatten();
        times.map(|(time_boot_ns, _)| time_boot_ns).min()
    }

    fn began_before(&self, time_boot_ns: u64) -> bool {
        self.kinds.iter().any(|kind| kind.began.is_some_and(|(began, _)| began < time_boot_ns))
    }

    fn remember(&mut self, signal: u32, effect: Effect, sent: Sent) {
        if matches!(effect, Effect::Refused | Effect::TooLate) {
            return;
        }
        let kind = match self.kinds.iter().position(|kind| kind.signal == signal) {
            Some(at) => self.kinds.get_mut(at),
            None if self.kinds.len() < SIGNALS_MAX => {
                self.kinds.push(Kind {
                    signal,
                    began: None,
                    first: None,
                    last: None,
                    pending: None,
                });
                self.kinds.last_mut()
            }
            None => None,
        };
        let Some(kind) = kind else { return };
        match effect {
            Effect::Began => kind.began = earlier(kind.began, sent),
            Effect::Reached => {
                kind.first = earlier(kind.first, sent);
                kind.last = later(kind.last, sent);
            }
            Effect::Pending => kind.pending = later(kind.pending, sent),
            Effect::Refused | Effect::TooLate => {}
        }
    }

    /// Sender of the signal that ended init.
    ///
    /// The sender of the signal that made init dying, if that was seen. For SIGKILL the first
    /// sender, since no other could follow. For other signals the last: a handler may have taken
    /// the earlier ones.
    fn sender_of_fatal(&self, signal: u32, oom: bool) -> Sender {
        let seen = self.kinds.iter().find(|kind| kind.signal == signal).and_then(|kind| {
            let reached = if signal == SIGKILL { kind.first } else { kind.last };
            kind.began.or(reached).or(kind.pending)
        });
        match (seen, signal) {
            (Some((_, sender)), _) => sender,
            (None, SIGKILL) if oom => Sender::Kernel,
            // No process inside can send it, and the kernel's own come with an OOM.
            (None, SIGKILL) => Sender::Host,
            // Faults and limits: ILL, TRAP, BUS, FPE, SEGV, XCPU, XFSZ, SYS. seccomp's SIGSYS
            // never was a signal.
            (None, 4 | 5 | 7 | 8 | 11 | 24 | 25 | 31) => Sender::Kernel,
            (None, _) => Sender::SameContainer,
        }
    }

    /// The signal that most likely ended an init whose exit status is not known.
    fn presumed_fatal(&self) -> Option<u32> {
        let kill = self
            .kinds
            .iter()
            .find(|kind| kind.signal == SIGKILL && (kind.began.is_some() || kind.first.is_some()));
        let began = || {
            let began = self.kinds.iter().filter_map(|kind| kind.began.map(|at| (at, kind.signal)));
            began.min().map(|(_, signal)| signal)
        };
        kill.map(|kind| kind.signal).or_else(began)
    }

    /// The shutdown in progress: its start, and whether SIGKILL was sent.
    pub(super) fn open(&self) -> Option<(u64, bool)> {
        let stop = self.stop.filter(|_| self.stop_reported)?;
        Some((stop.time_boot_ns, self.kill_reported))
    }

    /// The cause of init's end at `end_boot_ns`. `oom`: the OOM killer killed it.
    pub(super) fn conclude(
        &self,
        status: Option<ExitStatus>,
        end_boot_ns: u64,
        oom: bool,
    ) -> Conclusion {
        let ended_by = match status {
            Some(ExitStatus::Signal { signal, .. }) => Some(signal),
            Some(ExitStatus::Code(_)) => None,
            None if oom => Some(SIGKILL),
            None => self.presumed_fatal(),
        };
        let stop = self.stop.filter(|stop| {
            // A signal that made init dying must be the one in its status. If it is not, init was
            // dying before (5.10), and the signal began no shutdown.
            let consistent = !stop.began || status.is_none() || ended_by == Some(stop.signal);
            let alive = self.first_kill().is_none_or(|kill| stop.time_boot_ns <= kill);
            consistent && alive && stop.time_boot_ns <= end_boot_ns
        });
        let cause = match (ended_by, status) {
            (Some(SIGKILL), _) if oom => Cause::Oom,
            (Some(SIGKILL), _) if stop.is_some() => Cause::KilledAfterGrace,
            (Some(SIGKILL), _) if self.earlier_unseen => Cause::Unknown,
            (Some(SIGKILL), _) => Cause::KilledWithoutStopSignal,
            (Some(_), _) => Cause::Signal,
            (None, Some(ExitStatus::Code(0))) => Cause::Completed,
            (None, Some(_)) => Cause::Error,
            (None, None) => Cause::Unknown,
        };
        Conclusion {
            cause,
            stop_boot_ns: stop.map(|stop| stop.time_boot_ns),
            outcome: if stop.is_some() && ended_by == Some(SIGKILL) {
                Outcome::Killed
            } else {
                Outcome::Exited
            },
            fatal: ended_by
                .map(|signal| FatalSignal { signal, sender: self.sender_of_fatal(signal, oom) }),
        }
    }
}

/// The cause of init's end, as far as its signals show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conclusion {
    pub(super) cause: Cause,
    pub(super) stop_boot_ns: Option<u64>,
    pub(super) outcome: Outcome,
    pub(super) fatal: Option<FatalSignal>,
}
