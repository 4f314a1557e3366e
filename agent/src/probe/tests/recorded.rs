//! Connections as the kubelet's own probers make them: those of Kubernetes 1.37.2 (`pkg/probe`) asked
//! servers of Go's net/http and of grpc-go 1.82.1 over loopback, and the first 256 bytes of both
//! sides were recorded, with the result that the prober returned.

use serde::Deserialize;

use super::*;

const RECORDED: &str = include_str!("../testdata/kubelet-1.37.2.jsonl");

#[derive(Deserialize)]
struct Recorded {
    name: String,
    probe: Value,
    /// The prober's result.
    kubelet: String,
    /// What was sent and received on each connection, in hexadecimal digits.
    connections: Vec<(String, String)>,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn results_are_the_kubelets_own() {
    for line in RECORDED.lines() {
        let recorded: Recorded = serde_json::from_str(line).unwrap();
        let Recorded { name, probe, kubelet, connections } = recorded;
        let port = probe.as_object().and_then(|it| it.values().next()?["port"].as_u64()).unwrap();
        let mut world = World::new();
        world.pod("a", "127.0.0.1", &[("web", json!({"livenessProbe": probe}))]);
        world.starts("a", "web", 1);
        for (n, (sent, received)) in (0..).zip(&connections) {
            world.connects(4 * n, |it| {
                it.remote.set_ip("127.0.0.1".parse().unwrap());
                it.remote.set_port(port.try_into().unwrap());
                (it.sent, it.received) = (bytes(sent), bytes(received));
            });
        }
        world.settles(2_100);
        let [attempt] = *world.attempts() else { panic!("{name}: one attempt") };
        // What is encrypted is not read.
        let expected = if name == "https" { "unknown" } else { &kubelet };
        assert_eq!(attempt.result.label(), expected, "{name}");
        assert_eq!(attempt.network.unwrap().connections as usize, connections.len(), "{name}");
        assert_eq!(world.count(Outcome::Probe), connections.len() as u64, "{name}");
    }
    assert_eq!(RECORDED.lines().count(), 15);
}

#[test]
fn a_call_for_another_service_is_told() {
    let grpc = RECORDED.lines().find(|line| line.contains("\"grpc-read\"")).unwrap();
    let recorded: Recorded = serde_json::from_str(grpc).unwrap();
    let request = request::read(&bytes(&recorded.connections[0].0));
    assert_eq!(request, Request::Http2 { service: Some(b"read".to_vec()) });
}
