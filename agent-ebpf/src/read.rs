//! Reads of kernel memory at frozen offsets.
//!
//! A typed pointer comes from a typed tracepoint argument, so the verifier knows its type and
//! checks each offset against the kernel's own BTF; loads through it cannot fault (the kernel
//! turns a bad address into 0). It needs no helper, so it also loads under
//! lockdown=confidentiality. An untyped pointer is an unchecked address, for kernels that do not
//! provide the type: it is read with `bpf_probe_read_kernel`.

use agent_common::event::{COMM_BYTES, Task, padded};
use aya_ebpf::helpers::{
    bpf_get_current_task_btf,
    generated::{bpf_get_current_task, bpf_probe_read_kernel},
};
use core::{ffi::c_void, mem::MaybeUninit};

use crate::globals::offset;

/// Pointer to a kernel struct; if `TYPED`, the verifier tracks its type.
#[derive(Clone, Copy)]
pub struct Ptr<const TYPED: bool = true>(*const u8);

impl<const TYPED: bool> Ptr<TYPED> {
    /// Takes a pointer from a program's context or a helper.
    #[inline(always)]
    pub const fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// Loads a plain value at a byte offset.
    ///
    /// The load is volatile: the verifier accepts only the load that the type allows, and LLVM
    /// would merge neighbouring ones.
    ///
    /// # Safety
    /// The verifier has the last word: it refuses a program whose load does not fit the type.
    /// Untyped, the field must be a `T` for which all zeros are a value.
    #[inline(always)]
    pub unsafe fn load<T: Copy>(self, offset: usize) -> T {
        if TYPED {
            // SAFETY: as above.
            return unsafe { self.0.add(offset).cast::<T>().read_volatile() };
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes the whole value, zeros where the address is bad.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast::<c_void>(),
                size_of::<T>() as u32,
                self.0.wrapping_add(offset).cast::<c_void>(),
            );
            value.assume_init()
        }
    }

    /// Follows a pointer field.
    ///
    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    pub unsafe fn follow(self, offset: usize) -> Self {
        // SAFETY: as `load`.
        Self(unsafe { self.load::<*const u8>(offset) })
    }

    /// Whether the pointer is null.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Address of the struct, for helpers that read untyped memory.
    #[inline(always)]
    pub const fn address(self) -> *const u8 {
        self.0
    }

    /// Pointer to the same struct without its type.
    #[inline(always)]
    pub const fn untyped(self) -> Ptr<false> {
        Ptr(self.0)
    }
}

/// Argument `n` of a typed tracepoint.
///
/// # Safety
/// `context` is the context that the kernel handed to the program, and `n` one of its arguments.
#[inline(always)]
pub unsafe fn argument(context: *const c_void, n: usize) -> u64 {
    // SAFETY: as above. Volatile, since LLVM merges loads of neighbouring arguments into one that
    // the verifier refuses.
    unsafe { context.cast::<u64>().add(n).read_volatile() }
}

/// Argument `n` of a typed tracepoint, as a typed pointer.
///
/// # Safety
/// As [`argument`].
#[inline(always)]
pub unsafe fn argument_ptr(context: *const c_void, n: usize) -> Ptr {
    // SAFETY: as `argument`; loaded as a pointer, so that it stays one for the verifier.
    Ptr::new(unsafe { context.cast::<*const u8>().add(n).read_volatile() })
}

/// The running task. The helper that returns it with its type exists since Linux 5.11.
#[inline(always)]
pub fn current<const TYPED: bool>() -> Ptr<TYPED> {
    // SAFETY: the helpers have no preconditions.
    Ptr::new(unsafe {
        if TYPED {
            bpf_get_current_task_btf().cast::<u8>()
        } else {
            core::ptr::with_exposed_provenance(bpf_get_current_task() as usize)
        }
    })
}

/// The cgroup of a task in the v2 hierarchy.
///
/// # Safety
/// `task` is a `task_struct`.
#[inline(always)]
pub unsafe fn task_cgroup<const TYPED: bool>(task: Ptr<TYPED>) -> Ptr<TYPED> {
    // SAFETY: the caller's word.
    unsafe { task.follow(offset!(task_cgroups)).follow(offset!(css_set_dfl_cgrp)) }
}

/// The id of a cgroup: the inode number of its directory.
///
/// # Safety
/// `cgroup` is a `struct cgroup`.
#[inline(always)]
pub unsafe fn cgroup_id<const TYPED: bool>(cgroup: Ptr<TYPED>) -> u64 {
    // SAFETY: the caller's word.
    unsafe { cgroup.follow(offset!(cgroup_kn)).load(offset!(kernfs_id)) }
}

/// Fills the description of a task into a record.
///
/// # Safety
/// `task` is a `task_struct`, `out` points into a record that has room for it.
#[inline(always)]
pub unsafe fn describe<const TYPED: bool>(task: Ptr<TYPED>, out: *mut Task) {
    // SAFETY: the caller's word.
    unsafe {
        (*out).comm = comm(task);
        (*out).cgroup_id = cgroup_id(task_cgroup(task));
        (*out).tgid = task.load(offset!(task_tgid));
        (*out).tid = task.load(offset!(task_pid));
        let leader = task.follow(offset!(task_group_leader));
        (*out).start_boot_ns = leader.load(offset!(task_start_boottime));
    }
}

/// Short name of a task.
///
/// # Safety
/// `task` is a `task_struct`.
#[inline(always)]
pub unsafe fn comm<const TYPED: bool>(task: Ptr<TYPED>) -> [u8; COMM_BYTES] {
    // SAFETY: the caller's word. It is an array of 16 bytes, which the verifier lets us load as two
    // words.
    unsafe {
        let at = offset!(task_comm);
        let words: [u64; 2] = [task.load(at), task.load(at + 8)];
        core::mem::transmute::<[u64; 2], [u8; COMM_BYTES]>(padded(words))
    }
}

/// Whether a task is one of root's, in the initial user namespace: neither of a user who made a
/// namespace to be root there, nor of one who began a program that runs as root for everybody.
///
/// # Safety
/// `task` is a `task_struct`.
#[inline(always)]
pub unsafe fn is_root<const TYPED: bool>(task: Ptr<TYPED>) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let cred = task.follow(offset!(task_real_cred));
        let uid: u32 = cred.load(offset!(cred_uid));
        let level: u32 = cred.follow(offset!(cred_user_ns)).load(offset!(user_ns_level));
        // A bad address reads as 0.
        !cred.is_null() && uid | level == 0
    }
}

/// Flag `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h, 5.10 to 7.3).
const SIGNAL_GROUP_EXIT: u32 = 4;

/// Whether the process of a task is exiting as a whole.
///
/// # Safety
/// `signal` is the task's `signal_struct`.
#[inline(always)]
pub unsafe fn is_group_exit<const TYPED: bool>(signal: Ptr<TYPED>) -> bool {
    // SAFETY: the caller's word.
    unsafe { signal.load::<u32>(offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 }
}

/// Exit status that `wait(2)` will return for a process (kernel/exit.c, `wait_task_zombie`).
///
/// # Safety
/// `leader` is the process's leader, `signal` its `signal_struct`.
#[inline(always)]
pub unsafe fn wait_status<const TYPED: bool>(leader: Ptr<TYPED>, signal: Ptr<TYPED>) -> u32 {
    // SAFETY: the caller's word. Both are loaded whichever is wanted: of two loads in two branches
    // LLVM makes one load of a chosen pointer, which the verifier of 6.1 refuses.
    unsafe {
        let of_group: u32 = signal.load(offset!(signal_group_exit_code));
        let of_leader: u32 = leader.load(offset!(task_exit_code));
        if is_group_exit(signal) { of_group } else { of_leader }
    }
}

/// CPU time of the children that a process has waited for, and of theirs, in nanoseconds.
///
/// # Safety
/// `signal` is the process's `signal_struct`.
#[inline(always)]
pub unsafe fn children_cpu<const TYPED: bool>(signal: Ptr<TYPED>) -> u64 {
    // SAFETY: the caller's word.
    unsafe {
        let user: u64 = signal.load(offset!(signal_cutime));
        user.wrapping_add(signal.load(offset!(signal_cstime)))
    }
}

/// Number of a thread's children, up to `max`.
///
/// The list ends where it began. It may change under the walk, which then ends at its limit.
///
/// # Safety
/// `task` is a `task_struct`.
#[inline(always)]
pub unsafe fn children<const TYPED: bool>(task: Ptr<TYPED>, max: u32) -> u32 {
    // SAFETY: the caller's word. `next` is the first member of `struct list_head`.
    let (head, mut entry) = unsafe {
        let at = offset!(task_children);
        (task.address().wrapping_add(at), task.follow(at))
    };
    let mut count = 0;
    while count < max && entry.address() != head {
        // SAFETY: as above.
        entry = unsafe { entry.follow(0) };
        count += 1;
    }
    count
}

/// CPU time of a process in nanoseconds: that of the threads that have exited, of the leader, and
/// of the thread that is exiting now.
///
/// # Safety
/// `task` is a thread of the process of `leader` and `signal`.
#[inline(always)]
pub unsafe fn cpu_runtime<const TYPED: bool>(
    task: Ptr<TYPED>,
    leader: Ptr<TYPED>,
    signal: Ptr<TYPED>,
    task_has_left: bool,
) -> u64 {
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
