//! Connections that have no answer when the kernel asks again.

use super::*;

/// No answer so far, `ms` after the connection began.
fn open(it: &mut Connection, ms: u64) {
    (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
    (it.ending, it.end_boot_ns) = (Ending::Open, it.start_boot_ns + ms * MS);
}

/// Its end, at which the kernel has given up.
fn gives_up(it: &mut Connection) {
    open(it, 127_000);
    it.ending = Ending::TimedOut;
}

/// An answer after all.
fn is_answered(it: &mut Connection, ms: u64) {
    open(it, ms);
    it.connected_boot_ns = Some(it.end_boot_ns);
}

fn http_with(timeout_s: u64) -> Value {
    json!({"livenessProbe": {"httpGet": {"port": 8080, "path": "/live"}, "timeoutSeconds": timeout_s}})
}

#[test]
fn it_is_a_timeout_when_the_time_is_up_and_only_once() {
    for (timeout_s, told_ms) in [(1, 1_030), (3, 3_000)] {
        let mut world = World::with(http_with(timeout_s));
        for n in 0..3 {
            world.connects(n * 10_000, |it| open(it, 1_030));
            if timeout_s > 1 {
                assert_eq!(world.results(), [], "the time is not up");
                assert_eq!(world.probes.deadline(), Some(START + (n * 10_000 + told_ms) * MS));
                world.settles(told_ms - 1_031);
                assert_eq!(world.results(), []);
                world.settles(1);
            }
            let [attempt] = *world.attempts() else { panic!("one") };
            assert_eq!(attempt.result, ProbeResult::Timeout);
            assert_eq!(attempt.duration_ns(), timeout_s * SECOND);
            assert_eq!(attempt.failures_left, Some(2 - n));
            assert_eq!(world.probes.deadline(), None);
        }
        for n in 0..3 {
            world.connects(n * 10_000, gives_up);
        }
        assert_eq!((world.results().len(), world.count(Outcome::Probe)), (0, 3));
        // The next one of that address is another.
        world.connects(200_000, gives_up);
        assert_eq!(world.results(), [("liveness", "timeout")]);
    }
}

#[test]
fn an_answer_to_the_second_request_in_time_tells_as_ever() {
    let mut world = World::with(http_with(3));
    world.connects(0, |it| open(it, 1_030));
    world.connects(0, |it| is_answered(it, 1_031));
    assert_eq!(world.probes.deadline(), None);
    world.settles(5_000);
    world.connects(0, |it| {
        (it.connected_boot_ns, it.end_boot_ns) = (Some(START + 1_031 * MS), START + 1_040 * MS);
        it.sent = get("/live", it.remote, "kube-probe/1.37");
        it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
    });
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!((attempt.result, attempt.duration_ns()), (ProbeResult::Success, 1_040 * MS));
    // Its end may be here before its time is up.
    world.connects(10_000, |it| open(it, 1_030));
    world.connects(10_000, |it| {
        open(it, 1_500);
        it.ending = Ending::Refused;
    });
    world.settles(5_000);
    assert_eq!(world.results(), [("liveness", "refused")]);
}

#[test]
fn what_is_asked_next_comes_after_it() {
    let mut world = World::with(http_with(3));
    world.connects(0, |it| open(it, 1_030));
    // Told by one drain: nobody had the time to look when the time was up.
    let refused = |it: &mut Connection| {
        open(it, 1);
        it.ending = Ending::Refused;
    };
    world.now = START + 4_000 * MS;
    world.connects(3_500, refused);
    let attempts = world.attempts();
    let results: Vec<_> = attempts.iter().map(|it| it.result).collect();
    assert_eq!(results, [ProbeResult::Timeout, ProbeResult::Refused]);
    assert_eq!(attempts.map_left(), [Some(2), Some(1)]);
}

#[test]
fn of_two_probes_each_has_its_own_time() {
    let http = |path: &str, timeout_s: u64, period_s: u64| {
        json!({"httpGet": {"port": 8080, "path": path}, "timeoutSeconds": timeout_s,
               "periodSeconds": period_s})
    };
    let mut world = World::with(json!({
        "livenessProbe": http("/live", 1, 10),
        "readinessProbe": http("/ready", 4, 10),
    }));
    // Their phases are known.
    for n in 0..4 {
        world.gets(n * 10_000, "/ready", 200);
        world.gets(5_000 + n * 10_000, "/live", 200);
    }
    world.results();
    world.connects(40_000, |it| open(it, 1_030));
    world.connects(45_000, |it| open(it, 1_030));
    let told: Vec<_> =
        world.attempts().iter().map(|it| (it.probe.label(), it.duration_ns())).collect();
    assert_eq!(told, [("readiness", 4 * SECOND), ("liveness", SECOND)]);
    // Before the phases are known, the longer time counts, and which it was is not certain.
    let mut world = World::with(json!({
        "livenessProbe": http("/live", 1, 10),
        "readinessProbe": http("/ready", 4, 20),
    }));
    world.gets(0, "/ready", 200);
    world.results();
    world.connects(6_000, |it| open(it, 1_030));
    assert_eq!(world.probes.deadline(), Some(START + 10 * SECOND));
    world.settles(3_000);
    assert_eq!(world.results(), [("liveness_or_readiness", "timeout")]);
    world.connects(6_000, gives_up);
    assert_eq!(world.results(), []);
}

#[test]
fn what_closes_when_its_time_is_up_tells_itself() {
    for probe in [json!({"tcpSocket": {"port": 8080}}), json!({"grpc": {"port": 8080}})] {
        let mut world = World::with(json!({"livenessProbe": probe}));
        world.connects(0, |it| open(it, 1_030));
        assert_eq!((world.results().len(), world.probes.deadline()), (0, None));
        world.connects(0, |it| {
            open(it, 1_040);
            it.ending = Ending::TimedOut;
        });
        world.settles(3_000);
        assert_eq!(world.results(), [("liveness", "timeout")]);
    }
}

/// A TLS handshake begins, `ms` after the connection did.
fn begins_tls(it: &mut Connection, ms: u64) {
    is_answered(it, ms);
    it.sent = b"\x16\x03\x01\x02\x00\x01".to_vec();
}

fn https_with(timeout_s: u64) -> Value {
    let get = json!({"port": 8080, "scheme": "HTTPS"});
    json!({"livenessProbe": {"httpGet": get, "timeoutSeconds": timeout_s}})
}

#[test]
fn a_handshake_that_hangs_is_a_timeout_when_the_time_is_up_and_only_once() {
    let mut world = World::with(https_with(2));
    world.connects(0, |it| begins_tls(it, 2));
    assert_eq!(world.probes.deadline(), Some(START + 2_250 * MS));
    world.settles(2_240);
    assert_eq!(world.results(), [], "its end may be near");
    world.settles(10);
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!((attempt.result, attempt.duration_ns()), (ProbeResult::Timeout, 2 * SECOND));
    world.connects(0, |it| {
        begins_tls(it, 10_000);
        it.ending = Ending::ClosedByPeer;
    });
    assert_eq!((world.results().len(), world.count(Outcome::Probe)), (0, 1));
    // The dial took its time as well: it was told before.
    world.connects(20_000, |it| open(it, 1_030));
    world.settles(1_000);
    assert_eq!(world.results(), [("liveness", "timeout")]);
    world.connects(20_000, |it| is_answered(it, 3_030));
    world.connects(20_000, |it| begins_tls(it, 3_031));
    world.settles(5_000);
    assert_eq!((world.results().len(), world.probes.deadline()), (0, None));
}

#[test]
fn a_handshake_that_goes_on_tells_when_it_ends() {
    let mut world = World::with(https_with(2));
    let ends = |it: &mut Connection| {
        begins_tls(it, 30);
        it.received = b"\x16\x03\x03\x00\x7a\x02".to_vec();
        (it.ending, it.first_byte_boot_ns) = (Ending::Closed, Some(it.end_boot_ns));
    };
    world.connects(0, |it| begins_tls(it, 2));
    world.connects(0, ends);
    assert_eq!((world.results(), world.probes.deadline()), (vec![("liveness", "unknown")], None));
    world.settles(5_000);
    assert_eq!(world.results(), []);
    // An answer to the hello, and then the connection lasts: it is somebody else's.
    world.connects(20_000, |it| begins_tls(it, 2));
    world.connects(20_000, |it| {
        begins_tls(it, 3);
        it.first_byte_boot_ns = Some(it.end_boot_ns);
    });
    assert_eq!(world.probes.deadline(), None);
    world.settles(60_000);
    world.connects(20_000, |it| {
        begins_tls(it, 60_000);
        (it.ending, it.first_byte_boot_ns) = (Ending::Closed, Some(it.start_boot_ns + 3 * MS));
        it.received = b"\x16\x03\x03\x00\x7a\x02".to_vec();
    });
    assert_eq!((world.results(), world.count(Outcome::OtherRequest)), (vec![], 1));
    // What speaks TLS to a probe in clear text is another client, and what goes elsewhere as well.
    for (probe, remote) in [(http_with(1), "10.244.0.5:8080"), (https_with(1), "192.0.2.1:6443")] {
        let mut world = World::with(probe);
        world.connects(0, |it| {
            begins_tls(it, 2);
            it.remote = remote.parse().unwrap();
        });
        world.settles(20_000);
        assert_eq!((world.results().len(), world.probes.deadline()), (0, None), "{remote}");
    }
}

#[test]
fn what_is_no_probes_is_left_until_it_ends() {
    let mut world = World::with(http_with(1));
    for remote in ["10.244.0.5:9", "192.0.2.1:6443"] {
        world.connects(0, |it| {
            open(it, 1_030);
            it.remote = remote.parse().unwrap();
        });
    }
    world.settles(20_000);
    assert_eq!(world.probes.deadline(), None);
    assert_eq!(world.probes.connections().iter().map(|(_, count)| count).sum::<u64>(), 0);
    // A Pod whose address is known later.
    world.connects(30_000, |it| {
        open(it, 1_030);
        it.remote.set_ip("10.244.0.6".parse().unwrap());
    });
    world.pod("b", "10.244.0.6", &[("web", http_with(1))]);
    let now = std::mem::replace(&mut world.now, START);
    world.starts("b", "web", 2);
    world.now = now;
    world.settles(1_000);
    assert_eq!(world.results(), [("liveness", "timeout")]);
}

#[test]
fn a_hook_that_is_answered_late_is_one_all_the_same() {
    let mut container = http_with(1);
    container["lifecycle"] = json!({"preStop": {"httpGet": {"port": 8080, "path": "/drain"}}});
    let mut world = World::with(container);
    world.connects(0, |it| open(it, 1_030));
    world.connects(0, |it| is_answered(it, 3_030));
    world.connects(0, |it| {
        it.sent = get("/drain", it.remote, "kube-lifecycle/1.37");
        it.end_boot_ns += 30 * SECOND;
    });
    assert_eq!((world.probes.take_hooks().len(), world.count(Outcome::Hook)), (1, 1));
}

#[test]
fn both_addresses_of_localhost_are_one_attempt() {
    let mut world = World::with(json!({
        "livenessProbe": {"httpGet": {"port": 8080, "host": "localhost"}, "timeoutSeconds": 2}
    }));
    for (ms, remote) in [(0, "[::1]:8080"), (300, "127.0.0.1:8080")] {
        world.connects(ms, |it| {
            open(it, 1_030);
            it.remote = remote.parse().unwrap();
        });
    }
    assert_eq!(world.results(), []);
    world.settles(1_000);
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!((attempt.result, attempt.start_boot_ns), (ProbeResult::Timeout, START));
    for (ms, remote) in [(0, "[::1]:8080"), (300, "127.0.0.1:8080")] {
        world.connects(ms, |it| {
            gives_up(it);
            it.remote = remote.parse().unwrap();
        });
    }
    world.settles(200_000);
    assert_eq!((world.results().len(), world.count(Outcome::Probe)), (0, 2));
}

#[test]
fn what_waits_or_was_told_is_bounded() {
    let mut world = World::with(http_with(60));
    for n in 0..2_000 {
        world.connects(n, |it| open(it, 1_030));
    }
    let attempts = world.probes.dropped().into_iter().find(|(name, _)| *name == "probe_attempt");
    assert_eq!(attempts.unwrap().1, 2_000 - 512);
    let mut unanswered = Unanswered::default();
    for n in 0..40_000 {
        world.connects(n, |it| {
            it.ending = Ending::Refused;
            unanswered.told(it);
        });
    }
    assert_eq!(unanswered.dropped(), 40_000 - 32_768);
    // Their ends tell nothing more, nor do those of what was forgotten.
    world.connects(7_231, |it| {
        gives_up(it);
        assert!(unanswered.ended(it));
    });
    world.connects(7_232, |it| {
        gives_up(it);
        assert!(unanswered.ended(it) && !unanswered.ended(it));
        it.ending = Ending::Refused;
    });
}
