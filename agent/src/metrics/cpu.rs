//! CPU time, throttling and limit of a container.

use super::catalog::{Family, Scope, Type, Unit};
use super::expose::Value;
use super::usage::{Counter, Source, UsageFamily};
use crate::cgroup::sample::Sample;

/// `cpu.stat` `usage_usec`.
pub static USAGE: UsageFamily = UsageFamily {
    family: Family {
        name: "container_cpu_usage_seconds_total",
        kind: Type::Counter,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "CPU time used, user and system together.",
    },
    source: Source::Counter(Value::Micros, &[Counter { labels: &[], get: |s| s.cpu.usage_us }]),
};

/// `cpu.stat` `throttled_usec`.
pub static THROTTLED: UsageFamily = UsageFamily {
    family: Family {
        name: "container_cpu_throttled_seconds_total",
        kind: Type::Counter,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Time that run queues of the container were throttled, summed over CPUs.",
    },
    source: Source::Counter(Value::Micros, &[Counter { labels: &[], get: |s| s.cpu.throttled_us }]),
};

/// `cpu.stat` `nr_periods`.
pub static PERIODS: UsageFamily = UsageFamily {
    family: Family {
        name: "container_cpu_periods_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Periods of the CPU limit in which the container wanted to run.",
    },
    source: Source::Counter(Value::Count, &[Counter { labels: &[], get: |s| s.cpu.periods }]),
};

/// `cpu.stat` `nr_throttled`.
pub static THROTTLED_PERIODS: UsageFamily = UsageFamily {
    family: Family {
        name: "container_cpu_throttled_periods_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Periods of the CPU limit in which the container was throttled.",
    },
    source: Source::Counter(
        Value::Count,
        &[Counter { labels: &[], get: |s| s.cpu.throttled_periods }],
    ),
};

/// `cpu.max`.
pub static LIMIT: UsageFamily = UsageFamily {
    family: Family {
        name: "container_cpu_limit_cores",
        kind: Type::Gauge,
        unit: Unit::Cores,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "CPU limit that the kernel enforces; absent without a limit.",
    },
    source: Source::Gauge(limit),
};

/// The limit as a number of CPUs.
pub(super) fn limit(sample: &Sample) -> Option<Value> {
    let (quota_us, period_us) = (sample.cpu.quota_us?, sample.cpu.period_us?);
    (period_us != 0).then_some(Value::Ratio(quota_us, period_us))
}
