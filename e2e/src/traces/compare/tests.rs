//! Comparisons that must fail.

use serde_json::json;

use super::*;

const UID: &str = "b15d8c96-12da-479d-8b9f-b569fbda4d2d";
const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_700_000_000 * SECOND;

fn span(id: &str, parent: &str, name: &str, from: u64, to: u64) -> Json {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let event = |name: &str| json!({ "name": name, "timeUnixNano": (NOW + to).to_string() });
    let mut attributes = vec![text("podvitals.trace", "pod shutdown"), text("k8s.pod.uid", UID)];
    let mut events = Vec::new();
    if name == "container termination" {
        events.push(event("end"));
        attributes.extend([
            text("k8s.container.name", "main"),
            text("podvitals.cause", "completed"),
            text("podvitals.trigger", "pod_deletion"),
            json!({ "key": "process.exit.code", "value": { "intValue": "0" } }),
        ]);
    }
    json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent,
        "name": name, "kind": 1, "attributes": attributes, "events": events,
        "startTimeUnixNano": (NOW + from).to_string(), "endTimeUnixNano": (NOW + to).to_string(),
    })
}

fn spans() -> Vec<Span> {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let resource = [
        text("service.name", "podvitals"),
        text("k8s.node.name", node::NAME),
        text("k8s.namespace.name", "default"),
        text("k8s.pod.name", "web"),
        text("k8s.pod.uid", UID),
        text("podvitals.workload.kind", "Pod"),
        text("podvitals.workload.name", "web"),
    ];
    let spans = [
        span("b7ad6b7169203331", "", "pod shutdown", 0, 2 * SECOND),
        span("b7ad6b7169203332", "b7ad6b7169203331", "container termination", SECOND, 2 * SECOND),
        span("b7ad6b7169203333", "b7ad6b7169203332", "grace period", SECOND, 2 * SECOND),
    ];
    let message = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "podvitals" }, "spans": spans }],
    }] });
    otlp::from_lines(&format!("{message}\n")).unwrap()
}

fn known() -> Known {
    let end = End {
        unix_s: unix_s(NOW + 2 * SECOND),
        cause: "completed".to_owned(),
        trigger: "pod_deletion".to_owned(),
        exit_code: "0".to_owned(),
        signal: String::new(),
        shutdown: Some(1.0),
        grace: Some(30.0),
        grace_used: None,
    };
    let (pod, uid) = ("web".to_owned(), UID.to_owned());
    let told = Told { pod, uid, is_final: true, restarts: 0, end };
    Known { told: vec![told], agents: 1, ..Known::default() }
}

#[test]
fn an_end_that_is_told_otherwise_is_found() {
    all(&known(), &[], &spans()).unwrap();
    let spoiled: [fn(&mut Told); 10] = [
        |told| told.uid.clear(),
        |told| told.pod.push('x'),
        |told| told.restarts = 1,
        |told| told.end.unix_s += 0.1,
        |told| told.end.cause = "oom".to_owned(),
        |told| told.end.trigger = "liveness".to_owned(),
        |told| told.end.exit_code = "1".to_owned(),
        |told| told.end.signal = "SIGKILL".to_owned(),
        |told| told.end.shutdown = Some(1.002),
        |told| told.end.shutdown = None,
    ];
    for (n, spoil) in spoiled.iter().enumerate() {
        let mut known = known();
        known.told.iter_mut().for_each(spoil);
        assert!(all(&known, &[], &spans()).is_err(), "{n}");
    }
}

#[test]
fn spans_that_are_not_as_they_should_be_are_found() {
    let spoiled: [fn(&mut Vec<Span>); 6] = [
        |spans| spans.clear(),
        |spans| spans.push(spans[2].clone()),
        |spans| drop(spans.remove(0)),
        |spans| spans[2].start_unix_ns -= 1,
        |spans| spans[1].status = Status::Error("exit code 1".to_owned()),
        |spans| drop(spans[0].resource.insert("k8s.node.name".to_owned(), Value::Empty)),
    ];
    for (n, spoil) in spoiled.iter().enumerate() {
        let mut spans = spans();
        spoil(&mut spans);
        assert!(all(&known(), &[], &spans).is_err(), "{n}");
    }
}

#[test]
fn a_probe_that_led_to_an_end_was_seen() {
    let mut known = known();
    known.told.iter_mut().for_each(|told| told.end.trigger = "liveness".to_owned());
    let with_source = |source: &str| {
        let mut spans = spans();
        for (key, value) in
            [("podvitals.trigger", "liveness"), ("podvitals.trigger.source", source)]
        {
            spans[1].attributes.insert(key.to_owned(), Value::Text(value.to_owned()));
        }
        for span in &mut spans[..2] {
            span.status = Status::Error("liveness probe failed".to_owned());
        }
        all(&known, &[], &spans)
    };
    with_source("probe").unwrap();
    let error = format!("{:#}", with_source("inferred").unwrap_err());
    assert!(error.contains("trigger's source"), "{error}");
}

#[test]
fn a_shutdown_without_its_root_waits_for_another_agent() {
    let mut parts = spans();
    parts.remove(0);
    assert!(trees(&parts, false).is_err());
    assert!(trees(&parts, true).unwrap().is_empty());
}

#[test]
fn faults_are_those_of_the_documentation() {
    let end = |cause: &str, trigger: &str, exit_code: &str, shutdown: Option<f64>| {
        let [cause, trigger, exit_code] = [cause, trigger, exit_code].map(str::to_owned);
        let end = known().told.remove(0).end;
        is_fault(&End { cause, trigger, exit_code, shutdown, ..end })
    };
    assert!(!end("completed", "pod_deletion", "0", Some(1.0)));
    assert!(!end("error", "pod_deletion", "143", Some(1.0)));
    assert!(!end("signal", "pod_deletion", "", Some(1.0)));
    assert!(end("error", "none", "143", None) && end("signal", "none", "", None));
    assert!(end("completed", "liveness", "0", Some(1.0)) && end("oom", "none", "", None));
    assert!(end("killed_after_grace", "pod_deletion", "", Some(1.0)));
}

#[test]
fn a_startup_that_the_api_has_otherwise_is_found() {
    let pod = json!({
        "metadata": { "namespace": "default", "name": "web", "uid": UID },
        "status": {
            "conditions": [
                { "type": "PodScheduled", "lastTransitionTime": "2023-11-14T22:13:20Z" },
            ],
            "containerStatuses": [{
                "name": "main", "containerID": "containerd://abc",
                "state": { "running": { "startedAt": "2023-11-14T22:13:22Z" } },
            }],
        },
    });
    let mut spans = spans();
    for (span, name) in spans.iter_mut().zip(["pod startup", "container startup", "runtime start"])
    {
        span.name = name.to_owned();
    }
    let text = |text: &str| Value::Text(text.to_owned());
    spans[1].attributes.insert("container.id".to_owned(), text("abc"));
    let exec = unix_s(NOW + 2 * SECOND);
    let check = |pod: &Json, execs: &[f64]| {
        let trees = otlp::trees(&spans).unwrap();
        startup(pod, &trees.iter().collect::<Vec<_>>(), execs)
    };
    check(&pod, &[exec - 9.0, exec + 0.01, exec + 0.2]).unwrap();
    for execs in [&[][..], &[exec - 0.1, exec + 0.1]] {
        assert!(check(&pod, execs).is_err(), "{execs:?}");
    }
    assert!(startup(&pod, &[], &[exec]).is_err());
    // A busy node's runtime says it late, never early.
    let started = "/status/containerStatuses/0/state/running/startedAt";
    let mut late = pod.clone();
    *late.pointer_mut(started).unwrap() = json!("2023-11-14T22:13:34Z");
    check(&late, &[exec]).unwrap();
    for (at, wrong) in [
        ("/metadata/uid", json!("other")),
        ("/status/conditions/0/lastTransitionTime", json!("2023-11-14T22:13:24Z")),
        ("/status/containerStatuses", json!([])),
        ("/status/containerStatuses/0/containerID", json!("containerd://abd")),
        ("/status/containerStatuses/0/name", json!("other")),
        (started, json!("2023-11-14T22:13:19Z")),
    ] {
        let mut pod = pod.clone();
        *pod.pointer_mut(at).unwrap() = wrong;
        assert!(check(&pod, &[exec]).is_err(), "{at}");
    }
}
