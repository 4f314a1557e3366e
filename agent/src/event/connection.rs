//! Connections of the kubelet, as the object `probes` reports them.

use std::fmt;
use std::net::SocketAddr;

/// A TCP connection that the kubelet asked for, from its start to its end. Times are
/// `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The `connect` call.
    pub start_boot_ns: u64,
    /// The connection is established; `None` if it never was.
    pub connected_boot_ns: Option<u64>,
    /// First byte of data from the other side; `None` without one, or where data is not observed.
    pub first_byte_boot_ns: Option<u64>,
    /// First step out of the state ESTABLISHED, or the end of an attempt to connect.
    pub end_boot_ns: u64,
    /// The way it ended.
    pub ending: Ending,
    /// Address of this side. An IPv4 address that was mapped to IPv6 is IPv4 here.
    pub local: SocketAddr,
    /// Address of the other side, as [`Self::local`].
    pub remote: SocketAddr,
    /// First bytes that were sent; empty where data is not observed.
    pub sent: Vec<u8>,
    /// First bytes that were received; empty where data is not observed.
    pub received: Vec<u8>,
    /// Bytes that were received in all; 0 where data is not observed.
    pub received_bytes: u64,
    /// Whether data is observed: else only the times are known.
    pub data_observed: bool,
}

/// The way a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This side closed it first.
    Closed,
    /// The other side closed it first.
    ClosedByPeer,
    /// The other side reset it.
    Reset,
    /// The other side, or the way to it, refused it.
    Refused,
    /// It was given up before it was established, without any answer.
    TimedOut,
}

impl Ending {
    /// The ending in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The connection in one line, for the log: its bytes are those of Pods, and are escaped.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "local={} remote={} ending={} start={} connected={} first_byte={} end={} data={} \
             received_bytes={} \
             sent=\"{}\" received=\"{}\"",
            self.local,
            self.remote,
            self.ending.word(),
            self.start_boot_ns,
            self.connected_boot_ns.unwrap_or(0),
            self.first_byte_boot_ns.unwrap_or(0),
            self.end_boot_ns,
            self.data_observed,
            self.received_bytes,
            self.sent.escape_ascii(),
            self.received.escape_ascii()
        )
    }
}
