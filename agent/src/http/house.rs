//! Room for clients: who is connected, what each is doing, and who leaves when room is needed.
//!
//! Pure: decisions over a list, with the time passed in. Whoever is asked to leave has its bell rung.
//!
//! - A connection without a request can always be closed: a client that has one sends it at once. So
//!   whoever only holds connections cannot shut anyone out.
//! - At most half of all connections wait for expositions or take one, so that there are always others.
//! - A peer with a full share makes room itself. Peers are addresses, and networks of 64 bits in IPv6,
//!   where a host chooses the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::{Closed, Counters};
use super::limits::Limits;

/// Key of a connection, in the order of arrival.
pub(super) type Id = u64;

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Begin of the connection, or a further head on its way.
    Head,
    /// Rest after an answer.
    Idle,
    /// A request, or a small answer on its way.
    Request,
    /// Wait for a place among the expositions.
    Waiting,
    /// Wait for the exposition, with a place.
    Asking,
    /// Exposition on its way.
    Taking,
}

#[derive(Debug)]
struct Guest {
    share: IpAddr,
    doing: Doing,
    /// Begin of what it does.
    since: Instant,
    /// Time at which it last took bytes of its answer.
    moved: Instant,
    /// Whether all of the answer was given to the connection; some may have to be written still.
    given: bool,
    bell: Arc<Notify>,
}

impl Guest {
    const fn has_place(&self) -> bool {
        matches!(self.doing, Doing::Asking | Doing::Taking)
    }

    const fn has_request(&self) -> bool {
        !matches!(self.doing, Doing::Head | Doing::Idle)
    }

    /// Whether an answer may be cut when its room is needed.
    fn is_slow(&self, limits: &Limits, now: Instant) -> bool {
        matches!(self.doing, Doing::Request | Doing::Taking)
            && (now.duration_since(self.moved) >= limits.patience
                || now.duration_since(self.since) >= limits.fair)
    }
}

/// Admission of a connection.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) id: Id,
    /// Bell that rings when the connection has to leave.
    pub(super) bell: Arc<Notify>,
}

/// The list of connections.
#[derive(Debug)]
pub(super) struct House {
    limits: Limits,
    guests: BTreeMap<Id, Guest>,
    next: Id,
    counters: Arc<Counters>,
}

impl House {
    pub(super) const fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self { limits, guests: BTreeMap::new(), next: 0, counters }
    }

    /// A connection arrives. `None` if all others are in the middle of an answer.
    pub(super) fn enter(&mut self, peer: IpAddr, now: Instant) -> Option<Admitted> {
        let share = share_of(peer);
        if self.count(|guest| guest.share == share) >= self.limits.connections_per_peer {
            self.close_one(Some(share), now);
        }
        if self.guests.len() >= self.limits.connections && !self.close_one(None, now) {
            self.counters.closed(Closed::Refused);
            return None;
        }
        let (id, bell) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        let guest = Guest {
            share,
            doing: Doing::Head,
            since: now,
            moved: now,
            given: false,
            bell: Arc::clone(&bell),
        };
        self.guests.insert(id, guest);
        Some(Admitted { id, bell })
    }

    /// Closes the connection that is missed least, of one peer or of all: one without a request, of
    /// the peer with most connections, the oldest. Without such a one, one whose client is slow.
    pub(super) fn close_one(&mut self, share: Option<IpAddr>, now: Instant) -> bool {
        let mut crowds = BTreeMap::<IpAddr, usize>::new();
        for guest in self.guests.values() {
            *crowds.entry(guest.share).or_default() += 1;
        }
        let candidates = self.guests.iter().filter(|(_, guest)| {
            share.is_none_or(|share| guest.share == share)
                && (!guest.has_request() || guest.is_slow(&self.limits, now))
        });
        let least = candidates.min_by_key(|(id, guest)| {
            (guest.has_request(), Reverse(crowds.get(&guest.share)), guest.since, **id)
        });
        let least = least.map(|(id, _)| *id);
        least.is_some_and(|id| self.ask_to_leave(id))
    }

    /// Cuts the exposition that a slow client has been taking for longest.
    pub(super) fn cut_one(&mut self, share: Option<IpAddr>, now: Instant) -> bool {
        let slow = self.guests.iter().filter(|(_, guest)| {
            guest.doing == Doing::Taking
                && share.is_none_or(|share| guest.share == share)
                && guest.is_slow(&self.limits, now)
        });
        let slowest = slow.min_by_key(|(id, guest)| (guest.since, **id)).map(|(id, _)| *id);
        slowest.is_some_and(|id| self.ask_to_leave(id))
    }

    fn ask_to_leave(&mut self, id: Id) -> bool {
        let Some(guest) = self.guests.remove(&id) else { return false };
        let why = if guest.has_request() { Closed::SlowReader } else { Closed::Crowded };
        self.counters.closed(why);
        guest.bell.notify_one();
        true
    }

    fn count(&self, which: impl Fn(&Guest) -> bool) -> usize {
        self.guests.values().filter(|guest| which(guest)).count()
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, id: Id) {
        self.guests.remove(&id);
    }

    /// Bytes have come from a client.
    pub(super) fn has_read(&mut self, id: Id, now: Instant) {
        self.change(id, now, |doing| if doing == Doing::Idle { Doing::Head } else { doing });
    }

    /// A whole head has come.
    pub(super) fn has_request(&mut self, id: Id, now: Instant) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.given = false;
        }
        self.change(id, now, |_| Doing::Request);
    }

    /// A client has taken bytes.
    pub(super) fn has_written(&mut self, id: Id, now: Instant) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.moved = now;
        }
    }

    /// All of an answer was given to the connection.
    pub(super) fn has_given(&mut self, id: Id) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.given = true;
        }
    }

    /// All that was given to the connection is written.
    pub(super) fn has_flushed(&mut self, id: Id, now: Instant) {
        if self.guests.get(&id).is_some_and(|guest| guest.given && guest.has_request()) {
            self.change(id, now, |_| Doing::Idle);
        }
    }

    fn change(&mut self, id: Id, now: Instant, next: impl Fn(Doing) -> Doing) {
        if let Some(guest) = self.guests.get_mut(&id) {
            let doing = next(guest.doing);
            if doing != guest.doing {
                guest.doing = doing;
                guest.since = now;
                guest.moved = now;
            }
        }
    }

    /// A scrape begins to wait for a place. `false` if too many wait already.
    pub(super) fn waits(&mut self, id: Id, now: Instant) -> bool {
        let Some(share) = self.guests.get(&id).map(|guest| guest.share) else { return false };
        let scrapes = |guest: &Guest| guest.doing == Doing::Waiting || guest.has_place();
        let Limits { scrapes: all, scrapes_per_peer: of_peer, .. } = self.limits;
        let admitted = self.count(scrapes) < 2 * all
            && self.count(|guest| guest.share == share && scrapes(guest)) < 2 * of_peer;
        if admitted {
            self.change(id, now, |_| Doing::Waiting);
        }
        admitted
    }

    /// A scrape that waits asks for a place. If there is none, a slow client may lose its own.
    pub(super) fn takes_place(&mut self, id: Id, now: Instant) -> bool {
        let Some(share) = self.guests.get(&id).map(|guest| guest.share) else { return false };
        let Limits { scrapes: all, scrapes_per_peer: of_peer, .. } = self.limits;
        let own = self.count(|guest| guest.share == share && guest.has_place()) < of_peer
            || self.cut_one(Some(share), now);
        let taken = own && (self.count(Guest::has_place) < all || self.cut_one(None, now));
        if taken {
            self.change(id, now, |_| Doing::Asking);
        }
        taken
    }

    /// A scrape has its exposition, and the client can take it.
    pub(super) fn takes(&mut self, id: Id, now: Instant) {
        self.change(id, now, |_| Doing::Taking);
    }

    /// A scrape goes without an exposition.
    pub(super) fn gives_up(&mut self, id: Id, now: Instant) {
        self.counters.scrape_refused();
        self.change(id, now, |_| Doing::Request);
    }

    /// Time at which a connection is closed unless something happens before; `None` if it was asked
    /// to leave.
    pub(super) fn due(&self, id: Id) -> Option<Instant> {
        self.guests.get(&id).map(|guest| self.deadline(guest).0)
    }

    fn deadline(&self, guest: &Guest) -> (Instant, Closed) {
        let limits = &self.limits;
        match guest.doing {
            Doing::Head => (guest.since + limits.head, Closed::Head),
            Doing::Idle => (guest.since + limits.idle, Closed::Idle),
            Doing::Waiting | Doing::Asking => (guest.since + limits.answer, Closed::SlowReader),
            Doing::Request | Doing::Taking => {
                let end = (guest.since + limits.answer).min(guest.moved + limits.stall);
                (end, Closed::SlowReader)
            }
        }
    }

    /// Whether a connection was closed at its deadline, which is over.
    pub(super) fn expires(&mut self, id: Id, now: Instant) -> bool {
        let Some(guest) = self.guests.get(&id) else { return true };
        let (end, why) = self.deadline(guest);
        if now < end {
            return false;
        }
        self.counters.closed(why);
        self.guests.remove(&id);
        true
    }
}

/// The address that a client's share is counted by.
fn share_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

#[cfg(test)]
#[path = "house_tests.rs"]
mod tests;
