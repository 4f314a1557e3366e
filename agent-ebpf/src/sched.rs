//! `sched:sched_process_exec`, `sched:sched_process_exit` and the task iterator: processes that
//! come into a tracked cgroup from outside, which are inits and exec sessions.
//!
//! A container's own children are not told: their parent is in the same cgroup.

use agent_common::event::{
    ARGV_BYTES, ExecRecord, ExitRecord, Header, KIND_EXEC, KIND_EXIT, KIND_TASK, Task, TaskRecord,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::seq_file,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        generated::{bpf_probe_read_user, bpf_seq_write},
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

use crate::{
    emit::{Wake, reserve, submit},
    globals::offset,
    maps::{EXECUTED, watched},
    read::{argument_ptr, cgroup_id, cpu_runtime, describe, task_cgroup, wait_status},
};

/// `sched_process_exec(task, old_pid, bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { executed::<true>(ctx.as_ptr()) };
    0
}

/// The same again, for what the first could not see.
///
/// A program is not run while it is already running on the CPU (kernel/trace/bpf_trace.c,
/// `__bpf_trace_run`), and later kernels let a tracepoint's programs be preempted (7.3 does; up to
/// 6.18 they are not): then the execs of all other tasks on this CPU would go unseen meanwhile. The
/// other programs run under locks that forbid it, or tell what another tells as well.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec_again(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { executed::<false>(ctx.as_ptr()) };
    0
}

/// # Safety
/// `ctx` is the context of `sched_process_exec`.
#[inline(always)]
unsafe fn executed<const FIRST: bool>(ctx: *const c_void) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let own_cgroup_id = bpf_get_current_cgroup_id();
        if watched(own_cgroup_id).is_none() {
            return;
        }
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
        if cgroup_id(task_cgroup(parent)) == own_cgroup_id {
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
        // The arguments were written to the new stack a moment ago; should the page be gone all
        // the same, the helper fails and the record says that it has none.
        let read = bpf_probe_read_user(
            (&raw mut (*record).argv).cast::<c_void>(),
            len,
            start as *const c_void,
        );
        (*record).argv_len_bytes = if read == 0 { len } else { 0 };
        // Not at once: the agent, woken here, would preempt this program, and the next exec would
        // find it running still.
        submit(entry, Wake::Later);
    }
}

/// `sched_process_exit(task)`; from 6.16 with `group_dead`.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { exiting(ctx.as_ptr()) };
    0
}

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
        if parent_cgroup_id == own_cgroup_id {
            return;
        }

        let Some(mut entry) = reserve::<ExitRecord>(KIND_EXIT) else { return };
        let record = entry.as_mut_ptr();
        describe(task, &raw mut (*record).task);
        (*record).parent_cgroup_id = parent_cgroup_id;
        (*record).cpu_runtime_ns = cpu_runtime(task, leader, signal, false);
        (*record).wait_status = wait_status(leader, signal);
        (*record).padding = 0;
        // The agent may not have heard of init yet.
        let init_tgid = (*tracked).init_tgid;
        let urgent = init_tgid == 0 || init_tgid == (*record).task.tgid;
        submit(entry, Wake::now_if(urgent));
    }
}

/// Iterator over tasks: writes a [`TaskRecord`] for each process in a tracked cgroup whose parent
/// is outside, and for the reader itself, which checks that the offsets are right.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn running_tasks(ctx: *mut c_void) -> i32 {
    // SAFETY: the context of a task iterator is `{ meta, task }`
    // (kernel/bpf/task_iter.c, `bpf_iter__task`); `task` is null after the last one.
    unsafe {
        let meta = argument_ptr(ctx, 0);
        let task = argument_ptr(ctx, 1);
        if task.is_null() {
            return 0;
        }
        let tgid: u32 = task.load(offset!(task_tgid));
        if tgid != task.load::<u32>(offset!(task_pid)) {
            return 0;
        }
        let own_cgroup_id = cgroup_id(task_cgroup(task));
        let helper_tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        let is_reader = tgid == helper_tgid;
        let parent_cgroup_id = cgroup_id(task_cgroup(task.follow(offset!(task_real_parent))));
        let wanted = parent_cgroup_id != own_cgroup_id && watched(own_cgroup_id).is_some();
        if !wanted && !is_reader {
            return 0;
        }
        let mut record = TaskRecord {
            header: Header {
                kind: KIND_TASK,
                size_bytes: size_of::<TaskRecord>() as u32,
                time_boot_ns: bpf_ktime_get_boot_ns(),
            },
            task: Task { cgroup_id: 0, start_boot_ns: 0, tgid: 0, tid: 0, comm: [0; 16] },
            parent_cgroup_id,
            helper_tgid,
            is_reader: u32::from(is_reader),
            helper_cgroup_id: bpf_get_current_cgroup_id(),
        };
        describe(task, &raw mut record.task);
        // `meta->seq` is the first field (include/linux/bpf.h, `bpf_iter_meta`).
        let seq = meta.follow(0).address().cast_mut().cast::<seq_file>();
        bpf_seq_write(seq, (&raw const record).cast::<c_void>(), size_of::<TaskRecord>() as u32);
    }
    0
}
