//! The cgroup snapshot: what one pass of the cgroup iterator writes, and the offsets it reads with.

/// Array of [`CgroupFigures`], mapped by the agent. Element 0 is for [`CgroupFigures::walk`] alone.
pub const SNAPSHOT: &str = "SNAPSHOT";
/// Name of the read-only variable that holds [`SnapshotLayout`].
pub const SNAPSHOT_LAYOUT: &str = "SNAPSHOT_LAYOUT";
/// Cgroups that one pass can hold at most, and the element for the walk's number. The agent makes
/// the array smaller where a node has fewer.
pub const SNAPSHOT_MAX: u32 = 8_192;
/// Room for `memcg_vmstats.state`: 38 to 57 elements in Linux 6.1 to 7.3.
pub const STATE_MAX: usize = 64;
/// Room for `memcg_vmstats.events`: 15 to 31 elements in Linux 6.1 to 7.3.
pub const VM_EVENTS_MAX: usize = 32;

/// [`CgroupFigures`] has what `cpu.max` and the throttling lines of `cpu.stat` say.
pub const HAS_BANDWIDTH: u64 = 1;
/// [`CgroupFigures`] has the memory figures.
pub const HAS_MEMORY: u64 = 1 << 1;
/// [`CgroupFigures`] has the task figures.
pub const HAS_PIDS: u64 = 1 << 2;
/// [`CgroupFigures`] has the stall times.
pub const HAS_PRESSURE: u64 = 1 << 3;
/// [`CgroupFigures`] has what `memory.stat` is made from.
pub const HAS_STATISTICS: u64 = 1 << 4;

/// One cgroup's figures as the kernel keeps them. A controller that is not enabled for the cgroup
/// has its bit unset and its fields at 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupFigures {
    /// The pass that wrote this; in element 0 the pass that runs now.
    pub walk: u64,
    /// Which cgroup; in element 0 the last element that the pass wrote.
    pub cgroup_id: u64,
    /// `HAS_*` bits.
    pub has: u64,
    /// `cgroup.bstat.cputime.sum_exec_runtime`.
    pub cpu_usage_ns: u64,
    /// `cfs_bandwidth.quota`; all ones is no limit.
    pub quota_ns: u64,
    /// `cfs_bandwidth.period`.
    pub period_ns: u64,
    /// `cfs_bandwidth.throttled_time`.
    pub throttled_ns: u64,
    /// `cfs_bandwidth.nr_periods`.
    pub periods: u32,
    /// `cfs_bandwidth.nr_throttled`.
    pub throttled_periods: u32,
    /// `mem_cgroup.memory.usage`.
    pub memory_pages: u64,
    /// `mem_cgroup.memory.max`.
    pub memory_max_pages: u64,
    /// `mem_cgroup.memory.watermark`.
    pub memory_peak_pages: u64,
    /// `mem_cgroup.swap.usage`.
    pub swap_pages: u64,
    /// `mem_cgroup.swap.max`.
    pub swap_max_pages: u64,
    /// `mem_cgroup.memory_events[MEMCG_HIGH]`.
    pub events_high: u64,
    /// `mem_cgroup.memory_events[MEMCG_MAX]`.
    pub events_max: u64,
    /// `mem_cgroup.memory_events[MEMCG_OOM]`.
    pub events_oom: u64,
    /// `mem_cgroup.memory_events[MEMCG_OOM_KILL]`.
    pub events_oom_kill: u64,
    /// `pids_cgroup.counter`.
    pub tasks: u64,
    /// `pids_cgroup.limit`.
    pub tasks_max: u64,
    /// `cgroup.psi.total[PSI_AVGS]`: CPU some, memory some and full, IO some and full.
    pub stalls_ns: [u64; 5],
    /// `mem_cgroup.vmstats.state`, as long as the running kernel's is.
    pub state: [i64; STATE_MAX],
    /// `mem_cgroup.vmstats.events`, as long as the running kernel's is.
    pub vm_events: [u64; VM_EVENTS_MAX],
}

impl CgroupFigures {
    /// Nothing.
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

impl Default for CgroupFigures {
    fn default() -> Self {
        Self::NONE
    }
}

/// Byte offsets that the pass needs beside those of [`crate::layout::Layout`]. A controller's state
/// begins with its `cgroup_subsys_state`, so its offsets count from that.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotLayout {
    /// `cgroup.bstat.cputime.sum_exec_runtime`.
    pub cgroup_cpu_usage: u32,
    /// `cgroup.subsys[cpu_cgrp_id]`.
    pub cgroup_cpu: u32,
    /// `cgroup.subsys[memory_cgrp_id]`.
    pub cgroup_memory: u32,
    /// `cgroup.subsys[pids_cgrp_id]`.
    pub cgroup_pids: u32,
    /// `task_group.cfs_bandwidth.quota`.
    pub cpu_quota: u32,
    /// `task_group.cfs_bandwidth.period`.
    pub cpu_period: u32,
    /// `task_group.cfs_bandwidth.nr_periods`.
    pub cpu_periods: u32,
    /// `task_group.cfs_bandwidth.nr_throttled`.
    pub cpu_throttled_periods: u32,
    /// `task_group.cfs_bandwidth.throttled_time`.
    pub cpu_throttled_time: u32,
    /// `mem_cgroup.memory.usage`.
    pub memory_usage: u32,
    /// `mem_cgroup.memory.max`.
    pub memory_max: u32,
    /// `mem_cgroup.memory.watermark`.
    pub memory_watermark: u32,
    /// `mem_cgroup.swap.usage`.
    pub swap_usage: u32,
    /// `mem_cgroup.swap.max`.
    pub swap_max: u32,
    /// `mem_cgroup.memory_events[MEMCG_HIGH]`.
    pub events_high: u32,
    /// `mem_cgroup.memory_events[MEMCG_MAX]`.
    pub events_max: u32,
    /// `mem_cgroup.memory_events[MEMCG_OOM]`.
    pub events_oom: u32,
    /// `mem_cgroup.memory_events[MEMCG_OOM_KILL]`.
    pub events_oom_kill: u32,
    /// `pids_cgroup.counter`.
    pub pids_counter: u32,
    /// `pids_cgroup.limit`.
    pub pids_limit: u32,
    /// `cgroup.psi`.
    pub cgroup_psi: u32,
    /// `psi_group.enabled`.
    pub psi_enabled: u32,
    /// `psi_group.total[PSI_AVGS]`, in the order of [`CgroupFigures::stalls_ns`].
    pub psi_totals: [u32; 5],
    /// `mem_cgroup.vmstats`.
    pub memory_vmstats: u32,
    /// `memcg_vmstats.state`.
    pub vmstats_state: u32,
    /// How long that is.
    pub vmstats_state_bytes: u32,
    /// `memcg_vmstats.events`.
    pub vmstats_events: u32,
    /// How long that is.
    pub vmstats_events_bytes: u32,
    /// `HAS_*` bits of the controllers whose offsets are known; nothing is read of the others.
    pub known: u32,
    /// Always 0.
    pub padding: u32,
}

const _: () = {
    assert!(size_of::<CgroupFigures>() == 152 + 40 + 8 * (STATE_MAX + VM_EVENTS_MAX));
    assert!(size_of::<SnapshotLayout>() == 136);
};
