//! Redirects: attempts of several connections.

use super::*;

/// An answer that redirects, with more headers or without.
fn found(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\n{headers}").into_bytes()
}

/// A GET of a client that was sent there.
fn get_from(referer: &str, path: &str, host: SocketAddr) -> Vec<u8> {
    let get = String::from_utf8(get(path, host, "kube-probe/1.37")).unwrap();
    get.replace("Connection:", &format!("Referer: http://{host}{referer}\r\nConnection:")).into()
}

#[test]
fn redirects_are_one_attempt() {
    let mut world = World::with(http("/live", "/ready"));
    // Go on, on another port and path, late, and over https.
    world.gets(0, "/live", 302);
    assert_eq!(world.results(), []);
    world.connects(400, |it| {
        it.remote.set_port(8443);
        it.sent = get_from("/live", "/login", it.remote);
        it.received = b"HTTP/1.1 307 Temporary Redirect\r\n".to_vec();
    });
    world.connects(405, |it| {
        it.remote.set_port(9443);
        it.sent = vec![22, 3, 1];
        it.received = vec![22, 3, 3];
    });
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!((attempt.probe, attempt.result), (ProbeKind::Liveness, ProbeResult::Unknown));
    assert_eq!((attempt.start_boot_ns, attempt.end_boot_ns), (START, START + 408 * MS));
    assert_eq!((attempt.status, attempt.network.unwrap().connections), (None, 3));
    // To another host: the kubelet ends with a success, which is known at once if the place is.
    world.gets(10_000, "/live", 302);
    world.gets(10_004, "/ready", 200);
    assert_eq!(world.results(), [("readiness", "success")]);
    world.settles(2100);
    assert_eq!(world.results(), [("liveness", "success")]);
    world.connects(15_000, |it| {
        it.sent = get("/live", it.remote, "kube-probe/1.37");
        it.received = found("Location: https://shop.example/\r\n");
    });
    assert_eq!(world.results(), [("liveness", "success")]);
    // Round and round: the tenth is not followed.
    for n in 0..10 {
        world.connects(20_000 + 3 * n, |it| {
            it.sent = match n {
                0 => get("/live", it.remote, "kube-probe/1.37"),
                1 => get_from("/live", "/loop", it.remote),
                _ => get_from("/loop", "/loop", it.remote),
            };
            it.received = found("");
        });
    }
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!((attempt.result, attempt.network.unwrap().connections), (ProbeResult::Failure, 10));
}

#[test]
fn probes_that_begin_just_then_follow_no_redirect() {
    let on = |port: u16| json!({"readinessProbe": {"tcpSocket": {"port": port}}});
    let closes = json!({"readinessProbe": {"httpGet": {"port": 8005, "path": "/"}}});
    let others = [("opens", on(8007)), ("shut", on(8008)), ("closes", closes)];
    let refused = |it: &mut Connection| {
        (it.connected_boot_ns, it.ending) = (None, Ending::Refused);
    };
    for place in ["", "Location: /here\r\n"] {
        let mut world = World::new();
        let containers = [("web", http("/live", "/ready"))].into_iter().chain(others.clone());
        world.pod("a", "10.244.0.5", &containers.collect::<Vec<_>>());
        for (number, name) in (1..).zip(["web", "opens", "shut", "closes"]) {
            world.starts("a", name, number);
        }
        world.connects(0, |it| {
            it.sent = get("/live", it.remote, "kube-probe/1.37");
            it.received = found(place);
        });
        for port in [8007, 8008, 8005] {
            world.connects(4, |it| {
                it.remote.set_port(port);
                it.first_byte_boot_ns = None;
                if port == 8008 {
                    refused(it);
                }
            });
        }
        let others = [("readiness", "success"), ("readiness", "refused"), ("readiness", "failure")];
        assert_eq!(world.results(), others, "{place}");
        // Nobody listens where it leads.
        world.connects(5, |it| {
            it.first_byte_boot_ns = None;
            refused(it);
        });
        assert_eq!(world.results(), [("liveness", "refused")], "{place}");
    }
}

#[test]
fn of_two_redirects_the_one_that_the_request_comes_from_goes_on() {
    let mut world = World::with(http("/live", "/ready"));
    world.gets(0, "/live", 302);
    world.gets(1, "/ready", 302);
    world.connects(6, |it| {
        it.sent = get_from("/live", "/bad", it.remote);
        it.received = b"HTTP/1.1 500 Broken\r\n".to_vec();
    });
    assert_eq!(world.results(), [("liveness", "failure")]);
    world.connects(7, |it| {
        it.sent = get_from("/ready", "/good", it.remote);
        it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
    });
    assert_eq!(world.results(), [("readiness", "success")]);
}

#[test]
fn open_attempts_are_few() {
    let mut container = http("/live", "/ready");
    container["livenessProbe"]["timeoutSeconds"] = (1_u64 << 31).into();
    let mut world = World::with(container);
    for n in 0..50 {
        world.gets(n * 100, "/live", 302);
    }
    // A worker asks once at a time: all but the last are over.
    assert_eq!(world.results().len(), 49);
    world.settles(61_000);
    assert_eq!(world.results(), [("liveness", "success")]);
    assert_eq!(
        world.probes.dropped(),
        [("probe_address", 0), ("probe_attempt", 0), ("probe_container", 0)]
    );
}

#[test]
fn records_of_a_redirect_may_come_in_the_order_of_their_ends() {
    let mut world = World::with(http("/healthz", "/ready"));
    // Its first connection is closed late by the server.
    world.connects(4, |it| {
        it.sent = get_from("/ready", "/healthz", it.remote);
        it.received = b"HTTP/1.1 503 Unavailable\r\n".to_vec();
    });
    assert_eq!(world.results(), []);
    world.connects(0, |it| {
        it.sent = get("/ready", it.remote, "kube-probe/1.37");
        (it.received, it.end_boot_ns) = (found("Location: /healthz\r\n"), START + 9 * MS);
    });
    assert_eq!(world.results(), [("readiness", "failure")]);
    // A probe that names a referer of its own comes to its right in the end.
    world.connects(10_000, |it| it.sent = get_from("/else", "/healthz", it.remote));
    world.settles(10_100);
    assert_eq!(world.results(), [("liveness", "failure")]);
}

#[test]
fn a_call_that_was_tried_again_took_its_whole_time() {
    let probe = json!({"grpc": {"port": 8080}, "timeoutSeconds": 10, "periodSeconds": 12});
    let mut world = World::with(json!({"livenessProbe": probe}));
    let closes = |it: &mut Connection| {
        (it.sent, it.received, it.first_byte_boot_ns) = (Vec::new(), Vec::new(), None);
        it.ending = Ending::ClosedByPeer;
    };
    for ms in [0, 1_000, 2_600] {
        world.connects(ms, closes);
    }
    // Nobody had the time to look before the next one.
    world.connects(12_000, closes);
    let told: Vec<_> = world.attempts().iter().map(|it| (it.result, it.duration_ns())).collect();
    assert_eq!(told, [(ProbeResult::Failure, 10 * SECOND)]);
}
