//! Signals to init: those it ignores and those that end it.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::cell::Cells;
use super::expose::{Exposition, Labels};
use super::subject::Workload;
use crate::lifecycle::fact::{Sender, StopSignal, Termination};
use crate::signal;

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
        let mut labels = SignalAndSender { signal: signal::name(signal), sender };
        if self.0.len() >= NAMED_MAX && !self.0.contains(&labels) {
            labels.signal = signal::OTHER;
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
    if let Some(fatal) = end.fatal {
        workload.fatal.add_one(fatal.signal, fatal.sender);
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMED_MAX, SERIES_MAX, SignalCells};
    use crate::lifecycle::fact::Sender;

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
