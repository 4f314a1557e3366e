//! Shutdowns: from the stop signal to the end.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::expose::{NONE, Value};
use super::histogram::Bound;
use super::subject::{Container, Workload};
use super::usage::Terminating;
use crate::lifecycle::fact::{Outcome, Termination};

/// The last shutdown.
pub static LAST: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_last_shutdown_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "From the stop signal to the end, the last time; absent if there was none.",
    },
    write: |block, container, to| {
        if let Some((_, shutdown_ns)) = container.last_shutdown {
            to.sample(block, &NONE, Value::Nanos(shutdown_ns));
        }
    },
};

/// Shutdowns under way.
pub static OPEN: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_shutdown_open_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &["killed"],
        series_max: 1,
        help: "Time since the stop signal, while the container has not ended; killed: SIGKILL came \
               and did not help yet.",
    },
    write: |block, container, to| {
        let terminating = container.usage.live().find_map(|instance| instance.terminating);
        if let Some(Terminating { for_ns, killed }) = terminating {
            let killed = if killed { "true" } else { "false" };
            to.sample(block, &[("killed", killed)].as_slice(), Value::Nanos(for_ns));
        }
    },
};

/// All shutdowns.
pub static DURATION: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "shutdown_duration_seconds",
        kind: Type::Histogram,
        unit: Unit::Seconds,
        scope: Scope::Workload,
        labels: &["outcome"],
        series_max: 22,
        help: "From the stop signal to the end; outcome: exited by itself or killed. A SIGKILL \
               without a stop signal before is not in it.",
    },
    write: |block, workload, to| {
        to.histogram(block, &[("outcome", "exited")].as_slice(), &mut workload.shutdown_exited);
        to.histogram(block, &[("outcome", "killed")].as_slice(), &mut workload.shutdown_killed);
    },
};

/// Around the default grace period of 30 s.
pub static BOUNDS: &[Bound] = &[
    Bound { ns: 100_000_000, le: "0.1" },
    Bound { ns: 300_000_000, le: "0.3" },
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 120_000_000_000, le: "120.0" },
];

/// A container ended.
pub(super) fn terminated(
    container: &mut Container,
    workload: Option<&mut Workload>,
    time_boot_ns: u64,
    end: &Termination,
) {
    let Some(shutdown_ns) = end.shutdown_ns() else { return };
    // Two instances may overlap: the last is the one that ended last.
    if container.last_shutdown.is_none_or(|(time, _)| time <= time_boot_ns) {
        container.last_shutdown = Some((time_boot_ns, shutdown_ns));
    }
    if let Some(workload) = workload {
        let histogram = match end.outcome {
            Outcome::Killed => &mut workload.shutdown_killed,
            Outcome::Exited => &mut workload.shutdown_exited,
        };
        histogram.observe_ns(shutdown_ns);
    }
}
