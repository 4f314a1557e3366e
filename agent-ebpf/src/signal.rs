//! Programs of `signal:signal_generate`: who sends which signal, and the true end of a process.
//!
//! This tracepoint is busy (Go's SIGURG, every shell's SIGCHLD), so a program first checks the
//! signal and the cgroup, and returns at once if the cgroup is not tracked.

use agent_common::{
    event::{
        EndRecord, KIND_END, KIND_SIGNAL, SIGNAL_GROUP, SIGNAL_INFO_KERNEL, SIGNAL_INFO_NONE,
        SIGNAL_SENDER_DYING, SIGNAL_TARGET_DYING, SIGNAL_TARGET_ZOMBIE, SignalRecord,
    },
    map::{COUNTER_SHARE_SIGNAL, PLACE_CONTAINER},
};
use agent_ebpf::{
    decided,
    globals::offset,
    passed,
    read::{
        Ptr, argument, argument_ptr, cgroup_id, children_cpu, cpu_runtime, current, describe,
        is_group_exit, task_cgroup, wait_status,
    },
};
use aya_ebpf::{
    EbpfContext as _, helpers::bpf_get_current_cgroup_id, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

use crate::{
    emit::{Wake, count, reserve, submit},
    maps::watched,
    oom,
    share::{self, Importance},
};

const SIGKILL: i32 = 9;
const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;

/// Signals that end a process by default and that a container may send to its own init: HUP, INT,
/// QUIT, ILL, TRAP, ABRT, BUS, FPE, KILL, SEGV, TERM, SYS. The others that do (USR1, PIPE, PWR, …)
/// serve runtimes and garbage collectors internally, thousands a second.
const FATAL_FROM_INSIDE: u64 = 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 9
    | 1 << 11
    | 1 << 15
    | 1 << 31;

/// Values of `si_code` for kill(2), sigqueue(3) and tgkill(2) (include/uapi/asm-generic/siginfo.h).
/// Timers and asynchronous I/O have codes of their own below 0, faults have codes above.
const SI_USER: i32 = 0;
const SI_QUEUE: i32 = -1;
const SI_TKILL: i32 = -6;

/// Values of `si_code` for a SIGCHLD: exited, killed, dumped core. Stops and continues come after
/// these.
const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;

/// Exit state `EXIT_ZOMBIE` (include/linux/sched.h).
const EXIT_ZOMBIE: i32 = 0x20;

/// Program of the tracepoint `signal_generate(sig, info, task, type, result)`.
#[btf_tracepoint(function = "signal_generate")]
pub(crate) fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { generated::<true>(ctx.as_ptr()) };
    0
}

/// Program [`signal_generate`] for kernels that do not provide the type of the running task (before
/// Linux 5.11) or of `siginfo`: since that may hold `SEND_SIG_PRIV`, which is no address, later
/// kernels (7.3, and 6.12 with its stable updates) take it for a plain number (kernel/bpf/btf.c,
/// `raw_tp_null_args`).
#[btf_tracepoint(function = "signal_generate")]
pub(crate) fn signal_generate_untyped(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { generated::<false>(ctx.as_ptr()) };
    0
}

/// Dispatch by signal. `TYPED` concerns the running task and `siginfo`; the other arguments always
/// have their type.
///
/// # Safety
/// `ctx` is the context of `signal_generate`.
#[inline(always)]
unsafe fn generated<const TYPED: bool>(ctx: *const c_void) {
    // SAFETY: the caller's word.
    unsafe {
        match argument(ctx, 0) as i32 {
            SIGURG => {}
            SIGCHLD => child_ended::<TYPED>(ctx),
            signal => signal_sent::<TYPED>(ctx, signal),
        }
    }
}

/// Origin of a signal, as `siginfo` has it.
///
/// This is no enum: its unused half would stay unwritten on the stack, and up to 6.2 the verifier
/// refuses to copy that.
#[derive(Clone, Copy)]
struct Info {
    /// Flag [`SIGNAL_INFO_NONE`] for `SEND_SIG_NOINFO`, an ordinary sender (all plain kills on 7.3,
    /// `cgroup.kill` everywhere); [`SIGNAL_INFO_KERNEL`] for `SEND_SIG_PRIV`; 0 for a struct.
    flags: u32,
    /// Field `si_code`; 0 without a struct.
    code: i32,
}

/// Origin of the signal of a `signal_generate` event.
///
/// # Safety
/// `ctx` is the context of `signal_generate`.
#[inline(always)]
unsafe fn info<const TYPED: bool>(ctx: *const c_void) -> Info {
    // SAFETY: the caller's word.
    unsafe {
        let info = Ptr::<TYPED>::new(argument_ptr(ctx, 1).address());
        if info.is_null() {
            Info { flags: SIGNAL_INFO_NONE, code: 0 }
        } else if info.address().addr() == 1 {
            Info { flags: SIGNAL_INFO_KERNEL, code: 0 }
        } else {
            Info { flags: 0, code: info.load(offset!(siginfo_code)) }
        }
    }
}

/// Record of a signal other than SIGCHLD to a tracked cgroup.
///
/// # Safety
/// `ctx` is the context of `signal_generate`.
#[inline(always)]
unsafe fn signal_sent<const TYPED: bool>(ctx: *const c_void, signal: i32) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let target = argument_ptr(ctx, 2);
        let target_cgroup_id = cgroup_id(task_cgroup(target));
        let Some(tracked) = watched(target_cgroup_id) else {
            passed!(
                "process {}: signal {}, but cgroup {} is not tracked",
                target.load::<u32>(offset!(task_tgid)),
                signal,
                target_cgroup_id
            );
            return;
        };

        let info = info::<TYPED>(ctx);
        let by_call = info.flags & SIGNAL_INFO_KERNEL == 0
            && matches!(info.code, SI_USER | SI_QUEUE | SI_TKILL);
        // The container's own faults and timers are not reported: a death by SIGSEGV that no call
        // sent is the kernel's. SIGKILL is reported, whoever sends it.
        if !by_call && signal != SIGKILL {
            decided!(
                "process {}: signal {} is a fault or a timer (si_code {}): not reported",
                target.load::<u32>(offset!(task_tgid)),
                signal,
                info.code
            );
            return;
        }
        if signal == SIGKILL && info.flags & SIGNAL_INFO_KERNEL != 0 {
            oom::remember(target);
        }
        let init_tgid = share::init_tgid(tracked);
        let to_init = init_tgid == 0 || init_tgid == target.load::<u32>(offset!(task_tgid));
        if by_call {
            let sender_cgroup_id = bpf_get_current_cgroup_id();
            let inside = share::is_inside(tracked, target_cgroup_id, sender_cgroup_id);
            let fatal =
                (signal as u32) < 64 && FATAL_FROM_INSIDE & (1 << (signal as u32 & 63)) != 0;
            if inside && !(to_init && fatal) {
                decided!(
                    "process {}: signal {} from inside, not a deadly one to init {}: not reported",
                    target.load::<u32>(offset!(task_tgid)),
                    signal,
                    init_tgid
                );
                return;
            }
            let important =
                if inside && signal != SIGKILL { Importance::Ordinary } else { Importance::High };
            // The runtime and other services of the host are never refused.
            if let Some(sender) = watched(sender_cgroup_id)
                && let Some(container) = share::owner(sender)
                && (inside || (*container).place == PLACE_CONTAINER)
                && !share::take(container, important)
            {
                decided!(
                    "process {}: signal {} is beyond the share of the sender's cgroup {}",
                    target.load::<u32>(offset!(task_tgid)),
                    signal,
                    sender_cgroup_id
                );
                return count(COUNTER_SHARE_SIGNAL);
            }
        }

        let Some(mut entry) = reserve::<SignalRecord>(KIND_SIGNAL) else { return };
        let record = entry.as_mut_ptr();
        let sender = current::<TYPED>();
        describe(target, &raw mut (*record).target);
        describe(sender, &raw mut (*record).sender);
        (*record).signal = signal as u32;
        (*record).result = argument(ctx, 4) as u32;
        let mut flags = info.flags;
        (*record).code = info.code;
        if argument(ctx, 3) as u32 != 0 {
            flags |= SIGNAL_GROUP;
        }
        let target_signal = target.follow(offset!(task_signal));
        if is_group_exit(target_signal) {
            flags |= SIGNAL_TARGET_DYING;
        }
        // A leader may have left while other threads live on: only with no thread left is the
        // process a zombie.
        let leader = target.follow(offset!(task_group_leader));
        if leader.load::<i32>(offset!(task_exit_state)) != 0
            && target_signal.load::<i32>(offset!(signal_live)) == 0
        {
            flags |= SIGNAL_TARGET_ZOMBIE;
        }
        if is_group_exit(sender.follow(offset!(task_signal))) {
            flags |= SIGNAL_SENDER_DYING;
        }
        (*record).flags = flags;
        submit(entry, Wake::now_if(to_init));
        decided!(
            "process {}: signal {} with result {} reported",
            target.load::<u32>(offset!(task_tgid)),
            signal,
            argument(ctx, 4) as u32
        );
    }
}

/// Record of the end of a process, from its SIGCHLD: the running task is the last thread, and the
/// parent that is notified is outside its cgroup.
///
/// Stops, continues and reparented zombies also send SIGCHLD; there the running task is not a
/// zombie itself (kernel/exit.c: `exit_notify` reparents the children first, then sets
/// `exit_state`, then notifies the parent).
///
/// # Safety
/// `ctx` is the context of `signal_generate`.
#[inline(always)]
unsafe fn child_ended<const TYPED: bool>(ctx: *const c_void) {
    // SAFETY: the caller's word, and what `reserve` gives is filled as a whole.
    unsafe {
        let own_cgroup_id = bpf_get_current_cgroup_id();
        let Some(tracked) = watched(own_cgroup_id) else { return };
        // Without a struct the code is 0, which is none of these.
        if !matches!(info::<TYPED>(ctx).code, CLD_EXITED..=CLD_DUMPED) {
            return;
        }

        let task = current::<TYPED>();
        let signal = task.follow(offset!(task_signal));
        let leader = task.follow(offset!(task_group_leader));
        if leader.load::<i32>(offset!(task_exit_state)) != EXIT_ZOMBIE
            || signal.load::<i32>(offset!(signal_live)) != 0
        {
            return;
        }
        let parent: Ptr = argument_ptr(ctx, 2);
        let parent_cgroup_id = cgroup_id(task_cgroup(parent));
        if share::is_inside(tracked, own_cgroup_id, parent_cgroup_id) {
            decided!(
                "process {}: ended, as a child of its own container: not reported",
                task.load::<u32>(offset!(task_tgid))
            );
            return;
        }

        let Some(mut entry) = reserve::<EndRecord>(KIND_END) else { return };
        let record = entry.as_mut_ptr();
        describe(task, &raw mut (*record).task);
        (*record).parent_cgroup_id = parent_cgroup_id;
        (*record).parent_tgid = parent.load(offset!(task_tgid));
        (*record).wait_status = wait_status(leader, signal);
        (*record).cpu_runtime_ns = cpu_runtime(task, leader, signal, true);
        (*record).children_cpu_ns = children_cpu(signal);
        // The agent may not have seen the init yet.
        let init_tgid = share::init_tgid(tracked);
        let urgent = init_tgid == 0 || init_tgid == (*record).task.tgid;
        submit(entry, Wake::now_if(urgent));
        decided!("process {}: its end is reported", task.load::<u32>(offset!(task_tgid)));
    }
}
