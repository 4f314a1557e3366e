//! Collector `cpu`: CPU time, throttling and limits.

use super::collector::Collector;
use super::expose::Value;
use super::family::{Family, Need, Scope};
use super::usage::{Series, UsageFamily};
use crate::cgroup::sample::Sample;

/// `cpu.stat` `usage_usec`, which every cgroup has.
pub static USAGE: UsageFamily = UsageFamily::counter(
    Family::counter(
        "container_cpu_usage_seconds_total",
        Scope::Container,
        "CPU time used in user and system mode.",
    )
    .of(Collector::Cpu),
    Value::Micros,
    &[Series { labels: &[], get: |s| s.cpu.usage_us }],
);

/// `cpu.stat` `throttled_usec`.
pub static THROTTLED: UsageFamily = UsageFamily::counter(
    controlled(Family::counter(
        "container_cpu_throttled_seconds_total",
        Scope::Container,
        "Time that the container's run queues were throttled, summed over CPUs.",
    )),
    Value::Micros,
    &[Series { labels: &[], get: |s| s.cpu.throttled_us }],
);

/// `cpu.stat` `nr_periods`.
pub static PERIODS: UsageFamily = UsageFamily::counter(
    controlled(Family::counter(
        "container_cpu_periods_total",
        Scope::Container,
        "CPU limit periods in which the container was runnable.",
    )),
    Value::Count,
    &[Series { labels: &[], get: |s| s.cpu.periods }],
);

/// `cpu.stat` `nr_throttled`.
pub static THROTTLED_PERIODS: UsageFamily = UsageFamily::counter(
    controlled(Family::counter(
        "container_cpu_throttled_periods_total",
        Scope::Container,
        "CPU limit periods in which the container was throttled.",
    )),
    Value::Count,
    &[Series { labels: &[], get: |s| s.cpu.throttled_periods }],
);

/// `cpu.max` of a container.
pub static LIMIT: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_cpu_limit_cores",
        Scope::Container,
        "CPU limit enforced by the kernel; absent without a limit.",
    )),
    limit,
);

/// `cpu.max` of a Pod.
pub static POD_LIMIT: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "pod_cpu_limit_cores",
        Scope::Pod,
        "CPU limit of the whole Pod enforced by the kernel; absent without a limit.",
    )),
    limit,
);

/// A family that needs the cpu controller.
const fn controlled(family: Family) -> Family {
    family.of(Collector::Cpu).needs(&[Need::Controller("cpu")])
}

/// The limit as a number of CPUs.
fn limit(sample: &Sample) -> Option<Value> {
    let (quota_us, period_us) = (sample.cpu.quota_us?, sample.cpu.period_us?);
    (period_us != 0).then_some(Value::Ratio(quota_us, period_us))
}
