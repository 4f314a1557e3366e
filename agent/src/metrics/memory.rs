//! Memory of a container: gauges, limits, page faults and `memory.events`.

use super::catalog::{Family, Scope, Type, Unit};
use super::expose::Value;
use super::usage::{Counter, Source, UsageFamily};

/// `memory.current`.
pub static USAGE: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_usage_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Memory charged to the container, page cache included.",
    },
    source: Source::Gauge(|s| s.memory.usage_bytes.map(Value::Count)),
};

/// `memory.current` less `memory.stat` `inactive_file`.
pub static WORKING_SET: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_working_set_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Memory less inactive page cache: what the kubelet evicts by.",
    },
    source: Source::Gauge(|s| s.memory.working_set_bytes.map(Value::Count)),
};

/// `memory.stat` `anon`.
pub static ANON: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_anon_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Anonymous memory: heaps and stacks.",
    },
    source: Source::Gauge(|s| s.memory.anon_bytes.map(Value::Count)),
};

/// `memory.stat` `file`.
pub static FILE: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_file_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Page cache, shared memory and tmpfs included.",
    },
    source: Source::Gauge(|s| s.memory.file_bytes.map(Value::Count)),
};

/// `memory.stat` `shmem`.
pub static SHMEM: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_shmem_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Shared memory and tmpfs.",
    },
    source: Source::Gauge(|s| s.memory.shmem_bytes.map(Value::Count)),
};

/// `memory.stat` `kernel`.
pub static KERNEL: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_kernel_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Kernel memory; absent before Linux 5.18.",
    },
    source: Source::Gauge(|s| s.memory.kernel_bytes.map(Value::Count)),
};

/// `memory.swap.current`.
pub static SWAP: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_swap_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Swap used.",
    },
    source: Source::Gauge(|s| s.memory.swap_bytes.map(Value::Count)),
};

/// `memory.peak`.
pub static PEAK: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_peak_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Highest memory charged since the container started; absent before Linux 5.19.",
    },
    source: Source::Gauge(|s| s.memory.peak_bytes.map(Value::Count)),
};

/// `memory.max`.
pub static LIMIT: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_limit_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Memory limit that the kernel enforces; absent without a limit.",
    },
    source: Source::Gauge(|s| s.memory.limit_bytes.map(Value::Count)),
};

/// `memory.swap.max`.
pub static SWAP_LIMIT: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_swap_limit_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Swap limit that the kernel enforces; absent without a limit.",
    },
    source: Source::Gauge(|s| s.memory.swap_limit_bytes.map(Value::Count)),
};

/// `memory.stat` `pgfault`, `pgmajfault`.
pub static FAULTS: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_page_faults_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &["kind"],
        series_max: 2,
        help: "Page faults; a major one had to wait for a disk.",
    },
    source: Source::Counter(
        Value::Count,
        &[
            Counter { labels: &[("kind", "minor")], get: |s| s.memory.minor_faults },
            Counter { labels: &[("kind", "major")], get: |s| s.memory.major_faults },
        ],
    ),
};

/// `memory.events`.
pub static EVENTS: UsageFamily = UsageFamily {
    family: Family {
        name: "container_memory_events_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &["event"],
        series_max: 4,
        help: "Events of memory.events: high and max are limits met, oom a limit that could not be \
               kept, oom_kill processes killed by any OOM killer.",
    },
    source: Source::Counter(Value::Count, EVENT_COUNTERS),
};

/// A Pod's cgroup has the same.
pub(super) static EVENT_COUNTERS: &[Counter] = &[
    Counter { labels: &[("event", "high")], get: |s| s.memory.events?.high },
    Counter { labels: &[("event", "max")], get: |s| s.memory.events?.max },
    Counter { labels: &[("event", "oom")], get: |s| s.memory.events?.oom },
    Counter { labels: &[("event", "oom_kill")], get: |s| s.memory.events?.oom_kill },
];
