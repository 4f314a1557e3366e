//! Programs of `cgroup_skb` on the kubelet's cgroup: the first bytes of each direction.
//!
//! Both let every packet pass, and return at once for sockets that are not observed. They also tell the
//! end of a connection where `sock_ops` was not called for it, since another program took its flag.

use agent_common::probes::{
    ENDING_CLOSED, ENDING_CLOSED_BY_PEER, ENDING_RESET, HEAD_BYTES, Socket,
};
use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{
        bpf_ktime_get_boot_ns,
        generated::{bpf_sk_fullsock, bpf_skb_load_bytes, bpf_tcp_sock},
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use core::{ffi::c_void, hint::black_box};

use crate::connections::{TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LAST_ACK, header, submit, wakeup};
use crate::sock_ops::{end, socket};

/// Type of the record with which TLS begins (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Verdict: the packet passes.
const PASS: i32 = 1;

/// Program of what the cgroup's sockets receive.
#[cgroup_skb(ingress)]
pub(crate) fn kubelet_ingress(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { seen::<true>(ctx.skb.skb) };
    PASS
}

/// Program of what the cgroup's sockets send.
#[cgroup_skb(egress)]
pub(crate) fn kubelet_egress(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is the kernel's.
    unsafe { seen::<false>(ctx.skb.skb) };
    PASS
}

/// Takes in a packet of a socket that is observed.
///
/// # Safety
/// `skb` is the context.
#[inline(always)]
unsafe fn seen<const INGRESS: bool>(skb: *mut __sk_buff) {
    // SAFETY: the caller's word.
    unsafe {
        let sk = (&raw const (*skb).__bindgen_anon_2.sk).read_volatile();
        if sk.is_null() {
            return;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return;
        }
        // Before its state here: `sock_ops` is called, and that is gone, before the kernel takes a step.
        let step = (&raw const (*sk).state).read_volatile();
        let Some(socket) = socket(sk) else { return };
        let is_connected = (*socket).record.connected_boot_ns != 0;
        if !INGRESS && is_connected && step != TCP_ESTABLISHED {
            let by_peer = step == TCP_CLOSE_WAIT || step == TCP_LAST_ACK;
            return end(sk, socket, if by_peer { ENDING_CLOSED_BY_PEER } else { ENDING_CLOSED });
        }
        let Some(segment) = segment(skb) else { return };
        if INGRESS && segment.is_reset {
            (*socket).reset = 1;
            // No packet follows one. The kernel takes it at exactly this number (RFC 5961, 3.2).
            let tcp = bpf_tcp_sock(sk);
            if is_connected && !tcp.is_null() {
                let awaited = (&raw const (*tcp).rcv_nxt).read_volatile();
                if step == TCP_ESTABLISHED && awaited == segment.sequence {
                    return end(sk, socket, ENDING_RESET);
                }
            }
        }
        if segment.len == 0 || !is_connected {
            return;
        }
        if INGRESS {
            if (*socket).record.first_byte_boot_ns == 0 {
                (*socket).record.first_byte_boot_ns = bpf_ktime_get_boot_ns();
            }
            // Where its last byte is: a segment may come again, and ahead of its turn only if those
            // before it come as well, or the answer breaks off.
            let end = segment.sequence.wrapping_sub((*socket).received_from);
            let end = end.wrapping_add(segment.len);
            if end > (*socket).record.received_bytes && end <= i32::MAX as u32 {
                (*socket).record.received_bytes = end;
            }
        }
        let is_first = keep::<INGRESS>(skb, socket, &segment);
        // Who asked may give up in the midst of a handshake, and the client goes on with it for as long as
        // the other side does. So what has no answer when the time is up has to be known by then, and what
        // has one as well: it may go on for days.
        if is_first && (*socket).record.sent[0] == TLS_HANDSHAKE {
            (*socket).record.header = header();
            submit(&raw mut (*socket).record, wakeup());
        }
    }
}

/// TCP segment of a packet.
struct Segment {
    sequence: u32,
    is_reset: bool,
    /// Position of its data in the packet, in bytes.
    at: u32,
    /// Length of its data in bytes.
    len: u32,
}

/// Bytes of a packet.
///
/// # Safety
/// `skb` is the context.
#[inline(always)]
unsafe fn load<const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; N]> {
    let mut bytes = [0_u8; N];
    // SAFETY: the helper fills the array, or fails.
    let failed = unsafe {
        bpf_skb_load_bytes(skb.cast::<c_void>(), at, bytes.as_mut_ptr().cast::<c_void>(), N as u32)
    };
    if failed == 0 { Some(bytes) } else { None }
}

/// The TCP segment of a packet, which begins with its IP header here (include/linux/bpf-cgroup.h,
/// kernel/bpf/cgroup.c, `__cgroup_bpf_run_filter_skb`).
///
/// # Safety
/// `skb` is the context.
#[inline(always)]
unsafe fn segment(skb: *mut __sk_buff) -> Option<Segment> {
    const TCP: u8 = 6;
    const RESET: u8 = 4;
    // SAFETY: the caller's word.
    unsafe {
        let ip = load::<20>(skb, 0)?;
        let tcp_at = if ip[0] >> 4 == 4 {
            if ip[9] != TCP {
                return None;
            }
            u32::from(ip[0] & 0xf) << 2
        } else {
            behind_extensions(skb, ip[6])?
        };
        let tcp = load::<14>(skb, tcp_at)?;
        let at = tcp_at + (u32::from(tcp[12] >> 4) << 2);
        let len = (&raw const (*skb).len).read_volatile();
        Some(Segment {
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            is_reset: tcp[13] & RESET != 0,
            at,
            len: len.saturating_sub(at),
        })
    }
}

/// Position of the TCP header behind the IPv6 header and its extension headers. `next`: what follows
/// the IPv6 header.
///
/// # Safety
/// `skb` is the context.
#[inline(always)]
unsafe fn behind_extensions(skb: *mut __sk_buff, next: u8) -> Option<u32> {
    const TCP: u8 = 6;
    /// Extension headers that have a length: hop-by-hop options, routing, destination options.
    const EXTENSIONS: [u8; 3] = [0, 43, 60];
    /// Limit of extension headers: each may come once, but for destination options (RFC 8200, 4.1).
    const EXTENSIONS_MAX: u32 = 4;
    let (mut next, mut at) = (next, 40_u32);
    for _ in 0..EXTENSIONS_MAX {
        if next == TCP {
            return Some(at);
        }
        if next != EXTENSIONS[0] && next != EXTENSIONS[1] && next != EXTENSIONS[2] {
            return None;
        }
        // SAFETY: the caller's word.
        let header = unsafe { load::<2>(skb, at) }?;
        next = header[0];
        at += (u32::from(header[1]) + 1) << 3;
    }
    if next == TCP { Some(at) } else { None }
}

/// Keeps those bytes of a segment that follow the ones that are kept already; returns whether they are the
/// first. A segment that comes again, or ahead of its turn, adds nothing wrong.
///
/// # Safety
/// `skb` is the context, `socket` the state of its socket.
#[inline(always)]
unsafe fn keep<const INGRESS: bool>(
    skb: *mut __sk_buff,
    socket: *mut Socket,
    segment: &Segment,
) -> bool {
    const ROOM: u32 = HEAD_BYTES as u32;
    // SAFETY: the caller's word. What is copied ends within the array: the verifier sees only that
    // it ends within the state.
    unsafe {
        let (from, have) = if INGRESS {
            ((*socket).received_from, (*socket).record.received_len_bytes)
        } else {
            ((*socket).sent_from, (*socket).record.sent_len_bytes)
        };
        let position = segment.sequence.wrapping_sub(from);
        if position >= ROOM || position > have {
            return false;
        }
        // LLVM knows what follows from the checks above and would drop the masks, which the verifier
        // needs: that of 5.10 does not learn from a comparison with 0 that a number is 1 at least.
        let position = black_box(position) & (ROOM - 1);
        let free = ROOM - position;
        let len = if segment.len < free { segment.len } else { free };
        let len = (black_box(len.wrapping_sub(1)) & (ROOM - 1)) + 1;
        let head = if INGRESS {
            (&raw mut (*socket).record.received).cast::<u8>()
        } else {
            (&raw mut (*socket).record.sent).cast::<u8>()
        };
        let to = head.add(position as usize).cast::<c_void>();
        if bpf_skb_load_bytes(skb.cast::<c_void>(), segment.at, to, len) != 0 {
            return false;
        }
        let end = position + len;
        if end <= have {
            return false;
        }
        if INGRESS {
            (*socket).record.received_len_bytes = end;
        } else {
            (*socket).record.sent_len_bytes = end;
        }
        have == 0
    }
}
