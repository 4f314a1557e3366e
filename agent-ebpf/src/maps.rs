//! The maps that several subjects use.

use agent_common::map::{TRACKED_MAX, Tracked};
use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};

/// Which cgroups matter. A plain hash, never LRU: a tracked cgroup must not be forgotten.
#[map]
pub(crate) static TRACKED: HashMap<u64, Tracked> = HashMap::with_max_entries(TRACKED_MAX, 0);

/// The address of the process that the kernel's last SIGKILL on this CPU went to: where the OOM
/// killer's tracepoint tells a number only, its SIGKILL of a moment ago tells whose. Nobody but the
/// programs reads it.
#[map]
pub(crate) static KILLED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The task whose exec `sched_process_exec` saw last on this CPU, for its second program. Should
/// the task have changed the CPU in between, the exec is told twice, which changes nothing.
#[map]
pub(crate) static EXECUTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What is known of a cgroup whose tasks matter: one that is tracked and no root.
#[inline(always)]
pub(crate) fn watched(cgroup_id: u64) -> Option<*const Tracked> {
    let tracked = TRACKED.get_ptr(cgroup_id)?;
    // SAFETY: the map gave the pointer, and its values are never freed while a program runs.
    if unsafe { (*tracked).is_root } != 0 { None } else { Some(tracked) }
}
