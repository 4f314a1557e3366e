//! Program of the tracepoint `inet_sock_set_state`: the times of the kubelet's connections, where
//! programs may not be attached to its cgroup.
//!
//! The tracepoint fires for every TCP socket of the node. The program looks at the step, and for a
//! socket that asks for a connection at the cgroup of the task that does, and returns.

use agent_common::{
    event::COMM_BYTES,
    probes::{
        ATTEMPTS_MAX, Attempt, ConnectionRecord, ENDING_CLOSED, ENDING_CLOSED_BY_PEER,
        ENDING_REFUSED, ENDING_RESET, ENDING_TIMED_OUT, HEAD_BYTES, PROBES_LOST_RING_FULL,
        PROBES_LOST_SOCKETS_FULL, PROBES_SUBMITTED,
    },
};
use agent_ebpf::read::{Ptr, argument, argument_ptr};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_boot_ns},
    macros::{btf_tracepoint, map},
    maps::HashMap,
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

use crate::connections::{
    CONNECTIONS, MAPPED, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_SYN_SENT,
    count, header, is_shared, is_wanted, kubelet, place, wakeup,
};

/// Sockets that are followed, by their addresses. A socket leaves it with its connection.
#[map]
static ATTEMPTS: HashMap<u64, Attempt> = HashMap::with_max_entries(ATTEMPTS_MAX, 0);

/// Program of the tracepoint `inet_sock_set_state(sk, oldstate, newstate)`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { changed(ctx.as_ptr()) };
    0
}

/// A socket goes from one state of TCP to another.
///
/// # Safety
/// `ctx` is the context of `inet_sock_set_state`.
#[inline(always)]
unsafe fn changed(ctx: *const c_void) {
    // SAFETY: the caller's word.
    unsafe {
        let (old, new) = (argument(ctx, 1) as u32, argument(ctx, 2) as u32);
        if new == TCP_SYN_SENT {
            return asked(ctx);
        }
        let is_connected = old == TCP_SYN_SENT && new == TCP_ESTABLISHED;
        let is_end = old == TCP_ESTABLISHED || (old == TCP_SYN_SENT && new == TCP_CLOSE);
        if !is_connected && !is_end {
            return;
        }
        let sk = argument_ptr(ctx, 0);
        let key = argument(ctx, 0);
        let Some(attempt) = ATTEMPTS.get_ptr_mut(key) else { return };
        if is_connected {
            (*attempt).connected_boot_ns = bpf_ktime_get_boot_ns();
            (*attempt).local_port = u32::from(sk.load::<u16>(place!(sock_num)));
            return;
        }
        let error: u32 = sk.load(place!(sock_err));
        report(sk, attempt, ending(old, new, error));
        let _ = ATTEMPTS.remove(key);
    }
}

/// A connection is asked for: it is followed if the kubelet asks.
///
/// # Safety
/// As [`changed`].
#[inline(always)]
unsafe fn asked(ctx: *const c_void) {
    const TCP: u16 = 6;
    // SAFETY: the caller's word.
    unsafe {
        let Some(kubelet) = kubelet() else { return };
        // The kubelet's process connects itself.
        if bpf_get_current_cgroup_id() != (*kubelet).cgroup_id {
            return;
        }
        if argument_ptr(ctx, 0).load::<u16>(place!(sock_protocol)) != TCP {
            return;
        }
        if is_shared(kubelet) {
            let comm: [u8; COMM_BYTES] = bpf_get_current_comm().unwrap_or_default();
            if !is_wanted(kubelet, &comm) {
                return;
            }
        }
        let new = Attempt {
            start_boot_ns: bpf_ktime_get_boot_ns(),
            connected_boot_ns: 0,
            local_port: 0,
            padding: 0,
        };
        if ATTEMPTS.insert(argument(ctx, 0), new, 0).is_err() {
            count(PROBES_LOST_SOCKETS_FULL);
        }
    }
}

/// The way a connection ended, from its last step and the socket's error.
#[inline(always)]
const fn ending(old: u32, new: u32, error: u32) -> u32 {
    /// Error of a connection that is given up (include/uapi/asm-generic/errno.h).
    const ETIMEDOUT: u32 = 110;
    if old == TCP_SYN_SENT {
        // Without an error the socket was closed before any answer came.
        if error == 0 || error == ETIMEDOUT { ENDING_TIMED_OUT } else { ENDING_REFUSED }
    } else if new == TCP_FIN_WAIT1 {
        ENDING_CLOSED
    } else if new == TCP_CLOSE_WAIT {
        ENDING_CLOSED_BY_PEER
    } else if error != 0 {
        ENDING_RESET
    } else {
        ENDING_CLOSED
    }
}

/// Writes the record of a connection that has ended.
///
/// # Safety
/// `sk` is a `struct sock`, `attempt` the map's element.
#[inline(always)]
unsafe fn report(sk: Ptr, attempt: *mut Attempt, ending: u32) {
    // SAFETY: the caller's word, and the record is filled as a whole.
    unsafe {
        let Some(mut entry) = CONNECTIONS.reserve::<ConnectionRecord>(0) else {
            return count(PROBES_LOST_RING_FULL);
        };
        let record = entry.as_mut_ptr();
        (*record).header = header();
        (*record).start_boot_ns = (*attempt).start_boot_ns;
        (*record).connected_boot_ns = (*attempt).connected_boot_ns;
        (*record).first_byte_boot_ns = 0;
        addresses(sk, record);
        (*record).local_port = (*attempt).local_port;
        (*record).remote_port = u32::from(u16::from_be(sk.load(place!(sock_dport))));
        (*record).ending = ending;
        (*record).data_observed = 0;
        (*record).sent_len_bytes = 0;
        (*record).received_len_bytes = 0;
        (*record).received_bytes = 0;
        (*record).padding = 0;
        (*record).sent = [0; HEAD_BYTES];
        (*record).received = [0; HEAD_BYTES];
        let flags = wakeup();
        count(PROBES_SUBMITTED);
        entry.submit(flags);
    }
}

/// Fills in the addresses of both sides.
///
/// # Safety
/// As [`report`].
#[inline(always)]
unsafe fn addresses(sk: Ptr, record: *mut ConnectionRecord) {
    const AF_INET6: u16 = 10;
    // SAFETY: the caller's word.
    unsafe {
        if sk.load::<u16>(place!(sock_family)) == AF_INET6 {
            (*record).local_ip = words(sk, place!(sock_v6_rcv_saddr));
            (*record).remote_ip = words(sk, place!(sock_v6_daddr));
        } else {
            (*record).local_ip = [0, 0, MAPPED, sk.load(place!(sock_rcv_saddr))];
            (*record).remote_ip = [0, 0, MAPPED, sk.load(place!(sock_daddr))];
        }
    }
}

/// An IPv6 address, word by word, as the verifier lets typed memory be read.
///
/// # Safety
/// As [`report`].
#[inline(always)]
unsafe fn words(sk: Ptr, at: usize) -> [u32; 4] {
    // SAFETY: the caller's word.
    unsafe { [sk.load(at), sk.load(at + 4), sk.load(at + 8), sk.load(at + 12)] }
}
