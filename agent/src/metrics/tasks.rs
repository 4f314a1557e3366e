//! Collector `tasks`: tasks of a container, which `pids.max` limits.

use super::collector::Collector;
use super::expose::Value;
use super::family::{Family, Need, Scope};
use super::usage::UsageFamily;

/// `pids.current`.
pub static TASKS: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_tasks",
        Scope::Container,
        "Tasks in the container; each thread is a task.",
    )),
    |s| s.tasks.map(Value::Count),
);

/// `pids.max`.
pub static LIMIT: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_tasks_limit",
        Scope::Container,
        "Limit on tasks enforced by the kernel; absent without a limit.",
    )),
    |s| s.tasks_limit.map(Value::Count),
);

/// A family that needs the pids controller.
const fn controlled(family: Family) -> Family {
    family.of(Collector::Tasks).needs(&[Need::Controller("pids")])
}
