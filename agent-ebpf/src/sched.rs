//! Programs of `sched:sched_process_exec` and `sched:sched_process_exit`: processes that enter a
//! tracked cgroup from outside, which are inits and execs (CRI: ExecSync, Exec).
//!
//! A container's own children are not reported: their parent is in the same cgroup, or in another
//! of the container's.

use agent_common::event::{ARGV_BYTES, CHILDREN_MAX, ExecRecord, ExitRecord, KIND_EXEC, KIND_EXIT};
use agent_ebpf::{
    decided,
    globals::offset,
    read::{
        argument_ptr, cgroup_id, children, children_cpu, cpu_runtime, describe, task_cgroup,
        wait_status,
    },
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, generated::bpf_probe_read_user,
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

use crate::{
    emit::{Wake, reserve, submit},
    maps::{EXECUTED, watched},
    share,
};

/// Program of the tracepoint `sched_process_exec(task, old_pid, bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { executed::<true>(ctx.as_ptr()) };
    0
}

/// Second program of `sched_process_exec`, for the execs that the first could not see.
///
/// A program is not run while it is already running on the CPU (kernel/trace/bpf_trace.c,
/// `__bpf_trace_run`), and later kernels let a tracepoint's programs be preempted (7.3 does; up to
/// 6.18 they are not). In that time the execs of all other tasks on this CPU would go unseen. The
/// other programs run under locks that forbid it, or report an event that another reports as well.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec_again(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { executed::<false>(ctx.as_ptr()) };
    0
}

/// Record of an exec in a tracked cgroup, of a process whose parent is outside its container; unless `FIRST`,
/// only if the first program has not seen it.
///
/// # Safety
/// `ctx` is the context of `sched_process_exec`.
#[inline(always)]
unsafe fn executed<const FIRST: bool>(ctx: *const c_void) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let own_cgroup_id = bpf_get_current_cgroup_id();
        let Some(tracked) = watched(own_cgroup_id) else { return };
        let Some(seen) = EXECUTED.get_ptr_mut(0) else { return };
        let current = bpf_get_current_pid_tgid();
        if FIRST {
            *seen = current;
        } else if *seen == current {
            *seen = 0;
            return;
        }
        let task = argument_ptr(ctx, 0);
        let parent = task.follow(offset!(task_real_parent));
        if share::is_inside(tracked, own_cgroup_id, cgroup_id(task_cgroup(parent))) {
            decided!(
                "process {}: an exec of the container's own: not reported",
                task.load::<u32>(offset!(task_tgid))
            );
            return;
        }

        let Some(mut entry) = reserve::<ExecRecord>(KIND_EXEC) else { return };
        let record = entry.as_mut_ptr();
        describe(task, &raw mut (*record).task);
        describe(parent, &raw mut (*record).parent);
        (*record).padding = 0;
        (*record).argv = [0; ARGV_BYTES];
        let mm = task.follow(offset!(task_mm));
        let start: u64 = mm.load(offset!(mm_arg_start));
        let end: u64 = mm.load(offset!(mm_arg_end));
        let available = end.wrapping_sub(start);
        let len = if available > ARGV_BYTES as u64 { ARGV_BYTES as u32 } else { available as u32 };
        // The arguments were written to the new stack a moment ago; if the page is gone all the
        // same, the helper fails and the record has no arguments.
        let read = bpf_probe_read_user(
            (&raw mut (*record).argv).cast::<c_void>(),
            len,
            start as *const c_void,
        );
        (*record).argv_len_bytes = if read == 0 { len } else { 0 };
        // Not at once: the agent, woken here, would preempt this program, and the next exec would
        // find it still running.
        submit(entry, Wake::Later);
        decided!(
            "process {}: exec in cgroup {} by parent {} reported",
            task.load::<u32>(offset!(task_tgid)),
            own_cgroup_id,
            parent.load::<u32>(offset!(task_tgid))
        );
    }
}

/// Program of the tracepoint `sched_process_exit(task)`, which has `group_dead` too from 6.16.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { exiting(ctx.as_ptr()) };
    0
}

/// Record of the exit of a process's last thread, in a tracked cgroup and with a parent outside.
///
/// # Safety
/// `ctx` is the context of `sched_process_exit`.
#[inline(always)]
unsafe fn exiting(ctx: *const c_void) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let own_cgroup_id = bpf_get_current_cgroup_id();
        let Some(tracked) = watched(own_cgroup_id) else { return };
        let task = argument_ptr(ctx, 0);
        let signal = task.follow(offset!(task_signal));
        // The last thread: `live` was counted down before. Two threads can both see 0, so the
        // record may come twice.
        if signal.load::<i32>(offset!(signal_live)) != 0 {
            return;
        }
        let leader = task.follow(offset!(task_group_leader));
        let parent = leader.follow(offset!(task_real_parent));
        let parent_cgroup_id = cgroup_id(task_cgroup(parent));
        if share::is_inside(tracked, own_cgroup_id, parent_cgroup_id) {
            decided!(
                "process {}: exits, as a child of its own container: not reported",
                task.load::<u32>(offset!(task_tgid))
            );
            return;
        }

        let Some(mut entry) = reserve::<ExitRecord>(KIND_EXIT) else { return };
        let record = entry.as_mut_ptr();
        describe(task, &raw mut (*record).task);
        (*record).parent_cgroup_id = parent_cgroup_id;
        (*record).cpu_runtime_ns = cpu_runtime(task, leader, signal, false);
        (*record).children_cpu_ns = children_cpu(signal);
        (*record).wait_status = wait_status(leader, signal);
        // Threads that have left handed theirs on, if not all were leaving (kernel/exit.c,
        // `find_alive_thread`): of a process with several it is the least number.
        (*record).children = children(task, CHILDREN_MAX);
        // The agent may not have seen the init yet.
        let init_tgid = share::init_tgid(tracked);
        let urgent = init_tgid == 0 || init_tgid == (*record).task.tgid;
        submit(entry, Wake::now_if(urgent));
        decided!("process {}: its exit is reported", task.load::<u32>(offset!(task_tgid)));
    }
}
