//! Clocks: what is shown when this machine's is set, and what the API's is good for.

use serde_json::json;

use super::*;

/// Seconds of an RFC 3339 time at that moment, by a clock that is off.
fn api_time(world: &World, ms: i64, skew_s: i64) -> String {
    let unix_s = (NOW.wall.unix_ns(world.at(ms)) / SECOND).cast_signed() + skew_s;
    jiff::Timestamp::from_second(unix_s).unwrap().to_string()
}

/// The phases that are shown of a Pod with an init container, by the API's and the kubelet's clock.
fn phases(api_skew_s: i64, kubelet_skew_s: i64) -> [Option<f64>; 3] {
    let mut world = World::new(true);
    world.source(PodEventKind::Listed(Vec::new()), -20_000);
    world.pod["spec"]["initContainers"] = json!([{"name": "migrate", "image": "web:1"}]);
    let condition = |kind: &str, time: String| json!({"type": kind, "status": "True", "lastTransitionTime": time});
    let scheduled = condition("PodScheduled", api_time(&world, -12_000, api_skew_s));
    let initialized = condition("Initialized", api_time(&world, -8000, kubelet_skew_s));
    world.pod["status"]["conditions"] = json!([scheduled]);
    world.reported(-11_900);
    world.pod["status"]["conditions"] = json!([scheduled, initialized]);
    world.runs_since(-10_000);
    let phase = |phase| world.value("container_startup_seconds", &format!("\"{phase}\""));
    ["scheduled_to_sandbox", "init", "created_to_running"].map(phase)
}

#[test]
fn a_wrong_clock_of_the_api_gives_no_phase() {
    let right = phases(0, 0);
    assert_eq!(right, [Some(2.0), Some(2.0), Some(0.25)]);
    for skew_s in [-302, -30, 30, 302] {
        assert_eq!(phases(skew_s, 0), [None, right[1], right[2]], "{skew_s}");
        assert_eq!(phases(0, skew_s), [right[0], None, right[2]], "{skew_s}");
    }
}

#[test]
fn a_deletion_has_no_request_time_of_a_wrong_clock() {
    use crate::lifecycle::fact::FactKind;
    for (skew_s, agrees) in [(0, true), (-302, false), (302, false)] {
        let mut world = World::new(true);
        world.runs();
        world.deleted(-4000);
        let deadline = api_time(&world, -4000, skew_s + 10);
        world.pod["metadata"]["deletionTimestamp"] = deadline.into();
        world.reported(-3900);
        let (_, of_pod) = world.facts();
        let FactKind::DeletionSeen(deletion) = of_pod[0].kind else { panic!("{of_pod:#?}") };
        assert_eq!((deletion.requested_unix_s.is_some(), deletion.grace_s), (agrees, Some(10)));
        // A watch event needs no clock but this machine's.
        world.terminate(1002, 200, "runc", -3800);
        world.end(1002, 200, ExitStatus::Code(0), -1800);
        assert_eq!(world.trigger().as_deref(), Some("pod_deletion"), "{skew_s}");
    }
}

/// A machine without a battery for its clock starts in 1970, and then learns the time.
#[test]
fn a_clock_that_is_set_moves_what_was_shown() {
    let mut world = World::new(true);
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -4000);
    let times = |world: &mut World, unix_less_boot_ns| {
        let wall = WallOffset { unix_less_boot_ns };
        let collection = world.node.collect(Now { wall, ..NOW });
        let text = world.node.expose(&collection, Format::Text);
        let text = text.for_reader(Seen::ALL, |chunk| chunk).concat();
        let text = String::from_utf8(text).unwrap();
        let value = |family: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("podvitals_{family}")));
            line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        };
        ["container_start_time_seconds", "container_last_termination_info"].map(value)
    };
    let of = |unix_s: f64| [Some(unix_s + 36_000.0 - 8.25), Some(unix_s + 36_000.0 - 4.0)];
    assert_eq!(times(&mut world, 0), of(0.0));
    assert_eq!(times(&mut world, 1_790_000_000_000_000_000), of(1.79e9));
    // Slewing is no step: what is shown stays the same.
    assert_eq!(times(&mut world, 1_790_000_000_100_000_000), of(1.79e9));
}

#[test]
fn a_source_of_pods_that_was_never_heard_is_as_old_as_the_agent() {
    let age_ns = |with_source| {
        let mut world = World::new(with_source);
        let now = world.now(420_000);
        world.node.collect(now).stats.pod_metadata_age_ns
    };
    assert_eq!(age_ns(true), Some(420_000_000_000));
    assert_eq!(age_ns(false), None, "there is no source");
}
