//! Choice of who leaves when room is needed: by peer, by what they do, by age.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

const S: Duration = Duration::from_secs(1);

struct World {
    house: House,
    start: Instant,
    admitted: Vec<Admitted>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let house = House::new(limits, Arc::default());
        Self { house, start: Instant::now(), admitted: Vec::new() }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn enter(&mut self, peer: u8, seconds: f64) -> Option<Id> {
        let peer = Ipv4Addr::new(10, 0, 0, peer).into();
        let admitted = self.house.enter(peer, self.at(seconds))?;
        let id = admitted.id;
        self.admitted.push(admitted);
        Some(id)
    }

    /// Enters, and takes an exposition.
    fn takes(&mut self, peer: u8, seconds: f64) -> Option<Id> {
        let id = self.enter(peer, seconds)?;
        let now = self.at(seconds);
        self.house.has_request(id, now);
        let taken = self.house.waits(id, now) && self.house.takes_place(id, now);
        self.house.takes(id, now);
        taken.then_some(id)
    }

    fn inside(&self) -> Vec<Id> {
        self.house.guests.keys().copied().collect()
    }

    fn closed(&self, why: &str) -> u64 {
        let counts = self.house.counters.connections_closed();
        counts.into_iter().find(|(name, _)| *name == why).unwrap().1
    }
}

fn limits() -> Limits {
    Limits {
        connections: 8,
        connections_per_peer: 4,
        scrapes: 3,
        scrapes_per_peer: 2,
        ..Limits::default()
    }
}

#[test]
fn a_full_house_closes_the_oldest_without_a_request() {
    let mut world = World::new(limits());
    for peer in 0..8 {
        world.enter(peer, 0.1 * f64::from(peer)).unwrap();
    }
    world.house.has_request(0, world.at(1.0));
    assert_eq!(world.enter(9, 1.1), Some(8));
    assert_eq!(world.inside(), [0, 2, 3, 4, 5, 6, 7, 8], "the first has a request");
    // The third had its answer since: it has done nothing for less time than the others.
    world.house.has_request(2, world.at(1.2));
    world.house.has_given(2);
    world.house.has_flushed(2, world.at(1.2));
    assert_eq!(world.enter(9, 1.3), Some(9));
    assert_eq!(world.inside(), [0, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(world.closed("crowded"), 2);
}

#[test]
fn the_peer_with_most_connections_makes_room() {
    let mut world = World::new(limits());
    world.enter(1, 0.0).unwrap();
    for at in 1..8 {
        world.enter(if at < 5 { 2 } else { 3 }, f64::from(at)).unwrap();
    }
    world.enter(4, 9.0).unwrap();
    assert_eq!(world.inside(), [0, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_peer_has_a_share() {
    let mut world = World::new(limits());
    world.enter(1, 0.0).unwrap();
    for at in 0..100 {
        world.enter(2, f64::from(at)).unwrap();
    }
    assert_eq!(world.inside(), [0, 97, 98, 99, 100]);
    assert!(world.admitted.iter().filter(|it| it.bell.notified().now_or_never()).count() == 96);
}

trait Now {
    fn now_or_never(self) -> bool;
}

impl<F: Future> Now for F {
    fn now_or_never(self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(self).poll(&mut cx).is_ready()
    }
}

#[test]
fn a_network_of_ipv6_is_one_peer() {
    let share = |ip: &str| share_of(ip.parse().unwrap());
    assert_eq!(share("2001:db8:0:1::1"), share("2001:db8:0:1:ffff::2"));
    assert_ne!(share("2001:db8:0:1::1"), share("2001:db8:0:2::1"));
    assert_ne!(share("::ffff:192.0.2.1"), share("::ffff:192.0.2.2"));
    assert_eq!(share("::ffff:192.0.2.1"), share("192.0.2.1"));
    assert_ne!(share("127.0.0.1"), share("127.0.0.2"));
}

#[test]
fn health_has_room_beside_all_scrapes() {
    let mut world = World::new(limits());
    for peer in 0..20 {
        let Some(id) = world.enter(peer, 0.0) else { panic!("no room for a head") };
        world.house.has_request(id, world.at(0.0));
        if world.house.waits(id, world.at(0.0)) {
            world.house.takes_place(id, world.at(0.0));
        } else {
            // It has its 503.
            world.house.gives_up(id, world.at(0.0));
            world.house.has_given(id);
            world.house.has_flushed(id, world.at(0.0));
        }
    }
    let with_request = world.house.count(Guest::has_request);
    assert_eq!(with_request, 2 * limits().scrapes);
    assert!(world.enter(21, 0.1).is_some());
    assert_eq!(world.closed("refused"), 0);
}

#[test]
fn only_slow_readers_are_cut_for_others() {
    let mut world = World::new(limits());
    let [a, b, c] = [1, 2, 3].map(|peer| world.takes(peer, 0.0).unwrap());
    assert_eq!(world.takes(4, 0.5), None, "all are good so far");
    for moving in [a, c] {
        world.house.has_written(moving, world.at(1.4));
    }
    let waiting = 3;
    assert!(world.house.takes_place(waiting, world.at(1.5)));
    assert_eq!(world.inside(), [a, c, waiting], "the one that took nothing was cut: {b}");
    assert_eq!(world.closed("slow_reader"), 1);
    world.house.takes(waiting, world.at(1.5));
    // A trickle is no progress for ever.
    world.house.has_written(a, world.at(5.9));
    world.house.has_written(c, world.at(5.9));
    world.house.has_written(waiting, world.at(5.9));
    assert!(world.house.cut_one(None, world.at(6.0)));
    assert_eq!(world.inside(), [c, waiting], "the one that has taken longest");
}

#[test]
fn a_peer_makes_room_for_its_own_scrapes() {
    let mut world = World::new(limits());
    let [a, _] = [0, 0].map(|_| world.takes(1, 0.0).unwrap());
    let other = world.takes(2, 0.0).unwrap();
    world.house.leave(other);
    assert_eq!(world.takes(1, 0.1), None, "its share is full, though there is a place");
    assert!(world.house.takes_place(3, world.at(1.5)));
    assert!(!world.inside().contains(&a));
}

#[test]
fn each_thing_has_its_time() {
    let mut world = World::new(Limits::default());
    let id = world.enter(1, 0.0).unwrap();
    let due = |world: &World| world.house.due(id).unwrap() - world.start;
    assert_eq!(due(&world), 5 * S, "the first head");
    world.house.has_read(id, world.at(3.0));
    assert_eq!(due(&world), 5 * S, "a dripping head has no more time");
    world.house.has_request(id, world.at(4.0));
    world.house.has_written(id, world.at(5.0));
    assert_eq!(due(&world), 35 * S, "no progress");
    world.house.has_written(id, world.at(50.0));
    assert_eq!(due(&world), 64 * S, "the whole answer");
    world.house.has_flushed(id, world.at(50.0));
    assert_eq!(due(&world), 64 * S, "there is more to come");
    world.house.has_given(id);
    world.house.has_flushed(id, world.at(51.0));
    assert_eq!(due(&world), 171 * S, "longer than a scrape interval");
    world.house.has_read(id, world.at(111.0));
    assert_eq!(due(&world), 116 * S, "the next head");
    assert!(!world.house.expires(id, world.at(115.9)));
    assert!(world.house.expires(id, world.at(116.0)));
    assert_eq!(world.house.due(id), None);
    assert_eq!(world.closed("head_timeout"), 1);
}
