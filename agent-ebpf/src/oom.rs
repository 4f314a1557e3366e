//! Programs of `oom:mark_victim`: the OOM killer has chosen a process.
//!
//! The program runs in the context of the task that allocated, so the victim's cgroup comes from
//! the victim's task.

use agent_common::event::{KIND_OOM, OOM_LEVELS, OomRecord};
use agent_ebpf::{
    globals::offset,
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
            return;
        }
        let Some(mut entry) = reserve::<OomRecord>(KIND_OOM) else { return };
        let record = entry.as_mut_ptr();
        describe(victim, &raw mut (*record).victim);
        describe(current::<TYPED>(), &raw mut (*record).current);
        (*record).padding = 0;
        let mut count = 0;
        // `mem_cgroup` begins with its `cgroup_subsys_state`, so one pointer serves for both; the
        // events behind it are outside the type that the verifier knows and need the helper.
        let mut css = victim.follow(offset!(task_cgroups)).follow(offset!(css_set_memory));
        if !TYPED && offset!(css_set_memory) == 0 {
            // A kernel without memory cgroups: only a typed program has a sibling for it.
            css = Ptr::new(core::ptr::null());
        }
        let levels = (&raw mut (*record).levels).cast::<agent_common::event::OomLevel>();
        for n in 0..OOM_LEVELS {
            let level = levels.add(n);
            (*level).cgroup_id = 0;
            (*level).oom = 0;
            (*level).oom_kill = 0;
            if !COUNTERS || css.is_null() {
                continue;
            }
            (*level).cgroup_id = cgroup_id(css.follow(offset!(css_cgroup)));
            let oom = bpf_probe_read_kernel(
                (&raw mut (*level).oom).cast::<c_void>(),
                8,
                css.address().add(offset!(memcg_local_oom)).cast::<c_void>(),
            );
            let kill = bpf_probe_read_kernel(
                (&raw mut (*level).oom_kill).cast::<c_void>(),
                8,
                css.address().add(offset!(memcg_local_oom_kill)).cast::<c_void>(),
            );
            if oom == 0 && kill == 0 {
                count = n as u32 + 1;
            }
            css = css.follow(offset!(css_parent));
        }
        (*record).level_count = count;
        submit(entry, Wake::Now);
    }
}
