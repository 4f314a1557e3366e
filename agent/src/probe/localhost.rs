//! The host `localhost`: both of its addresses are one attempt. Pure.
//!
//! Where the node's resolver has both, Go's client connects to `::1` first, and to `127.0.0.1` when that
//! has failed or has not answered for 300 ms; it goes on with what is connected first, and gives up the
//! other (`net/dial.go`, `dialParallel`).

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::clock::SECOND_NS;
use crate::event::{Connection, Ending};

/// Time after which the client connects to the second address while the first does not answer.
const FALLBACK_NS: u64 = 300_000_000;
/// Time by which the second may begin late.
const SOON_NS: u64 = 100_000_000;
/// Time by which the record of a connection may be late.
const RECORD_LATE_NS: u64 = 1_000_000_000;
/// Time for which an attempt that was told is remembered: the kernel tries longer than the kubelet
/// waits, for about 127 s (Linux, `tcp_syn_retries`).
const KEEP_NS: u64 = 140_000_000_000;
/// Limit of connections that are kept.
const HALVES_MAX: usize = 256;

/// What a connection to `localhost` is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of an attempt, or its end, with the attempt's begin. `joined`: another connection was part
    /// of it.
    Whole {
        /// The connection.
        connection: Connection,
        /// Whether another one was part of the attempt.
        joined: bool,
    },
    /// What may have another part. `dropped`: another one gave way to it.
    Waits {
        /// Whether another one gave way.
        dropped: bool,
    },
    /// A part of an attempt that was told.
    Late,
}

/// A connection that was never established, so that one to the other address may follow.
#[derive(Debug)]
struct Half {
    connection: Connection,
    timeout_s: u64,
    told: bool,
}

impl Half {
    /// The time until when it waits for the other part, or is remembered.
    fn until_boot_ns(&self) -> u64 {
        let Connection { start_boot_ns, end_boot_ns, .. } = self.connection;
        if self.told {
            return start_boot_ns.saturating_add(KEEP_NS);
        }
        // The other address may take the rest of the time.
        let timeout_ns = self.timeout_s.saturating_mul(SECOND_NS);
        let end = end_boot_ns.max(start_boot_ns.saturating_add(timeout_ns));
        end.saturating_add(RECORD_LATE_NS)
    }

    /// Whether both are parts of one attempt.
    fn belongs_to(&self, other: &Connection) -> bool {
        let own = &self.connection;
        let (six, four) = match (own.remote.ip(), other.remote.ip()) {
            (IpAddr::V6(_), IpAddr::V4(_)) => (own, other),
            (IpAddr::V4(_), IpAddr::V6(_)) => (other, own),
            _ => return false,
        };
        let latest = six.end_boot_ns.min(six.start_boot_ns.saturating_add(FALLBACK_NS));
        own.remote.port() == other.remote.port()
            && (six.start_boot_ns..=latest.saturating_add(SOON_NS)).contains(&four.start_boot_ns)
    }

    /// Whether the kubelet gave it up before its time, as the other address was connected first.
    const fn was_given_up(&self) -> bool {
        let Connection { start_boot_ns, end_boot_ns, .. } = self.connection;
        let timeout_ns = self.timeout_s.saturating_mul(SECOND_NS);
        let took_ns = end_boot_ns.saturating_sub(start_boot_ns);
        matches!(self.connection.ending, Ending::TimedOut)
            && took_ns.saturating_add(timeout_ns / 10) < timeout_ns
    }
}

/// Connections to one of the addresses that wait for one to the other, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Halves(VecDeque<Half>);

impl Halves {
    /// Takes in a connection to `localhost` that has ended, of a probe with this timeout.
    pub(super) fn take(&mut self, mut connection: Connection, timeout_s: u64) -> Part {
        let other = self.0.iter().rposition(|half| half.belongs_to(&connection));
        if let Some(half) = other.and_then(|at| self.0.remove(at)) {
            if half.told {
                return Part::Late;
            }
            let start_boot_ns = half.connection.start_boot_ns.min(connection.start_boot_ns);
            if connection.connected_boot_ns.is_none()
                && half.connection.end_boot_ns > connection.end_boot_ns
            {
                connection = half.connection;
            }
            connection.start_boot_ns = start_boot_ns;
            return Part::Whole { connection, joined: true };
        }
        let is_last = connection.remote.is_ipv4() && connection.ending != Ending::TimedOut;
        if connection.connected_boot_ns.is_some() || is_last {
            return Part::Whole { connection, joined: false };
        }
        let is_full = self.0.len() >= HALVES_MAX;
        let dropped = is_full && self.0.pop_front().is_some_and(|half| !half.told);
        self.0.push_back(Half { connection, timeout_s, told: false });
        Part::Waits { dropped }
    }

    /// The connections that have waited in vain; `None` for one that tells nothing.
    pub(super) fn over(&mut self, now_boot_ns: u64) -> Vec<Option<Connection>> {
        let mut over = Vec::new();
        self.0.retain_mut(|half| {
            if half.until_boot_ns() > now_boot_ns {
                return true;
            }
            let tells = !half.told && !half.was_given_up();
            if !half.told {
                over.push(tells.then(|| half.connection.clone()));
            }
            half.told |= tells;
            tells
        });
        over
    }

    /// The time at which the first has waited in vain.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.0.iter().filter(|half| !half.told).map(Half::until_boot_ns).min()
    }
}
