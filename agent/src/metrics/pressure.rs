//! Pressure stall information of a container (Documentation/accounting/psi.rst).

use super::catalog::{Family, Scope, Type, Unit};
use super::expose::Value;
use super::usage::{Counter, Source, UsageFamily};

/// `cpu.pressure`, `memory.pressure`, `io.pressure`: totals.
pub static PRESSURE: UsageFamily = UsageFamily {
    family: Family {
        name: "container_pressure_seconds_total",
        kind: Type::Counter,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &["resource", "kind"],
        series_max: 5,
        help: "Time that tasks waited for a resource: some of them, or all at once; up to 2 s behind where the kernel's iterator tells it.",
    },
    source: Source::Counter(
        Value::Micros,
        &[
            Counter {
                labels: &[("resource", "cpu"), ("kind", "some")],
                get: |s| s.cpu_pressure.some_us,
            },
            Counter {
                labels: &[("resource", "memory"), ("kind", "some")],
                get: |s| s.memory_pressure.some_us,
            },
            Counter {
                labels: &[("resource", "memory"), ("kind", "full")],
                get: |s| s.memory_pressure.full_us,
            },
            Counter {
                labels: &[("resource", "io"), ("kind", "some")],
                get: |s| s.io_pressure.some_us,
            },
            Counter {
                labels: &[("resource", "io"), ("kind", "full")],
                get: |s| s.io_pressure.full_us,
            },
        ],
    ),
};
