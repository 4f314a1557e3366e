//! Maps of connections: whose are observed, what is known of each, and the ring buffer of those that
//! have ended, or have no answer.

use agent_common::{
    event::{COMM_BYTES, Header, KIND_CONNECTION},
    probes::{
        CONNECTIONS_BYTES, CONNECTIONS_WAKE_BYTES, ConnectionRecord, Kubelet, PROBES_COUNTERS_MAX,
        PROBES_LOST_RING_FULL, PROBES_SUBMITTED, ProbesLayout,
    },
};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_ringbuf_output},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use core::ffi::c_void;

/// Ring buffer of the connections that have ended, which the agent reads.
#[map]
pub(crate) static CONNECTIONS: RingBuf = RingBuf::with_byte_size(CONNECTIONS_BYTES, 0);

/// Counters of submitted and lost connections, per CPU, by the `PROBES_` constants.
#[map]
static PROBES_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(PROBES_COUNTERS_MAX, 0);

/// Whose connections are observed: one element, which the agent writes.
#[map]
static KUBELET: Array<Kubelet> = Array::with_max_entries(1, 0);

/// Offsets resolved from the running kernel's BTF. A program that needs one that is not known is not
/// loaded.
#[unsafe(no_mangle)]
static PROBES_LAYOUT: ProbesLayout = ProbesLayout {
    sock_ops_sk: 0,
    sock_err: 0,
    sock_protocol: 0,
    sock_family: 0,
    sock_num: 0,
    sock_dport: 0,
    sock_daddr: 0,
    sock_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_v6_rcv_saddr: 0,
    known: 0,
    padding: 0,
};

/// Address of the frozen struct; only for the macro [`place!`].
#[inline(always)]
pub(crate) const fn layout() -> *const ProbesLayout {
    &raw const PROBES_LAYOUT
}

/// Reads one offset of [`PROBES_LAYOUT`].
macro_rules! place {
    ($field:ident) => {
        agent_ebpf::globals::load(&raw const (*crate::connections::layout()).$field)
    };
}
pub(crate) use place;

/// States of TCP (include/net/tcp_states.h), as they are in all kernels and in the headers for user
/// space.
pub(crate) const TCP_ESTABLISHED: u32 = 1;
/// State: a connection is asked for.
pub(crate) const TCP_SYN_SENT: u32 = 2;
/// State: this side has closed.
pub(crate) const TCP_FIN_WAIT1: u32 = 4;
/// State: it is over.
pub(crate) const TCP_CLOSE: u32 = 7;
/// State: the other side has closed.
pub(crate) const TCP_CLOSE_WAIT: u32 = 8;
/// State: both sides have closed, the other one first.
pub(crate) const TCP_LAST_ACK: u32 = 9;

/// The word of ::ffff:0:0/96 that is not zero, in network byte order.
pub(crate) const MAPPED: u32 = 0xffff_u32.to_be();

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: u32) {
    if let Some(value) = PROBES_COUNTERS.get_ptr_mut(counter) {
        // SAFETY: the map gave the pointer; of two programs that count at once, one addition is lost
        // at worst.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}

/// Whose connections are observed.
#[inline(always)]
pub(crate) fn kubelet() -> Option<*const Kubelet> {
    KUBELET.get_ptr(0)
}

/// Whether the connections of a process with this short name are observed.
///
/// # Safety
/// `kubelet` is the map's element.
#[inline(always)]
pub(crate) unsafe fn is_wanted(kubelet: *const Kubelet, comm: &[u8; COMM_BYTES]) -> bool {
    // SAFETY: the caller's word. Two words each, since both are aligned to them.
    unsafe {
        let wanted = (&raw const (*kubelet).comm).cast::<[u64; 2]>().read();
        let found = comm.as_ptr().cast::<[u64; 2]>().read_unaligned();
        wanted[0] == 0 || (wanted[0] == found[0] && wanted[1] == found[1])
    }
}

/// Whether the kubelet's own cgroup is shared with processes whose connections are not observed.
///
/// # Safety
/// `kubelet` is the map's element.
#[inline(always)]
pub(crate) unsafe fn is_shared(kubelet: *const Kubelet) -> bool {
    // SAFETY: the caller's word.
    unsafe { (&raw const (*kubelet).comm).cast::<u64>().read() != 0 }
}

/// Header of a record that is submitted now.
#[inline(always)]
pub(crate) fn header() -> Header {
    Header {
        kind: KIND_CONNECTION,
        size_bytes: size_of::<ConnectionRecord>() as u32,
        // SAFETY: the helper has no preconditions.
        time_boot_ns: unsafe { bpf_ktime_get_boot_ns() },
    }
}

/// Flags for the submission: nobody waits for one connection, so the agent is woken when many are
/// unread, and reads once a second anyway.
#[inline(always)]
pub(crate) fn wakeup() -> u64 {
    let unread = CONNECTIONS.query(u64::from(BPF_RB_AVAIL_DATA));
    u64::from(if unread > CONNECTIONS_WAKE_BYTES { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}

/// Submits a record from a map's value, with flags as of [`wakeup`].
///
/// # Safety
/// `record` points to a whole record.
#[inline(always)]
pub(crate) unsafe fn submit(record: *mut ConnectionRecord, flags: u64) {
    // SAFETY: the caller's word; the helper copies the record.
    let refused = unsafe {
        bpf_ringbuf_output(
            (&raw const CONNECTIONS).cast_mut().cast::<c_void>(),
            record.cast::<c_void>(),
            size_of::<ConnectionRecord>() as u64,
            flags,
        )
    };
    count(if refused == 0 { PROBES_SUBMITTED } else { PROBES_LOST_RING_FULL });
}
