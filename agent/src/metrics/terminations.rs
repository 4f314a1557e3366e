//! Ends of containers and their causes.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::cell::Cells;
use super::expose::{Labels, Value};
use super::subject::{Container, Workload};
use crate::event::ExitStatus;
use crate::lifecycle::fact::{Cause, Termination};
use crate::lifecycle::trigger::Trigger;
use crate::signal;

/// All ends.
pub static TOTAL: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "terminations_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Workload,
        labels: &["cause"],
        series_max: Cause::ALL.len() as u32,
        help: "Ends of containers; the causes exclude each other.",
    },
    write: |block, workload, to| workload.terminations.write(block, to),
};

/// The last end.
pub static LAST: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_last_termination_info",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &["cause", "trigger", "exit_code", "signal"],
        series_max: 1,
        help: "How the container ended the last time; the value is when, in Unix time.",
    },
    write: |block, container, to| {
        if let Some(last) = &container.last_termination {
            to.sample(block, last, Value::Nanos(last.time_unix_ns));
        }
    },
};

/// The last end of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTermination {
    /// When, boot time.
    pub time_boot_ns: u64,
    /// When, Unix time.
    pub time_unix_ns: u64,
    /// How.
    pub end: Termination,
    /// Who or what had it stopped.
    pub trigger: Trigger,
}

impl Labels for LastTermination {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("cause", self.end.cause.label());
        label("trigger", self.trigger.label());
        let fatal = self.end.fatal.map_or("", |fatal| signal::name(fatal.signal));
        match self.end.status {
            Some(ExitStatus::Code(code)) => {
                label("exit_code", itoa::Buffer::new().format(code));
                label("signal", "");
            }
            Some(ExitStatus::Signal { signal, .. }) => {
                label("exit_code", "");
                label("signal", signal::name(signal));
            }
            None => {
                label("exit_code", "");
                label("signal", fatal);
            }
        }
    }
}

impl Labels for Cause {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("cause", self.label());
    }
}

pub(super) fn born() -> Cells<Cause> {
    Cells::born(Cause::ALL)
}

/// A container ended.
pub(super) fn terminated(
    container: &mut Container,
    workload: Option<&mut Workload>,
    last: LastTermination,
) {
    if container.last_termination.is_none_or(|old| old.time_boot_ns <= last.time_boot_ns) {
        container.last_termination = Some(last);
    }
    if let Some(workload) = workload {
        workload.terminations.add_one(last.end.cause);
    }
}
