//! Shutdowns: the signals to a container's init, from the stop signal to the one that ended it.

use std::collections::VecDeque;

use super::fact::{Cause, Fact, FactKind, FatalSignal, Outcome, Sender, StopSignal};
use super::request::{By, Evidence, Reported, Request, sent_by};
use crate::event::{ExitStatus, Signal, SignalResult};
use crate::signal::SIGKILL;

/// Limit of different signals: the kernel has no more numbers (`_NSIG`).
const SIGNALS_MAX: usize = 64;
/// Limit of requests without proof, and of those of one signal and sender.
const REQUESTS_MAX: usize = 64;
const REPEATS_MAX: usize = 8;

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

/// Record of the signals to one init.
#[derive(Debug, Default)]
pub(super) struct Signals {
    kinds: Vec<Kind>,
    /// The first stop request that is proved.
    stop: Option<Request>,
    /// Whether only what came after it proves it: it gives way to one that needs no proof.
    stop_inferred: bool,
    stop_reported: bool,
    /// Signals that were stop requests if something proves it, the newest last.
    requests: VecDeque<Request>,
    /// The first SIGKILL from outside.
    kill: Option<(u64, By)>,
    kill_reported: bool,
    /// Whether signals before these were not seen: init is older than the agent.
    earlier_unseen: bool,
    /// The last time at which records were found to be lost, the stop signal's perhaps among them.
    lost_boot_ns: Option<u64>,
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
        reported: &Reported,
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
        let began = effect == Effect::Began;
        if let Some(request) = Request::new(time_boot_ns, signal, sender, began) {
            let left = left_boot_ns.is_some_and(|left| left <= time_boot_ns);
            let counts = !left && (!began || !other_began);
            if request.is_proved(&Evidence::Report, reported) {
                let known = self.stop.filter(|_| !std::mem::take(&mut self.stop_inferred));
                let gives_way = known.is_some_and(|known| known.gives_way_to(&request, reported));
                let known = known.filter(|_| !gives_way);
                self.stop_reported &= !gives_way;
                self.stop = Some(known.map_or(request, |known| known.min(request)));
                if counts {
                    self.report(request, &mut facts);
                }
            } else if counts && !self.stop_reported {
                self.keep(request);
            }
        }
        if signal.signal == SIGKILL
            && effect != Effect::Refused
            && let Some(by) = sent_by(signal, sender)
        {
            let kill = (time_boot_ns, by);
            self.kill = Some(self.kill.map_or(kill, |known| known.min(kill)));
        }
        self.prove(reported, &mut facts);
        facts
    }

    /// Takes in what the Pod source reports now; returns the facts that follow.
    pub(super) fn reported(&mut self, reported: &Reported) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.prove_by(&Evidence::Report, reported, &mut facts);
        self.prove(reported, &mut facts);
        facts
    }

    /// Takes in the end of init; returns the facts that follow. `oom`: the OOM killer killed it.
    pub(super) fn ended(
        &mut self,
        end_boot_ns: u64,
        status: Option<ExitStatus>,
        oom: bool,
        reported: &Reported,
    ) -> Vec<Fact> {
        let mut facts = Vec::new();
        let fatal = match status {
            Some(ExitStatus::Signal { signal, .. }) => Some(self.sender_of_fatal(signal, oom)),
            Some(ExitStatus::Code(_)) | None => None,
        };
        let end = Evidence::End { time_boot_ns: end_boot_ns, status, fatal };
        self.prove_by(&end, reported, &mut facts);
        self.prove(reported, &mut facts);
        facts
    }

    /// Notes that records were lost until then.
    pub(super) const fn records_lost(&mut self, now_boot_ns: u64) {
        self.lost_boot_ns = Some(now_boot_ns);
    }

    /// Whether a stop signal that nobody saw can have led to an end at that time.
    fn stop_may_be_unseen(&self, end_boot_ns: u64, reported: &Reported) -> bool {
        let longest_ns = reported.longest_stop_ns();
        self.earlier_unseen
            || self.lost_boot_ns.is_some_and(|lost| end_boot_ns <= lost.saturating_add(longest_ns))
    }

    /// Whether init was requested to stop.
    pub(super) const fn is_stopping(&self) -> bool {
        self.stop_reported
    }

    /// Keeps a request until something proves it.
    fn keep(&mut self, request: Request) {
        let same = |known: &Request| {
            known.signal == request.signal && known.by.sender == request.by.sender
        };
        let repeats = self.requests.iter().filter(|known| same(known)).count();
        if repeats >= REPEATS_MAX {
            if let Some(oldest) = self.requests.iter().position(same) {
                self.requests.remove(oldest);
            }
        } else if self.requests.len() >= REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    /// Looks whether a SIGKILL proves a request, and reports the kill after a stop signal: the two
    /// can arrive in either order.
    fn prove(&mut self, reported: &Reported, facts: &mut Vec<Fact>) {
        let Some((kill_boot_ns, by)) = self.kill else { return };
        let evidence = Evidence::Kill { time_boot_ns: kill_boot_ns, by };
        self.prove_by(&evidence, reported, facts);
        if let (true, Some(stop)) = (self.stop_reported, self.stop)
            && !self.kill_reported
            && stop.time_boot_ns <= kill_boot_ns
            && !stop.is_over(kill_boot_ns, reported)
        {
            self.kill_reported = true;
            let kind = FactKind::KilledAfterStopSignal;
            facts.push(Fact { time_boot_ns: kill_boot_ns, kind });
        }
    }

    /// Looks whether this proves a request. Of different signals the last counts: those before it
    /// had not stopped the container. Where that signal was repeated, the first.
    fn prove_by(&mut self, evidence: &Evidence, reported: &Reported, facts: &mut Vec<Fact>) {
        if self.stop_reported {
            return;
        }
        let proved = || self.requests.iter().filter(|it| it.is_proved(evidence, reported));
        let Some(last) = proved().max() else { return };
        let same = |it: &&Request| it.signal == last.signal && it.by.sender == last.by.sender;
        let Some(first) = proved().filter(same).min().copied() else { return };
        self.stop_inferred = self.stop.is_none() && *evidence != Evidence::Report;
        self.stop = Some(self.stop.map_or(first, |known| known.min(first)));
        self.report(first, facts);
    }

    fn report(&mut self, stop: Request, facts: &mut Vec<Fact>) {
        self.requests.clear();
        if !self.stop_reported {
            self.stop_reported = true;
            let Request { time_boot_ns, signal, ignored, by, .. } = stop;
            let stop = StopSignal { signal, sender: by.sender, ignored };
            facts.push(Fact { time_boot_ns, kind: FactKind::StopSignal(stop) });
        }
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
    pub(super) fn open(&self, now_boot_ns: u64, reported: &Reported) -> Option<(u64, bool)> {
        let stop = self.stop.filter(|_| self.stop_reported)?;
        if stop.is_over(now_boot_ns, reported) && !self.kill_reported {
            return None;
        }
        Some((stop.time_boot_ns, self.kill_reported))
    }

    /// The cause of init's end at `end_boot_ns`. `oom`: the OOM killer killed it.
    pub(super) fn conclude(
        &self,
        status: Option<ExitStatus>,
        end_boot_ns: u64,
        oom: bool,
        reported: &Reported,
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
            // What a SIGKILL followed in time stopped it, however long the process took to end.
            let over = stop.is_over(end_boot_ns, reported) && !self.kill_reported;
            consistent && alive && !over && stop.time_boot_ns <= end_boot_ns
        });
        let cause = match (ended_by, status) {
            (Some(SIGKILL), _) if oom => Cause::Oom,
            (Some(SIGKILL), _) if stop.is_some() => Cause::KilledAfterGrace,
            (Some(SIGKILL), _) if self.stop_may_be_unseen(end_boot_ns, reported) => Cause::Unknown,
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
