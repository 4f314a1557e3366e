//! Offsets of the kernel's fields that programs read.
//!
//! Rust has no CO-RE relocations, so the agent resolves each offset by name from the kernel's BTF
//! and freezes the struct into the object's `.rodata`; the verifier then sees constants. A field
//! that the kernel lacks is an error at load or one of the flags below, never a default of 0.

/// Byte offsets of struct fields, bits and enum values of the running kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Offset of `task_struct.tgid`.
    pub task_tgid: u32,
    /// Offset of `task_struct.pid`: the thread id.
    pub task_pid: u32,
    /// Offset of `task_struct.comm`.
    pub task_comm: u32,
    /// Offset of `task_struct.start_boottime`.
    pub task_start_boottime: u32,
    /// Offset of `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// Offset of `task_struct.real_parent`.
    pub task_real_parent: u32,
    /// Offset of `task_struct.cgroups`.
    pub task_cgroups: u32,
    /// Offset of `task_struct.signal`.
    pub task_signal: u32,
    /// Offset of `task_struct.exit_state`.
    pub task_exit_state: u32,
    /// Offset of `task_struct.exit_code`.
    pub task_exit_code: u32,
    /// Offset of `task_struct.tasks`: the list of all processes.
    pub task_tasks: u32,
    /// Offset of `task_struct.children`: the list of a thread's children.
    pub task_children: u32,
    /// Offset of `task_struct.mm`.
    pub task_mm: u32,
    /// Offset of `task_struct.se.sum_exec_runtime`.
    pub task_sum_exec_runtime: u32,
    /// Offset of `task_struct.real_cred`.
    pub task_real_cred: u32,
    /// Offset of `cred.uid`.
    pub cred_uid: u32,
    /// Offset of `cred.user_ns`.
    pub cred_user_ns: u32,
    /// Offset of `user_namespace.level`: 0 is the initial one.
    pub user_ns_level: u32,
    /// Offset of `mm_struct.arg_start`.
    pub mm_arg_start: u32,
    /// Offset of `mm_struct.arg_end`.
    pub mm_arg_end: u32,
    /// Offset of `signal_struct.live`.
    pub signal_live: u32,
    /// Offset of `signal_struct.flags`.
    pub signal_flags: u32,
    /// Offset of `signal_struct.group_exit_code`.
    pub signal_group_exit_code: u32,
    /// Offset of `signal_struct.sum_sched_runtime`: CPU time of threads that have left.
    pub signal_sum_sched_runtime: u32,
    /// Offset of `signal_struct.cutime`: CPU time in user mode of children that were waited for.
    pub signal_cutime: u32,
    /// Offset of `signal_struct.cstime`: the same in kernel mode.
    pub signal_cstime: u32,
    /// Offset of `kernel_siginfo.si_code`.
    pub siginfo_code: u32,
    /// Offset of `css_set.dfl_cgrp`: the cgroup in the v2 hierarchy.
    pub css_set_dfl_cgrp: u32,
    /// Offset of `css_set.subsys[memory_cgrp_id]`.
    pub css_set_memory: u32,
    /// Offset of `cgroup.self.parent`.
    pub cgroup_self_parent: u32,
    /// Offset of `cgroup.kn`.
    pub cgroup_kn: u32,
    /// Offset of `cgroup.root`.
    pub cgroup_root: u32,
    /// Offset of `cgroup_root.hierarchy_id`: 0 is the v2 hierarchy.
    pub cgroup_root_hierarchy_id: u32,
    /// Offset of `kernfs_node.id`.
    pub kernfs_id: u32,
    /// Offset of `kernfs_node.name`.
    pub kernfs_name: u32,
    /// Offset of `cgroup_subsys_state.cgroup`.
    pub css_cgroup: u32,
    /// Offset of `cgroup_subsys_state.parent`.
    pub css_parent: u32,
    /// Offset of `mem_cgroup.memory_events_local[MEMCG_OOM]`; `css` is the first member of
    /// `mem_cgroup`.
    pub memcg_local_oom: u32,
    /// Offset of `mem_cgroup.memory_events_local[MEMCG_OOM_KILL]`.
    pub memcg_local_oom_kill: u32,
    /// Offset of `mem_cgroup.memory.usage`, in pages, if [`HAS_CHARGED`].
    pub memcg_usage: u32,
    /// Offset of `mem_cgroup.memory.max`, in pages, if [`HAS_CHARGED`].
    pub memcg_max: u32,
    /// Offset of the number of anonymous pages in `mm_struct.rss_stat`, if [`HAS_RESIDENT`]. From
    /// Linux 6.2 on it is the `count` of a `percpu_counter`.
    pub mm_anon: u32,
    /// Offset of the number of file pages, if [`HAS_RESIDENT`].
    pub mm_file: u32,
    /// Offset of the number of shared memory pages, if [`HAS_RESIDENT`].
    pub mm_shmem: u32,
    /// Flags `HAS_*`: optional fields whose offsets are known.
    pub known: u32,
}

/// Flag: the offsets of a cgroup's usage and limit are known.
pub const HAS_CHARGED: u32 = 1;
/// Flag: the offsets of a process's resident memory are known.
pub const HAS_RESIDENT: u32 = 1 << 1;
/// Flag: the verifier follows the types to a process's resident memory, as it does from Linux 6.2 on.
/// Before, that is an array of `atomic_long_t`, whose elements the verifier takes for no struct
/// (kernel/bpf/btf.c, `btf_struct_walk`).
pub const RESIDENT_IS_TYPED: u32 = 1 << 2;

const _: () = assert!(size_of::<Layout>() == 180);
