//! Reading kernel memory at frozen offsets.
//!
//! A pointer here comes from a typed tracepoint argument, so the verifier knows its type and
//! checks each offset against the kernel's own BTF; loads through it cannot fault (the kernel
//! turns a bad address into 0). Nothing here calls a helper, so it also loads under
//! lockdown=confidentiality.

use agent_common::event::Task;

use crate::globals::offset;

/// A pointer to a kernel struct whose type the verifier tracks.
#[derive(Clone, Copy)]
pub(crate) struct Ptr(*const u8);

impl Ptr {
    /// Takes a pointer from a program's context or a helper.
    #[inline(always)]
    pub(crate) const fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// Loads a plain value at a byte offset.
    ///
    /// Volatile: the verifier wants the very load that the type allows, and LLVM would merge
    /// neighbouring ones.
    ///
    /// # Safety
    /// The verifier has the last word: it refuses a program whose load does not fit the type.
    #[inline(always)]
    pub(crate) unsafe fn load<T: Copy>(self, offset: usize) -> T {
        // SAFETY: as above.
        unsafe { self.0.add(offset).cast::<T>().read_volatile() }
    }

    /// Follows a pointer field.
    ///
    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    pub(crate) unsafe fn follow(self, offset: usize) -> Self {
        // SAFETY: as `load`.
        Self(unsafe { self.load::<*const u8>(offset) })
    }

    /// Whether it points nowhere.
    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The address itself, for helpers that read untyped memory.
    #[inline(always)]
    pub(crate) const fn address(self) -> *const u8 {
        self.0
    }
}

/// Argument `n` of a typed tracepoint.
///
/// # Safety
/// `context` is the context that the kernel handed to the program, and `n` one of its arguments.
#[inline(always)]
pub(crate) unsafe fn argument(context: *const core::ffi::c_void, n: usize) -> u64 {
    // SAFETY: as above. Volatile, since LLVM merges loads of neighbouring arguments into one that
    // the verifier refuses.
    unsafe { context.cast::<u64>().add(n).read_volatile() }
}

/// Argument `n` of a typed tracepoint, a pointer.
///
/// # Safety
/// As [`argument`].
#[inline(always)]
pub(crate) unsafe fn argument_ptr(context: *const core::ffi::c_void, n: usize) -> Ptr {
    // SAFETY: as `argument`; loaded as a pointer, so that it stays one for the verifier.
    Ptr::new(unsafe { context.cast::<*const u8>().add(n).read_volatile() })
}

/// The running task, typed. Linux 5.11.
#[inline(always)]
pub(crate) fn current() -> Ptr {
    // SAFETY: the helper has no preconditions.
    Ptr::new(unsafe { aya_ebpf::helpers::bpf_get_current_task_btf() }.cast::<u8>())
}

/// The cgroup of a task in the v2 hierarchy.
///
/// # Safety
/// `task` is a `task_struct`.
#[inline(always)]
pub(crate) unsafe fn task_cgroup(task: Ptr) -> Ptr {
    // SAFETY: the caller's word.
    unsafe { task.follow(offset!(task_cgroups)).follow(offset!(css_set_dfl_cgrp)) }
}

/// The id of a cgroup: the inode number of its directory.
///
/// # Safety
/// `cgroup` is a `struct cgroup`.
#[inline(always)]
pub(crate) unsafe fn cgroup_id(cgroup: Ptr) -> u64 {
    // SAFETY: the caller's word.
    unsafe { cgroup.follow(offset!(cgroup_kn)).load(offset!(kernfs_id)) }
}

/// Fills the description of a task into a record.
///
/// # Safety
/// `task` is a `task_struct`, `out` points into a record that has room for it.
#[inline(always)]
pub(crate) unsafe fn describe(task: Ptr, out: *mut Task) {
    // SAFETY: the caller's word. `comm` is an array of 16 bytes, which the verifier lets us load
    // as two words.
    unsafe {
        let comm_at = offset!(task_comm);
        let comm: [u64; 2] = [task.load(comm_at), task.load(comm_at + 8)];
        (*out).comm = core::mem::transmute::<[u64; 2], [u8; 16]>(comm);
        (*out).cgroup_id = cgroup_id(task_cgroup(task));
        (*out).tgid = task.load(offset!(task_tgid));
        (*out).tid = task.load(offset!(task_pid));
        let leader = task.follow(offset!(task_group_leader));
        (*out).start_boot_ns = leader.load(offset!(task_start_boottime));
    }
}

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h, 5.10 to 7.3).
const SIGNAL_GROUP_EXIT: u32 = 4;

/// Whether the process of a task is exiting as a whole.
///
/// # Safety
/// `signal` is the task's `signal_struct`.
#[inline(always)]
pub(crate) unsafe fn is_group_exit(signal: Ptr) -> bool {
    // SAFETY: the caller's word.
    unsafe { signal.load::<u32>(offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 }
}

/// What `wait(2)` will give for a process: kernel/exit.c, `wait_task_zombie`.
///
/// # Safety
/// `leader` is the process's leader, `signal` its `signal_struct`.
#[inline(always)]
pub(crate) unsafe fn wait_status(leader: Ptr, signal: Ptr) -> u32 {
    // SAFETY: the caller's word. Both are loaded whichever is wanted: of two loads in two branches
    // LLVM makes one load of a chosen pointer, which the verifier of 6.1 refuses.
    unsafe {
        let of_group: u32 = signal.load(offset!(signal_group_exit_code));
        let of_leader: u32 = leader.load(offset!(task_exit_code));
        if is_group_exit(signal) { of_group } else { of_leader }
    }
}

/// CPU time of a process in nanoseconds: the threads that have left, the leader, and the thread
/// that is leaving now.
///
/// # Safety
/// `task` is a thread of the process of `leader` and `signal`.
#[inline(always)]
pub(crate) unsafe fn cpu_runtime(task: Ptr, leader: Ptr, signal: Ptr, task_has_left: bool) -> u64 {
    // SAFETY: the caller's word.
    unsafe {
        let mut sum: u64 = signal.load(offset!(signal_sum_sched_runtime));
        sum = sum.wrapping_add(leader.load(offset!(task_sum_exec_runtime)));
        let leads: bool =
            task.load::<u32>(offset!(task_pid)) == task.load::<u32>(offset!(task_tgid));
        if !leads && !task_has_left {
            sum = sum.wrapping_add(task.load(offset!(task_sum_exec_runtime)));
        }
        sum
    }
}
