//! A Pod's own cgroup: the limits and the memory that its containers share.

use super::catalog::{Family, Scope, Type, Unit};
use super::cpu;
use super::expose::Value;
use super::memory;
use super::usage::{Source, UsageFamily};

/// `cpu.max`.
pub static CPU_LIMIT: UsageFamily = UsageFamily {
    family: Family {
        name: "pod_cpu_limit_cores",
        kind: Type::Gauge,
        unit: Unit::Cores,
        scope: Scope::Pod,
        labels: &[],
        series_max: 1,
        help: "CPU limit of the whole Pod that the kernel enforces; absent without a limit.",
    },
    source: Source::Gauge(cpu::limit),
};

/// `memory.max`.
pub static MEMORY_LIMIT: UsageFamily = UsageFamily {
    family: Family {
        name: "pod_memory_limit_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Pod,
        labels: &[],
        series_max: 1,
        help: "Memory limit of the whole Pod that the kernel enforces; absent without a limit.",
    },
    source: Source::Gauge(|s| s.memory.limit_bytes.map(Value::Count)),
};

/// As the container's.
pub static MEMORY_WORKING_SET: UsageFamily = UsageFamily {
    family: Family {
        name: "pod_memory_working_set_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Pod,
        labels: &[],
        series_max: 1,
        help: "Memory of the whole Pod less inactive page cache, its tmpfs volumes included.",
    },
    source: Source::Gauge(|s| s.memory.working_set_bytes.map(Value::Count)),
};

/// `memory.events`.
pub static MEMORY_EVENTS: UsageFamily = UsageFamily {
    family: Family {
        name: "pod_memory_events_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Pod,
        labels: &["event"],
        series_max: 4,
        help: "Events of memory.events of the Pod's cgroup, those of its containers included.",
    },
    source: Source::Counter(Value::Count, memory::EVENT_COUNTERS),
};
