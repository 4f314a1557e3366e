//! Probes and hooks of Pods that name another Pod's address.

use super::*;

/// A probe over HTTP of the Pod `a`, each 10 s.
fn victim() -> Value {
    json!({"livenessProbe": {"httpGet": {"port": 8080, "path": "/live"}}})
}

/// A Pod `evil` with such a liveness probe, and more.
fn evil(world: &mut World, probe: &Value) {
    world.pod("evil", "10.244.0.9", &[("app", json!({"livenessProbe": probe}))]);
    world.starts("evil", "app", 2);
}

fn named(host: &str, headers: &[(&str, &str)]) -> Value {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "httpGet": {"port": 8080, "path": "/live", "host": host, "httpHeaders": headers},
        "periodSeconds": 1
    })
}

/// Whose the attempts are, with their results, since the last call.
fn whose(world: &mut World) -> Vec<(u64, &'static str)> {
    let out = std::mem::take(&mut world.out);
    let result = |fact: &Fact| match &fact.kind {
        FactKind::Probed(attempt) => attempt.result.label(),
        other => panic!("{other:?}"),
    };
    out.iter().map(|(who, fact)| (who.cgroup.0, result(fact))).collect()
}

/// Hosts that lead to the Pod `a`, as far as anybody can know.
const LEADS: [&str; 4] = ["10.244.0.5", "rebind.evil.example", "0x0af40005", "0.0.0.0"];

#[test]
fn a_probe_at_an_own_address_is_neither_forged_nor_silenced() {
    for host in LEADS {
        let mut world = World::with(victim());
        world.gets(0, "/live", 200);
        evil(&mut world, &named(host, &[("Host", "10.244.0.5:8080")]));
        for second in 1..=60 {
            world.gets(second * 1_000 + 500, "/live", 500);
            if second % 10 == 0 {
                world.gets(second * 1_000 + 3, "/live", 200);
            }
        }
        assert_eq!(whose(&mut world), [(1, "success"); 7], "{host}");
        assert_eq!((world.count(Outcome::Probe), world.count(Outcome::Ambiguous)), (7, 60));
    }
}

#[test]
fn a_connection_without_a_request_is_decided_by_the_schedule_too() {
    let tcp = |host: Value| json!({"tcpSocket": {"port": 8080, "host": host}});
    for host in LEADS {
        let mut world = World::with(json!({"livenessProbe": tcp(Value::Null)}));
        let opens = |it: &mut Connection| {
            (it.first_byte_boot_ns, it.ending) = (None, Ending::Closed);
        };
        let refused = |it: &mut Connection| {
            (it.connected_boot_ns, it.first_byte_boot_ns) = (None, None);
            it.ending = Ending::Refused;
        };
        world.connects(0, opens);
        evil(&mut world, &tcp(host.into()));
        for ms in [2_000, 12_000, 22_000] {
            world.connects(ms, refused);
            world.connects(ms + 8_000, opens);
        }
        assert_eq!(whose(&mut world), [(1, "success"); 4], "{host}");
    }
}

#[test]
fn a_request_with_other_headers_is_not_the_victims() {
    for (host, evils) in
        [("10.244.0.5", true), ("::ffff:10.244.0.5%lo", true), ("evil.example", false)]
    {
        let mut world = World::with(victim());
        let headers = [("Host", "10.244.0.5:8080"), ("Expect", "nonsense")];
        evil(&mut world, &named(host, &headers));
        for second in 0..4 {
            world.connects(second * 1_000, |it| {
                let sent = String::from_utf8(get("/live", it.remote, "kube-probe/1.37")).unwrap();
                it.sent = sent.replace("close\r\n", "close\r\nExpect: nonsense\r\n").into();
                it.received = b"HTTP/1.1 417 Expectation Failed\r\n".to_vec();
            });
            world.gets(second * 1_000 + 5, "/live", 200);
        }
        let results = whose(&mut world);
        let of = |whose: (u64, &str)| results.iter().filter(|it| **it == whose).count();
        let expected = if evils { 4 } else { 0 };
        assert_eq!((of((1, "success")), of((2, "failure"))), (4, expected), "{results:?}");
        assert_eq!(results.len(), 4 + expected, "{host}");
    }
}

#[test]
fn who_names_an_address_is_told_where_it_is_nobody_elses() {
    let mut world = World::with(victim());
    evil(&mut world, &named("192.0.2.7", &[]));
    world.connects(0, |it| {
        it.remote = "192.0.2.7:8080".parse().unwrap();
        it.sent = get("/live", it.remote, "kube-probe/1.37");
        it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
    });
    assert_eq!(whose(&mut world), [(2, "success")]);
}

#[test]
fn the_loopback_address_is_that_of_pods_on_the_nodes_network() {
    let probe =
        json!({"livenessProbe": {"httpGet": {"port": 8080, "path": "/live", "host": "127.0.0.1"}}});
    let mut world = World::new();
    world.pod("a", "192.0.2.10", &[("web", probe.clone())]);
    let mut known = world.pods.get("a").unwrap().pod.clone();
    known.host_network = true;
    let kind = PodEventKind::Applied(Box::new(known.clone()));
    world.pods.apply(PodEvent { time_boot_ns: world.now, kind });
    world.probes.pod(&known);
    world.starts("a", "web", 1);
    let asks = |world: &mut World, ms: u64| {
        world.connects(ms, |it| {
            it.remote = "127.0.0.1:8080".parse().unwrap();
            it.sent = get("/live", it.remote, "kube-probe/1.37");
            it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
        });
    };
    asks(&mut world, 0);
    evil(&mut world, &named("127.0.0.1", &[]));
    asks(&mut world, 3_000);
    asks(&mut world, 10_000);
    assert_eq!(whose(&mut world), [(1, "success"), (1, "success")]);
    assert_eq!(world.count(Outcome::Ambiguous), 1);
}

#[test]
fn made_up_hosts_take_no_room_from_own_addresses() {
    let mut world = World::new();
    for pod in 0..1_900_u32 {
        let probe = |host: u32| {
            let host = std::net::Ipv4Addr::from(0x0b00_0000 + pod * 16 + host).to_string();
            json!({"livenessProbe": {"tcpSocket": {"port": 1, "host": host}}})
        };
        let containers: Vec<_> = (0..10)
            .map(|at| (["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][at as usize], probe(at)))
            .collect();
        world.pod(&format!("evil-{pod}"), "10.244.0.9", &containers);
    }
    let [(_, dropped), ..] = world.probes.dropped();
    assert_eq!(dropped, 1_900 * 2, "8 of each have room");
    world.pod("a", "10.244.0.5", &[("web", victim())]);
    world.starts("a", "web", 1);
    world.gets(0, "/live", 200);
    assert_eq!(whose(&mut world), [(1, "success")]);
    // What has no room may be anywhere.
    evil(&mut world, &json!({"tcpSocket": {"port": 8080, "host": "10.244.0.5"}}));
    let kind = PodEventKind::Listed(Vec::new());
    world.pods.apply(PodEvent { time_boot_ns: world.now, kind });
    world.pods.apply(PodEvent {
        time_boot_ns: world.now + 1200 * SECOND,
        kind: PodEventKind::Listed(Vec::new()),
    });
    world.probes.expire(&world.pods, world.now, &mut Vec::new());
    assert!(world.probes.targets.is_empty());
}

#[test]
fn a_host_without_room_is_a_rival_all_the_same() {
    let mut world = World::with(victim());
    let mut containers = vec![("last", json!({"livenessProbe": named("10.244.0.5", &[])}))];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for (at, name) in names.into_iter().enumerate() {
        let host = format!("198.51.100.{at}");
        containers
            .insert(0, (name, json!({"livenessProbe": {"tcpSocket": {"port": 1, "host": host}}})));
    }
    world.pod("evil", "10.244.0.9", &containers);
    assert_eq!(world.probes.dropped()[0], ("probe_address", 1));
    world.gets(0, "/live", 500);
    assert_eq!((whose(&mut world), world.count(Outcome::Ambiguous)), (Vec::new(), 1));
}

#[test]
fn a_shorter_path_is_not_a_longer_one_that_is_cut() {
    let long = format!("/live?verbose={}", "x".repeat(300));
    let mut world = World::with(http("/live", &long));
    for n in 0..4 {
        world.gets(n * 10_000, "/live", 200);
        let cut = &long[..200];
        world.connects(n * 10_000 + 10, |it| {
            it.sent = format!("GET {cut}").into_bytes();
            it.received = b"HTTP/1.1 200 OK\r\n".to_vec();
        });
    }
    let pair = [("liveness", "success"), ("readiness", "success")];
    assert_eq!(world.results(), [pair; 4].concat());
}

/// A Pod `a` whose preStop hook is `/drain`, and a run of a hook with this path.
fn drained(path: &str, edit: impl FnOnce(&mut World)) -> usize {
    let mut container = http("/live", "/ready");
    container["lifecycle"] = json!({"preStop": {"httpGet": {"port": 8080, "path": "/drain"}}});
    let mut world = World::with(container);
    edit(&mut world);
    world.connects(0, |it| it.sent = get(path, it.remote, "kube-lifecycle/1.37"));
    world.probes.take_hooks().len()
}

#[test]
fn a_hook_is_told_by_its_whole_path_and_is_no_probe_in_disguise() {
    assert_eq!(drained("/drain", |_| {}), 1);
    for path in ["/", "/dra", "/drain/all", "/drain?now"] {
        assert_eq!(drained(path, |_| {}), 0, "{path}");
    }
    for host in LEADS {
        let headers = [("Host", "10.244.0.5:8080"), ("User-Agent", "kube-lifecycle/1.37")];
        let mut probe = named(host, &headers);
        probe["httpGet"]["path"] = "/drain".into();
        assert_eq!(drained("/drain", |world| evil(world, &probe)), 0, "{host}: a probe");
        let headers = json!([{"name": "Host", "value": "10.244.0.5:8080"}]);
        let hook = json!({"preStop": {"httpGet": {
            "port": 8080, "path": "/drain", "host": host, "httpHeaders": headers
        }}});
        let other = |world: &mut World| {
            world.pod("evil", "10.244.0.9", &[("app", json!({"lifecycle": hook}))]);
            world.starts("evil", "app", 2);
        };
        assert_eq!(drained("/drain", other), 0, "{host}: a hook");
    }
}
