//! Stop requests, with what the Pod source reports of them.

use super::*;
use crate::lifecycle::fact::FactKind;

const QUIT: u32 = 3;
const KILL: u32 = 9;
const USR1: u32 = 10;

/// Whether the container is shown as terminating.
fn terminates(world: &mut World) -> bool {
    !world.shown("container_terminating_seconds").is_empty()
}

#[test]
fn a_reload_is_no_stop_and_a_crash_after_it_has_no_trigger() {
    let mut world = World::new(true);
    world.runs();
    world.signal(1002, 200, "runc", USR1, -6500);
    assert!(!terminates(&mut world));
    world.end(1002, 200, ExitStatus::Code(1), -500);
    assert_eq!(world.trigger().as_deref(), Some("none"));
    assert_eq!(world.value("container_last_shutdown_seconds", ""), None);
}

#[test]
fn an_images_stop_signal_counts_at_once_in_a_pod_that_is_deleted() {
    let mut world = World::new(true);
    world.runs();
    world.deleted(-4000);
    world.reported(-4000);
    world.signal(1002, 200, "runc", USR1, -3900);
    assert!(terminates(&mut world));
    world.end(1002, 200, ExitStatus::Code(0), -1400);
    assert_eq!(world.trigger().as_deref(), Some("pod_deletion"));
    assert_eq!(world.value("container_last_shutdown_grace_used_ratio", ""), Some(0.25));
}

#[test]
fn a_list_tells_of_the_deletion_after_the_stop_signal() {
    let mut world = World::new(true);
    world.runs();
    world.source(PodEventKind::Listed(vec![world.told()]), -6500);
    // A reload before the request; the request; the stop.
    world.signal(1002, 200, "runc", QUIT, -6000);
    world.deleted(-4000);
    world.signal(1002, 200, "runc", QUIT, -3900);
    assert!(!terminates(&mut world));
    world.source(PodEventKind::Listed(vec![world.told()]), -1500);
    assert!(terminates(&mut world));
    world.end(1002, 200, ExitStatus::Code(1), -1400);
    assert_eq!(world.value("container_last_shutdown_seconds", ""), Some(2.5));
}

#[test]
fn a_kill_within_the_longest_grace_period_of_the_spec_proves_a_stop() {
    for (grace_s, proved) in [(2, false), (60, true)] {
        let mut world = World::new(true);
        world.pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
        world.pod["spec"]["containers"][0]["livenessProbe"]["terminationGracePeriodSeconds"] =
            grace_s.into();
        world.runs_since(-60_000);
        world.signal(1002, 200, "runc", QUIT, -42_000);
        world.signal(1002, 200, "runc", KILL, -2000);
        world.end(1002, 200, KILLED, -1900);
        world.node.tick(world.now(-500));
        let stopped = world
            .node
            .publish
            .recorder
            .facts
            .iter()
            .any(|(_, fact)| matches!(fact.kind, FactKind::StopSignal(_)));
        assert_eq!(stopped, proved, "{grace_s} s");
    }
}

#[test]
fn a_unit_is_not_over_with_the_process_that_prepares_it() {
    let mut world = World::with(Mode::Host, false, &[]);
    let root = CgroupId(std::fs::metadata(world.dir.path()).unwrap().ino());
    world.mkdir(1002, root, "app.service", -9000);
    world.exec(1002, 200, "prepare", -8900);
    world.end(1002, 200, ExitStatus::Code(0), -8800);
    world.event(-8800, EventKind::CgroupEmpty(CgroupId(1002)));
    world.exec(1002, 201, "main", -8000);
    world.node.tick(world.now(-4000));
    assert_eq!(world.trigger(), None, "it runs");
    world.terminate(1002, 201, "systemd", -3000);
    world.end(1002, 201, ExitStatus::Code(0), -2000);
    world.event(-2000, EventKind::CgroupEmpty(CgroupId(1002)));
    assert_eq!(world.value("container_last_shutdown_seconds", "app.service"), Some(1.0));
}
