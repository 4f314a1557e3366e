//! Cgroup snapshot: the stats that one run of the cgroup iterator writes, and its offsets.

/// Name of the array of [`CgroupStats`], mapped by the agent. Element 0 is for
/// [`CgroupStats::walk`] alone.
pub const SNAPSHOT: &str = "SNAPSHOT";
/// Name of the read-only variable that holds [`SnapshotLayout`].
pub const SNAPSHOT_LAYOUT: &str = "SNAPSHOT_LAYOUT";
/// Limit of cgroups that one run of the iterator can hold, with the element for the run's number.
/// The agent makes the array smaller where a node has fewer.
pub const SNAPSHOT_MAX: u32 = 8_192;
/// Room for `memcg_vmstats.state`, in elements: 38 to 57 are used in Linux 6.1 to 7.3.
pub const STATE_MAX: usize = 64;
/// Room for `memcg_vmstats.events`, in elements: 15 to 31 are used in Linux 6.1 to 7.3.
pub const VM_EVENTS_MAX: usize = 32;

/// Flag: [`CgroupStats`] has the values of `cpu.max` and of the throttling lines of `cpu.stat`.
pub const HAS_BANDWIDTH: u64 = 1;
/// Flag: [`CgroupStats`] has the memory values.
pub const HAS_MEMORY: u64 = 1 << 1;
/// Flag: [`CgroupStats`] has the task counts.
pub const HAS_PIDS: u64 = 1 << 2;
/// Flag: [`CgroupStats`] has the stall times.
pub const HAS_PRESSURE: u64 = 1 << 3;
/// Flag: [`CgroupStats`] has the arrays behind `memory.stat`.
pub const HAS_STATISTICS: u64 = 1 << 4;

/// Stats of one cgroup, as the kernel keeps them. A controller that is not enabled for the cgroup
/// has its flag unset and its fields at 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupStats {
    /// Number of the iterator run that wrote this element; in element 0 of the run in progress.
    pub walk: u64,
    /// Id of the cgroup; in element 0 the index of the last element that the run wrote.
    pub cgroup_id: u64,
    /// Flags `HAS_*`.
    pub has: u64,
    /// CPU time: `cgroup.bstat.cputime.sum_exec_runtime`.
    pub cpu_usage_ns: u64,
    /// CPU limit per period: `cfs_bandwidth.quota`; all ones is no limit.
    pub quota_ns: u64,
    /// Period of the CPU limit: `cfs_bandwidth.period`.
    pub period_ns: u64,
    /// Throttled time: `cfs_bandwidth.throttled_time`.
    pub throttled_ns: u64,
    /// Periods: `cfs_bandwidth.nr_periods`.
    pub periods: u32,
    /// Throttled periods: `cfs_bandwidth.nr_throttled`.
    pub throttled_periods: u32,
    /// Memory in use: `mem_cgroup.memory.usage`.
    pub memory_pages: u64,
    /// Memory limit: `mem_cgroup.memory.max`.
    pub memory_max_pages: u64,
    /// Peak memory: `mem_cgroup.memory.watermark`.
    pub memory_peak_pages: u64,
    /// Swap in use: `mem_cgroup.swap.usage`.
    pub swap_pages: u64,
    /// Swap limit: `mem_cgroup.swap.max`.
    pub swap_max_pages: u64,
    /// Counter `high` of `memory.events`: `mem_cgroup.memory_events[MEMCG_HIGH]`.
    pub events_high: u64,
    /// Counter `max` of `memory.events`: `mem_cgroup.memory_events[MEMCG_MAX]`.
    pub events_max: u64,
    /// Counter `oom` of `memory.events`: `mem_cgroup.memory_events[MEMCG_OOM]`.
    pub events_oom: u64,
    /// Counter `oom_kill` of `memory.events`: `mem_cgroup.memory_events[MEMCG_OOM_KILL]`.
    pub events_oom_kill: u64,
    /// Number of tasks: `pids_cgroup.counter`.
    pub tasks: u64,
    /// Limit of tasks: `pids_cgroup.limit`.
    pub tasks_max: u64,
    /// Stall times, `cgroup.psi.total[PSI_AVGS]`: CPU some, memory some and full, IO some and full.
    pub stalls_ns: [u64; 5],
    /// Array `mem_cgroup.vmstats.state`, as long as the running kernel's is.
    pub state: [i64; STATE_MAX],
    /// Array `mem_cgroup.vmstats.events`, as long as the running kernel's is.
    pub vm_events: [u64; VM_EVENTS_MAX],
}

impl CgroupStats {
    /// Stats without any value.
    pub const NONE: Self = Self {
        walk: 0,
        cgroup_id: 0,
        has: 0,
        cpu_usage_ns: 0,
        quota_ns: 0,
        period_ns: 0,
        throttled_ns: 0,
        periods: 0,
        throttled_periods: 0,
        memory_pages: 0,
        memory_max_pages: 0,
        memory_peak_pages: 0,
        swap_pages: 0,
        swap_max_pages: 0,
        events_high: 0,
        events_max: 0,
        events_oom: 0,
        events_oom_kill: 0,
        tasks: 0,
        tasks_max: 0,
        stalls_ns: [0; 5],
        state: [0; STATE_MAX],
        vm_events: [0; VM_EVENTS_MAX],
    };
}

impl Default for CgroupStats {
    fn default() -> Self {
        Self::NONE
    }
}

/// Byte offsets that the iterator needs beside those of [`crate::layout::Layout`]. A controller's
/// state begins with its `cgroup_subsys_state`, so its offsets count from that.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotLayout {
    /// Offset of `cgroup.bstat.cputime.sum_exec_runtime`.
    pub cgroup_cpu_usage: u32,
    /// Offset of `cgroup.subsys[cpu_cgrp_id]`.
    pub cgroup_cpu: u32,
    /// Offset of `cgroup.subsys[memory_cgrp_id]`.
    pub cgroup_memory: u32,
    /// Offset of `cgroup.subsys[pids_cgrp_id]`.
    pub cgroup_pids: u32,
    /// Offset of `task_group.cfs_bandwidth.quota`.
    pub cpu_quota: u32,
    /// Offset of `task_group.cfs_bandwidth.period`.
    pub cpu_period: u32,
    /// Offset of `task_group.cfs_bandwidth.nr_periods`.
    pub cpu_periods: u32,
    /// Offset of `task_group.cfs_bandwidth.nr_throttled`.
    pub cpu_throttled_periods: u32,
    /// Offset of `task_group.cfs_bandwidth.throttled_time`.
    pub cpu_throttled_time: u32,
    /// Offset of `mem_cgroup.memory.usage`.
    pub memory_usage: u32,
    /// Offset of `mem_cgroup.memory.max`.
    pub memory_max: u32,
    /// Offset of `mem_cgroup.memory.watermark`.
    pub memory_watermark: u32,
    /// Offset of `mem_cgroup.swap.usage`.
    pub swap_usage: u32,
    /// Offset of `mem_cgroup.swap.max`.
    pub swap_max: u32,
    /// Offset of `mem_cgroup.memory_events[MEMCG_HIGH]`.
    pub events_high: u32,
    /// Offset of `mem_cgroup.memory_events[MEMCG_MAX]`.
    pub events_max: u32,
    /// Offset of `mem_cgroup.memory_events[MEMCG_OOM]`.
    pub events_oom: u32,
    /// Offset of `mem_cgroup.memory_events[MEMCG_OOM_KILL]`.
    pub events_oom_kill: u32,
    /// Offset of `pids_cgroup.counter`.
    pub pids_counter: u32,
    /// Offset of `pids_cgroup.limit`.
    pub pids_limit: u32,
    /// Offset of `cgroup.psi`.
    pub cgroup_psi: u32,
    /// Offset of `psi_group.enabled`.
    pub psi_enabled: u32,
    /// Offsets of `psi_group.total[PSI_AVGS]`, in the order of [`CgroupStats::stalls_ns`].
    pub psi_totals: [u32; 5],
    /// Offset of `mem_cgroup.vmstats`.
    pub memory_vmstats: u32,
    /// Offset of `memcg_vmstats.state`.
    pub vmstats_state: u32,
    /// Length of `memcg_vmstats.state` in bytes.
    pub vmstats_state_bytes: u32,
    /// Offset of `memcg_vmstats.events`.
    pub vmstats_events: u32,
    /// Length of `memcg_vmstats.events` in bytes.
    pub vmstats_events_bytes: u32,
    /// Flags `HAS_*` of the controllers whose offsets are known; nothing is read of the others.
    pub known: u32,
    /// Padding, always 0.
    pub padding: u32,
}

const _: () = {
    assert!(size_of::<CgroupStats>() == 152 + 40 + 8 * (STATE_MAX + VM_EVENTS_MAX));
    assert!(size_of::<SnapshotLayout>() == 136);
};
