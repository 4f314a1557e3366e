//! Starts: where the time went from the scheduler's decision until the container was ready.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::expose::{NONE, Value};
use super::histogram::{Bound, Histogram};
use super::subject::{Container, Workload};
use crate::lifecycle::start::{Phase, Start};

/// Phases of the last start.
pub static PHASES: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_startup_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &["phase"],
        series_max: Phase::ALL.len() as u32,
        help: "Phases of the container's last start, if the agent saw it; those that begin or end \
               with a time of the API (scheduled, init) are to the second.",
    },
    write: |block, container, to| {
        for (phase, time_ns) in Phase::ALL.into_iter().zip(container.startup) {
            if let Some(time_ns) = time_ns {
                to.sample(block, &[("phase", phase.label())].as_slice(), Value::Nanos(time_ns));
            }
        }
    },
};

/// All first starts.
pub static DURATION: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "startup_duration_seconds",
        kind: Type::Histogram,
        unit: Unit::Seconds,
        scope: Scope::Workload,
        labels: &[],
        series_max: 8,
        help: "From the Pod's scheduling until the container was ready the first time; there from \
               the first on.",
    },
    write: |block, workload, to| {
        if let Some(startup) = &mut workload.startup {
            to.histogram(block, &NONE, startup);
        }
    },
};

/// From an image that is there to one that is pulled and warms up.
pub static BOUNDS: &[Bound] = &[
    Bound { ns: 2_000_000_000, le: "2.0" },
    Bound { ns: 5_000_000_000, le: "5.0" },
    Bound { ns: 15_000_000_000, le: "15.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 300_000_000_000, le: "300.0" },
];

/// A start has got further.
pub(super) fn progressed(
    container: &mut Container,
    workload: Option<&mut Workload>,
    start: &Start,
) {
    container.startup = Phase::ALL.map(|phase| start.phase_ns(phase));
    if let (Some(workload), Some(whole_ns), true) = (workload, start.whole_ns(), start.just_ready) {
        let startup = workload.startup.get_or_insert_with(|| Histogram::new(BOUNDS));
        startup.observe_ns(whole_ns);
    }
}
