//! Connections without an answer so far: the kernel asks again, or a TLS handshake goes on. Pure.
//!
//! Go's client goes on with a dial for which nobody waits any more, until the kernel gives up: some two
//! minutes; and with a handshake, for as long as the other side does. Its probe has failed when its time is
//! up, and is told then; what becomes of the socket later tells nothing more.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::command::WAIT_NS;
use super::hooks::Known;
use super::instance::Chosen;
use super::owner;
use super::request::{self, Request};
use super::targets::Match;
use super::verdict::IN_VAIN_NS;
use crate::clock::SECOND_NS;
use crate::event::{Connection, Ending};
use crate::kube::pod::Handler;
use crate::lifecycle::fact::ProbeKind;

/// Limit of connections that wait.
const WAITING_MAX: usize = 512;
/// Limit of connections that were told and have not ended.
const TOLD_MAX: usize = 32_768;
/// Time after which a Pod or a container that is not known yet is looked for again.
const AGAIN_NS: u64 = SECOND_NS;

/// What to do about a connection without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Tell it: the time of its probe is up.
    Tell {
        /// Field `timeoutSeconds` of the probe.
        timeout_s: u64,
    },
    /// Look at it again at that time, `CLOCK_BOOTTIME`.
    Look(u64),
    /// Leave it: it tells itself when it ends.
    Leave,
}

impl Next {
    fn after(connection: &Connection, timeout_s: u64, now_boot_ns: u64) -> Self {
        // Of one that is connected the end may be near, and tells more.
        let margin_ns = if connection.connected_boot_ns.is_some() { IN_VAIN_NS } else { 0 };
        let at = up(connection, timeout_s).saturating_add(margin_ns);
        if at <= now_boot_ns { Self::Tell { timeout_s } } else { Self::Look(at) }
    }

    /// What to do about a connection that has no answer now.
    pub(super) fn of(connection: &Connection, known: Known<'_>, now_boot_ns: u64) -> Self {
        let Known { targets, instances, pods } = known;
        if let Some(timeout_s) = targets.localhost_timeout_s(connection, pods) {
            return Self::after(connection, timeout_s, now_boot_ns);
        }
        let until_boot_ns = connection.start_boot_ns.saturating_add(WAIT_NS);
        let again = || match now_boot_ns.saturating_add(AGAIN_NS) {
            at if at <= until_boot_ns => Self::Look(at),
            _ => Self::Leave,
        };
        let connection = Connection { end_boot_ns: now_boot_ns, ..connection.clone() };
        let request = request::read(&connection.sent);
        let goes_on = |handler| match request {
            Request::Tls => handler == Handler::Https,
            // Of others the kubelet closes it.
            _ => matches!(handler, Handler::Http | Handler::Https),
        };
        let (found, has_rival) = match targets.find(&connection, &request, pods) {
            Match::Probes { found, has_rival } => (found, has_rival),
            // The kubelet has many clients of its own, whose connections may last.
            Match::Nobody if connection.connected_boot_ns.is_some() => return Self::Leave,
            Match::Nobody => return again(),
            Match::NoProbe | Match::OtherRequest => return Self::Leave,
        };
        let there = known.there(&connection, &found);
        let all = there.iter().flat_map(|(_, found)| &found.probes);
        let asked = all.filter(|it| goes_on(it.probe.handler));
        let Some(longest_s) = asked.map(|it| it.probe.timeout_s).max() else {
            return if there.is_empty() { again() } else { Self::Leave };
        };
        // On a copy: it counts when its time is up, if there is no request until then that tells.
        let chosen = match *there {
            [(cgroup, found)] => instances.get(cgroup).and_then(|instance| {
                let doubt = owner::doubt(&connection, &request, found, has_rival);
                let start_boot_ns = connection.start_boot_ns;
                let mut instance = instance.clone();
                instance.choose(found.known, found.container, &found.probes, start_boot_ns, doubt)
            }),
            _ => None,
        };
        match chosen {
            Some(chosen) if !goes_on(chosen.probe.handler) => Self::Leave,
            Some(Chosen { kind, probe }) if kind != ProbeKind::LivenessOrReadiness => {
                Self::after(&connection, probe.timeout_s, now_boot_ns)
            }
            // Until then it may be answered in time.
            Some(_) | None => Self::after(&connection, longest_s, now_boot_ns),
        }
    }
}

/// The time at which the time of a connection's probe is up.
const fn up(connection: &Connection, timeout_s: u64) -> u64 {
    connection.start_boot_ns.saturating_add(timeout_s.saturating_mul(SECOND_NS))
}

/// A connection as it is told when the time of its probe is up: as the kubelet's own end of it.
pub(super) fn given_up(connection: Connection, timeout_s: u64) -> Connection {
    let end_boot_ns = up(&connection, timeout_s);
    let is_connected = connection.connected_boot_ns.is_some();
    let ending = if is_connected { Ending::Closed } else { Ending::TimedOut };
    Connection { end_boot_ns, ending, ..connection }
}

/// A socket: no two have the same start and the same addresses.
type Socket = (u64, SocketAddr, SocketAddr);

const fn socket(connection: &Connection) -> Socket {
    (connection.start_boot_ns, connection.local, connection.remote)
}

/// A socket among those that were told, which may be many: its start, and its port of this side.
type Key = (u64, u16);

const fn key(connection: &Connection) -> Key {
    (connection.start_boot_ns, connection.local.port())
}

/// All connections that are open without an answer.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// Those that are not told yet, each with the time at which it is looked at.
    waiting: Vec<(u64, Connection)>,
    /// Those that were told, the oldest first.
    told: BTreeSet<Key>,
    /// Start of the newest that was forgotten for want of room. What began before and ends without an
    /// answer counts as told: a failure too few, and not one too many.
    forgotten_boot_ns: u64,
    dropped: u64,
}

impl Unanswered {
    /// Takes in a connection that is open.
    pub(super) fn open(&mut self, connection: Connection) {
        self.answered(&connection);
        let begins_tls = || {
            connection.first_byte_boot_ns.is_none()
                && matches!(request::read(&connection.sent), Request::Tls)
        };
        let waits = connection.connected_boot_ns.is_none() || begins_tls();
        if waits && !self.told.contains(&key(&connection)) {
            let now_boot_ns = connection.end_boot_ns;
            self.keep(connection, now_boot_ns);
        }
    }

    /// Keeps a connection until that time.
    pub(super) fn keep(&mut self, connection: Connection, until_boot_ns: u64) {
        if self.waiting.len() >= WAITING_MAX {
            // It is told when it ends.
            self.waiting.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.waiting.push((until_boot_ns, connection));
    }

    /// Takes in that a connection has an answer after all: its end tells.
    pub(super) fn answered(&mut self, connection: &Connection) {
        self.waiting.retain(|(_, it)| socket(it) != socket(connection));
    }

    /// Takes in the end of a connection; returns whether it was told before.
    pub(super) fn ended(&mut self, connection: &Connection) -> bool {
        self.answered(connection);
        let is_forgotten = connection.ending == Ending::TimedOut
            && connection.connected_boot_ns.is_none()
            && connection.start_boot_ns <= self.forgotten_boot_ns;
        self.told.remove(&key(connection)) || is_forgotten
    }

    /// Notes that a connection is told.
    pub(super) fn told(&mut self, connection: &Connection) {
        if self.told.len() >= TOLD_MAX
            && let Some((start_boot_ns, _)) = self.told.pop_first()
        {
            self.forgotten_boot_ns = self.forgotten_boot_ns.max(start_boot_ns);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.told.insert(key(connection));
    }

    /// Takes the connections that are to be looked at by then, the oldest first.
    pub(super) fn due(&mut self, now_boot_ns: u64) -> Vec<Connection> {
        let due = self.waiting.extract_if(.., |(until_boot_ns, _)| *until_boot_ns <= now_boot_ns);
        let mut due: Vec<Connection> = due.map(|(_, connection)| connection).collect();
        due.sort_by_key(|it| it.start_boot_ns);
        due
    }

    /// The time at which the first is looked at.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.waiting.iter().map(|(until_boot_ns, _)| *until_boot_ns).min()
    }

    /// Total of those that found no room: some are told late, or not at all.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
