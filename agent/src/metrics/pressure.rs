//! Collector `pressure`: pressure stall information (Documentation/accounting/psi.rst).

use super::collector::Collector;
use super::expose::Value;
use super::family::{Family, Scope};
use super::usage::{Series, UsageFamily};

/// `cpu.pressure`, `memory.pressure`, `io.pressure`: totals.
pub static PRESSURE: UsageFamily = UsageFamily::counter(
    Family::counter(
        "container_pressure_seconds_total",
        Scope::Container,
        "Time that some or all (full) tasks were stalled on a resource. Up to 2 s behind where the \
         kernel's cgroup iterator provides it.",
    )
    .of(Collector::Pressure)
    .labels(&["resource", "kind"], SERIES.len()),
    Value::Micros,
    SERIES,
);

const SERIES: &[Series] = &[
    Series { labels: &[("resource", "cpu"), ("kind", "some")], get: |s| s.cpu_pressure.some_us },
    Series {
        labels: &[("resource", "memory"), ("kind", "some")],
        get: |s| s.memory_pressure.some_us,
    },
    Series {
        labels: &[("resource", "memory"), ("kind", "full")],
        get: |s| s.memory_pressure.full_us,
    },
    Series { labels: &[("resource", "io"), ("kind", "some")], get: |s| s.io_pressure.some_us },
    Series { labels: &[("resource", "io"), ("kind", "full")], get: |s| s.io_pressure.full_us },
];
