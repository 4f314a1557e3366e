//! Stop requests: which signals to init ask its container to stop, and what proves it. Pure.
//!
//! A runtime, a service manager and a hand deliver any signal: SIGHUP and SIGUSR1 make many
//! programs read their configuration or open their logs again, SIGQUIT makes a JVM dump its
//! threads, and the program lives on. So only two signals request a stop by themselves: SIGTERM,
//! and the stop signal that the Pod source reports for the container. An image may name another
//! (`STOPSIGNAL`: SIGQUIT for nginx and php-fpm, SIGINT for postgres, SIGWINCH for httpd, SIGUSR1
//! for haproxy, SIGRTMIN+3 for systemd), which nobody reports. So any other signal from outside is
//! a request only once something else proves it, and then it counts from its own time. This table
//! is the whole rule ([`Request::is_proved`]):
//!
//! | evidence | request that it proves |
//! |---|---|
//! | none | SIGTERM, and the reported stop signal, from any sender outside |
//! | the Pod is being deleted | any from the runtime since the deletion was noticed; one whose common use is a stop also shortly before, as the kubelet may hear of it first |
//! | SIGKILL from the same sender, a grace period later at most | any |
//! | init dies of that very signal | any |
//! | init exits with 0, or with 128 and the signal's number, a grace period later at most | one whose common use is a stop; any from the runtime or the service manager |
//! | init ends in any other way, a grace period later at most (after SIGQUIT: 2 s) | one whose common use is a stop |
//! | init ends, in a Pod whose deletion began before the signal | any from the runtime |
//!
//! A crash that follows a reload is none of these. Two errors remain, both rare: a program that
//! exits with 0 by itself soon after a reload, and an image with an uncommon stop signal whose
//! program crashes while it stops and nobody reports a deletion.

use super::fact::Sender;
use super::grace::{LEFT_MIN_NS, OVERDUE_NS};
use crate::event::{Comm, ExitStatus, Signal, SignalResult, TaskKey};
use crate::signal::{SIGKILL, SIGTERM};

const SIGQUIT: u32 = 3;

/// Default of `terminationGracePeriodSeconds`; the runtimes' own default is 10 s.
const DEFAULT_GRACE_NS: u64 = 30_000_000_000;
/// Longest stop by hand where nobody reports a grace period: a database may take minutes.
const LONGEST_BY_HAND_NS: u64 = 300_000_000_000;
/// Time in which any end follows from SIGQUIT: a dump of all threads is its other use, and what
/// ends later than that has its own reason.
const AFTER_QUIT_NS: u64 = 2_000_000_000;

/// The Pod source's report of a container's stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    /// The container's own stop signal.
    pub(super) stop_signal: Option<u32>,
    /// The longest grace period that its spec names.
    pub(super) grace_ns: Option<u64>,
    /// The deletion of its Pod.
    pub(super) deletion: Option<Deletion>,
}

impl Reported {
    /// Longest time between a stop signal and the SIGKILL that follows it.
    pub(super) fn longest_stop_ns(&self) -> u64 {
        let grace_ns = self.grace_ns.unwrap_or(DEFAULT_GRACE_NS).max(LEFT_MIN_NS);
        grace_ns.saturating_add(OVERDUE_NS)
    }
}

/// The deletion of a Pod: the container is going to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deletion {
    /// Time since which the kubelet may know of it, `CLOCK_BOOTTIME`.
    pub(super) since_boot_ns: u64,
    /// Time at which the agent learned of it, `CLOCK_BOOTTIME`.
    pub(super) noticed_boot_ns: u64,
}

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct By {
    pub(super) sender: Sender,
    process: TaskKey,
    /// Whether starting and stopping programs is its business: the runtime's or the service
    /// manager's.
    manages: bool,
}

impl By {
    fn same(&self, other: &Self) -> bool {
        // A runtime is another process at each call.
        self.sender == other.sender
            && (self.sender == Sender::Runtime || self.process == other.process)
    }
}

/// A signal from outside its container that may request a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    pub(super) time_boot_ns: u64,
    pub(super) signal: u32,
    /// Whether the process dies of it.
    pub(super) began: bool,
    /// Whether init ignores it.
    pub(super) ignored: bool,
    pub(super) by: By,
}

/// Evidence that a signal was a stop request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The signal itself, with the Pod source's report.
    Report,
    /// SIGKILL from outside.
    Kill { time_boot_ns: u64, by: By },
    /// End of init; `fatal` is the sender of the signal that ended it.
    End { time_boot_ns: u64, status: Option<ExitStatus>, fatal: Option<Sender> },
}

impl Request {
    /// The request that a signal to init may be. `None` if it stops no container, whoever sends
    /// it, or comes from inside. `began`: the process dies of it.
    pub(super) fn new(
        time_boot_ns: u64,
        signal: &Signal,
        sender: Sender,
        began: bool,
    ) -> Option<Self> {
        let by = sent_by(signal, sender)?;
        let ignored = signal.result == SignalResult::Ignored;
        let request = Self { time_boot_ns, signal: signal.signal, began, ignored, by };
        (!never_stops(signal.signal)).then_some(request)
    }

    /// Whether this evidence proves that the signal requested a stop.
    pub(super) fn is_proved(&self, evidence: &Evidence, reported: &Reported) -> bool {
        let by_runtime = self.by.sender == Sender::Runtime;
        let longest_ns = reported.longest_stop_ns();
        match *evidence {
            Evidence::Report => {
                let deleted = reported.deletion.is_some_and(|deletion| {
                    let since = if commonly_stops(self.signal) {
                        deletion.since_boot_ns
                    } else {
                        deletion.noticed_boot_ns
                    };
                    since <= self.time_boot_ns
                });
                self.signal == SIGTERM
                    || reported.stop_signal == Some(self.signal)
                    || (by_runtime && deleted)
            }
            Evidence::Kill { time_boot_ns, by } => {
                let after = time_boot_ns.checked_sub(self.time_boot_ns);
                after.is_some_and(|ns| ns <= longest_ns) && self.by.same(&by)
            }
            Evidence::End { time_boot_ns, status, fatal } => {
                let Some(after_ns) = time_boot_ns.checked_sub(self.time_boot_ns) else {
                    return false;
                };
                let died_of_it = matches!(status, Some(ExitStatus::Signal { signal, .. })
                    if signal == self.signal);
                if self.began && status.is_some() && !died_of_it {
                    // It was dying before.
                    return false;
                }
                let deletion = reported.deletion.filter(|_| by_runtime);
                (died_of_it && fatal == Some(self.by.sender))
                    || deletion.is_some_and(|it| it.since_boot_ns <= self.time_boot_ns)
                    || (after_ns <= longest_ns && self.explains(status, after_ns))
            }
        }
    }

    /// Whether this request stopped nothing, and so gives way to a later one: it was sent by hand,
    /// or by another container, and init ignored it or has outlived it.
    ///
    /// Runtimes and service managers are kept to: they follow up with a SIGKILL.
    pub(super) fn gives_way_to(&self, later: &Self, reported: &Reported) -> bool {
        let by_hand =
            !self.by.manages && later.by.manages && self.time_boot_ns <= later.time_boot_ns;
        by_hand && (self.ignored || self.is_over(later.time_boot_ns, reported))
    }

    /// Whether this request, sent by hand or by another container, was longer ago than any stop
    /// takes.
    pub(super) fn is_over(&self, now_boot_ns: u64, reported: &Reported) -> bool {
        let since_ns = now_boot_ns.saturating_sub(self.time_boot_ns);
        let longest_ns =
            reported.grace_ns.map_or(LONGEST_BY_HAND_NS, |_| reported.longest_stop_ns());
        !self.by.manages && since_ns > longest_ns
    }

    /// Whether init's end, so long after the signal, follows from it.
    fn explains(&self, status: Option<ExitStatus>, after_ns: u64) -> bool {
        let clean = matches!(status, Some(ExitStatus::Code(code))
            if code == 0 || u32::from(code) == 128 + self.signal);
        match self.signal {
            SIGQUIT if !clean => after_ns <= AFTER_QUIT_NS,
            signal if commonly_stops(signal) => true,
            _ => clean && self.by.manages,
        }
    }
}

/// The sender of a signal from outside; `None` for one of the container's own and for the kernel.
pub(super) fn sent_by(signal: &Signal, sender: Sender) -> Option<By> {
    let manages = match sender {
        Sender::Runtime => true,
        Sender::Host => is_service_manager(&signal.sender.comm),
        Sender::OtherContainer => false,
        Sender::Kernel | Sender::Own | Sender::SameContainer => return None,
    };
    Some(By { sender, process: signal.sender.key, manages })
}

/// Whether this is the short name of systemd, the system's or a user's.
fn is_service_manager(comm: &Comm) -> bool {
    comm.bytes() == b"systemd"
}

/// Whether this signal stops no container, whoever sends it.
///
/// SIGCHLD (17), SIGCONT (18), SIGSTOP (19), SIGTSTP (20), SIGTTIN (21), SIGTTOU (22) and SIGURG
/// (23). SIGKILL is no request. SIGWINCH is not among them: it is the stop signal of httpd. The
/// kernel also sends one when a terminal is resized, but then as its own.
const fn never_stops(signal: u32) -> bool {
    matches!(signal, 17..=23) || signal == SIGKILL || signal == 0
}

/// Whether the common use of this signal is a stop: SIGINT (2), SIGQUIT, SIGTERM, SIGPWR (30: LXC),
/// and those that have systemd halt, power off or reboot (SIGRTMIN+3 to +6 and +13 to +16,
/// systemd(1)).
const fn commonly_stops(signal: u32) -> bool {
    matches!(signal, 2 | SIGQUIT | SIGTERM | 30 | 37..=40 | 47..=50)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
