//! Restarts: how often, and how long nothing ran.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::expose::{NONE, Value};
use super::histogram::Bound;
use super::subject::{Container, Workload};

/// Restarts seen.
pub static RESTARTS: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_restarts_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Restarts of the container that the agent saw.",
    },
    write: |block, container, to| to.cell(block, &NONE, &mut container.restarts),
};

/// The last outage.
pub static LAST_OUTAGE: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_last_restart_outage_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "From the end before the last restart until the container ran again.",
    },
    write: |block, container, to| {
        if let Some(outage_ns) = container.last_outage_ns {
            to.sample(block, &NONE, Value::Nanos(outage_ns));
        }
    },
};

/// Outages.
pub static OUTAGE: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "restart_outage_seconds",
        kind: Type::Histogram,
        unit: Unit::Seconds,
        scope: Scope::Workload,
        labels: &[],
        series_max: 11,
        help: "From a container's end until its restart runs.",
    },
    write: |block, workload, to| to.histogram(block, &NONE, &mut workload.outage),
};

/// From a restart at once to the longest back-off (5 min) and what an image pull adds.
pub static BOUNDS: &[Bound] = &[
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 120_000_000_000, le: "120.0" },
    Bound { ns: 300_000_000_000, le: "300.0" },
    Bound { ns: 600_000_000_000, le: "600.0" },
];

/// A container runs again; `outage_ns` is not known if its end was not seen.
pub(super) fn restarted(
    container: &mut Container,
    workload: Option<&mut Workload>,
    outage_ns: Option<u64>,
) {
    container.restarts.add_one();
    if let Some(outage_ns) = outage_ns {
        container.last_outage_ns = Some(outage_ns);
        if let Some(workload) = workload {
            workload.outage.observe_ns(outage_ns);
        }
    }
}
