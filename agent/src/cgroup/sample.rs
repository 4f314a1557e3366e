//! Samples: the resource usage of one cgroup at one moment.

/// Resource usage of one cgroup. `None` means that the kernel does not say: the file or the key does
/// not exist, the controller is not enabled there, or the value is "no limit". It never means 0.
///
/// Counters are totals since the cgroup was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// `cpu.stat`, `cpu.max`.
    pub cpu: Cpu,
    /// `memory.*`.
    pub memory: Memory,
    /// `cpu.pressure`.
    pub cpu_pressure: Pressure,
    /// `memory.pressure`.
    pub memory_pressure: Pressure,
    /// `io.pressure`.
    pub io_pressure: Pressure,
    /// `pids.current`: tasks, that is threads, now.
    pub tasks: Option<u64>,
    /// `pids.max`.
    pub tasks_limit: Option<u64>,
}

/// CPU time and throttling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// `cpu.stat` `usage_usec`.
    pub usage_us: Option<u64>,
    /// `cpu.stat` `nr_periods`.
    pub periods: Option<u64>,
    /// `cpu.stat` `nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// `cpu.stat` `throttled_usec`.
    pub throttled_us: Option<u64>,
    /// First word of `cpu.max`: microseconds of CPU in each period.
    pub quota_us: Option<u64>,
    /// Second word of `cpu.max`. Given only together with `quota_us`.
    pub period_us: Option<u64>,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `memory.current`.
    pub usage_bytes: Option<u64>,
    /// `memory.current` less `memory.stat` `inactive_file`, not below 0: what the kubelet and
    /// cAdvisor call the working set.
    pub working_set_bytes: Option<u64>,
    /// `memory.stat` `inactive_file`: what can be given up most easily.
    pub inactive_file_bytes: Option<u64>,
    /// `memory.stat` `anon`.
    pub anon_bytes: Option<u64>,
    /// `memory.stat` `file`.
    pub file_bytes: Option<u64>,
    /// `memory.stat` `shmem`.
    pub shmem_bytes: Option<u64>,
    /// `memory.stat` `kernel`, from Linux 5.18.
    pub kernel_bytes: Option<u64>,
    /// `memory.swap.current`.
    pub swap_bytes: Option<u64>,
    /// `memory.peak`, from Linux 5.19.
    pub peak_bytes: Option<u64>,
    /// `memory.max`.
    pub limit_bytes: Option<u64>,
    /// `memory.swap.max`.
    pub swap_limit_bytes: Option<u64>,
    /// `memory.stat` `pgfault` less `pgmajfault`.
    pub minor_faults: Option<u64>,
    /// `memory.stat` `pgmajfault`.
    pub major_faults: Option<u64>,
    /// `memory.events`: with all cgroups below.
    pub events: Option<MemoryEvents>,
}

impl Memory {
    /// Takes over `memory.stat`.
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

    /// Computes the working set, once usage and inactive file pages are there.
    pub fn set_working_set(&mut self) {
        let both = self.usage_bytes.zip(self.inactive_file_bytes);
        self.working_set_bytes = both.map(|(usage, file)| usage.saturating_sub(file));
    }
}

/// The lines of `memory.stat` that are used, in bytes and in faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// `anon`.
    pub anon_bytes: Option<u64>,
    /// `file`.
    pub file_bytes: Option<u64>,
    /// `kernel`, from Linux 5.18.
    pub kernel_bytes: Option<u64>,
    /// `shmem`.
    pub shmem_bytes: Option<u64>,
    /// `inactive_file`.
    pub inactive_file_bytes: Option<u64>,
    /// `pgfault`: minor and major.
    pub faults: Option<u64>,
    /// `pgmajfault`.
    pub major_faults: Option<u64>,
}

/// `memory.events` or `memory.events.local`.
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

/// One pressure file: total stall times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// `some … total`: at least one task waited.
    pub some_us: Option<u64>,
    /// `full … total`: all non-idle tasks waited at once. Not given for the CPU, where it has no
    /// meaning for a cgroup (Documentation/accounting/psi.rst).
    pub full_us: Option<u64>,
}
