//! The agent's own process, under the names that all Prometheus clients use.

use procfs::process::{LimitValue, Process};

use super::expose::{Exposition, NONE, StateFamily, Value};
use super::family::{Family, Scope};

/// State of the process by `/proc/self`. `None` where it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStats {
    /// CPU time, user and system.
    pub cpu_ns: Option<u64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit on open file descriptors; `None` without a limit.
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

/// CPU time.
pub static CPU: StateFamily<ProcessStats> = StateFamily {
    family: Family::counter(
        "process_cpu_seconds_total",
        Scope::Process,
        "Total user and system CPU time spent in seconds.",
    ),
    write: |_, process, to| write(process.cpu_ns.map(Value::Nanos), to),
};

/// Resident memory.
pub static MEMORY: StateFamily<ProcessStats> = StateFamily {
    family: Family::gauge(
        "process_resident_memory_bytes",
        Scope::Process,
        "Resident memory size in bytes.",
    ),
    write: |_, process, to| write(process.resident_bytes.map(Value::Count), to),
};

/// Open file descriptors.
pub static OPEN_FDS: StateFamily<ProcessStats> = StateFamily {
    family: Family::gauge("process_open_fds", Scope::Process, "Number of open file descriptors."),
    write: |_, process, to| write(process.open_fds.map(Value::Count), to),
};

/// Limit on open file descriptors.
pub static MAX_FDS: StateFamily<ProcessStats> = StateFamily {
    family: Family::gauge(
        "process_max_fds",
        Scope::Process,
        "Maximum number of open file descriptors.",
    ),
    write: |_, process, to| write(process.max_fds.map(Value::Count), to),
};

/// Start time.
pub static START_TIME: StateFamily<ProcessStats> = StateFamily {
    family: Family::gauge(
        "process_start_time_seconds",
        Scope::Process,
        "Start time of the process since unix epoch in seconds.",
    ),
    write: |_, process, to| write(process.start_unix_ns.map(Value::Nanos), to),
};

/// Threads.
pub static THREADS: StateFamily<ProcessStats> = StateFamily {
    family: Family::gauge(
        "process_threads",
        Scope::Process,
        "Number of OS threads in the process.",
    ),
    write: |_, process, to| write(process.threads.map(Value::Count), to),
};

fn write(value: Option<Value>, to: &mut Exposition) {
    if let Some(value) = value {
        to.sample(b"", &NONE, value);
    }
}

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
