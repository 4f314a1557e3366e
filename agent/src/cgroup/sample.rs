//! Samples: the resource usage of one cgroup at one moment.

/// Resource usage of one cgroup. `None` means that the kernel has no value: the file or the key
/// does not exist, the controller is not enabled there, or the value is "no limit". It never means
/// 0.
///
/// Counters are totals since the cgroup was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// CPU time, throttling and limit: `cpu.stat` and `cpu.max`.
    pub cpu: Cpu,
    /// Memory usage, limits and events: `memory.*`.
    pub memory: Memory,
    /// Stall times for CPU: `cpu.pressure`.
    pub cpu_pressure: Pressure,
    /// Stall times for memory: `memory.pressure`.
    pub memory_pressure: Pressure,
    /// Stall times for I/O: `io.pressure`.
    pub io_pressure: Pressure,
    /// Number of tasks, that is threads: `pids.current`.
    pub tasks: Option<u64>,
    /// Limit of tasks: `pids.max`.
    pub tasks_limit: Option<u64>,
}

/// CPU time, throttling and limit of one cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// CPU time in microseconds: `cpu.stat` `usage_usec`.
    pub usage_us: Option<u64>,
    /// Periods of the CPU limit: `cpu.stat` `nr_periods`.
    pub periods: Option<u64>,
    /// Periods with throttling: `cpu.stat` `nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// Throttled time in microseconds: `cpu.stat` `throttled_usec`.
    pub throttled_us: Option<u64>,
    /// Quota, the first word of `cpu.max`: microseconds of CPU time in each period.
    pub quota_us: Option<u64>,
    /// Period in microseconds, the second word of `cpu.max`; only together with `quota_us`.
    pub period_us: Option<u64>,
}

/// Memory usage, limits and events of one cgroup, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Memory usage: `memory.current`.
    pub usage_bytes: Option<u64>,
    /// Working set as in the kubelet and cAdvisor: `memory.current` less `memory.stat`
    /// `inactive_file`, not below 0.
    pub working_set_bytes: Option<u64>,
    /// Inactive page cache, which is reclaimed most easily: `memory.stat` `inactive_file`.
    pub inactive_file_bytes: Option<u64>,
    /// Anonymous memory: `memory.stat` `anon`.
    pub anon_bytes: Option<u64>,
    /// Page cache: `memory.stat` `file`.
    pub file_bytes: Option<u64>,
    /// Shared memory and tmpfs: `memory.stat` `shmem`.
    pub shmem_bytes: Option<u64>,
    /// Kernel memory: `memory.stat` `kernel`, from Linux 5.18.
    pub kernel_bytes: Option<u64>,
    /// Swap usage: `memory.swap.current`.
    pub swap_bytes: Option<u64>,
    /// Peak of the usage: `memory.peak`, from Linux 5.19.
    pub peak_bytes: Option<u64>,
    /// Memory limit: `memory.max`.
    pub limit_bytes: Option<u64>,
    /// Swap limit: `memory.swap.max`.
    pub swap_limit_bytes: Option<u64>,
    /// Minor page faults: `memory.stat` `pgfault` less `pgmajfault`.
    pub minor_faults: Option<u64>,
    /// Major page faults: `memory.stat` `pgmajfault`.
    pub major_faults: Option<u64>,
    /// Memory events, with those of all cgroups below: `memory.events`.
    pub events: Option<MemoryEvents>,
}

impl Memory {
    /// Takes over the values of `memory.stat`.
    pub fn set_stat(&mut self, stat: &MemoryStat) {
        self.inactive_file_bytes = stat.inactive_file_bytes;
        self.anon_bytes = stat.anon_bytes;
        self.file_bytes = stat.file_bytes;
        self.shmem_bytes = stat.shmem_bytes;
        self.kernel_bytes = stat.kernel_bytes;
        let faults = stat.faults.zip(stat.major_faults);
        self.minor_faults = faults.map(|(all, major)| all.saturating_sub(major));
        self.major_faults = stat.major_faults;
    }

    /// Computes the working set, if usage and inactive file pages are known.
    pub fn set_working_set(&mut self) {
        let both = self.usage_bytes.zip(self.inactive_file_bytes);
        self.working_set_bytes = both.map(|(usage, file)| usage.saturating_sub(file));
    }
}

/// Lines of `memory.stat` that are used, in bytes or in page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Line `anon`: anonymous memory.
    pub anon_bytes: Option<u64>,
    /// Line `file`: page cache, with `shmem`.
    pub file_bytes: Option<u64>,
    /// Line `kernel`: kernel memory, from Linux 5.18.
    pub kernel_bytes: Option<u64>,
    /// Line `shmem`: shared memory and tmpfs.
    pub shmem_bytes: Option<u64>,
    /// Line `inactive_file`: inactive page cache.
    pub inactive_file_bytes: Option<u64>,
    /// Line `pgfault`: minor and major page faults.
    pub faults: Option<u64>,
    /// Line `pgmajfault`: major page faults.
    pub major_faults: Option<u64>,
}

/// Counters of the file `memory.events` or `memory.events.local`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Times the usage went over `memory.high`.
    pub high: Option<u64>,
    /// Times the usage was about to go over `memory.max`.
    pub max: Option<u64>,
    /// Times the limit was reached and an allocation was about to fail.
    pub oom: Option<u64>,
    /// Processes killed by any kind of OOM killer.
    pub oom_kill: Option<u64>,
}

/// Total stall times of one pressure file, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Total of `some`: the time in which at least one task waited.
    pub some_us: Option<u64>,
    /// Total of `full`: the time in which all non-idle tasks waited at once. `None` for the CPU,
    /// where it has no meaning for a cgroup (Documentation/accounting/psi.rst).
    pub full_us: Option<u64>,
}
