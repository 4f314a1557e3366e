//! Scrapers: what each of them has seen, so that each sees a new counter at 0 once.
//!
//! A scraper is a client that says it is one ([`crate::http`]), known by its address and, among those
//! that share an address, by its connection. A scraper that connects again takes up where the one
//! of its address left off that has been silent for the longest, if that one's connection is
//! closed: scrapers behind one address with one interval scrape in turn.
//!
//! The state is bounded, and nobody can take another's place by asking often or from many
//! addresses: a newcomer takes only the place of one that came once, or that has been silent for
//! 5 minutes. A scraper without a place is a stranger at each scrape: it sees a new counter at 0
//! for [`NEWS_NS`](super::variant::NEWS_NS), and then its value, so it misses nothing and is only late.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use super::variant::{Generation, Seen};

/// Limit of scrapers that are known.
const SCRAPERS_MAX: usize = 64;
/// Limit of those in one network: a host has one IPv4 address, but 2^64 of IPv6.
const OF_NETWORK_MAX: usize = 8;

/// Connection of a client: where it comes from, and whether it lasts.
#[derive(Clone, Debug)]
pub struct Connection {
    address: IpAddr,
    open: Arc<()>,
}

impl Connection {
    /// A connection from that address, which is open until the last clone is dropped.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), open: Arc::new(()) }
    }
}

/// Network that a host has to itself: an IPv4 address, or 64 bits of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

/// A scraper that is known.
#[derive(Debug)]
struct Scraper {
    address: IpAddr,
    connection: Weak<()>,
    /// Series seen before the last scrape.
    before: Seen,
    /// Generation of the last scrape.
    last: Generation,
    /// Whether it has come more than once.
    again: bool,
}

impl Scraper {
    fn is_on(&self, connection: &Connection) -> bool {
        std::ptr::eq(self.connection.as_ptr(), Arc::as_ptr(&connection.open))
    }

    /// Whether it has the address and no open connection.
    fn may_be_on(&self, connection: &Connection) -> bool {
        self.address == connection.address && self.connection.strong_count() == 0
    }
}

/// The scrapers that are known.
#[derive(Debug, Default)]
pub struct Scrapers {
    known: Vec<Scraper>,
    strangers: u64,
}

impl Scrapers {
    /// Series that the scraper on a connection has seen before this generation, which it is shown now.
    pub fn scrape(&mut self, connection: &Connection, generation: Generation) -> Seen {
        let stranger = generation.stranger();
        self.known.retain(|known| !stranger.has(known.last));
        let at = self.known.iter().position(|known| known.is_on(connection)).or_else(|| {
            let free = |(_, known): &(usize, &Scraper)| known.may_be_on(connection);
            let free = self.known.iter().enumerate().filter(free);
            free.min_by_key(|(_, known)| known.last).map(|(at, _)| at)
        });
        let Some(known) = at.and_then(|at| self.known.get_mut(at)) else {
            self.admit(connection, generation);
            return stranger;
        };
        known.connection = Arc::downgrade(&connection.open);
        // The same generation again looks the same.
        if known.last != generation {
            known.before = known.last.seen();
            known.last = generation;
            known.again = true;
        }
        known.before
    }

    /// Gives a newcomer a place, if there is one.
    fn admit(&mut self, connection: &Connection, generation: Generation) {
        let of_network = network(connection.address);
        let same_network = |known: &Scraper| network(known.address) == of_network;
        let crowded =
            self.known.iter().filter(|known| same_network(known)).count() >= OF_NETWORK_MAX;
        if crowded || self.known.len() >= SCRAPERS_MAX {
            let may_go =
                |(_, known): &(usize, &Scraper)| !known.again && (!crowded || same_network(known));
            let may_go = self.known.iter().enumerate().filter(may_go);
            let oldest = may_go.min_by_key(|(_, known)| known.last).map(|(at, _)| at);
            self.strangers = self.strangers.saturating_add(1);
            match oldest {
                Some(at) => drop(self.known.swap_remove(at)),
                None => return,
            }
        }
        self.known.push(Scraper {
            address: connection.address,
            connection: Arc::downgrade(&connection.open),
            before: generation.stranger(),
            last: generation,
            again: false,
        });
    }

    /// Total of scrapers that found no place, or lost it to a newcomer.
    #[must_use]
    pub const fn strangers(&self) -> u64 {
        self.strangers
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::metrics::variant::NEWS_NS;

    const SECOND: u64 = 1_000_000_000;

    fn v4(host: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x7f00_0000 + host).into()
    }

    fn at(second: u64) -> Generation {
        Generation::FIRST.next(NEWS_NS + second * SECOND)
    }

    /// Series that a scraper with connections of one request each has seen before.
    fn scrape(scrapers: &mut Scrapers, address: IpAddr, second: u64) -> Seen {
        scrapers.scrape(&Connection::new(address), at(second))
    }

    #[test]
    fn each_scraper_has_seen_its_own_last_scrape() {
        let mut scrapers = Scrapers::default();
        let (a, b) = (v4(1), v4(2));
        assert_eq!(scrape(&mut scrapers, a, 0), at(0).stranger());
        assert_eq!(scrape(&mut scrapers, b, 10), at(10).stranger());
        assert_eq!(scrape(&mut scrapers, a, 30), at(0).seen());
        assert_eq!(scrape(&mut scrapers, a, 30), at(0).seen(), "the same generation again");
        assert_eq!(scrape(&mut scrapers, b, 40), at(10).seen());
        assert_eq!(scrape(&mut scrapers, a, 60), at(30).seen());
        assert_eq!(scrape(&mut scrapers, a, 400), at(400).stranger(), "after a long silence");
        assert_eq!(scrapers.known.len(), 1);
    }

    #[test]
    fn connections_tell_scrapers_of_one_address_apart() {
        let mut scrapers = Scrapers::default();
        let [a, b] = [Connection::new(v4(1)), Connection::new(v4(1))];
        scrapers.scrape(&a, at(0));
        scrapers.scrape(&b, at(10));
        assert_eq!(scrapers.scrape(&a, at(30)), at(0).seen());
        assert_eq!(scrapers.scrape(&b, at(40)), at(10).seen());
        // The server closes connections after a while.
        drop(a);
        assert_eq!(scrape(&mut scrapers, v4(1), 60), at(30).seen());
        drop(b);
        assert_eq!(scrape(&mut scrapers, v4(1), 70), at(40).seen());
        // A third one, while both are between two connections.
        assert_eq!(scrape(&mut scrapers, v4(1), 90), at(60).seen());
        assert_eq!(scrape(&mut scrapers, v4(1), 100), at(70).seen());
        assert_eq!(scrapers.known.len(), 2);
    }

    #[test]
    fn an_address_in_an_ipv6_socket_is_the_same_address() {
        let mut scrapers = Scrapers::default();
        scrape(&mut scrapers, v4(1), 0);
        let mapped = Ipv4Addr::from_bits(0x7f00_0001).to_ipv6_mapped().into();
        assert_eq!(scrape(&mut scrapers, mapped, 30), at(0).seen());
    }

    #[test]
    fn many_addresses_take_no_place_of_who_comes_again() {
        let mut scrapers = Scrapers::default();
        let honest = [v4(1), v4(2)];
        for second in [0, 30] {
            for address in honest {
                scrape(&mut scrapers, address, second);
            }
        }
        for other in 0..1000 {
            scrape(&mut scrapers, v4(100 + other), 31);
            assert!(scrapers.known.len() <= SCRAPERS_MAX);
        }
        for address in honest {
            assert_eq!(scrape(&mut scrapers, address, 60), at(30).seen());
        }
        // Some come again themselves: their places are taken until they are silent.
        for second in [61, 62] {
            for other in 0..SCRAPERS_MAX as u32 - 2 {
                scrape(&mut scrapers, v4(100 + other), second);
            }
        }
        assert_eq!(scrapers.known.len(), SCRAPERS_MAX);
        for address in honest {
            assert_eq!(scrape(&mut scrapers, address, 90), at(60).seen());
        }
        assert_eq!(scrape(&mut scrapers, v4(9), 91), at(91).stranger());
        assert_eq!(scrape(&mut scrapers, v4(9), 92), at(92).stranger(), "no place, so no memory");
        assert!(scrapers.strangers() > 900);
        scrape(&mut scrapers, v4(9), 500);
        assert_eq!(scrape(&mut scrapers, v4(9), 501), at(500).seen());
    }

    #[test]
    fn a_network_of_one_host_has_few_places() {
        let mut scrapers = Scrapers::default();
        let v6 = |host: u128| IpAddr::from(Ipv6Addr::from_bits(0xfd00 << 112 | host));
        for host in 0..1000 {
            scrape(&mut scrapers, v6(host), 0);
        }
        assert_eq!(scrapers.known.len(), OF_NETWORK_MAX);
        scrape(&mut scrapers, v6(1 << 64), 1);
        assert_eq!(scrapers.known.len(), OF_NETWORK_MAX + 1);
    }
}
