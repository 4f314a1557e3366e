//! Programs of the task iterator: the processes that are in tracked cgroups already, with parents
//! outside; or those that may be the kubelet.

use agent_common::{
    event::{Header, KIND_TASK, Task, TaskRecord},
    map::{
        KUBELET_COMMS, PLACE_HOLDER, PLACE_UNIT, TaskWalk, WALK_DONE, WALK_LOST, WALK_MORE,
        WALK_NO_BEGIN, WALK_NONE, WALK_STRETCH,
    },
};
use agent_ebpf::{
    globals::offset,
    read::{Ptr, argument_ptr, cgroup_id, comm, describe, is_root, task_cgroup},
};
use aya_ebpf::{
    bindings::seq_file,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        generated::bpf_seq_write,
    },
    macros::map,
    maps::Array,
};
use core::ffi::c_void;

use crate::maps::{TRACKED, watched};

/// Array of one [`TaskWalk`], the position of the walk.
#[map]
static TASK_WALK: Array<TaskWalk> = Array::with_max_entries(1, 0);

/// Program of the task iterator that writes a [`TaskRecord`] for each process that the reader can
/// see, and for the reader itself, which checks that the offsets are right.
///
/// The kernel shows a task iterator the reader's PID namespace only (kernel/bpf/task_iter.c,
/// `init_seq_private`, 5.10 to 7.3): in a Pod, that is the agent alone.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn visible_tasks(ctx: *mut c_void) -> i32 {
    // SAFETY: `iterated` returns the kernel's own pointers.
    unsafe {
        if let Some((seq, task)) = iterated(ctx)
            && let Some(walk) = TASK_WALK.get_ptr(0)
        {
            // Where it does not fit, the kernel visits the process again.
            let _ = tell(seq, task, walk);
        }
    }
    0
}

/// Program of the task iterator for all processes of the node, whatever the reader's PID namespace:
/// for each process that the iterator visits, it walks the next stretch of the kernel's own list of
/// processes.
///
/// The list is read under RCU, as an iterator's program runs under it (kernel/bpf/bpf_iter.c,
/// `bpf_iter_run_prog`): a process that leaves it meanwhile still leads on (include/linux/sched.h,
/// `for_each_process`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn running_tasks(ctx: *mut c_void) -> i32 {
    // SAFETY: `iterated` returns the kernel's own pointers; addresses are read by a helper that
    // refuses bad ones.
    unsafe {
        let Some((seq, task)) = iterated(ctx) else { return 0 };
        let Some(walk) = TASK_WALK.get_ptr_mut(0) else { return 0 };
        if (*walk).outcome == WALK_NONE || (*walk).outcome == WALK_MORE {
            (*walk).outcome = stretch(seq, task.untyped(), walk);
        }
    }
    0
}

/// The iterator's buffer and the process that it visits; `None` for a thread that does not lead its
/// process, and after the last task.
///
/// # Safety
/// `ctx` is the context of a task iterator.
#[inline(always)]
unsafe fn iterated(ctx: *const c_void) -> Option<(*mut seq_file, Ptr)> {
    // SAFETY: the context is `{ meta, task }` (kernel/bpf/task_iter.c, `bpf_iter__task`); `task`
    // is null after the last one. `meta->seq` is the first field (include/linux/bpf.h,
    // `bpf_iter_meta`).
    unsafe {
        let meta = argument_ptr(ctx, 0);
        let task = argument_ptr(ctx, 1);
        if task.is_null() || task.load::<u32>(offset!(task_tgid)) != task.load(offset!(task_pid)) {
            return None;
        }
        Some((meta.follow(0).address().cast_mut().cast(), task))
    }
}

/// Walks the next stretch of the list of processes; returns a `WALK_` outcome.
///
/// # Safety
/// `task` is a task, `walk` the map's element.
#[inline(always)]
unsafe fn stretch(seq: *mut seq_file, task: Ptr<false>, walk: *mut TaskWalk) -> u32 {
    // SAFETY: the caller's word. What is at the address of a process that has gone may be anything;
    // the helper reads it safely.
    unsafe {
        let Some(idle) = idle_task(task) else { return WALK_NO_BEGIN };
        let mut at = idle;
        if (*walk).address != 0 {
            at = Ptr::new(core::ptr::with_exposed_provenance((*walk).address as usize));
            if !is_listed(at, &*walk) {
                return WALK_LOST;
            }
        }
        for _ in 0..WALK_STRETCH {
            let link = at.follow(offset!(task_tasks));
            if link.is_null() {
                return WALK_LOST;
            }
            // A link points to the link in the next one.
            at = Ptr::new(link.address().wrapping_sub(offset!(task_tasks)));
            if at.address() == idle.address() {
                return WALK_DONE;
            }
            if tell(seq, at, walk).is_err() {
                // The buffer is full. The kernel empties it, and visits this process again.
                return (*walk).outcome;
            }
        }
        (*walk).address = at.address().expose_provenance() as u64;
        (*walk).start_boot_ns = at.load(offset!(task_start_boottime));
        (*walk).tgid = at.load(offset!(task_tgid));
        WALK_MORE
    }
}

/// Whether the process at which the walk has arrived is still in the list. A process leaves the
/// list just before it is freed, and is dead by then (kernel/exit.c, `release_task`), so its link
/// leads on as long as this program runs.
///
/// # Safety
/// `task` is an address where a task was.
#[inline(always)]
unsafe fn is_listed(task: Ptr<false>, walk: &TaskWalk) -> bool {
    /// Exit state `EXIT_DEAD` (include/linux/sched.h, 5.10 to 7.3).
    const EXIT_DEAD: u32 = 0x10;
    // SAFETY: the caller's word.
    unsafe {
        task.load::<u32>(offset!(task_tgid)) == walk.tgid
            && task.load::<u64>(offset!(task_start_boottime)) == walk.start_boot_ns
            && task.load::<u32>(offset!(task_exit_state)) & EXIT_DEAD == 0
    }
}

/// Idle task of the first CPU, which heads the list: the parent of the first process, and the
/// ancestor of all (init/main.c, `rest_init`).
///
/// # Safety
/// `task` is a task.
#[inline(always)]
unsafe fn idle_task(task: Ptr<false>) -> Option<Ptr<false>> {
    /// Limit of the ancestors followed. A container's process has about five ancestors, one in a
    /// nested container about ten.
    const ANCESTORS_MAX: u32 = 64;
    let mut ancestor = task;
    for _ in 0..ANCESTORS_MAX {
        // SAFETY: the caller's word.
        unsafe {
            if ancestor.is_null() {
                return None;
            }
            if ancestor.load::<u32>(offset!(task_pid)) == 0 {
                return Some(ancestor);
            }
            ancestor = ancestor.follow(offset!(task_real_parent));
        }
    }
    None
}

/// Writes the record of a process that is wanted, or of the reader.
///
/// # Safety
/// `seq` is the iterator's buffer, `task` the leader of a process, `walk` the map's element.
#[inline(always)]
unsafe fn tell<const TYPED: bool>(
    seq: *mut seq_file,
    task: Ptr<TYPED>,
    walk: *const TaskWalk,
) -> Result<(), ()> {
    // SAFETY: the caller's word.
    unsafe {
        let own_cgroup_id = cgroup_id(task_cgroup(task));
        let helper_tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        let is_reader = task.load::<u32>(offset!(task_tgid)) == helper_tgid;
        let parent_cgroup_id = cgroup_id(task_cgroup(task.follow(offset!(task_real_parent))));
        let is_wanted = if (*walk).kubelet_wanted != 0 {
            may_be_kubelet(task, own_cgroup_id)
        } else {
            parent_cgroup_id != own_cgroup_id && watched(own_cgroup_id).is_some()
        };
        if !is_wanted && !is_reader {
            return Ok(());
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
        let bytes = (&raw const record).cast::<c_void>();
        if bpf_seq_write(seq, bytes, size_of::<TaskRecord>() as u32) == 0 {
            Ok(())
        } else {
            Err(())
        }
    }
}

/// Whether a process may be the kubelet: by its name, its user, and since it is in no container of a
/// Pod. Where that is not known yet, it is by the next walk.
///
/// # Safety
/// `task` is the leader of a process in this cgroup.
#[inline(always)]
unsafe fn may_be_kubelet<const TYPED: bool>(task: Ptr<TYPED>, cgroup_id: u64) -> bool {
    // SAFETY: the caller's word, and the map gave the pointer.
    unsafe {
        let own: [u64; 2] = core::mem::transmute(comm(task));
        let mut is_its = false;
        for name in KUBELET_COMMS {
            let name: [u64; 2] = core::mem::transmute(name);
            is_its |= (own[0] ^ name[0]) | (own[1] ^ name[1]) == 0;
        }
        if !is_its || task.load::<u32>(offset!(task_exit_state)) != 0 || !is_root(task) {
            return false;
        }
        TRACKED.get_ptr(cgroup_id).is_none_or(|tracked| {
            (*tracked).place == PLACE_HOLDER || (*tracked).place == PLACE_UNIT
        })
    }
}
