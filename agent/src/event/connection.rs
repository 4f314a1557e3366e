//! Connections of the kubelet, as the object `probes` reports them.

use std::fmt;
use std::net::SocketAddr;

/// A TCP connection that the kubelet asked for, from its start to its end; or as it is when no answer has
/// come for a while ([`Ending::Open`]). Times are `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The `connect` call.
    pub start_boot_ns: u64,
    /// The connection is established; `None` if it never was.
    pub connected_boot_ns: Option<u64>,
    /// First byte of data from the other side; `None` without one, or where data is not observed.
    pub first_byte_boot_ns: Option<u64>,
    /// First step out of the state ESTABLISHED, or the end of an attempt to connect; of one that is open,
    /// the time at which that was told.
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
    /// None so far: no answer came within the kernel's first timeout, or one came after that was told; or a
    /// TLS handshake begins, or is answered.
    Open,
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
            Self::Open => "open",
            Self::Closed => "closed",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The first line of these bytes: what follows in a request may be a password.
fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default()
}

/// The connection in one line, for the log: its bytes are those of Pods, and are escaped. Of what was sent
/// and received there is the first line, without headers, and how many bytes are known.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "local={} remote={} ending={} start={} connected={} first_byte={} end={} data={} \
             sent_bytes={} received_bytes={} sent=\"{}\" received=\"{}\"",
            self.local,
            self.remote,
            self.ending.word(),
            self.start_boot_ns,
            self.connected_boot_ns.unwrap_or(0),
            self.first_byte_boot_ns.unwrap_or(0),
            self.end_boot_ns,
            self.data_observed,
            self.sent.len(),
            self.received_bytes,
            first_line(&self.sent).escape_ascii(),
            first_line(&self.received).escape_ascii()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_no_headers() {
        let sent =
            b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\n\r\n";
        let connection = Connection {
            start_boot_ns: 1,
            connected_boot_ns: Some(2),
            first_byte_boot_ns: Some(3),
            end_boot_ns: 4,
            ending: Ending::ClosedByPeer,
            local: "10.244.0.1:40000".parse().unwrap(),
            remote: "10.244.0.5:8080".parse().unwrap(),
            sent: sent.to_vec(),
            received: b"HTTP/1.1 200 \"OK\nSet-Cookie: s3cret\r\n".to_vec(),
            received_bytes: 37,
            data_observed: true,
        };
        let line = connection.to_string();
        let (_, bytes) = line.split_once(" data=").unwrap();
        assert_eq!(
            bytes,
            format!(
                r#"true sent_bytes={} received_bytes=37 sent="GET /healthz HTTP/1.1" received="HTTP/1.1 200 \"OK""#,
                sent.len()
            )
        );
    }
}
