//! Programs of `sock_ops` on the kubelet's cgroup: its connections, from `connect` to their end.
//!
//! The context is part of the kernel's stable interface. Every socket of the cgroup comes by at
//! `connect`; only those that are taken in there have a state, and ask for the steps that follow.
//!
//! The flags that ask are one word of the socket, which `bpf_sock_ops_cb_flags_set` writes as a whole,
//! and it is shared by the programs of all who attached any. So what others ask for is kept, at the end
//! too; and where another program leaves ours out, they are set again at the next call. Where no call
//! follows, [`packet`](crate::packet) tells the end.
//!
//! A dial without an answer may go on for minutes after who asked has given it up. So it is told when the
//! kernel's first timeout for it is over, in which the kernel asks again, and told again if an answer
//! comes after all.

use agent_common::probes::{
    ENDING_CLOSED, ENDING_CLOSED_BY_PEER, ENDING_REFUSED, ENDING_RESET, ENDING_TIMED_OUT,
    PROBES_LOST_SOCKETS_FULL, Socket,
};
use agent_ebpf::read::{comm, current};
use aya_ebpf::{
    bindings::{
        BPF_RB_FORCE_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock, bpf_sock_ops,
    },
    btf_maps::SkStorage,
    helpers::{
        bpf_ktime_get_boot_ns, bpf_sock_ops_cb_flags_set,
        generated::{bpf_probe_read_kernel, bpf_sk_storage_delete, bpf_sk_storage_get},
    },
    macros::{btf_map, sock_ops},
    programs::SockOpsContext,
};
use core::{ffi::c_void, ptr};

use crate::connections::{
    MAPPED, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_SYN_SENT, count, header,
    is_shared, is_wanted, kubelet, place, submit, wakeup,
};

/// State of the sockets that are observed, in the sockets themselves: it goes with them, and costs
/// nothing for others.
#[btf_map]
static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// Address family of IPv6 (include/linux/socket.h).
const AF_INET6: u32 = 10;

/// Flags of what is asked for: the steps of a socket, and its timeouts, of which only those of a dial
/// count. They stay when it is connected: a call less for each connection.
const ASKED: u32 = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG;

/// What a program returns for the kernel to go on as it would without it.
const PASS: u32 = 1;

/// Reads a field of the context. The load is volatile: LLVM would merge neighbouring ones into one
/// that the verifier refuses.
macro_rules! field {
    ($ctx:ident.$($field:tt)+) => {
        (&raw const (*$ctx).$($field)+).read_volatile()
    };
}

/// Program of the cgroup's sockets.
#[sock_ops]
pub(crate) fn kubelet_sock_ops(ctx: SockOpsContext) -> u32 {
    // SAFETY: the context is the kernel's.
    unsafe { called::<true>(ctx.ops) };
    PASS
}

/// Program [`kubelet_sock_ops`] for kernels that do not let programs read untyped memory: it takes in
/// the connections of all processes of the cgroup, and does not see that the way to the other side
/// was refused.
#[sock_ops]
pub(crate) fn kubelet_sock_ops_plain(ctx: SockOpsContext) -> u32 {
    // SAFETY: the context is the kernel's.
    unsafe { called::<false>(ctx.ops) };
    PASS
}

/// The state of a socket, if it is observed.
///
/// # Safety
/// `sk` is a socket that the kernel gave.
#[inline(always)]
pub(crate) unsafe fn socket(sk: *mut bpf_sock) -> Option<*mut Socket> {
    // SAFETY: the caller's word.
    let socket = unsafe { bpf_sk_storage_get(map(), sk.cast::<c_void>(), ptr::null_mut(), 0) };
    let socket = socket.cast::<Socket>();
    if socket.is_null() { None } else { Some(socket) }
}

#[inline(always)]
const fn map() -> *mut c_void {
    (&raw const SOCKETS).cast_mut().cast::<c_void>()
}

/// Acts on a call of the kernel; `UNTYPED` also reads untyped memory.
///
/// # Safety
/// `ctx` is the context.
#[inline(always)]
unsafe fn called<const UNTYPED: bool>(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        match field!(ctx.op) {
            BPF_SOCK_OPS_TCP_CONNECT_CB => asked::<UNTYPED>(ctx),
            BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ctx),
            BPF_SOCK_OPS_STATE_CB => changed::<UNTYPED>(ctx),
            BPF_SOCK_OPS_RTO_CB => unanswered(ctx),
            _ => asked_before(ctx),
        }
    }
}

/// A connection is asked for.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn asked<const UNTYPED: bool>(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        let Some(kubelet) = kubelet() else { return };
        // The task that connects runs this program.
        if UNTYPED && is_shared(kubelet) && !is_wanted(kubelet, &comm(current::<false>())) {
            return;
        }
        let sk = field!(ctx.__bindgen_anon_2.sk);
        if sk.is_null() {
            return;
        }
        let socket = bpf_sk_storage_get(
            map(),
            sk.cast::<c_void>(),
            ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        );
        let socket = socket.cast::<Socket>();
        if socket.is_null() {
            return count(PROBES_LOST_SOCKETS_FULL);
        }
        (*socket).record.start_boot_ns = bpf_ktime_get_boot_ns();
        (*socket).record.data_observed = 1;
        // Both sides have theirs by now: the port was chosen before.
        addresses(ctx, socket);
        ask(ctx);
    }
}

/// Asks for the steps of a socket, if nobody does, and leaves what others ask for.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn ask(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        let flags = field!(ctx.bpf_sock_ops_cb_flags);
        if flags & ASKED != ASKED {
            bpf_sock_ops_cb_flags_set(ctx, (flags | ASKED).cast_signed());
        }
    }
}

/// A call for something else. After that at `connect` the kernel always makes some more, for the first
/// timeout and the window, before the first packet leaves.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn asked_before(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        if field!(ctx.bpf_sock_ops_cb_flags) & ASKED == ASKED {
            return;
        }
        let sk = field!(ctx.__bindgen_anon_2.sk);
        if sk.is_null() || socket(sk).is_none() {
            return;
        }
        ask(ctx);
    }
}

/// A connection is established.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn connected(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        let sk = field!(ctx.__bindgen_anon_2.sk);
        if sk.is_null() {
            return;
        }
        let Some(socket) = socket(sk) else { return };
        (*socket).sent_from = field!(ctx.snd_nxt);
        (*socket).received_from = field!(ctx.rcv_nxt);
        (*socket).record.connected_boot_ns = bpf_ktime_get_boot_ns();
        if (*socket).unanswered != 0 {
            (*socket).record.header = header();
            submit(&raw mut (*socket).record, wakeup());
        }
        ask(ctx);
    }
}

/// A timeout of the kernel is over: of a dial, the first one is told.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn unanswered(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        let sk = field!(ctx.__bindgen_anon_2.sk);
        if sk.is_null() {
            return;
        }
        let Some(socket) = socket(sk) else { return };
        ask(ctx);
        if (*socket).record.connected_boot_ns != 0 || (*socket).unanswered != 0 {
            return;
        }
        (*socket).unanswered = 1;
        (*socket).record.header = header();
        // Who asked gives up in a moment: what follows from that is not to come before.
        submit(&raw mut (*socket).record, u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// A socket goes from one state of TCP to another.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn changed<const UNTYPED: bool>(ctx: *mut bpf_sock_ops) {
    // SAFETY: the caller's word.
    unsafe {
        let old = field!(ctx.__bindgen_anon_1.args[0]);
        let new = field!(ctx.__bindgen_anon_1.args[1]);
        let is_end = old == TCP_ESTABLISHED || (old == TCP_SYN_SENT && new == TCP_CLOSE);
        if !is_end {
            return;
        }
        let sk = field!(ctx.__bindgen_anon_2.sk);
        if sk.is_null() {
            return;
        }
        let Some(socket) = socket(sk) else { return };
        let ending = if old == TCP_SYN_SENT {
            // Without an answer the socket was closed, or the kernel gave up; or the way to the
            // other side was refused, which only the socket's error tells.
            if field!(ctx.segs_in) > 0 || (UNTYPED && is_refused(ctx)) {
                ENDING_REFUSED
            } else {
                ENDING_TIMED_OUT
            }
        } else if new == TCP_FIN_WAIT1 {
            ENDING_CLOSED
        } else if new == TCP_CLOSE_WAIT {
            ENDING_CLOSED_BY_PEER
        } else if (*socket).reset != 0 {
            ENDING_RESET
        } else {
            // This side closed it while data was unread, and sends a reset.
            ENDING_CLOSED
        };
        end(sk, socket, ending);
    }
}

/// Submits the record of a connection that has ended, and forgets its socket.
///
/// # Safety
/// `sk` is a socket that the kernel gave, `socket` its state.
#[inline(always)]
pub(crate) unsafe fn end(sk: *mut bpf_sock, socket: *mut Socket, ending: u32) {
    // SAFETY: the caller's word.
    unsafe {
        // A packet that arrives on another CPU meanwhile may have told it already.
        if (&raw const (*socket).record.ending).read_volatile() != 0 {
            return;
        }
        (&raw mut (*socket).record.ending).write_volatile(ending);
        (*socket).record.header = header();
        submit(&raw mut (*socket).record, wakeup());
        bpf_sk_storage_delete(map(), sk.cast::<c_void>());
    }
}

/// Whether the socket has an error other than that the kernel gave up.
///
/// # Safety
/// As [`called`].
#[inline(always)]
unsafe fn is_refused(ctx: *mut bpf_sock_ops) -> bool {
    /// Error of a connection that is given up (include/uapi/asm-generic/errno.h).
    const ETIMEDOUT: u32 = 110;
    // SAFETY: the caller's word. The context is the kernel's `bpf_sock_ops_kern`; the verifier would
    // let no program add to the socket's pointer, so it is read as a number.
    unsafe {
        let mut sk: u64 = 0;
        let mut error: u32 = 0;
        let kern = ctx.cast::<u8>().wrapping_add(place!(sock_ops_sk));
        bpf_probe_read_kernel((&raw mut sk).cast::<c_void>(), 8, kern.cast::<c_void>());
        let at = sk.wrapping_add(place!(sock_err) as u64);
        bpf_probe_read_kernel((&raw mut error).cast::<c_void>(), 4, at as *const c_void);
        error != 0 && error != ETIMEDOUT
    }
}

/// Fills in the addresses of both sides.
///
/// # Safety
/// `ctx` is the context, `socket` the state of its socket.
#[inline(always)]
unsafe fn addresses(ctx: *mut bpf_sock_ops, socket: *mut Socket) {
    // SAFETY: the caller's word.
    unsafe {
        let record = &raw mut (*socket).record;
        if field!(ctx.family) == AF_INET6 {
            (*record).local_ip[0] = field!(ctx.local_ip6[0]);
            (*record).local_ip[1] = field!(ctx.local_ip6[1]);
            (*record).local_ip[2] = field!(ctx.local_ip6[2]);
            (*record).local_ip[3] = field!(ctx.local_ip6[3]);
            (*record).remote_ip[0] = field!(ctx.remote_ip6[0]);
            (*record).remote_ip[1] = field!(ctx.remote_ip6[1]);
            (*record).remote_ip[2] = field!(ctx.remote_ip6[2]);
            (*record).remote_ip[3] = field!(ctx.remote_ip6[3]);
        } else {
            (*record).local_ip = [0, 0, MAPPED, field!(ctx.local_ip4)];
            (*record).remote_ip = [0, 0, MAPPED, field!(ctx.remote_ip4)];
        }
        (*record).local_port = field!(ctx.local_port);
        // In network byte order, in the upper half of the word on a little-endian machine.
        (*record).remote_port = u32::from_be(field!(ctx.remote_port));
    }
}
