//! Collector `memory`: usage, limits, page faults and events.

use super::collector::Collector;
use super::expose::Value;
use super::family::{Family, Need, Scope};
use super::usage::{Series, UsageFamily};

/// `memory.current`.
pub static USAGE: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_usage_bytes",
        Scope::Container,
        "Memory charged to the container, including page cache.",
    )),
    |s| s.memory.usage_bytes.map(Value::Count),
);

/// `memory.current` less `memory.stat` `inactive_file`.
pub static WORKING_SET: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_working_set_bytes",
        Scope::Container,
        "Memory usage without inactive page cache, by which the kubelet evicts.",
    )),
    |s| s.memory.working_set_bytes.map(Value::Count),
);

/// `memory.stat` `anon`.
pub static ANON: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_anon_bytes",
        Scope::Container,
        "Anonymous memory: heaps and stacks.",
    )),
    |s| s.memory.anon_bytes.map(Value::Count),
);

/// `memory.stat` `file`.
pub static FILE: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_file_bytes",
        Scope::Container,
        "Page cache, including shared memory and tmpfs.",
    )),
    |s| s.memory.file_bytes.map(Value::Count),
);

/// `memory.stat` `shmem`.
pub static SHMEM: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_shmem_bytes",
        Scope::Container,
        "Shared memory and tmpfs.",
    )),
    |s| s.memory.shmem_bytes.map(Value::Count),
);

/// `memory.stat` `kernel`.
pub static KERNEL: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_kernel_bytes",
        Scope::Container,
        "Kernel memory. Requires Linux 5.18.",
    ))
    .needs(&[Need::Controller("memory"), Need::Linux(5, 18)]),
    |s| s.memory.kernel_bytes.map(Value::Count),
);

/// `memory.swap.current`.
pub static SWAP: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge("container_memory_swap_bytes", Scope::Container, "Swap used.")),
    |s| s.memory.swap_bytes.map(Value::Count),
);

/// `memory.peak`.
pub static PEAK: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_peak_bytes",
        Scope::Container,
        "Highest memory usage since the container was created. Requires Linux 5.19.",
    ))
    .needs(&[Need::Controller("memory"), Need::Linux(5, 19)]),
    |s| s.memory.peak_bytes.map(Value::Count),
);

/// `memory.max`.
pub static LIMIT: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_limit_bytes",
        Scope::Container,
        "Memory limit enforced by the kernel; absent without a limit.",
    )),
    |s| s.memory.limit_bytes.map(Value::Count),
);

/// `memory.swap.max`.
pub static SWAP_LIMIT: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "container_memory_swap_limit_bytes",
        Scope::Container,
        "Swap limit enforced by the kernel; absent without a limit.",
    )),
    |s| s.memory.swap_limit_bytes.map(Value::Count),
);

/// `memory.stat` `pgfault`, `pgmajfault`.
pub static FAULTS: UsageFamily = UsageFamily::counter(
    controlled(Family::counter(
        "container_memory_page_faults_total",
        Scope::Container,
        "Page faults. A major fault had to read from disk.",
    ))
    .labels(&["kind"], 2),
    Value::Count,
    &[
        Series { labels: &[("kind", "minor")], get: |s| s.memory.minor_faults },
        Series { labels: &[("kind", "major")], get: |s| s.memory.major_faults },
    ],
);

/// `memory.events` of a container.
pub static EVENTS: UsageFamily = UsageFamily::counter(
    controlled(Family::counter(
        "container_memory_events_total",
        Scope::Container,
        "Events in memory.events: high and max count limits reached, oom limits that could not be \
         kept, oom_kill processes killed by any OOM killer.",
    ))
    .labels(&["event"], EVENT_SERIES.len()),
    Value::Count,
    EVENT_SERIES,
);

/// `memory.max` of a Pod.
pub static POD_LIMIT: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "pod_memory_limit_bytes",
        Scope::Pod,
        "Memory limit of the whole Pod enforced by the kernel; absent without a limit.",
    )),
    |s| s.memory.limit_bytes.map(Value::Count),
);

/// Working set of a Pod.
pub static POD_WORKING_SET: UsageFamily = UsageFamily::gauge(
    controlled(Family::gauge(
        "pod_memory_working_set_bytes",
        Scope::Pod,
        "Memory usage of the whole Pod without inactive page cache, including its tmpfs volumes.",
    )),
    |s| s.memory.working_set_bytes.map(Value::Count),
);

/// `memory.events` of a Pod.
pub static POD_EVENTS: UsageFamily = UsageFamily::counter(
    controlled(Family::counter(
        "pod_memory_events_total",
        Scope::Pod,
        "Events in memory.events of the Pod's cgroup, including those of its containers.",
    ))
    .labels(&["event"], EVENT_SERIES.len()),
    Value::Count,
    EVENT_SERIES,
);

const EVENT_SERIES: &[Series] = &[
    Series { labels: &[("event", "high")], get: |s| s.memory.events?.high },
    Series { labels: &[("event", "max")], get: |s| s.memory.events?.max },
    Series { labels: &[("event", "oom")], get: |s| s.memory.events?.oom },
    Series { labels: &[("event", "oom_kill")], get: |s| s.memory.events?.oom_kill },
];

/// A family that needs the memory controller.
const fn controlled(family: Family) -> Family {
    family.of(Collector::Memory).needs(&[Need::Controller("memory")])
}
