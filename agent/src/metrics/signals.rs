//! Signals to init: those it ignores and those that end it.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::cell::Cells;
use super::expose::{Exposition, Labels};
use super::subject::Workload;
use crate::lifecycle::fact::{Sender, StopSignal, Termination};

/// Ignored stop signals.
pub static IGNORED: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "stop_signal_ignored_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Workload,
        labels: &["signal", "sender"],
        series_max: SERIES_MAX,
        help: "Stop signals that the container's init ignores: it will not stop before it is \
               killed. Known at once, not after the grace period.",
    },
    write: |block, workload, to| workload.ignored.write(block, to),
};

/// Fatal signals.
pub static FATAL: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "fatal_signals_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Workload,
        labels: &["signal", "sender"],
        series_max: SERIES_MAX,
        help: "Signals that ended a container's init, and who sent them.",
    },
    write: |block, workload, to| workload.fatal.write(block, to),
};

/// Label sets of a family and a workload that keep the signal's name. A workload meets very few;
/// one that sends itself all 64 signals must not make 384 series.
const NAMED_MAX: usize = 8;
const SERIES_MAX: u32 = (NAMED_MAX + Sender::ALL.len()) as u32;

/// The name that stands for the signals beyond [`NAMED_MAX`], and for numbers that are none.
const OTHER: &str = "other";

/// The name of a signal on Linux (x86, Arm, RISC-V: `include/uapi/asm-generic/signal.h`).
///
/// Real-time signals count from 34, as in glibc and systemd; 32 and 33 are glibc's own.
#[must_use]
pub fn name(signal: u32) -> &'static str {
    const NAMES: [&str; 64] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
        "SIG32",
        "SIG33",
        "SIGRTMIN",
        "SIGRTMIN+1",
        "SIGRTMIN+2",
        "SIGRTMIN+3",
        "SIGRTMIN+4",
        "SIGRTMIN+5",
        "SIGRTMIN+6",
        "SIGRTMIN+7",
        "SIGRTMIN+8",
        "SIGRTMIN+9",
        "SIGRTMIN+10",
        "SIGRTMIN+11",
        "SIGRTMIN+12",
        "SIGRTMIN+13",
        "SIGRTMIN+14",
        "SIGRTMIN+15",
        "SIGRTMIN+16",
        "SIGRTMIN+17",
        "SIGRTMIN+18",
        "SIGRTMIN+19",
        "SIGRTMIN+20",
        "SIGRTMIN+21",
        "SIGRTMIN+22",
        "SIGRTMIN+23",
        "SIGRTMIN+24",
        "SIGRTMIN+25",
        "SIGRTMIN+26",
        "SIGRTMIN+27",
        "SIGRTMIN+28",
        "SIGRTMIN+29",
        "SIGRTMIN+30",
    ];
    let index = signal.checked_sub(1).and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| NAMES.get(index)).copied().unwrap_or(OTHER)
}

/// The number of a signal by its name, as Kubernetes writes it
/// (`staging/src/k8s.io/api/core/v1/types.go`, `Signal`, Kubernetes 1.37).
#[must_use]
pub fn number(of: &str) -> Option<u32> {
    const SIGRTMAX: u32 = 64;
    if let Some(below) = of.strip_prefix("SIGRTMAX") {
        let below = if below.is_empty() { 0 } else { below.strip_prefix('-')?.parse().ok()? };
        return SIGRTMAX.checked_sub(below).filter(|signal| *signal >= 34);
    }
    match of {
        "SIGIOT" => Some(6),
        "SIGCLD" => Some(17),
        "SIGPOLL" => Some(29),
        _ => (1..=SIGRTMAX).find(|signal| name(*signal) == of),
    }
}

/// The labels `signal` and `sender`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalAndSender {
    /// Name.
    pub signal: &'static str,
    /// By whom.
    pub sender: Sender,
}

impl Labels for SignalAndSender {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("signal", self.signal);
        label("sender", self.sender.label());
    }
}

/// Signals by name and sender, bounded.
#[derive(Clone, Debug, Default)]
pub struct SignalCells(Cells<SignalAndSender>);

impl SignalCells {
    /// Counts one.
    pub fn add_one(&mut self, signal: u32, sender: Sender) {
        let mut labels = SignalAndSender { signal: name(signal), sender };
        if self.0.len() >= NAMED_MAX && !self.0.contains(&labels) {
            labels.signal = OTHER;
        }
        self.0.add_one(labels);
    }

    fn write(&mut self, block: &[u8], to: &mut Exposition) {
        self.0.write(block, to);
    }
}

/// The one that nearly all are: the runtime's SIGTERM.
pub(super) fn born_ignored() -> SignalCells {
    let labels = SignalAndSender { signal: "SIGTERM", sender: Sender::Runtime };
    SignalCells(Cells::born([labels]))
}

/// The first stop signal came.
pub(super) fn stop_signal(workload: &mut Workload, stop: &StopSignal) {
    if stop.ignored {
        workload.ignored.add_one(stop.signal, stop.sender);
    }
}

/// A container ended.
pub(super) fn terminated(workload: &mut Workload, end: &Termination) {
    if let Some((signal, sender)) = end.fatal {
        workload.fatal.add_one(signal, sender);
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMED_MAX, SERIES_MAX, SignalCells, name, number};
    use crate::lifecycle::fact::Sender;

    #[test]
    fn signals_have_the_names_that_people_know() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX", Some(64)),
            ("SIGRTMAX-14", Some(50)),
            ("SIGRTMAX-31", None),
            ("SIGRTMAXx", None),
            ("SIGPOLL", Some(29)),
            ("other", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
        let known = [(1, "SIGHUP"), (9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM")];
        for (signal, expected) in known {
            assert_eq!(name(signal), expected);
        }
        for signal in 1..=31 {
            let oracle = nix::sys::signal::Signal::try_from(signal).unwrap();
            assert_eq!(name(signal as u32), oracle.as_str());
        }
        assert_eq!((name(28), name(34), name(37)), ("SIGWINCH", "SIGRTMIN", "SIGRTMIN+3"));
        assert_eq!(
            (name(64), name(0), name(65), name(u32::MAX)),
            ("SIGRTMIN+30", "other", "other", "other")
        );
    }

    #[test]
    fn a_workload_cannot_make_series_without_bound() {
        let mut cells = SignalCells::default();
        for signal in 1..=100 {
            for sender in Sender::ALL {
                cells.add_one(signal, sender);
            }
        }
        assert!(cells.0.len() > NAMED_MAX, "some keep their name");
        assert!(cells.0.len() <= SERIES_MAX as usize);
    }
}
