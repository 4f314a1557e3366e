//! Probes of `localhost`, which has an address of each family.

use super::*;

/// A container that is asked over HTTP at `localhost`.
fn world() -> World {
    World::with(json!({"livenessProbe": {
        "httpGet": {"host": "localhost", "port": 7100, "path": "/live"}, "timeoutSeconds": 2
    }}))
}

const SIX: &str = "[::1]:7100";
const FOUR: &str = "127.0.0.1:7100";

impl World {
    /// A connection to one of the addresses that was never established.
    fn fails_at(&mut self, ms: u64, remote: &str, lasts_ms: u64, ending: Ending) {
        self.connects(ms, |it| {
            it.remote = remote.parse().unwrap();
            (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
            (it.end_boot_ns, it.ending) = (it.start_boot_ns + lasts_ms * MS, ending);
        });
    }

    fn is_answered_at(&mut self, ms: u64, remote: &str) {
        self.connects(ms, |it| {
            it.remote = remote.parse().unwrap();
            it.sent = get("/live", "127.0.0.1:7100".parse().unwrap(), "kube-probe/1.37");
            it.sent = String::from_utf8_lossy(&it.sent).replace("127.0.0.1", "localhost").into();
            it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
        });
    }

    /// The results, the times from begin to end in ms, and the counts of connections that were of
    /// probes and that were none.
    fn told(&mut self) -> (Vec<(&'static str, u64)>, u64) {
        self.settles(200_000);
        let all = self.attempts();
        let all = all.iter().map(|it| (it.result.label(), it.duration_ns() / MS)).collect();
        (all, self.count(Outcome::Probe))
    }
}

#[test]
fn a_refusal_at_one_address_and_an_answer_at_the_other_are_a_success() {
    let mut world = world();
    world.fails_at(0, SIX, 0, Ending::Refused);
    assert_eq!(world.results(), []);
    world.is_answered_at(1, FOUR);
    assert_eq!(world.told(), (vec![("success", 4)], 2));
}

#[test]
fn two_refusals_are_one() {
    let mut world = world();
    world.fails_at(0, SIX, 0, Ending::Refused);
    world.fails_at(1, FOUR, 0, Ending::Refused);
    assert_eq!(world.results(), [("liveness", "refused")], "at once");
    world.fails_at(10_000, SIX, 0, Ending::Refused);
    world.fails_at(10_001, FOUR, 0, Ending::Refused);
    let attempts = world.attempts();
    assert_eq!(attempts.map_left(), [Some(1)]);
    assert_eq!(attempts[0].start_boot_ns, START + 10 * SECOND);
    assert_eq!(world.count(Outcome::Probe), 4);
}

#[test]
fn with_one_address_alone_nothing_is_lost() {
    for (remote, waits) in [(FOUR, false), (SIX, true)] {
        let mut world = world();
        world.fails_at(0, remote, 0, Ending::Refused);
        assert_eq!(world.out.is_empty(), waits, "{remote}");
        assert_eq!(world.told(), (vec![("refused", 0)], 1), "{remote}");
        world.is_answered_at(300_000, remote);
        assert_eq!(world.told(), (vec![("success", 3)], 2), "{remote}");
    }
    let mut world = world();
    world.fails_at(0, FOUR, 2_000, Ending::TimedOut);
    assert_eq!(world.told(), (vec![("timeout", 2_000)], 1));
}

#[test]
fn an_address_that_does_not_answer_is_given_up_for_the_other() {
    let mut world = world();
    world.fails_at(0, SIX, 301, Ending::TimedOut);
    world.is_answered_at(300, FOUR);
    assert_eq!(world.told(), (vec![("success", 303)], 2));
    // The records come in the other order.
    let mut world = self::world();
    world.is_answered_at(300, FOUR);
    world.fails_at(0, SIX, 304, Ending::TimedOut);
    assert_eq!(world.told(), (vec![("success", 3)], 1));
    assert_eq!(world.count(Outcome::Abandoned), 1);
    // Neither answers, and the kernel goes on trying.
    for lasts_ms in [2_000, 127_000] {
        let mut world = self::world();
        world.fails_at(0, SIX, lasts_ms, Ending::TimedOut);
        world.fails_at(300, FOUR, lasts_ms, Ending::TimedOut);
        let (attempts, probes) = world.told();
        assert_eq!((attempts.len(), attempts[0].0, probes), (1, "timeout", 2), "{attempts:?}");
    }
}

#[test]
fn what_comes_after_the_attempt_was_told_is_no_other() {
    let mut world = world();
    world.fails_at(0, SIX, 0, Ending::Refused);
    world.settles(3_001);
    assert_eq!(world.results(), [("liveness", "refused")]);
    world.fails_at(1, FOUR, 127_000, Ending::TimedOut);
    assert_eq!(world.told(), (vec![], 2));
}

#[test]
fn other_addresses_and_attempts_are_not_joined() {
    let mut world = world();
    for ms in [0, 10_000] {
        world.fails_at(ms, SIX, 0, Ending::Refused);
    }
    world.is_answered_at(10_001, FOUR);
    world.fails_at(20_000, "[::1]:7101", 0, Ending::Refused);
    world.is_answered_at(20_001, FOUR);
    let expected = vec![("refused", 0), ("success", 4), ("success", 3)];
    assert_eq!(world.told().0, expected);
    // A probe that names the address itself.
    let mut world = World::with(json!({
        "livenessProbe": {"httpGet": {"host": "::1", "port": 7100, "path": "/live"}}
    }));
    world.fails_at(0, SIX, 0, Ending::Refused);
    assert_eq!(world.results(), [("liveness", "refused")]);
}

#[test]
fn what_waits_is_bounded_and_counted() {
    let mut world = world();
    for ms in 0..300 {
        world.fails_at(ms, SIX, 0, Ending::Refused);
    }
    assert_eq!(world.count(Outcome::NoRoom), 300 - 256);
}
