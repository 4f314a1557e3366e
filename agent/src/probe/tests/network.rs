//! Probes over the network.

use proptest::prelude::*;

use super::*;

#[test]
fn paths_tell_probes_on_one_port_apart() {
    let mut world = World::with(http("/live", "/ready"));
    world.gets(10, "/ready", 200);
    world.gets(4000, "/live", 500);
    world.gets(10_010, "/ready?x", 200);
    let attempts = world.attempts();
    let told: Vec<_> = attempts.iter().map(|it| (it.probe, it.result, it.status)).collect();
    assert_eq!(
        told,
        [
            (ProbeKind::Readiness, ProbeResult::Success, Some(200)),
            (ProbeKind::Liveness, ProbeResult::Failure, Some(500))
        ]
    );
    let first = attempts[0];
    assert_eq!((first.start_boot_ns, first.end_boot_ns), (START + 10 * MS, START + 13 * MS));
    assert_eq!((first.handler, first.timeout_s), (Handler::Http, 1));
    let network = first.network.unwrap();
    assert_eq!(network.connected_boot_ns, Some(START + 11 * MS));
    assert_eq!(network.first_byte_boot_ns, Some(START + 12 * MS));
    assert_eq!(network.connections, 1);
    assert_eq!(attempts.map_left(), [Some(3), Some(2)]);
    assert_eq!((world.count(Outcome::Probe), world.count(Outcome::OtherRequest)), (2, 1));
}

#[test]
fn the_handlers_are_told_on_one_port() {
    let mut world = World::with(json!({
        "livenessProbe": {"tcpSocket": {"port": 8080}},
        "readinessProbe": {"httpGet": {"port": 8080}}
    }));
    world.gets(10, "/", 204);
    world.connects(2000, |it| {
        (it.first_byte_boot_ns, it.ending) = (None, Ending::Closed);
    });
    assert_eq!(world.results(), [("readiness", "success"), ("liveness", "success")]);
}

#[test]
fn tls_is_unknown_unless_the_handshake_fails() {
    let mut world = World::with(json!({
        "livenessProbe": {"httpGet": {"port": 8080, "scheme": "HTTPS"}}
    }));
    for (at, received) in [(0, &[22, 3, 3][..]), (10_000, &[21, 3, 3]), (20_000, b"HTTP/1.0 400")] {
        world.connects(at, |it| {
            it.sent = vec![22, 3, 1, 2, 0];
            it.received = received.to_vec();
        });
    }
    let all = [("liveness", "unknown"), ("liveness", "failure"), ("liveness", "failure")];
    assert_eq!(world.results(), all);
}

#[test]
fn a_probe_before_the_apis_address_waits_for_it() {
    let mut world = World::new();
    let container = http("/live", "/ready");
    world.pod("a", "", &[("web", container.clone())]);
    world.starts("a", "web", 1);
    world.gets(300, "/ready", 200);
    world.settles(700);
    assert_eq!(world.results(), []);
    world.pod("a", "10.244.0.5", &[("web", container)]);
    world.settles(0);
    assert_eq!(world.results(), [("readiness", "success")]);
    // Others wait in vain: the API server, a container that is not known.
    world.connects(2000, |it| it.remote = "192.0.2.1:6443".parse().unwrap());
    world.pod("b", "10.244.0.6", &[("web", http("/", "/"))]);
    world.connects(2000, |it| {
        it.remote = "10.244.0.6:8080".parse().unwrap();
        it.sent = get("/", it.remote, "kube-probe/1.37");
    });
    assert!(world.probes.deadline().is_some());
    world.settles(10_000);
    assert_eq!((world.count(Outcome::NotAProbe), world.count(Outcome::NoContainer)), (1, 1));
    assert_eq!((world.results().len(), world.probes.deadline()), (0, None));
}

#[test]
fn what_is_no_probe_is_counted() {
    let mut container = http("/live", "/ready");
    container["lifecycle"] = json!({"preStop": {"httpGet": {"port": 8080, "path": "/drain"}}});
    let mut world = World::with(container);
    world.connects(0, |it| {
        it.sent = get("/drain", it.remote, "kube-lifecycle/1.37");
        it.end_boot_ns += 30 * SECOND;
    });
    let hook = ExecSession { begin_boot_ns: START, end_boot_ns: Some(START + 2 * MS) };
    assert_eq!(world.probes.take_hooks(), [(CgroupId(1), hook)]);
    world.connects(0, |it| it.remote.set_port(9));
    world.gets(0, "/other", 200);
    world.connects(0, |it| it.sent = get("/live", it.remote, "curl/8"));
    world.connects(0, |it| {
        it.sent = get("/live", it.remote, "kube-probe/1.37");
        it.first_byte_boot_ns = None;
        it.ending = Ending::Closed;
    });
    let counts: Vec<_> =
        [Outcome::Hook, Outcome::NotAProbe, Outcome::OtherRequest, Outcome::Abandoned]
            .map(|outcome| world.count(outcome))
            .into();
    assert_eq!(counts, [1, 1, 2, 1]);
    assert_eq!(world.results(), []);
}

#[test]
fn a_hook_in_secret_is_told_by_its_port_and_the_deletion() {
    let mut container = http("/", "/");
    container["lifecycle"] = json!({"preStop": {"httpGet": {"port": 9443, "scheme": "HTTPS"}}});
    for (deleted, data_observed) in [(true, true), (true, false), (false, true)] {
        let mut world = World::with(container.clone());
        if deleted {
            let deletion = json!({"deletionTimestamp": "2026-11-01T10:00:00Z"});
            world.pod_with("a", "10.244.0.5", &[("web", container.clone())], deletion);
        }
        world.connects(10, |it| {
            it.remote.set_port(9443);
            it.sent = if data_observed { vec![22, 3, 1] } else { Vec::new() };
            it.data_observed = data_observed;
            it.end_boot_ns += 5 * SECOND;
        });
        let begin_boot_ns = START + 10 * MS;
        let end_boot_ns = Some(START + 13 * MS + 5 * SECOND);
        let hook = (CgroupId(1), ExecSession { begin_boot_ns, end_boot_ns });
        let expected = if deleted { vec![hook] } else { Vec::new() };
        assert_eq!(world.probes.take_hooks(), expected);
        assert_eq!(world.count(Outcome::Hook), u64::from(deleted));
    }
}

#[test]
fn grpc_tries_again_until_the_time_is_up() {
    let grpc =
        json!({"readinessProbe": {"grpc": {"port": 8080, "service": "read"}, "timeoutSeconds": 3}});
    let mut world = World::with(grpc);
    let refused = |it: &mut Connection| {
        (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
        (it.ending, it.end_boot_ns) = (Ending::Refused, it.start_boot_ns + MS);
    };
    world.connects(0, refused);
    world.connects(1_050, refused);
    assert_eq!(world.results(), []);
    world.settles(3_000);
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!((attempt.result, attempt.network.unwrap().connections), (ProbeResult::Refused, 2));
    assert_eq!(attempt.end_boot_ns, START + 3 * SECOND, "the kubelet waits");
    // So it does where the server says good-bye (GOAWAY), or speaks another protocol.
    for (n, received) in
        [(2, &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]), (3, b"-ERR\r\n")]
    {
        world.connects(n * 10_000, |it| {
            it.sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            (it.received, it.ending) = (received.to_vec(), Ending::Closed);
            it.received_bytes = received.len() as u64;
        });
        world.settles(4_100);
        assert_eq!(world.results(), [("readiness", "failure")]);
    }
    // The service is in the request.
    let call = |service: &[u8]| {
        let length = u8::try_from(service.len()).unwrap();
        let data = [
            &[0, 0, length + 7, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, length + 2, 10, length][..],
            service,
        ];
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &data.concat()].concat()
    };
    let serving = [0, 0, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 8, 1];
    world.connects(40_000, |it| {
        (it.sent, it.received) = (call(b"read"), serving.to_vec());
    });
    world.connects(41_000, |it| {
        (it.sent, it.received) = (call(b"write"), serving.to_vec());
    });
    assert_eq!(world.results(), [("readiness", "success")]);
    assert_eq!(world.count(Outcome::OtherRequest), 1);
}

#[test]
fn a_dial_or_a_handshake_in_vain_is_a_timeout() {
    let https = json!({"livenessProbe": {"httpGet": {"port": 8080, "scheme": "HTTPS"}}});
    let in_vain = |it: &mut Connection, ms: u64| {
        (it.first_byte_boot_ns, it.end_boot_ns) = (None, it.start_boot_ns + ms * MS);
    };
    for container in [json!({"livenessProbe": {"httpGet": {"port": 8080}}}), https.clone()] {
        let mut world = World::with(container);
        // Go's client goes on until the kernel gives up; here the answer to a SYN comes too late.
        world.connects(0, |it| {
            in_vain(it, 127_000);
            (it.connected_boot_ns, it.ending) = (None, Ending::TimedOut);
        });
        world.connects(200_000, |it| {
            in_vain(it, 1_500);
            (it.connected_boot_ns, it.ending) = (Some(it.end_boot_ns), Ending::Closed);
        });
        let [dropped, late] = *world.attempts() else { panic!("two") };
        assert_eq!((dropped.result, late.result), (ProbeResult::Timeout, ProbeResult::Timeout));
        assert_eq!((dropped.duration_ns(), late.duration_ns()), (SECOND, SECOND));
        // A connection that is closed before its time had no attempt.
        world.connects(300_000, |it| {
            in_vain(it, 400);
            it.ending = Ending::Closed;
        });
        assert_eq!((world.results().len(), world.count(Outcome::OtherRequest)), (0, 1));
    }
    // A handshake lasts for 10 s, or until the server has enough of it.
    let mut world = World::with(https);
    for (at, ms, ending) in [
        (0, 10_000, Ending::Closed),
        (20_000, 2_000, Ending::ClosedByPeer),
        (40_000, 5, Ending::Reset),
    ] {
        world.connects(at, |it| {
            in_vain(it, ms);
            (it.sent, it.ending) = (vec![22, 3, 1], ending);
        });
    }
    let results = [("liveness", "timeout"), ("liveness", "timeout"), ("liveness", "failure")];
    assert_eq!(world.results(), results);
    // The API server's clients are answered, and last.
    world.connects(60_000, |it| {
        (it.sent, it.received) = (vec![22, 3, 1], vec![22, 3, 3]);
        it.end_boot_ns += 100 * SECOND;
    });
    assert_eq!((world.results().len(), world.count(Outcome::OtherRequest)), (0, 1));
}

#[test]
fn an_answer_that_breaks_off_is_no_success_and_in_its_body_counts_for_nothing() {
    let mut world = World::with(http("/live", "/ready"));
    let answer = |it: &mut Connection, head: &str, body: u64| {
        it.sent = get("/live", it.remote, "kube-probe/1.37");
        it.received = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n{head}").into_bytes();
        it.received_bytes = it.received.len() as u64 + body;
    };
    world.gets(0, "/live", 503);
    // The kubelet's prober has an error, asks again at once, and throws all away.
    for n in 0..3 {
        world.connects(10_000 + 10 * n, |it| answer(it, "\r\n", 99));
    }
    world.gets(20_000, "/live", 503);
    // Without a whole head there is no answer.
    world.connects(30_000, |it| answer(it, "", 0));
    let attempts = world.attempts();
    assert!(attempts.iter().all(|it| it.result == ProbeResult::Failure));
    let left: Vec<_> = attempts.iter().map(|it| it.failures_left).collect();
    assert_eq!(left, [Some(2), Some(2), Some(2), Some(2), Some(1), Some(0)]);
    world.connects(40_000, |it| answer(it, "\r\n", 100));
    assert_eq!(world.results(), [("liveness", "success")]);
}

#[test]
fn grpc_probes_of_one_moment_are_attempts_of_their_own() {
    let grpc = json!({"grpc": {"port": 8080}, "timeoutSeconds": 3, "periodSeconds": 10});
    let mut world = World::with(json!({"livenessProbe": grpc.clone(), "readinessProbe": grpc}));
    for n in 0..3 {
        // Each tries again after a second.
        for ms in [0, 1, 950, 1_100] {
            world.connects(n * 10_000 + ms, |it| {
                (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
                (it.ending, it.end_boot_ns) = (Ending::Refused, it.start_boot_ns + MS / 2);
            });
        }
        world.settles(4_000);
        let connections =
            world.attempts().iter().map(|it| it.network.unwrap().connections).collect::<Vec<_>>();
        assert_eq!(connections, [2, 2], "{n}");
    }
}

#[test]
fn a_grpc_retry_takes_no_other_probes_connection() {
    let mut world = World::with(json!({
        "livenessProbe": {"grpc": {"port": 8080}, "timeoutSeconds": 1, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/ready"}, "periodSeconds": 10},
    }));
    let refused = |it: &mut Connection| {
        (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
        (it.ending, it.end_boot_ns) = (Ending::Refused, it.start_boot_ns + MS);
    };
    // The readiness probe shows its phase.
    for n in 0..4 {
        world.gets(500 + n * 10_000, "/ready", 200);
    }
    world.results();
    for n in 4..6 {
        world.connects(n * 10_000, refused);
        // Its request tells it; without one, its phase does.
        if n == 4 {
            world.gets(500 + n * 10_000, "/ready", 200);
        } else {
            world.connects(500 + n * 10_000, refused);
        }
        // After the timeout nothing is tried again.
        world.connects(1_200 + n * 10_000, |it| {
            it.sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            it.remote.set_port(9);
        });
        world.settles(3_000);
        let ready = if n == 4 { "success" } else { "refused" };
        let mut results = world.results();
        results.sort_unstable();
        assert_eq!(results, [("liveness", "refused"), ("readiness", ready)], "{n}");
    }
}

#[test]
fn containers_and_pods_are_told_apart_by_port_or_not_at_all() {
    let mut world = World::new();
    let on = |port: u16| json!({"readinessProbe": {"tcpSocket": {"port": port}}});
    world.pod("a", "10.244.0.5", &[("web", on(8080)), ("metrics", on(9090))]);
    world.pod("host-1", "192.0.2.10", &[("agent", on(8080))]);
    world.pod("host-2", "192.0.2.10", &[("agent", on(8081)), ("other", on(7000))]);
    world.pod("host-3", "192.0.2.10", &[("other", on(7000))]);
    let all = [
        ("a", "web"),
        ("a", "metrics"),
        ("host-1", "agent"),
        ("host-2", "agent"),
        ("host-2", "other"),
        ("host-3", "other"),
    ];
    for (number, (uid, name)) in (1..).zip(all) {
        world.starts(uid, name, number);
    }
    for to in ["10.244.0.5:9090", "192.0.2.10:8081", "192.0.2.10:8080", "192.0.2.10:7000"] {
        world.connects(0, |it| {
            it.remote = to.parse().unwrap();
            (it.first_byte_boot_ns, it.ending) = (None, Ending::Closed);
        });
    }
    let whose: Vec<_> = world.out.iter().map(|(who, _)| who.cgroup.0).collect();
    assert_eq!(whose, [2, 4, 3]);
    assert_eq!(world.count(Outcome::Ambiguous), 1);
}

#[test]
fn an_address_belongs_to_the_pod_that_has_it_now() {
    let mut world = World::with(http("/", "/"));
    let gone = world.pods.get("a").unwrap().pod.clone();
    let kind = PodEventKind::Deleted(Box::new(gone));
    world.pods.apply(PodEvent { time_boot_ns: START + SECOND, kind });
    world.now = START + 2 * SECOND;
    world.pod("b", "10.244.0.5", &[("web", http("/", "/"))]);
    world.starts("b", "web", 2);
    world.gets(3000, "/", 200);
    let [(who, _)] = &world.out[..] else { panic!("one") };
    assert_eq!(who.cgroup.0, 2);
}

/// Connections of any kind, in any order.
fn any_connection() -> impl Strategy<Value = Connection> {
    let endings =
        [Ending::Closed, Ending::ClosedByPeer, Ending::Reset, Ending::Refused, Ending::TimedOut];
    let times = (0..60_000_u64, 0..3_000_u64, any::<bool>(), any::<bool>());
    let sent = prop_oneof![
        Just(Vec::new()),
        Just(b"GET /live HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"GET / HTTP/1.1\r\nUser-Agent: kube-lifecycle/1\r\n\r\n".to_vec()),
        Just(vec![22, 3, 1]),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let received = prop_oneof![
        Just(Vec::new()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 302 Found\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let remotes = ["10.244.0.5:8080", "10.244.0.5:9090", "10.244.0.9:8080", "[::1]:1"];
    let kinds = (prop::sample::select(endings.to_vec()), prop::sample::select(remotes.to_vec()));
    (times, sent, received, kinds).prop_map(
        |((at, took, connected, data_observed), sent, received, (ending, remote))| {
            let start_boot_ns = START + at * MS;
            Connection {
                start_boot_ns,
                connected_boot_ns: connected.then_some(start_boot_ns + took * MS / 2),
                first_byte_boot_ns: None,
                end_boot_ns: start_boot_ns + took * MS,
                ending,
                local: "10.244.0.1:40000".parse().unwrap(),
                remote: remote.parse().unwrap(),
                sent,
                received_bytes: received.len() as u64,
                received,
                data_observed,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Property: each connection has one outcome, and attempts are in order.
    #[test]
    fn each_connection_is_counted_once(all in proptest::collection::vec(any_connection(), 0..40)) {
        let mut container = http("/live", "/");
        container["startupProbe"] = json!({"grpc": {"port": 9090}});
        let mut world = World::with(container);
        let number = all.len() as u64;
        for connection in all {
            world.probes.connection(connection, &world.pods, &mut world.out);
            world.settles(100);
        }
        world.now = START + 100 * SECOND;
        world.settles(0);
        let counted: u64 = world.probes.connections().iter().map(|(_, count)| count).sum();
        prop_assert_eq!(counted, number);
        prop_assert_eq!(world.probes.deadline(), None);
        let attempts = world.attempts();
        let of_attempts: u32 = attempts.iter().map(|it| it.network.unwrap().connections).sum();
        // One that the kubelet gives up on the way is none.
        prop_assert!(u64::from(of_attempts) <= world.count(Outcome::Probe));
        for attempt in attempts {
            prop_assert!(attempt.start_boot_ns <= attempt.end_boot_ns, "{attempt:?}");
        }
    }
}

#[test]
fn state_is_bounded() {
    let mut world = World::with(http("/", "/"));
    for n in 0..2_000u64 {
        world.connects(n, |it| it.remote = "198.51.100.1:443".parse().unwrap());
    }
    assert!(world.probes.waiting.len() <= WAITING_MAX);
    assert_eq!(world.count(Outcome::NoRoom), 2_000 - WAITING_MAX as u64);
}

#[test]
fn nothing_is_kept_of_a_container_that_has_no_probe_or_whose_pod_is_gone() {
    for (spec, pod_is_gone, kept_s) in
        [(json!({}), false, 1), (http("/", "/"), true, 30), (http("/", "/"), false, 600 + 30)]
    {
        let mut world = World::with(spec);
        if pod_is_gone {
            let gone = world.pods.get("a").unwrap().pod.clone();
            let kind = PodEventKind::Deleted(Box::new(gone));
            world.pods.apply(PodEvent { time_boot_ns: world.now, kind });
        }
        world.probes.gone(CgroupId(1), world.now);
        let keeps = |world: &mut World, seconds: u64| {
            for _ in 0..seconds {
                world.now += SECOND;
                world.probes.expire(&world.pods, world.now, &mut world.out);
            }
            !world.probes.instances.is_empty()
        };
        assert!(keeps(&mut world, kept_s - 1), "{kept_s} s");
        assert!(!keeps(&mut world, 1), "{kept_s} s");
    }
}
