//! Connections of the kubelet: their record, what programs keep of each, and the names of maps.

use crate::event::{COMM_BYTES, Header};

/// Name of the ring buffer of [`ConnectionRecord`].
pub const CONNECTIONS: &str = "CONNECTIONS";
/// Name of the array of one [`Kubelet`].
pub const KUBELET: &str = "KUBELET";
/// Name of the hash map from the address of a socket to [`Attempt`]: the sockets that the tracepoint
/// follows.
pub const ATTEMPTS: &str = "ATTEMPTS";
/// Name of the per-CPU array of `u64`, indexed by the `PROBES_` constants.
pub const PROBES_COUNTERS: &str = "PROBES_COUNTERS";
/// Name of the read-only variable that holds [`ProbesLayout`].
pub const PROBES_LAYOUT: &str = "PROBES_LAYOUT";

/// Size of the ring buffer in bytes: 200 connections. A node's kubelet makes some twenty a second,
/// and the agent reads once a second.
pub const CONNECTIONS_BYTES: u32 = 128 << 10;
/// Unread bytes in the ring buffer above which a record wakes the agent.
pub const CONNECTIONS_WAKE_BYTES: u64 = 32 << 10;
/// Limit of the sockets that the tracepoint follows at once.
pub const ATTEMPTS_MAX: u32 = 1_024;

/// Counter of connections that found no room in the ring buffer.
pub const PROBES_LOST_RING_FULL: u32 = 0;
/// Counter of connections that could not be followed: no room for their state.
pub const PROBES_LOST_SOCKETS_FULL: u32 = 1;
/// Counter of submitted records.
pub const PROBES_SUBMITTED: u32 = 2;
/// Number of counters.
pub const PROBES_COUNTERS_MAX: u32 = 3;

/// Whose connections are observed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kubelet {
    /// Id of the kubelet's cgroup; 0 while it is not known.
    pub cgroup_id: u64,
    /// Short name (`comm`) of the process whose connections are observed, where others share its
    /// cgroup; zeros for all processes of the cgroup.
    pub comm: [u8; COMM_BYTES],
}

/// Bytes of each direction that a record has.
pub const HEAD_BYTES: usize = 256;

/// Ending: none yet. The connection is told since its first request had no answer in time, since one that
/// was told so has an answer after all, or since a TLS handshake begins, or is answered.
pub const ENDING_OPEN: u32 = 0;
/// Ending: this side closed the connection first.
pub const ENDING_CLOSED: u32 = 1;
/// Ending: the other side closed the connection first.
pub const ENDING_CLOSED_BY_PEER: u32 = 2;
/// Ending: the other side reset the connection.
pub const ENDING_RESET: u32 = 3;
/// Ending: the other side, or the way to it, refused the connection.
pub const ENDING_REFUSED: u32 = 4;
/// Ending: given up before it was established, without any answer.
pub const ENDING_TIMED_OUT: u32 = 5;

/// Record of a connection that has ended: the time of the header is that of its end. Of one that is open
/// it is the time at which that is told.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ConnectionRecord {
    /// Header of kind [`crate::event::KIND_CONNECTION`].
    pub header: Header,
    /// Time of the `connect` call, `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// Time at which it was established, `CLOCK_BOOTTIME`; 0 if it never was.
    pub connected_boot_ns: u64,
    /// Time of the first byte of data from the other side, `CLOCK_BOOTTIME`; 0 without one.
    pub first_byte_boot_ns: u64,
    /// Address of this side in network byte order; IPv4 as mapped to IPv6.
    pub local_ip: [u32; 4],
    /// Address of the other side, as `local_ip`.
    pub remote_ip: [u32; 4],
    /// Port of this side.
    pub local_port: u32,
    /// Port of the other side.
    pub remote_port: u32,
    /// Ending: one of the `ENDING_` constants.
    pub ending: u32,
    /// Whether data is observed: 1, else 0.
    pub data_observed: u32,
    /// Length of `sent` in bytes.
    pub sent_len_bytes: u32,
    /// Length of `received` in bytes.
    pub received_len_bytes: u32,
    /// Bytes of data that were received in all, up to 2 GiB; 0 where data is not observed.
    pub received_bytes: u32,
    /// Padding, always 0.
    pub padding: u32,
    /// First bytes that were sent.
    pub sent: [u8; HEAD_BYTES],
    /// First bytes that were received.
    pub received: [u8; HEAD_BYTES],
}

/// Socket of a connection that is observed with its data: the record as far as it is known.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// The record, submitted as it is.
    pub record: ConnectionRecord,
    /// Room behind the last array: where bytes are copied to, the verifier adds up the largest
    /// position and the largest length.
    pub room: [u8; HEAD_BYTES],
    /// Sequence number of the first byte that is sent.
    pub sent_from: u32,
    /// Sequence number of the first byte that is received.
    pub received_from: u32,
    /// Whether the other side has sent a reset: 1, else 0.
    pub reset: u32,
    /// Whether it was told that no answer has come: 1, else 0.
    pub unanswered: u32,
}

/// Attempt to connect that the tracepoint follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Time of the `connect` call, `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// Time at which it was established, `CLOCK_BOOTTIME`; 0 if it is not.
    pub connected_boot_ns: u64,
    /// Port of this side once it is established.
    pub local_port: u32,
    /// Padding, always 0.
    pub padding: u32,
}

/// Byte offsets that the programs need beside those of [`crate::layout::Layout`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbesLayout {
    /// Offset of `bpf_sock_ops_kern.sk`.
    pub sock_ops_sk: u32,
    /// Offset of `sock.sk_err`.
    pub sock_err: u32,
    /// Offset of `sock.sk_protocol`, of 2 bytes.
    pub sock_protocol: u32,
    /// Offset of `sock.__sk_common.skc_family`, of 2 bytes.
    pub sock_family: u32,
    /// Offset of `sock.__sk_common.skc_num`, of 2 bytes: the port of this side.
    pub sock_num: u32,
    /// Offset of `sock.__sk_common.skc_dport`, of 2 bytes in network byte order.
    pub sock_dport: u32,
    /// Offset of `sock.__sk_common.skc_daddr`, of 4 bytes in network byte order.
    pub sock_daddr: u32,
    /// Offset of `sock.__sk_common.skc_rcv_saddr`, of 4 bytes in network byte order.
    pub sock_rcv_saddr: u32,
    /// Offset of `sock.__sk_common.skc_v6_daddr`, of 16 bytes.
    pub sock_v6_daddr: u32,
    /// Offset of `sock.__sk_common.skc_v6_rcv_saddr`, of 16 bytes.
    pub sock_v6_rcv_saddr: u32,
    /// Flags `HAS_*`: whose offsets are known.
    pub known: u32,
    /// Padding, always 0.
    pub padding: u32,
}

/// Flag: the offsets of what a `sock_ops` program reads are known.
pub const HAS_SOCK_OPS: u32 = 1;
/// Flag: the offsets of what the tracepoint's program reads are known.
pub const HAS_SOCK: u32 = 1 << 1;

const _: () = {
    assert!(size_of::<Kubelet>() == 24);
    assert!(size_of::<ConnectionRecord>() == 104 + 2 * HEAD_BYTES);
    assert!(size_of::<Socket>() == size_of::<ConnectionRecord>() + HEAD_BYTES + 16);
    assert!(size_of::<Attempt>() == 24);
    assert!(size_of::<ProbesLayout>() == 48);
};
