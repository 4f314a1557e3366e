//! Whether the kubelet must have connected, by the probes of containers that run.

use super::*;

fn http(edit: impl FnOnce(&mut Value)) -> Value {
    let mut probe = json!({"httpGet": {"port": 8080}, "periodSeconds": 10});
    edit(&mut probe);
    probe
}

fn readiness(edit: impl FnOnce(&mut Value)) -> Value {
    json!({"readinessProbe": http(edit)})
}

/// Whether it must have, `s` after the container's start. `since_s`: since then nothing was seen.
fn must(world: &World, since_s: u64, s: u64) -> bool {
    world.probes.must_have_asked(&world.pods, START + since_s * SECOND, START + s * SECOND)
}

#[test]
fn a_probe_that_is_due_for_long_was_made() {
    let world = World::with(readiness(|_| {}));
    assert!(!must(&world, 0, 299));
    assert!(must(&world, 0, 300));
    assert!(!must(&world, 1, 300), "a connection was seen, or the agent came then");
    assert!(must(&world, 100, 400));
    let late = World::with(readiness(|it| it["initialDelaySeconds"] = 1000.into()));
    assert!(!must(&late, 0, 1299));
    assert!(must(&late, 0, 1300));
    let rare = World::with(readiness(|it| it["periodSeconds"] = 600.into()));
    assert!(!must(&rare, 0, 1799), "three periods");
    assert!(must(&rare, 0, 1800));
}

#[test]
fn what_is_not_over_the_network_is_no_connection() {
    let exec = json!({"livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 10}});
    let named = readiness(|it| it["httpGet"]["host"] = "not.there".into());
    let bad = readiness(|it| {
        it["httpGet"]["httpHeaders"] = json!([{"name": "X-A", "value": "\u{1}"}]);
    });
    for container in [json!({}), exec, named, bad, json!({"startupProbe": http(|_| {})})] {
        assert!(!must(&World::with(container.clone()), 0, 100_000), "{container}");
    }
    for probe in [json!({"tcpSocket": {"port": 1}}), json!({"grpc": {"port": 1}})] {
        let container = json!({"livenessProbe": probe});
        assert!(must(&World::with(container.clone()), 0, 300), "{container}");
    }
}

#[test]
fn a_container_that_does_not_run_is_not_probed() {
    let mut world = World::new();
    let pod = |world: &mut World, metadata| {
        world.pod_with("a", "10.244.0.5", &[("web", readiness(|_| {}))], metadata);
    };
    pod(&mut world, json!({}));
    assert!(!must(&world, 0, 1000), "it has not started");
    world.starts("a", "web", 1);
    assert!(must(&world, 0, 1000));
    world.probes.gone(CgroupId(1), START + 500 * SECOND);
    assert!(!must(&world, 0, 1000));
    world.starts("a", "web", 2);
    assert!(must(&world, 0, 1000), "it runs again");
    pod(&mut world, json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    assert!(!must(&world, 0, 1000), "its Pod is stopped");
    let mut world = World::new();
    world.pod("a", "", &[("web", readiness(|_| {}))]);
    world.starts("a", "web", 1);
    assert!(!must(&world, 0, 1000), "its Pod has no address");
    let mut stranger = World::new();
    stranger.starts("a", "web", 1);
    assert!(!must(&stranger, 0, 1000), "nobody knows its Pod");
}

#[test]
fn others_wait_for_the_startup_probe() {
    let world = |started: Option<bool>| {
        let startup = http(|it| it["failureThreshold"] = 29.into());
        let container =
            json!({"name": "web", "startupProbe": startup, "readinessProbe": http(|_| {})});
        let mut status = json!({"name": "web", "containerID": "containerd://x"});
        if let Some(started) = started {
            status["started"] = started.into();
        }
        let pod = json!({
            "metadata": {"uid": "a"},
            "spec": {"containers": [container]},
            "status": {"phase": "Running", "podIP": "10.244.0.5",
                "podIPs": [{"ip": "10.244.0.5"}], "containerStatuses": [status]}
        });
        let pod = convert::pod(&serde_json::from_value(pod).unwrap());
        let mut world = World::new();
        let kind = PodEventKind::Applied(Box::new(pod.clone()));
        world.pods.apply(PodEvent { time_boot_ns: START, kind });
        world.probes.pod(&pod);
        world.starts("a", "web", 1);
        world
    };
    for started in [None, Some(false)] {
        assert!(!must(&world(started), 0, 10_000), "{started:?}");
    }
    let started = world(Some(true));
    assert!(!must(&started, 0, 599), "it may have taken 300 s");
    assert!(must(&started, 0, 600));
}
