//! BPF object of the cgroup iterator: the stats of all cgroups in one iterator run.
//!
//! The iterator cannot resume, and its own buffer is 32 KiB, so the records go into an array that
//! the agent has mapped. It needs Linux 6.1.

#![no_std]
#![no_main]

use agent_common::snapshot::{
    CgroupStats, HAS_BANDWIDTH, HAS_MEMORY, HAS_PIDS, HAS_PRESSURE, HAS_STATISTICS, SNAPSHOT_MAX,
    SnapshotLayout,
};
use agent_ebpf::read::{Ptr, argument_ptr, cgroup_id};
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE, helpers::generated::bpf_probe_read_kernel, macros::map, maps::Array,
};
use core::ffi::c_void;

agent_ebpf::object!();

/// Array of the stats, in the order of the walk. Element 0 holds the number of the walk.
#[map]
static SNAPSHOT: Array<CgroupStats> = Array::with_max_entries(SNAPSHOT_MAX, BPF_F_MMAPABLE);

/// Offsets resolved from the running kernel's BTF; without them the agent does not load the
/// program.
#[unsafe(no_mangle)]
static SNAPSHOT_LAYOUT: SnapshotLayout = SnapshotLayout {
    cgroup_cpu_usage: 0,
    cgroup_cpu: 0,
    cgroup_memory: 0,
    cgroup_pids: 0,
    cpu_quota: 0,
    cpu_period: 0,
    cpu_periods: 0,
    cpu_throttled_periods: 0,
    cpu_throttled_time: 0,
    memory_usage: 0,
    memory_max: 0,
    memory_watermark: 0,
    swap_usage: 0,
    swap_max: 0,
    events_high: 0,
    events_max: 0,
    events_oom: 0,
    events_oom_kill: 0,
    pids_counter: 0,
    pids_limit: 0,
    cgroup_psi: 0,
    psi_enabled: 0,
    psi_totals: [0; 5],
    memory_vmstats: 0,
    vmstats_state: 0,
    vmstats_state_bytes: 0,
    vmstats_events: 0,
    vmstats_events_bytes: 0,
    known: 0,
    padding: 0,
};

/// Reads one offset of [`SNAPSHOT_LAYOUT`].
macro_rules! place {
    ($field:ident $([$n:literal])?) => {
        agent_ebpf::globals::load(&raw const (*(&raw const SNAPSHOT_LAYOUT)).$field $([$n])?)
    };
}

/// Offset of `bpf_iter_meta.seq_num` (include/linux/bpf.h), in bytes: two words lie before it.
const META_SEQ_NUM: usize = 16;

/// Program of the cgroup iterator: writes the [`CgroupStats`] of one cgroup.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/cgroup")]
pub(crate) extern "C" fn cgroup_iter(ctx: *mut c_void) -> i32 {
    // SAFETY: the context of a cgroup iterator is `{ meta, cgroup }` (kernel/bpf/cgroup_iter.c,
    // `bpf_iter__cgroup`); `cgroup` is null after the last one.
    unsafe {
        let meta = argument_ptr(ctx, 0);
        let cgroup = argument_ptr(ctx, 1);
        if cgroup.is_null() {
            return 0;
        }
        let Some(head) = SNAPSHOT.get_ptr_mut(0) else { return 0 };
        let index = meta.load::<u64>(META_SEQ_NUM).wrapping_add(1);
        if index >= u64::from(SNAPSHOT_MAX) {
            return 0;
        }
        // No room: the agent sees which cgroups are not in the array, and reads their files.
        let Some(stats) = SNAPSHOT.get_ptr_mut(index as u32) else { return 0 };
        write(cgroup, stats);
        (*stats).walk = (*head).walk;
        (*head).cgroup_id = index;
    }
    0
}

/// Writes the stats of one cgroup.
///
/// # Safety
/// `cgroup` is a `struct cgroup`, `out` an element of the array.
#[inline(always)]
unsafe fn write(cgroup: Ptr, out: *mut CgroupStats) {
    // SAFETY: the caller's word; a controller's state is read through the helper, since it lies
    // behind the `cgroup_subsys_state` that the verifier knows.
    unsafe {
        (*out).cgroup_id = cgroup_id(cgroup);
        (*out).cpu_usage_ns = cgroup.load(place!(cgroup_cpu_usage));
        let known = place!(known) as u64;
        let mut has = 0;

        let cpu = controller(cgroup, place!(cgroup_cpu), known & HAS_BANDWIDTH);
        if !cpu.is_null() {
            has |= HAS_BANDWIDTH;
            read(cpu, place!(cpu_quota), &raw mut (*out).quota_ns);
            read(cpu, place!(cpu_period), &raw mut (*out).period_ns);
            read(cpu, place!(cpu_throttled_time), &raw mut (*out).throttled_ns);
            read(cpu, place!(cpu_periods), &raw mut (*out).periods);
            read(cpu, place!(cpu_throttled_periods), &raw mut (*out).throttled_periods);
        }
        let memory = controller(cgroup, place!(cgroup_memory), known & HAS_MEMORY);
        if !memory.is_null() {
            has |= HAS_MEMORY;
            read(memory, place!(memory_usage), &raw mut (*out).memory_pages);
            read(memory, place!(memory_max), &raw mut (*out).memory_max_pages);
            read(memory, place!(memory_watermark), &raw mut (*out).memory_peak_pages);
            read(memory, place!(swap_usage), &raw mut (*out).swap_pages);
            read(memory, place!(swap_max), &raw mut (*out).swap_max_pages);
            read(memory, place!(events_high), &raw mut (*out).events_high);
            read(memory, place!(events_max), &raw mut (*out).events_max);
            read(memory, place!(events_oom), &raw mut (*out).events_oom);
            read(memory, place!(events_oom_kill), &raw mut (*out).events_oom_kill);
            if known & HAS_STATISTICS != 0 {
                has |= HAS_STATISTICS;
                statistics(memory, out);
            }
        }
        let pids = controller(cgroup, place!(cgroup_pids), known & HAS_PIDS);
        if !pids.is_null() {
            has |= HAS_PIDS;
            read(pids, place!(pids_counter), &raw mut (*out).tasks);
            read(pids, place!(pids_limit), &raw mut (*out).tasks_max);
        }
        // A typed pointer may be null; what is loaded through it is then 0 (kernel/bpf/verifier.c).
        let psi = controller(cgroup, place!(cgroup_psi), known & HAS_PRESSURE);
        if !psi.is_null() && psi.load::<u8>(place!(psi_enabled)) != 0 {
            has |= HAS_PRESSURE;
            (*out).stalls_ns = [
                psi.load(place!(psi_totals[0])),
                psi.load(place!(psi_totals[1])),
                psi.load(place!(psi_totals[2])),
                psi.load(place!(psi_totals[3])),
                psi.load(place!(psi_totals[4])),
            ];
        }
        (*out).has = has;
    }
}

/// Copies the arrays from which the kernel computes `memory.stat`.
///
/// # Safety
/// `memory` is a `mem_cgroup`, `out` an element of the array.
#[inline(always)]
unsafe fn statistics(memory: Ptr, out: *mut CgroupStats) {
    // SAFETY: the caller's word. The agent has made sure that the lengths fit.
    unsafe {
        let mut vmstats = core::ptr::null::<u8>();
        read(memory, place!(memory_vmstats), &raw mut vmstats);
        for (to, at, bytes) in [
            (
                (&raw mut (*out).state).cast::<c_void>(),
                place!(vmstats_state),
                place!(vmstats_state_bytes),
            ),
            (
                (&raw mut (*out).vm_events).cast::<c_void>(),
                place!(vmstats_events),
                place!(vmstats_events_bytes),
            ),
        ] {
            let from = vmstats.wrapping_add(at).cast::<c_void>();
            bpf_probe_read_kernel(to, bytes as u32, from);
        }
    }
}

/// State of a controller (or of PSI); null where it is not enabled or its offsets are not known.
///
/// # Safety
/// `cgroup` is a `struct cgroup` and `offset` that of a pointer in it.
#[inline(always)]
unsafe fn controller(cgroup: Ptr, offset: usize, known: u64) -> Ptr {
    if known == 0 {
        return Ptr::new(core::ptr::null());
    }
    // SAFETY: the caller's word.
    unsafe { cgroup.follow(offset) }
}

/// Copies one field; a fault leaves 0.
///
/// # Safety
/// `to` is a field of an element of the array.
#[inline(always)]
unsafe fn read<T>(from: Ptr, offset: usize, to: *mut T) {
    // SAFETY: the caller's word; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel(
            to.cast::<c_void>(),
            size_of::<T>() as u32,
            from.address().wrapping_add(offset).cast::<c_void>(),
        );
    }
}
