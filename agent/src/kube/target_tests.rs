use serde_json::{Value, json};

use super::super::convert;
use super::*;

/// The targets of a Pod's one container.
fn targets(container: &Value) -> Option<Box<Targets>> {
    let pod = json!({"spec": {"containers": [container]}});
    let pod = convert::pod(&serde_json::from_value(pod).unwrap());
    pod.containers.into_iter().next().unwrap().targets
}

fn liveness(probe: Value, more: Value) -> Option<Target> {
    let mut container = more;
    container["livenessProbe"] = probe;
    targets(&container).and_then(|targets| targets.liveness)
}

fn http(probe: &Value) -> HttpTarget {
    let ports = json!({"ports": [{"name": "web", "containerPort": 8080}]});
    match liveness(json!({"httpGet": probe}), ports) {
        Some(Target::Http(target)) => target,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_get_has_an_endpoint_a_request_target_and_headers() {
    let target = http(&json!({"port": "web", "path": "/healthz"}));
    let endpoint = Endpoint { host: None, port: 8080 };
    let uri = b"/healthz"[..].into();
    let expected = HttpTarget {
        endpoint,
        uri,
        host: None,
        user_agent: None,
        has_more: Some(false),
        is_h2c: false,
        is_sent: true,
    };
    assert_eq!(target, expected);
    let target = http(&json!({
        "port": 81, "host": "127.0.0.1", "protocol": "HTTP2",
        "httpHeaders": [
            {"name": "host", "value": "shop.example"},
            {"name": "Host", "value": "second"},
            {"name": "User-Agent", "value": "own/1"}
        ]
    }));
    assert_eq!(target.endpoint, Endpoint { host: Some("127.0.0.1".into()), port: 81 });
    assert_eq!((&*target.uri, target.host.as_deref()), (&b"/"[..], Some("shop.example")));
    assert_eq!((target.user_agent.as_deref(), target.is_h2c), (Some("own/1"), true));
}

#[test]
fn nothing_is_asked_of_a_pod_that_has_ended() {
    for (phase, state, expected) in [
        ("Running", json!({"running": {}}), true),
        ("Succeeded", json!({"running": {}}), true),
        ("Succeeded", json!({"terminated": {}}), false),
        ("Failed", json!({}), false),
    ] {
        let pod = json!({
            "spec": {"containers": [
                {"name": "web", "livenessProbe": {"tcpSocket": {"port": 1}}}
            ]},
            "status": {"phase": phase, "containerStatuses": [{"name": "web", "state": state}]}
        });
        let pod = convert::pod(&serde_json::from_value(pod).unwrap());
        let [container] = &pod.containers[..] else { panic!("one") };
        assert_eq!((container.targets.is_some(), container.liveness.is_some()), (expected, true));
    }
}

#[test]
fn headers_beyond_the_usual_are_noted() {
    for (names, expected) in [
        (&[][..], Some(false)),
        (&["Host", "user-agent"], Some(false)),
        (&["X-A"], Some(true)),
        (&["Accept"], None),
        (&["Accept", "Expect"], Some(true)),
    ] {
        let headers: Vec<_> =
            names.iter().map(|name| json!({"name": name, "value": "a"})).collect();
        assert_eq!(http(&json!({"port": 81, "httpHeaders": headers})).has_more, expected);
    }
}

#[test]
fn a_port_that_is_none_has_no_target() {
    for port in [json!("web"), json!(0), json!(65536), json!(-1), json!(1.5), json!(null)] {
        let probe = json!({"httpGet": {"port": &port}});
        assert_eq!(liveness(probe, json!({})), None, "{port}");
        assert_eq!(liveness(json!({"tcpSocket": {"port": &port}}), json!({})), None, "{port}");
    }
    assert_eq!(liveness(json!({"grpc": {"port": 0}}), json!({})), None);
    assert_eq!(liveness(json!({}), json!({})), None);
}

#[test]
fn the_other_handlers_have_their_targets() {
    let tcp = liveness(json!({"tcpSocket": {"port": 5432}}), json!({}));
    assert_eq!(tcp, Some(Target::Tcp(Endpoint { host: None, port: 5432 })));
    let grpc = liveness(json!({"grpc": {"port": 50051, "service": "read"}}), json!({}));
    let endpoint = Endpoint { host: None, port: 50051 };
    assert_eq!(grpc, Some(Target::Grpc(GrpcTarget { endpoint, service: "read".into() })));
    let hooks = json!({"lifecycle": {"preStop": {"exec": {"command": ["drain", "$(X)"]}}}});
    let targets = targets(&hooks).unwrap();
    let command = targets.pre_stop.as_ref().and_then(Target::command).unwrap();
    assert!(command.is_run_by(b"drain\0$(X)\0"));
    assert!(targets.size_bytes() >= size_of::<Targets>() + 11);
}

fn command(words: &[&str]) -> Command {
    let env = json!({"env": [
        {"name": "FILE", "value": "/tmp/old"},
        {"name": "FILE", "value": "/tmp/healthy"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
        {"name": "LONG", "value": "x".repeat(100_000)}
    ]});
    match liveness(json!({"exec": {"command": words}}), env) {
        Some(Target::Exec(command)) => command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn variables_are_replaced_as_the_kubelet_does_it() {
    for (word, expected) in [
        ("$(FILE)", "/tmp/healthy"),
        ("a$(FILE)b", "a/tmp/healthyb"),
        ("$(SECRET)", ""),
        ("$(NONE)", "$(NONE)"),
        ("$$(FILE)", "$(FILE)"),
        ("$$$(FILE)", "$/tmp/healthy"),
        ("$FILE", "$FILE"),
        ("$(FILE", "$(FILE"),
        ("$()", "$()"),
        ("100$", "100$"),
        ("$ä", "$ä"),
    ] {
        let argv = [b"cat\0", expected.as_bytes(), b"\0"].concat();
        assert!(command(&["cat", word]).is_run_by(&argv), "{word}");
    }
    let long = command(&["cat", &"$(LONG)".repeat(1000)]);
    assert!(long.0.len() <= ARGV_MAX);
}

#[test]
fn a_command_is_told_by_its_arguments() {
    let cat = command(&["cat", "/tmp/healthy"]);
    assert!(cat.is_run_by(b"cat\0/tmp/healthy\0"));
    for other in [&b"cat\0/tmp/health\0"[..], b"cat\0", b"cat", b"", b"cat\0/tmp/healthy\0-v\0"] {
        assert!(!cat.is_run_by(other), "{}", String::from_utf8_lossy(other));
    }
    // What the kernel side reports of a long command is cut.
    let shell = "test -f /tmp/healthy && curl --silent http://127.0.0.1:8080/healthz; ".repeat(4);
    let long = command(&["sh", "-c", &shell]);
    let argv = [&b"sh\0-c\0"[..], shell.as_bytes(), b"\0"].concat();
    let cut = &argv[..agent_common::event::ARGV_BYTES];
    assert!(long.is_run_by(cut));
    assert!(!long.is_run_by(&cut[..40]), "it was not cut there");
    let mut other = cut.to_vec();
    other[200..].fill(b'x');
    assert!(!long.is_run_by(&other));
}

#[test]
fn a_script_runs_in_its_interpreter() {
    let script = command(&["check.sh", "--fast"]);
    assert!(script.is_run_by(b"/bin/sh\0/usr/local/bin/check.sh\0--fast\0"));
    assert!(script.is_run_by(b"/usr/bin/env\0bash\0/bin/check.sh\0--fast\0"));
    assert!(!script.is_run_by(b"/bin/sh\0/bin/precheck.sh\0--fast\0"));
    assert!(!script.is_run_by(b"/bin/sh\0/bin/check.sh\0"));
    let path = command(&["/check.sh"]);
    assert!(path.is_run_by(b"/bin/sh\0/check.sh\0") && !path.is_run_by(b"/bin/sh\0/a/check.sh/\0"));
}

#[test]
fn request_targets_have_one_spelling() {
    for (path, expected) in [
        ("", "/"),
        ("healthz", "/healthz"),
        ("/a b", "/a b"),
        ("/a%20b", "/a b"),
        ("/a%2", "/a%2"),
        ("/a%zz", "/a%zz"),
        ("/a%+1", "/a%+1"),
        ("/a?x=%20#top", "/a?x=%20"),
        ("?full", "/?full"),
    ] {
        assert_eq!(String::from_utf8(canonical(path.as_bytes())).unwrap(), expected, "{path}");
    }
}

#[test]
fn a_header_that_is_none_is_never_sent() {
    for (name, value, is_sent) in [
        ("X-A", "text\twith a tab, \u{e9}", true),
        ("X-A", "", true),
        ("X-A", "\u{1}", false),
        ("X-A", "two\r\nlines", false),
        ("X A", "text", false),
        ("", "text", false),
    ] {
        let headers = json!([{"name": name, "value": value}]);
        let target = http(&json!({"port": 80, "httpHeaders": headers}));
        assert_eq!(target.is_sent, is_sent, "{name:?}: {value:?}");
    }
}
