//! An agent that could not run for a while: stopped, starved, or on a machine that slept.

use serde_json::json;

use super::World;
use crate::event::ExitStatus;
use crate::lifecycle::fact::{Fact, FactKind};

impl World {
    /// The agent was away until that moment.
    fn resumed(&mut self, ms: i64) {
        let now = self.now(ms);
        self.node.resumed(now);
        self.node.tick(now);
    }
}

#[test]
fn a_container_that_came_meanwhile_waits_for_its_name() {
    let mut world = World::new(true);
    world.node.tick(world.now(-100_000));
    world.resumed(-40_000);
    world.made(1001, '0', -80_500);
    world.exec(1001, 100, "pause", -80_400);
    world.made(1002, 'a', -80_000);
    world.exec(1002, 200, "web", -79_500);
    world.terminate(1002, 200, "runc", -70_000);
    world.end(1002, 200, ExitStatus::Code(0), -69_000);
    world.node.tick(world.now(-39_990));
    assert!(world.node.publish.recorder.shown.is_empty(), "its name is not read yet");
    world.status("a", &json!({"running": {}}), None);
    world.reported(-39_900);
    let shown = &world.node.publish.recorder.shown;
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].identity.container, "web");
    let took = "namespace=\"shop\",pod=\"web-7d4b9c6f5-abcde\",container=\"web\"";
    assert_eq!(world.value("container_last_shutdown_seconds", took), Some(1.0));
}

#[test]
fn without_a_name_it_waits_no_longer_than_others() {
    let mut world = World::new(true);
    world.node.tick(world.now(-100_000));
    world.resumed(-40_000);
    world.made(1002, 'a', -80_000);
    world.exec(1002, 200, "web", -79_500);
    world.node.tick(world.now(-31_000));
    assert!(world.node.publish.recorder.shown.is_empty());
    world.node.tick(world.now(-29_500));
    assert_eq!(world.node.publish.recorder.shown.len(), 1);
}

#[test]
fn a_deletion_that_came_meanwhile_explains_the_end() {
    let mut world = World::new(true);
    world.runs_since(-120_000);
    world.node.tick(world.now(-110_000));
    world.resumed(-40_000);
    world.terminate(1002, 200, "runc", -80_000);
    world.end(1002, 200, ExitStatus::Code(0), -79_000);
    world.node.tick(world.now(-39_990));
    let (facts, _) = world.facts();
    let explained = |fact: &&Fact| matches!(fact.kind, FactKind::Explained(_));
    assert!(!facts.iter().any(explained), "what the source says of it is not read yet");
    // First of what is read is a change of before.
    world.pod["status"]["qosClass"] = "Burstable".into();
    world.reported(-39_950);
    world.deleted(-81_000);
    world.reported(-39_900);
    assert_eq!(world.trigger().as_deref(), Some("pod_deletion"));
}
