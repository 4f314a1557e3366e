use proptest::prelude::*;
use serde_json::{Map, Value, from_value};

use super::super::fixtures::{self, CRON_JOB, DEPLOYMENT, EVICTED, JOB, STATEFUL_SET, STATIC};
use super::*;

fn workload_of(json: &str) -> (String, String) {
    let Workload { kind, name } = fixtures::pod(json).workload;
    (kind, name)
}

fn of(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

fn id(digit: &str) -> Option<String> {
    Some(digit.repeat(64))
}

#[test]
fn workloads_are_found_by_their_owners() {
    assert_eq!(workload_of(DEPLOYMENT), of("Deployment", "web"));
    assert_eq!(workload_of(STATIC), of("Pod", "etcd-n1"));
    assert_eq!(workload_of(CRON_JOB), of("CronJob", "nightly-report"));
    assert_eq!(workload_of(JOB), of("Job", "import-20241105"));
    assert_eq!(workload_of(STATEFUL_SET), of("StatefulSet", "db"));
    assert_eq!(workload_of(EVICTED), of("Pod", "hungry"));
}

fn reason(pod: &Pod) -> Option<&str> {
    pod.disruption.as_ref().map(|announcement| announcement.reason.as_str())
}

#[test]
fn fields_of_a_pod_are_read() {
    let pod = fixtures::pod(DEPLOYMENT);
    assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("shop", "web-7d4b9c6f5-abcde"));
    assert_eq!(pod.uid, "11111111-2222-3333-4444-555555555555");
    assert_eq!((pod.phase, pod.reason.as_str()), (Phase::Running, ""));
    assert_eq!((pod.qos, pod.restart_policy), (Some(Qos::Burstable), RestartPolicy::Always));
    let requested = 1_793_527_200 + 3600;
    let deletion = Deletion { deadline_unix_s: requested + 45, grace_s: Some(45) };
    assert_eq!((pod.deletion, pod.grace_s), (Some(deletion), Some(45)));
    assert_eq!(reason(&pod), Some("EvictionByEvictionAPI"));
    let times = Times {
        created_unix_s: Some(1_793_527_200),
        scheduled_unix_s: Some(1_793_527_200),
        sandbox_unix_s: Some(1_793_527_203),
        initialized_unix_s: Some(1_793_527_206),
        ready_unix_s: None,
    };
    assert_eq!(pod.times, times);
    assert!(!pod.statuses_complete() && !pod.is_terminal());
}

#[test]
fn fields_of_containers_are_read() {
    let pod = fixtures::pod(DEPLOYMENT);
    let roles: Vec<_> =
        pod.containers.iter().map(|container| (container.name.as_str(), container.role)).collect();
    let expected = [
        ("migrate", Role::Init),
        ("proxy", Role::Sidecar),
        ("web", Role::App),
        ("metrics", Role::App),
    ];
    assert_eq!(roles, expected);
    let [migrate, proxy, web, metrics] = &pod.containers[..] else { panic!("four") };
    let defaults = Probe {
        handler: Handler::Http,
        period_s: 10,
        timeout_s: 1,
        success_threshold: 1,
        failure_threshold: 3,
        ..Probe::default()
    };

    let end = migrate.terminated(&"a".repeat(64)).unwrap();
    assert_eq!((end.exit_code, end.reason.as_str()), (Some(0), "Completed"));
    assert_eq!(end.finished_unix_s, Some(1_793_527_205));
    let tcp = Probe { grace_s: Some(7), handler: Handler::Tcp, ..defaults };
    assert_eq!(proxy.startup.as_deref(), Some(&tcp));
    assert_eq!((proxy.pre_stop, proxy.started), (Some(PreStop::Http), Some(true)));

    assert_eq!((&web.id, &web.last_id, web.restarts), (&id("c"), &id("d"), Some(2)));
    assert_eq!(web.state, State::Running { started_unix_s: Some(1_793_529_000) });
    let end = web.terminated(&"d".repeat(64)).unwrap();
    assert_eq!((end.exit_code, end.reason.as_str()), (Some(137), "OOMKilled"));
    assert_eq!(web.terminated(&"c".repeat(64)), None, "it runs");
    let requests = Resources { cpu_millis: Some(300), memory_bytes: Some(64 << 20) };
    assert_eq!(web.requests, requests, "those in effect");
    assert_eq!(web.limits, Resources { cpu_millis: None, memory_bytes: Some(128 << 20) });
    assert_eq!(web.liveness.as_deref(), Some(&Probe { grace_s: Some(10), ..defaults }));
    assert_eq!((web.readiness.as_deref(), &web.startup), (Some(&defaults), &None));
    assert_eq!((web.pre_stop, web.stop_signal.as_deref()), (Some(PreStop::Exec), Some("SIGUSR2")));

    assert_eq!(metrics.pre_stop, Some(PreStop::Sleep { seconds: 5 }));
    assert_eq!((&metrics.id, metrics.restarts), (&None, Some(0)));
    assert_eq!(metrics.state, State::Waiting { reason: "ContainerCreating".into() });
    assert_eq!(metrics.image, "registry.example/metrics", "as in the spec");
}

#[test]
fn static_ephemeral_and_evicted_pods_are_read() {
    let pod = fixtures::pod(STATIC);
    let mirror = Mirror { hash: "0123456789abcdef0123456789abcdef".into(), owned_by_node: true };
    assert_eq!(pod.mirror, Some(mirror));
    assert_eq!(pod.containers[0].id, id("e"));
    assert!(pod.statuses_complete());

    let pod = fixtures::pod(STATEFUL_SET);
    let debugger = pod.container_by_id(&"2".repeat(64)).unwrap();
    assert_eq!((debugger.role, debugger.started), (Role::Ephemeral, None));
    let all = Resources { cpu_millis: Some(1000), memory_bytes: Some(1 << 30) };
    assert_eq!((pod.containers[0].requests, pod.containers[0].limits), (all, all));

    let pod = fixtures::pod(EVICTED);
    assert_eq!((pod.phase, pod.reason.as_str()), (Phase::Failed, "Evicted"));
    assert_eq!(reason(&pod), Some("TerminationByKubelet"));
    assert_eq!(pod.grace_s, Some(0));

    let pod = fixtures::pod(JOB);
    assert!(!pod.statuses_complete());
    assert_eq!((&pod.containers[0].id, &pod.containers[0].state), (&None, &State::Unknown));
}

#[test]
fn a_mirror_is_what_the_kubelet_marks_as_one() {
    let mirror = |json: String| fixtures::pod(&json).mirror.map(|mirror| mirror.owned_by_node);
    assert_eq!(mirror(STATIC.into()), Some(true));
    assert_eq!(mirror(STATIC.replace("\"ownerReferences\"", "\"x\"")), Some(false));
    for (marks, with) in [
        ("kubernetes.io/config.mirror", "x"),
        ("config.mirror\": \"0123", "config.mirror\": \"3210"),
        ("kubernetes.io/config.hash", "x"),
        ("\"kind\": \"Node\"", "\"kind\": \"ReplicaSet\""),
        // The kubelet's own list has the static Pod itself.
        ("99999999-2222-3333-4444-555555555555", "0123456789abcdef0123456789abcdef"),
    ] {
        assert!(STATIC.contains(marks));
        assert_eq!(mirror(STATIC.replace(marks, with)), None, "{marks}");
    }
}

#[test]
fn texts_and_lists_are_bounded() {
    let mut from = fixtures::wire_pod(DEPLOYMENT);
    let long = "é".repeat(100_000);
    from.metadata.name = Some(long.clone());
    from.metadata.uid = Some(long.clone());
    from.status.reason = Some(long.clone());
    let container = serde_json::json!({"name": &long, "image": &long});
    let containers = Value::Array(vec![container; 1_000]);
    from.spec.containers = from_value(containers).unwrap();
    let kept = from.spec.containers.as_ref().unwrap();
    assert_eq!((kept.len(), kept.more), (256, 744));
    let pod = pod(&from);
    assert!(pod.name.len() <= NAME_MAX && pod.uid.len() <= NAME_MAX);
    assert!(pod.reason.len() <= REASON_MAX && pod.workload.name.len() <= NAME_MAX);
    assert!(pod.containers.len() > 30 && pod.size_bytes() < CONTAINERS_BYTES_MAX + 2_000);
    let last = pod.containers.last().unwrap();
    assert!(
        last.name.len() <= NAME_MAX && last.image.len() <= IMAGE_MAX && last.image.len() > 1000
    );
}

#[test]
fn an_empty_pod_is_read() {
    let pod = pod(&wire::Pod::default());
    assert_eq!(
        pod,
        Pod { workload: Workload { kind: "Pod".into(), name: String::new() }, ..Pod::default() }
    );
}

/// Values that a mutation puts anywhere in a Pod.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,300}".prop_map(Value::from),
        "-?[0-9]{0,30}[.eEmMkKi]{0,3}[0-9]{0,3}".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z".prop_map(Value::from),
        Just(Value::Array(Vec::new())),
        Just(Value::Object(Map::new())),
    ]
}

/// Every place in a document.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Property: any Pod is safe, as long as it is one to the API's types.
    #[test]
    fn any_pod_is_safe(
        which in 0..fixtures::ALL.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..6),
    ) {
        let mut json: Value = serde_json::from_str(fixtures::ALL[which]).unwrap();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&json, "", &mut all);
            let place = place.get(&all).clone();
            if let Some(target) = json.pointer_mut(&place) {
                *target = value;
            }
        }
        if let Ok(from) = from_value::<wire::Pod>(json) {
            let pod = pod(&from);
            let _ = (pod.statuses_complete(), pod.is_terminal());
            prop_assert!(pod.size_bytes() < CONTAINERS_BYTES_MAX + 2_000);
        }
    }
}
