//! The agent's own process, under the names that all Prometheus clients use.

use procfs::process::{LimitValue, Process};

use super::catalog::{Family, NodeFamily, Scope, Type, Unit};
use super::expose::{NONE, Value};
use super::subject::Node;

/// What `/proc/self` says. `None` where it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStats {
    /// CPU time, user and system.
    pub cpu_ns: Option<u64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit on them; `None` without a limit.
    pub max_fds: Option<u64>,
    /// Start, Unix time.
    pub start_unix_ns: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl ProcessStats {
    /// Reads `/proc/self` (`stat`, `fd`, `limits`) and `btime` of `/proc/stat`.
    #[must_use]
    pub fn read() -> Self {
        let Ok(process) = Process::myself() else { return Self::default() };
        let stat = process.stat().ok();
        let stat = stat.as_ref();
        let ticks_ns = 1_000_000_000 / procfs::ticks_per_second().max(1);
        let boot_s = procfs::boot_time_secs().ok();
        let start_ns = stat.map(|stat| stat.starttime.saturating_mul(ticks_ns));
        let limit = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        Self {
            cpu_ns: stat.map(|stat| stat.utime.saturating_add(stat.stime).saturating_mul(ticks_ns)),
            resident_bytes: stat.map(|stat| stat.rss.saturating_mul(procfs::page_size())),
            open_fds: process.fd_count().ok().and_then(|count| count.try_into().ok()),
            max_fds: match limit {
                Some(LimitValue::Value(limit)) => Some(limit),
                Some(LimitValue::Unlimited) | None => None,
            },
            start_unix_ns: boot_s
                .zip(start_ns)
                .map(|(boot_s, ns)| boot_s.saturating_mul(1_000_000_000).saturating_add(ns)),
            threads: stat.and_then(|stat| stat.num_threads.try_into().ok()),
        }
    }
}

macro_rules! family {
    ($(#[$doc:meta])* $id:ident, $name:literal, $kind:ident, $unit:ident, $help:literal, $get:expr) => {
        $(#[$doc])*
        pub static $id: NodeFamily = NodeFamily {
            family: Family {
                name: $name,
                kind: Type::$kind,
                unit: Unit::$unit,
                scope: Scope::Process,
                labels: &[],
                series_max: 1,
                help: $help,
            },
            write: |node, to| {
                let get: fn(&Node<'_>) -> Option<Value> = $get;
                if let Some(value) = get(node) {
                    to.sample(b"", &NONE, value);
                }
            },
        };
    };
}

family!(
    /// CPU time.
    CPU, "process_cpu_seconds_total", Counter, Seconds,
    "Total user and system CPU time spent in seconds.",
    |node| node.stats.process.cpu_ns.map(Value::Nanos)
);
family!(
    /// Memory.
    MEMORY, "process_resident_memory_bytes", Gauge, Bytes,
    "Resident memory size in bytes.",
    |node| node.stats.process.resident_bytes.map(Value::Count)
);
family!(
    /// Descriptors.
    OPEN_FDS, "process_open_fds", Gauge, None,
    "Number of open file descriptors.",
    |node| node.stats.process.open_fds.map(Value::Count)
);
family!(
    /// Their limit.
    MAX_FDS, "process_max_fds", Gauge, None,
    "Maximum number of open file descriptors.",
    |node| node.stats.process.max_fds.map(Value::Count)
);
family!(
    /// Start.
    START_TIME, "process_start_time_seconds", Gauge, Seconds,
    "Start time of the process since unix epoch in seconds.",
    |node| node.stats.process.start_unix_ns.map(Value::Nanos)
);
family!(
    /// Threads.
    THREADS, "process_threads", Gauge, None,
    "Number of OS threads in the process.",
    |node| node.stats.process.threads.map(Value::Count)
);

#[cfg(test)]
mod tests {
    use super::ProcessStats;

    #[test]
    fn the_own_process_is_read() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.unwrap() > 1 << 20);
        assert!(stats.threads.unwrap() >= 1);
        assert!(stats.open_fds.unwrap() >= 3);
        assert!(stats.start_unix_ns.unwrap() > 1_600_000_000_000_000_000);
        assert!(stats.cpu_ns.is_some());
    }
}
