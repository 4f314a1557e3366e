//! Tasks of a container: what `pids.max` limits.

use super::catalog::{Family, Scope, Type, Unit};
use super::expose::Value;
use super::usage::{Source, UsageFamily};

/// `pids.current`.
pub static TASKS: UsageFamily = UsageFamily {
    family: Family {
        name: "container_tasks",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Tasks in the container: each thread counts.",
    },
    source: Source::Gauge(|s| s.tasks.map(Value::Count)),
};

/// `pids.max`.
pub static LIMIT: UsageFamily = UsageFamily {
    family: Family {
        name: "container_tasks_limit",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Tasks that the kernel allows; absent without a limit.",
    },
    source: Source::Gauge(|s| s.tasks_limit.map(Value::Count)),
};
