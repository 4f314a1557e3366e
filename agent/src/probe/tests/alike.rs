//! Probes of one container that are alike: told apart by their state and their schedule, or not.

use super::*;

#[test]
fn a_startup_probe_runs_until_it_succeeds_and_the_others_after_it() {
    let mut same = http("/", "/");
    same["startupProbe"] = json!({"httpGet": {"port": 8080}, "failureThreshold": 5});
    let mut world = World::with(same);
    world.connects(100, |it| {
        (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
        it.ending = Ending::Refused;
    });
    world.gets(10_100, "/", 500);
    world.gets(20_100, "/", 200);
    world.gets(20_200, "/", 200);
    let attempts = world.attempts();
    assert_eq!(attempts.map_left(), [Some(4), Some(3), Some(5), None]);
    let told: Vec<_> = attempts.iter().map(|it| (it.probe.label(), it.result.label())).collect();
    let expected = [
        ("startup", "refused"),
        ("startup", "failure"),
        ("startup", "success"),
        ("liveness_or_readiness", "success"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_connection_that_outlasts_the_timeout_is_to_the_api_server() {
    let mut world = World::with(json!({
        "livenessProbe": {"httpGet": {"port": 6443, "scheme": "HTTPS"}, "timeoutSeconds": 15}
    }));
    for (ms, data_observed) in [(600_000, true), (600_000, false), (15_000, true)] {
        world.connects(0, |it| {
            it.remote.set_port(6443);
            it.end_boot_ns = it.start_boot_ns + ms * MS;
            it.ending = Ending::Closed;
            if data_observed {
                (it.sent, it.received) = (vec![22, 3, 1], vec![22, 3, 3]);
            }
            it.data_observed = data_observed;
        });
    }
    assert_eq!(world.results(), [("liveness", "timeout")]);
    assert_eq!(world.count(Outcome::OtherRequest), 2);
}

#[test]
fn a_startup_probe_that_succeeds_in_secret_is_over_with_the_next_attempt() {
    let https = json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}});
    let mut world = World::with(json!({
        "startupProbe": &https, "livenessProbe": &https, "readinessProbe": &https
    }));
    for ms in [100, 10_100, 10_300, 12_000] {
        world.connects(ms, |it| {
            (it.sent, it.received) = (vec![22, 3, 1], vec![22, 3, 3]);
        });
    }
    let probes: Vec<_> = world.results().into_iter().map(|(probe, _)| probe).collect();
    let either = "liveness_or_readiness";
    assert_eq!(probes, ["startup", "startup", either, either]);
    let mut other = http("/", "/");
    other["startupProbe"] = https;
    let mut world = World::with(other);
    world.gets(300, "/", 200);
    assert_eq!(world.results(), [(either, "success")]);
}

#[test]
fn two_alike_are_told_apart_by_their_schedule_once_that_is_certain() {
    let mut world = World::with(http("/", "/"));
    // Readiness begins with the container, liveness has its own phase.
    for n in 0..12 {
        world.gets(n * 10_000 + 5, "/", 200);
        world.gets(n * 10_000 + 4_000, "/", 200);
    }
    let results = world.results();
    assert_eq!(results.len(), 24);
    for (n, (probe, _)) in results.iter().enumerate() {
        let expected = ["readiness", "liveness"][n % 2];
        assert!([expected, "liveness_or_readiness"].contains(probe), "{n}: {results:?}");
        assert!(n < 8 || *probe == expected, "{n}: {results:?}");
    }
}

#[test]
fn without_the_first_attempt_neither_is_told_from_the_other() {
    // The kubelet was found in between; or its first attempt was late.
    for (unseen_until, first_ms) in [(START + MS, 2_000), (0, 3_001)] {
        let mut world = World::new();
        world.probes.unseen_until(unseen_until);
        world.pod("a", "10.244.0.5", &[("web", http("/", "/"))]);
        world.starts("a", "web", 1);
        for n in 0..12 {
            world.gets(n * 10_000 + first_ms, "/", 200);
            world.gets(n * 10_000 + 7_000, "/", 200);
        }
        let either = |(probe, _): &(&str, &str)| *probe == "liveness_or_readiness";
        let results = world.results();
        assert!(results.len() == 24 && results.iter().all(either), "{results:?}");
    }
}

#[test]
fn in_a_pod_that_is_deleted_only_readiness_is_asked_for() {
    let mut world = World::with(http("/", "/"));
    world.now += 100 * SECOND;
    let deleted = json!({"deletionTimestamp": "2026-11-01T10:00:00Z"});
    world.pod_with("a", "10.244.0.5", &[("web", http("/", "/"))], deleted);
    world.gets(103_000, "/", 200);
    assert_eq!(world.results(), [("readiness", "success")]);
}

#[test]
fn a_refused_connection_belongs_to_the_probe_that_is_due() {
    let mut world = World::with(http("/live", "/ready"));
    for n in 0..3 {
        world.gets(n * 10_000, "/ready", 200);
        world.gets(n * 10_000 + 3_000, "/live", 200);
    }
    world.results();
    for at in [30_000, 33_000, 37_000] {
        world.connects(at, |it| {
            (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
            it.ending = Ending::Refused;
        });
    }
    let expected =
        [("readiness", "refused"), ("liveness", "refused"), ("liveness_or_readiness", "refused")];
    assert_eq!(world.results(), expected);
}

/// A Pod of the host's network with one container, which has these probes.
fn on_the_hosts_network(container: Value) -> World {
    let mut world = World::new();
    world.pod("a", "192.0.2.10", &[("web", container)]);
    world.starts("a", "web", 1);
    world
}

impl World {
    /// Connections to the node's address and that port, which is shut, at these times in ms.
    fn are_refused(&mut self, port: u16, times_ms: impl IntoIterator<Item = u64>) {
        for ms in times_ms {
            self.connects(ms, |it| {
                it.remote = SocketAddr::new([192, 0, 2, 10].into(), port);
                (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
                it.ending = Ending::Refused;
            });
        }
    }
}

#[test]
fn what_the_kubelet_asks_of_the_api_server_itself_is_no_probe() {
    let https = |path, period: u64| {
        json!({
            "httpGet": {"port": 6443, "path": path, "scheme": "HTTPS", "host": "192.0.2.10"},
            "periodSeconds": period, "failureThreshold": 8, "timeoutSeconds": 15
        })
    };
    let mut world = on_the_hosts_network(
        json!({"livenessProbe": https("/livez", 10), "readinessProbe": https("/readyz", 1)}),
    );
    let answered = |world: &mut World, ms: u64| {
        world.connects(ms, |it| {
            it.remote = "192.0.2.10:6443".parse().unwrap();
            (it.sent, it.received) = (vec![22, 3, 1], vec![22, 3, 3]);
        });
    };
    // Readiness at each second, liveness half a second later, as they are told apart here.
    for ms in (0..30_000).step_by(1_000) {
        answered(&mut world, ms);
        if ms % 10_000 == 5_000 {
            answered(&mut world, ms + 500);
        }
    }
    world.results();
    let ambiguous = world.count(Outcome::Ambiguous);
    // Its client tries without end.
    world.are_refused(6443, (30_000..40_000).step_by(250));
    let mut results = world.results();
    assert_eq!(results.len(), 11, "{results:?}");
    results.retain(|it| *it == ("readiness", "refused"));
    assert_eq!(results.len(), 10);
    assert_eq!(world.count(Outcome::Ambiguous) - ambiguous, 40 - 11);
    // A server that never was there, and one that nobody but the probe asks.
    let etcd = json!({"livenessProbe": {"httpGet": {"port": 2379}, "periodSeconds": 1}});
    for (every_ms, attempts) in [(250, 0), (1_000, 9), (1_500, 0)] {
        let mut world = on_the_hosts_network(etcd.clone());
        world.are_refused(2379, (0..10).map(|n| n * every_ms));
        assert_eq!(world.results().len(), attempts, "{every_ms} ms");
    }
}

#[test]
fn on_the_hosts_network_a_request_tells_and_so_does_a_connection_that_needs_none() {
    let mut world = on_the_hosts_network(http("/live", "/ready"));
    for (ms, path) in [(0, "/live"), (300, "/ready"), (700, "/live")] {
        world.connects(ms, |it| {
            it.remote = "192.0.2.10:8080".parse().unwrap();
            it.sent = get(path, it.remote, "kube-probe/1.37");
            it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
        });
    }
    assert_eq!(world.results().len(), 3);
    let bare = |it: &mut Connection| {
        it.remote = "192.0.2.10:8080".parse().unwrap();
        it.first_byte_boot_ns = None;
    };
    world.connects(3_000, bare);
    assert_eq!((world.results().len(), world.count(Outcome::Ambiguous)), (0, 1), "closed at once");
    let mut world = on_the_hosts_network(json!({"livenessProbe": {"tcpSocket": {"port": 8080}}}));
    world.connects(3_000, bare);
    assert_eq!(world.results(), [("liveness", "success")]);
}

#[test]
fn a_kubelet_that_is_started_again_counts_anew_and_asks_at_other_times() {
    for (seen_from_start, expected) in [(true, [Some(2), Some(1)]), (false, [None, None])] {
        let mut world = World::with(http("/live", "/ready"));
        world.gets(10_000, "/live", 500);
        world.gets(20_000, "/live", 500);
        // Another container is away when it happens.
        world.pod("b", "10.244.0.6", &[("web", http("/live", "/ready"))]);
        world.starts("b", "web", 2);
        let asks_b = |world: &mut World, ms: u64| {
            world.connects(ms, |it| {
                it.remote = "10.244.0.6:8080".parse().unwrap();
                it.sent = get("/live", it.remote, "kube-probe/1.37");
                it.received = b"HTTP/1.1 500 Status\r\n".to_vec();
            });
        };
        asks_b(&mut world, 21_000);
        world.probes.gone(CgroupId(2), START + 22_000 * MS);
        world.probes.expire(&world.pods, START + 60_000 * MS, &mut Vec::new());
        assert_eq!(world.attempts().map_left(), [Some(2), Some(1), Some(2)]);
        world.now = START + 61 * SECOND;
        world.probes.kubelet_restarted(world.now, seen_from_start);
        world.starts("b", "web", 3);
        world.gets(65_000, "/live", 500);
        asks_b(&mut world, 66_000);
        world.gets(75_000, "/live", 500);
        let [first, other, second] = world.attempts().map_left()[..] else { panic!("three") };
        assert_eq!([first, second], expected);
        assert_eq!(other, Some(2), "nobody has asked it since");
    }
    // Ticks of the old workers tell nothing of the new ones'.
    let mut world = World::with(http("/", "/"));
    for n in 0..12 {
        world.gets(n * 10_000 + 5, "/", 200);
        world.gets(n * 10_000 + 4_000, "/", 200);
    }
    assert_eq!(world.results().last(), Some(&("liveness", "success")));
    world.probes.kubelet_restarted(world.now, true);
    for n in 12..24 {
        world.gets(n * 10_000 + 5, "/", 200);
        world.gets(n * 10_000 + 4_000, "/", 200);
    }
    assert!(world.results().iter().all(|(probe, _)| *probe == "liveness_or_readiness"));
}

#[test]
fn what_is_left_is_told_to_be_unknown_when_attempts_are_overdue() {
    let mut world = World::with(http("/live", "/ready"));
    let overdue = |world: &mut World, s: u64| {
        world.out.clear();
        let now = START + s * SECOND;
        world.probes.expire(&world.pods, now, &mut world.out);
        let told = std::mem::take(&mut world.out).into_iter();
        let told = told.map(|(_, fact)| match fact.kind {
            FactKind::ProbeOverdue(kind) => (kind.label(), (fact.time_boot_ns - START) / SECOND),
            other => panic!("{other:?}"),
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(overdue(&mut world, 1_000), [], "nothing was told yet");
    for s in [1_000, 1_010, 1_020] {
        world.gets(s * 1_000, "/live", 500);
        world.gets(s * 1_000 + 5_000, "/ready", 200);
    }
    assert_eq!(overdue(&mut world, 1_041), []);
    assert_eq!(overdue(&mut world, 1_042), [("liveness", 1_042)]);
    assert_eq!(overdue(&mut world, 1_060), [("readiness", 1_047)]);
    assert_eq!(overdue(&mut world, 2_000), [], "once");
    // The next one is told, and again overdue; what has ended is not.
    world.gets(2_000_000, "/ready", 200);
    assert_eq!(world.attempts().map_left(), [Some(3)]);
    assert_eq!(overdue(&mut world, 2_030), [("readiness", 2_022)]);
    world.gets(2_040_000, "/ready", 200);
    world.probes.gone(CgroupId(1), START + 2_041 * SECOND);
    assert_eq!(overdue(&mut world, 2_070), []);
}

#[test]
fn failures_are_counted_on_over_a_restart() {
    for gone_s in [1, 300, 900] {
        let mut world =
            World::with(json!({"readinessProbe": {"httpGet": {"port": 8080, "path": "/ready"}}}));
        world.gets(10_000, "/ready", 500);
        world.gets(20_000, "/ready", 500);
        world.now += SECOND;
        world.probes.gone(CgroupId(1), world.now);
        // The kubelet has not noticed yet.
        world.connects(22_000, |it| {
            (it.connected_boot_ns, it.ending) = (None, Ending::Refused);
        });
        assert_eq!(world.attempts().len(), 3);
        for _ in 0..gone_s {
            world.now += SECOND;
            world.probes.expire(&world.pods, world.now, &mut world.out);
        }
        world.starts("a", "web", 2);
        let at_ms = (world.now - START) / MS + 10;
        world.gets(at_ms, "/ready", 500);
        // It is the fourth failure of at most three, or the first.
        let left = if gone_s < 600 { Some(0) } else { Some(2) };
        assert_eq!(world.attempts().map_left(), [left], "{gone_s} s");
    }
}
