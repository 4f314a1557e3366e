//! Programs of `cgroup:cgroup_mkdir`, `cgroup_rmdir` and `cgroup_notify_populated`: cgroups come
//! and go.
//!
//! A child of a tracked cgroup is tracked from its first moment on, so that no event of a new
//! container is missed, however late the agent hears of it.

use agent_common::{
    event::{
        CgroupMadeRecord, CgroupRecord, KIND_CGROUP_EMPTY, KIND_CGROUP_MADE, KIND_CGROUP_REMOVED,
        NAME_BYTES,
    },
    map::{COUNTER_LOST_TRACKED_FULL, Tracked},
};
use agent_ebpf::{
    globals::offset,
    read::{Ptr, argument, argument_ptr, cgroup_id},
};
use aya_ebpf::{
    EbpfContext as _, helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

use crate::{
    emit::{Wake, count, reserve, submit},
    maps::TRACKED,
};

/// Whether a cgroup is in the v2 hierarchy, which has id 0. Version 1 hierarchies fire these
/// tracepoints as well, and cgroup ids repeat between hierarchies.
///
/// # Safety
/// `cgroup` is a `struct cgroup`.
#[inline(always)]
unsafe fn is_v2(cgroup: Ptr) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        cgroup.follow(offset!(cgroup_root)).load::<i32>(offset!(cgroup_root_hierarchy_id)) == 0
    }
}

/// Program of the tracepoint `cgroup_mkdir(cgroup, path)`: tracks a cgroup whose parent is tracked.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { made::<true>(ctx.as_ptr()) };
    0
}

/// Program [`cgroup_mkdir`] without the directory's name, for kernels that do not let programs read
/// untyped memory.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir_typed(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { made::<false>(ctx.as_ptr()) };
    0
}

/// Record of a new cgroup, with its directory's name if `NAME`.
///
/// # Safety
/// `ctx` is the context of `cgroup_mkdir`.
#[inline(always)]
unsafe fn made<const NAME: bool>(ctx: *const c_void) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let cgroup = argument_ptr(ctx, 0);
        if !is_v2(cgroup) {
            return;
        }
        // Not `kn->parent`, which was renamed and put under RCU.
        let parent = cgroup.follow(offset!(cgroup_self_parent)).follow(offset!(css_cgroup));
        let parent_id = cgroup_id(parent);
        if TRACKED.get_ptr(parent_id).is_none() {
            return;
        }
        let id = cgroup_id(cgroup);
        let tracked = TRACKED.insert(id, Tracked { init_tgid: 0, is_root: 0 }, 0).is_ok();
        if !tracked {
            count(COUNTER_LOST_TRACKED_FULL);
        }
        let Some(mut entry) = reserve::<CgroupMadeRecord>(KIND_CGROUP_MADE) else { return };
        let record = entry.as_mut_ptr();
        (*record).cgroup_id = id;
        (*record).parent_id = parent_id;
        (*record).untracked = u32::from(!tracked);
        (*record).name_len_bytes = 0;
        if NAME {
            let name = cgroup.follow(offset!(cgroup_kn)).follow(offset!(kernfs_name));
            let len = bpf_probe_read_kernel_str(
                (&raw mut (*record).name).cast::<c_void>(),
                NAME_BYTES as u32,
                name.address().cast::<c_void>(),
            );
            // The length counts the terminating NUL.
            (*record).name_len_bytes = if len > 1 { len as u32 - 1 } else { 0 };
        }
        // At once: the agent then polls often until it has seen the container's init, whose exec
        // must not wake it (see `sched_process_exec`).
        submit(entry, Wake::Now);
    }
}

/// Program of the tracepoint `cgroup_rmdir(cgroup, path)`: reports the removal of a tracked cgroup.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { told(ctx.as_ptr(), KIND_CGROUP_REMOVED) };
    0
}

/// Program of the tracepoint `cgroup_notify_populated(cgroup, path, populated)`: reports that the
/// last task left a tracked cgroup and all below it.
#[btf_tracepoint(function = "cgroup_notify_populated")]
pub(crate) fn cgroup_notify_populated(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe {
        let ctx = ctx.as_ptr();
        if argument(ctx, 2) as i32 == 0 {
            told(ctx, KIND_CGROUP_EMPTY);
        }
    }
    0
}

/// Record of a tracked cgroup: its id alone.
///
/// # Safety
/// `ctx` is the context of a tracepoint whose first argument is a cgroup.
#[inline(always)]
unsafe fn told(ctx: *const c_void, kind: u32) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let cgroup = argument_ptr(ctx, 0);
        let id = cgroup_id(cgroup);
        if TRACKED.get_ptr(id).is_none() || !is_v2(cgroup) {
            return;
        }
        let Some(mut entry) = reserve::<CgroupRecord>(kind) else { return };
        (*entry.as_mut_ptr()).cgroup_id = id;
        submit(entry, Wake::Later);
    }
}
