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
    map::{
        COUNTER_LOST_TRACKED_FULL, COUNTER_NESTED_FULL, COUNTER_SHARE_CGROUP, NESTED_MAX,
        PLACE_NESTED, PLACE_UNKNOWN, Tracked,
    },
};
use agent_ebpf::{
    decided,
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
    share::{self, Importance},
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
        let Some(above) = TRACKED.get_ptr_mut(parent_id) else { return };
        // Null for none: of an `Option` LLVM would copy the pointer also where there is none, and so
        // a register that holds nothing, which the verifier refuses.
        let container = share::owner(above).unwrap_or(core::ptr::null_mut());
        if !container.is_null() {
            // Each cgroup is made and removed under the kernel's `cgroup_mutex`, so the number has
            // one writer here.
            if (*container).nested >= NESTED_MAX {
                decided!("cgroup {}: too many are nested in its container", cgroup_id(cgroup));
                return count(COUNTER_NESTED_FULL);
            }
            if !share::take(container, Importance::Ordinary) {
                decided!("cgroup {}: beyond its container's share", cgroup_id(cgroup));
                return count(COUNTER_SHARE_CGROUP);
            }
        }
        let (place, container_id) = if container.is_null() {
            (PLACE_UNKNOWN, 0)
        } else {
            (PLACE_NESTED, share::container_of(above, parent_id))
        };
        let id = cgroup_id(cgroup);
        let new = Tracked {
            init_tgid: 0,
            place,
            container_id,
            nested: 0,
            tokens: 0,
            refilled_boot_ns: 0,
        };
        let tracked = TRACKED.insert(id, new, 0).is_ok();
        if !tracked {
            count(COUNTER_LOST_TRACKED_FULL);
        } else if !container.is_null() {
            (*container).nested = (*container).nested.wrapping_add(1);
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
        decided!("cgroup {}: made below {} at place {}: reported", id, parent_id, place);
    }
}

/// Program of the tracepoint `cgroup_rmdir(cgroup, path)`: reports the removal of a tracked cgroup.
///
/// The agent untracks it then, a moment later, since its last process may not have notified its
/// parent yet. Where the record finds no room, nobody else would.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe {
        let cgroup = argument_ptr(ctx.as_ptr(), 0);
        let id = cgroup_id(cgroup);
        let Some(tracked) = TRACKED.get_ptr_mut(id) else { return 0 };
        if !is_v2(cgroup) {
            return 0;
        }
        if (*tracked).place == PLACE_NESTED
            && let Some(container) = TRACKED.get_ptr_mut((*tracked).container_id)
        {
            (*container).nested = (*container).nested.saturating_sub(1);
        }
        if !told(id, KIND_CGROUP_REMOVED) {
            // It may be gone already.
            let _ = TRACKED.remove(id);
        }
    }
    0
}

/// Program of the tracepoint `cgroup_notify_populated(cgroup, path, populated)`: reports that the
/// last task left a tracked cgroup and all below it. That of a nested one is its container's own
/// business, and a container could repeat it without end.
#[btf_tracepoint(function = "cgroup_notify_populated")]
pub(crate) fn cgroup_notify_populated(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe {
        let ctx = ctx.as_ptr();
        if argument(ctx, 2) as i32 != 0 {
            return 0;
        }
        let cgroup = argument_ptr(ctx, 0);
        let id = cgroup_id(cgroup);
        let Some(tracked) = TRACKED.get_ptr(id) else { return 0 };
        if (*tracked).place != PLACE_NESTED && is_v2(cgroup) {
            told(id, KIND_CGROUP_EMPTY);
        }
    }
    0
}

/// Record of a tracked cgroup: its id alone. Returns whether it found room.
#[inline(always)]
fn told(id: u64, kind: u32) -> bool {
    let Some(mut entry) = reserve::<CgroupRecord>(kind) else { return false };
    // SAFETY: what `reserve` gives is filled as a whole.
    unsafe { (*entry.as_mut_ptr()).cgroup_id = id };
    submit(entry, Wake::Later);
    true
}
