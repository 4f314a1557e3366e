//! The maps, declared once.

use agent_common::map::{COUNTERS_MAX, EVENTS_BYTES, TRACKED_MAX, Tracked};
use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf},
};

/// Which cgroups matter. A plain hash, never LRU: a tracked cgroup must not be forgotten.
#[map]
pub(crate) static TRACKED: HashMap<u64, Tracked> = HashMap::with_max_entries(TRACKED_MAX, 0);

/// Records for the agent.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// What was submitted and what was lost.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_MAX, 0);
