//! Constants that the agent writes into the object's read-only data before it is loaded.

use agent_common::layout::Layout;

/// Offsets resolved from the running kernel's BTF. All zeros here: the agent fills them in, or does
/// not load the object.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout {
    task_tgid: 0,
    task_pid: 0,
    task_comm: 0,
    task_start_boottime: 0,
    task_group_leader: 0,
    task_real_parent: 0,
    task_cgroups: 0,
    task_signal: 0,
    task_exit_state: 0,
    task_exit_code: 0,
    task_tasks: 0,
    task_children: 0,
    task_mm: 0,
    task_sum_exec_runtime: 0,
    task_real_cred: 0,
    cred_uid: 0,
    cred_user_ns: 0,
    user_ns_level: 0,
    mm_arg_start: 0,
    mm_arg_end: 0,
    signal_live: 0,
    signal_flags: 0,
    signal_group_exit_code: 0,
    signal_sum_sched_runtime: 0,
    signal_cutime: 0,
    signal_cstime: 0,
    siginfo_code: 0,
    css_set_dfl_cgrp: 0,
    css_set_memory: 0,
    cgroup_self_parent: 0,
    cgroup_kn: 0,
    cgroup_root: 0,
    cgroup_root_hierarchy_id: 0,
    kernfs_id: 0,
    kernfs_name: 0,
    css_cgroup: 0,
    css_parent: 0,
    memcg_local_oom: 0,
    memcg_local_oom_kill: 0,
    memcg_usage: 0,
    memcg_max: 0,
    mm_anon: 0,
    mm_file: 0,
    mm_shmem: 0,
    known: 0,
};

/// Reads one offset of [`LAYOUT`]. The load is volatile, or the compiler would fold the zeros in.
#[macro_export]
macro_rules! offset {
    ($field:ident) => {
        $crate::globals::load(&raw const (*$crate::globals::layout()).$field)
    };
}
pub use crate::offset;

/// Address of the frozen struct; only for the macro [`offset!`].
#[inline(always)]
pub const fn layout() -> *const Layout {
    &raw const LAYOUT
}

/// Loads one offset of the frozen struct; only for the macro [`offset!`].
///
/// # Safety
/// `field` points into [`LAYOUT`].
#[inline(always)]
pub unsafe fn load(field: *const u32) -> usize {
    // SAFETY: the caller points into a static.
    unsafe { field.read_volatile() as usize }
}
