//! Collector `signals`: signals to init that it ignores or that end it.

use super::collector::Collector;
use super::counters::Counters;
use super::expose::{Labels, StateFamily};
use super::family::{Family, Scope};
use crate::lifecycle::fact::{Fact, FactKind, Sender};
use crate::signal;

/// Ignored stop signals.
pub static IGNORED: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "stop_signal_ignored_total",
        Scope::Workload,
        "Stop signals ignored by the container's init, which then runs until it is killed. Counted \
         when the signal is sent.",
    )
    .of(Collector::Signals)
    .labels(&["signal", "sender"], SETS_MAX),
    write: |block, signals, to| signals.ignored.0.write(block, to),
};

/// Fatal signals.
pub static FATAL: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "fatal_signals_total",
        Scope::Workload,
        "Signals that ended a container's init, by sender.",
    )
    .of(Collector::Signals)
    .labels(&["signal", "sender"], SETS_MAX),
    write: |block, signals, to| signals.fatal.0.write(block, to),
};

/// Label sets of a family and a workload that keep the signal's name. A workload meets very few;
/// one that sends itself all 64 signals must not make 384 series.
const NAMED_MAX: usize = 8;
const SETS_MAX: usize = NAMED_MAX + Sender::ALL.len();

/// The labels `signal` and `sender`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SignalAndSender {
    signal: &'static str,
    sender: Sender,
}

impl Labels for SignalAndSender {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("signal", self.signal);
        label("sender", self.sender.label());
    }
}

/// Signals by name and sender, bounded.
#[derive(Debug, Default)]
struct Signals(Counters<SignalAndSender>);

impl Signals {
    /// Returns the number of label sets that found no room: 0 or 1.
    fn add_one(&mut self, signal: u32, sender: Sender) -> u64 {
        let labels = SignalAndSender { signal: signal::name(signal), sender };
        let other = SignalAndSender { signal: signal::OTHER, sender };
        u64::from(!self.0.add_one_bounded(labels, NAMED_MAX, other))
    }
}

/// Signals to the inits of a workload's containers.
#[derive(Debug)]
pub struct OfWorkload {
    ignored: Signals,
    fatal: Signals,
}

impl OfWorkload {
    /// Takes in a fact. Returns the number of label sets that found no room.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        match &fact.kind {
            FactKind::StopSignal(stop) if stop.ignored => {
                self.ignored.add_one(stop.signal, stop.sender)
            }
            FactKind::Explained(death) => {
                death.end.fatal.map_or(0, |fatal| self.fatal.add_one(fatal.signal, fatal.sender))
            }
            _ => 0,
        }
    }
}

impl Default for OfWorkload {
    /// Of ignored stop signals, the runtime's SIGTERM is initialised: nearly all are that.
    fn default() -> Self {
        let usual = SignalAndSender { signal: "SIGTERM", sender: Sender::Runtime };
        Self { ignored: Signals(Counters::initialised([usual])), fatal: Signals::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMED_MAX, SETS_MAX, Signals};
    use crate::lifecycle::fact::Sender;

    #[test]
    fn a_workload_cannot_make_series_without_bound() {
        let mut signals = Signals::default();
        let mut folded = 0;
        for signal in 1..=100 {
            for sender in Sender::ALL {
                folded += signals.add_one(signal, sender);
            }
        }
        assert!(folded > 0, "and who has none is counted");
        assert!(signals.0.len() > NAMED_MAX, "some keep their name");
        assert!(signals.0.len() <= SETS_MAX);
        assert_eq!(signals.0.sum(), 100 * Sender::ALL.len() as u64);
    }
}
