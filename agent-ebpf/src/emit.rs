//! Ring buffer output: writes records, and counts those that find no room.

use agent_common::{
    event::Header,
    map::{
        COUNTER_LOST_RING_FULL, COUNTER_SUBMITTED, COUNTERS_MAX, EVENTS_BYTES, EVENTS_WAKE_BYTES,
    },
};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};

/// Ring buffer of the event records, which the agent reads.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// Counters of submitted and lost records, per CPU, by the `COUNTER_` constants.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_MAX, 0);

/// Urgency of a record: whether it wakes the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Wake-up at once: a new cgroup, a stop signal, an OOM, the end of an init.
    Now,
    /// Wake-up with the next batch. One for each record would cost twenty times as much.
    Later,
}

impl Wake {
    /// Wake-up [`Self::Now`] for an urgent record, [`Self::Later`] for another.
    #[inline(always)]
    pub(crate) const fn now_if(urgent: bool) -> Self {
        if urgent { Self::Now } else { Self::Later }
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: the map gave the pointer; a per-CPU value has one writer, as a program is not
        // interrupted by another that counts the same, or an addition is lost at worst.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}

/// Reserves room for a record and fills its header; `None`, counted, when the buffer is full.
#[inline(always)]
pub(crate) fn reserve<T>(kind: u32) -> Option<RingBufEntry<T>> {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count(COUNTER_LOST_RING_FULL);
        return None;
    };
    let header = entry.as_mut_ptr().cast::<Header>();
    // SAFETY: each record begins with its header, and the room was just reserved for it.
    unsafe {
        (*header).kind = kind;
        (*header).size_bytes = size_of::<T>() as u32;
        (*header).time_boot_ns = bpf_ktime_get_boot_ns();
    }
    Some(entry)
}

/// Submits a filled record to the agent.
#[inline(always)]
pub(crate) fn submit<T>(entry: RingBufEntry<T>, wake: Wake) {
    count(COUNTER_SUBMITTED);
    let flags =
        if wake == Wake::Now || EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > EVENTS_WAKE_BYTES {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        };
    entry.submit(u64::from(flags));
}
