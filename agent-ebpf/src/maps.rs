//! Maps that several subjects use.

use agent_common::map::{PLACE_HOLDER, TRACKED_MAX, Tracked};
use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};

/// Tracked cgroups by their ids. A plain hash, never LRU: a tracked cgroup must not be evicted.
#[map]
pub(crate) static TRACKED: HashMap<u64, Tracked> = HashMap::with_max_entries(TRACKED_MAX, 0);

/// Address of the process that the kernel's last SIGKILL on this CPU went to. Where the OOM
/// killer's tracepoint reports a pid only, the SIGKILL just before it identifies the process. Only
/// the programs read this map.
#[map]
pub(crate) static KILLED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Task whose exec `sched_process_exec` saw last on this CPU, for the second program. If the task
/// has changed the CPU in between, the exec is reported twice, which changes nothing.
#[map]
pub(crate) static EXECUTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// State of a tracked cgroup whose tasks are watched; `None` for a holder of others and for an
/// untracked one.
#[inline(always)]
pub(crate) fn watched(cgroup_id: u64) -> Option<*mut Tracked> {
    let tracked = TRACKED.get_ptr_mut(cgroup_id)?;
    // SAFETY: the map gave the pointer, and its values are never freed while a program runs.
    if unsafe { (*tracked).place } == PLACE_HOLDER { None } else { Some(tracked) }
}
