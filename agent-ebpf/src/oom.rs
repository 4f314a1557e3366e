//! Programs of `oom:mark_victim`: the OOM killer has chosen a process.
//!
//! The program runs in the context of the task that allocated, so the victim's cgroup comes from
//! the victim's task.

use agent_common::{
    event::{KIND_OOM, OOM_CHARGED, OOM_LEVELS, OOM_RESIDENT, OomLevel, OomRecord},
    layout::{HAS_CHARGED, HAS_RESIDENT, RESIDENT_IS_TYPED},
};
use agent_ebpf::{
    decided,
    globals::offset,
    passed,
    read::{Ptr, argument, argument_ptr, cgroup_id, current, describe, task_cgroup},
};
use aya_ebpf::{
    EbpfContext as _, helpers::generated::bpf_probe_read_kernel, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

use crate::{
    emit::{Wake, reserve, submit},
    maps::{KILLED, watched},
};

/// Program of the tracepoint `mark_victim(task, uid)`: reports the victim with the counters of its
/// memory hierarchy.
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { marked::<true, true>(argument_ptr(ctx.as_ptr(), 0)) };
    0
}

/// Program [`mark_victim`] without the counters, for kernels that do not let programs read untyped
/// memory (lockdown=confidentiality).
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim_typed(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { marked::<true, false>(argument_ptr(ctx.as_ptr(), 0)) };
    0
}

/// Program of the tracepoint `mark_victim(pid)`, as it was before Linux 6.9 and its stable updates.
///
/// The victim was sent a SIGKILL just before, by the same task on the same CPU and under the same
/// spin lock (mm/oom_kill.c, `__oom_kill_process`), and `signal_generate` has remembered it. A
/// process that was dying already is marked without one; that is no kill.
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim_by_id(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's. The address is that of a task. The OOM killer holds a
    // reference to it if it is the one with this id, and only the checking helper follows it.
    unsafe {
        let Some(killed) = KILLED.get_ptr_mut(0) else { return 0 };
        let victim = Ptr::<false>::new(core::ptr::with_exposed_provenance(*killed as usize));
        *killed = 0;
        if victim.is_null()
            || victim.load::<u32>(offset!(task_pid)) != argument(ctx.as_ptr(), 0) as u32
        {
            return 0;
        }
        marked::<false, true>(victim);
    }
    0
}

/// Keeps the target of a SIGKILL that the kernel sends, for [`mark_victim_by_id`].
#[inline(always)]
pub(crate) fn remember(target: Ptr) {
    if let Some(killed) = KILLED.get_ptr_mut(0) {
        // SAFETY: the map gave the pointer, and no other CPU writes there.
        unsafe { *killed = target.address().expose_provenance() as u64 };
    }
}

/// Record of an OOM kill in a tracked cgroup, with its memory hierarchy if `COUNTERS`.
///
/// # Safety
/// `victim` is a `task_struct`.
#[inline(always)]
unsafe fn marked<const TYPED: bool, const COUNTERS: bool>(victim: Ptr<TYPED>) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let victim_cgroup_id = cgroup_id(task_cgroup(victim));
        if watched(victim_cgroup_id).is_none() {
            passed!(
                "process {}: marked by the OOM killer, but cgroup {} is not tracked",
                victim.load::<u32>(offset!(task_tgid)),
                victim_cgroup_id
            );
            return;
        }
        let Some(mut entry) = reserve::<OomRecord>(KIND_OOM) else { return };
        let record = entry.as_mut_ptr();
        describe(victim, &raw mut (*record).victim);
        describe(current::<TYPED>(), &raw mut (*record).current);
        let mut flags = resident::<TYPED, COUNTERS>(victim, record);
        let mut count = 0;
        let has_charged = COUNTERS && offset!(known) as u32 & HAS_CHARGED != 0;
        let mut charged = has_charged;
        // `mem_cgroup` begins with its `cgroup_subsys_state`, so one pointer serves for both; the
        // events behind it are outside the type that the verifier knows and need the helper.
        let mut css = victim.follow(offset!(task_cgroups)).follow(offset!(css_set_memory));
        if !TYPED && offset!(css_set_memory) == 0 {
            // A kernel without memory cgroups: only a typed program has a sibling for it.
            css = Ptr::new(core::ptr::null());
        }
        let levels = (&raw mut (*record).levels).cast::<OomLevel>();
        for n in 0..OOM_LEVELS {
            let level = levels.add(n);
            (*level).cgroup_id = 0;
            (*level).oom = 0;
            (*level).oom_kill = 0;
            (*level).usage_pages = 0;
            (*level).max_pages = 0;
            if !COUNTERS || css.is_null() {
                continue;
            }
            (*level).cgroup_id = cgroup_id(css.follow(offset!(css_cgroup)));
            let oom = copy(css, offset!(memcg_local_oom), &raw mut (*level).oom);
            let kill = copy(css, offset!(memcg_local_oom_kill), &raw mut (*level).oom_kill);
            if oom && kill {
                count = n as u32 + 1;
            }
            if has_charged {
                let usage = copy(css, offset!(memcg_usage), &raw mut (*level).usage_pages);
                let max = copy(css, offset!(memcg_max), &raw mut (*level).max_pages);
                charged &= usage && max;
            }
            css = css.follow(offset!(css_parent));
        }
        (*record).level_count = count;
        if charged {
            flags |= OOM_CHARGED;
        }
        (*record).flags = flags;
        submit(entry, Wake::Now);
        decided!(
            "process {}: marked by the OOM killer: reported with {} levels and flags {}",
            victim.load::<u32>(offset!(task_tgid)),
            count,
            flags
        );
    }
}

/// Fills the victim's memory into the record: by typed loads where the verifier lets them, else, if
/// `UNTYPED` memory may be read, by the helper. Returns the flag [`OOM_RESIDENT`], or 0 if it is not
/// known.
///
/// A victim has its `mm`: the OOM killer holds its `task_lock`, which `exit_mm` wants as well
/// (mm/oom_kill.c, `__oom_kill_process`).
///
/// # Safety
/// `victim` is a `task_struct`, `record` has room for its fields.
#[inline(always)]
unsafe fn resident<const TYPED: bool, const UNTYPED: bool>(
    victim: Ptr<TYPED>,
    record: *mut OomRecord,
) -> u32 {
    // SAFETY: the caller's word.
    unsafe {
        (*record).anon_pages = 0;
        (*record).file_pages = 0;
        (*record).shmem_pages = 0;
        let known = offset!(known) as u32;
        let is_typed = TYPED && known & RESIDENT_IS_TYPED != 0;
        if known & HAS_RESIDENT == 0 || !(is_typed || UNTYPED) {
            return 0;
        }
        let mm = victim.follow(offset!(task_mm));
        if mm.is_null() {
            return 0;
        }
        if is_typed {
            (*record).anon_pages = mm.load(offset!(mm_anon));
            (*record).file_pages = mm.load(offset!(mm_file));
            (*record).shmem_pages = mm.load(offset!(mm_shmem));
            return OOM_RESIDENT;
        }
        let anon = copy(mm, offset!(mm_anon), &raw mut (*record).anon_pages);
        let file = copy(mm, offset!(mm_file), &raw mut (*record).file_pages);
        let shmem = copy(mm, offset!(mm_shmem), &raw mut (*record).shmem_pages);
        if anon && file && shmem { OOM_RESIDENT } else { 0 }
    }
}

/// Copies a number that lies behind the type that the verifier knows. Returns whether it was read;
/// a fault leaves 0.
///
/// # Safety
/// `to` is a field of a record.
#[inline(always)]
unsafe fn copy<T, const TYPED: bool>(from: Ptr<TYPED>, offset: usize, to: *mut T) -> bool {
    // SAFETY: the caller's word; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel(
            to.cast::<c_void>(),
            size_of::<T>() as u32,
            from.address().add(offset).cast::<c_void>(),
        ) == 0
    }
}
