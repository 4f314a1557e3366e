//! Evidence for a death: absence, what came after the signal, what came before the
//! agent.

use serde_json::json;

use super::*;
use crate::lifecycle::fact::{Cause, FactKind};

impl World {
    /// A list without the Pod.
    fn missing(&mut self, ms: i64) {
        self.source(PodEventKind::Listed(Vec::new()), ms);
    }

    fn listed(&mut self, ms: i64) {
        self.source(PodEventKind::Listed(vec![self.told()]), ms);
    }

    fn gone(&mut self, ms: i64) {
        self.source(PodEventKind::Deleted(Box::new(self.told())), ms);
    }

    /// The container is there again, as its second instance.
    fn again(&mut self, ms: i64) {
        self.status("b", &json!({"running": {}}), Some(("a", "Error")));
        self.listed(ms);
    }

    fn tick(&mut self, ms: i64) {
        self.node.tick(self.now(ms));
    }

    /// The trigger that was published by that moment.
    fn trigger_at(&mut self, ms: i64) -> Option<&'static str> {
        self.tick(ms);
        Some(self.death()?.0)
    }

    /// Trigger and grace period that were published.
    fn death(&self) -> Option<(&'static str, Option<u64>, Cause)> {
        let (facts, _) = self.facts();
        facts.iter().find_map(|fact| match &fact.kind {
            FactKind::Explained(death) => {
                Some((death.trigger.label(), death.grace_s, death.end.cause))
            }
            _ => None,
        })
    }
}

#[test]
fn a_pod_that_is_listed_again_was_never_deleted() {
    // A crash, after the Pod came back and while it is missing.
    for back in [true, false] {
        let mut world = World::new(true);
        world.runs();
        world.missing(-6000);
        if back {
            world.listed(-5000);
        }
        world.end(1002, 200, ExitStatus::Code(3), -4000);
        assert_eq!(world.trigger_at(0), Some("none"), "back: {back}");
    }
    // A liveness kill, after it came back, and while it is missing.
    for back_ms in [-5000, -500] {
        let mut world = World::new(true);
        world.runs();
        world.missing(-6000);
        if back_ms < -4000 {
            world.listed(back_ms);
        }
        world.terminate(1002, 200, "runc", -4000);
        world.end(1002, 200, ExitStatus::Code(0), -3500);
        assert_eq!(world.trigger_at(-1000), None, "the Pod may be in the next list");
        world.again(-500);
        assert_eq!(world.death(), Some(("liveness", Some(4), Cause::Completed)));
    }
}

#[test]
fn absence_is_told_to_nobody_as_a_deletion() {
    let mut world = World::new(true);
    world.runs();
    world.missing(-6000);
    assert!(world.facts().1.is_empty());
    world.listed(-5000);
    world.deleted(-4000);
    world.reported(-4000);
    assert_eq!(world.facts().1.len(), 1);
}

#[test]
fn a_pod_that_is_gone_for_good_was_deleted() {
    // The watch is broken, or the kubelet is asked every few seconds: before and after the signal.
    for missing_ms in [-12_500, -9000] {
        let mut world = World::new(true);
        world.runs_since(-20_000);
        let lost = PodEventKind::Failed("connection reset".into());
        world.source(lost, -13_000);
        if missing_ms < -10_000 {
            world.missing(missing_ms);
        }
        world.terminate(1002, 200, "runc", -10_000);
        world.end(1002, 200, ExitStatus::Code(0), -9500);
        if missing_ms > -10_000 {
            world.missing(missing_ms);
        }
        let sure_ms = missing_ms + 10_000;
        assert_eq!(world.trigger_at(sure_ms - 1), None);
        let next = world.node.next_wakeup(world.at(sure_ms - 1));
        assert!(next <= Duration::from_millis(1), "{next:?}");
        assert_eq!(world.trigger_at(sure_ms), Some("pod_deletion"));
    }
}

#[test]
fn a_forced_deletion_is_seen_as_it_happens() {
    let mut world = World::new(true);
    world.runs();
    world.gone(-5000);
    world.terminate(1002, 200, "runc", -4900);
    world.end(1002, 200, ExitStatus::Code(0), -4000);
    assert_eq!(world.trigger_at(-3000), Some("pod_deletion"));
    assert_eq!(world.death(), Some(("pod_deletion", Some(30), Cause::Completed)));
}

#[test]
fn a_deletion_after_the_signal_does_not_explain_it() {
    let mut world = World::new(true);
    world.runs_since(-50_000);
    world.terminate(1002, 200, "runc", -40_000);
    world.gone(-37_000);
    world.end(1002, 200, KILLED, -36_000);
    assert_eq!(world.trigger_at(0), Some("unknown"));
}

/// The Pod, the spec and the deletion change while the container stops.
#[test]
fn a_shutdown_under_way_is_not_rewritten() {
    // Whether the agent learns of the deletion just after the kubelet has acted.
    for told_ms in [-9000, -7950] {
        let mut world = World::new(true);
        world.runs();
        world.deleted(-9000);
        if told_ms < -8000 {
            world.reported(told_ms);
        }
        world.terminate(1002, 200, "runc", -8000);
        if told_ms > -8000 {
            world.reported(told_ms);
        }
        // Forced, and gone before the container is.
        world.deleted(-5000);
        world.pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        world.pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
        world.reported(-5000);
        world.gone(-4900);
        world.end(1002, 200, KILLED, -3000);
        world.tick(0);
        assert_eq!(world.death(), Some(("pod_deletion", Some(10), Cause::KilledAfterGrace)));
    }
    // A liveness kill: the probe's grace period and `started` are those of the signal.
    let mut world = World::new(true);
    world.pod["spec"]["containers"][0]["startupProbe"] = json!({});
    world.runs();
    world.terminate(1002, 200, "runc", -5000);
    world.pod["spec"]["containers"][0]["livenessProbe"] =
        json!({"terminationGracePeriodSeconds": 1});
    world.pod["status"]["containerStatuses"][0]["started"] = false.into();
    world.reported(-4000);
    world.end(1002, 200, ExitStatus::Code(0), -3000);
    world.tick(-2000);
    world.again(-1000);
    assert_eq!(world.death(), Some(("liveness", Some(4), Cause::Completed)));
}

#[test]
fn a_crash_and_a_deletion_in_the_same_second_are_two_things() {
    let mut world = World::new(true);
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -4200);
    world.deleted(-4000);
    world.reported(-3900);
    assert_eq!(world.trigger_at(-3000), Some("none"));
}

impl World {
    /// A container that is older than the agent is killed; no stop signal was seen.
    fn killed_after(&mut self, watched_ms: i64) -> Option<Cause> {
        let task = self.finds_running(-watched_ms);
        let signal = Signal {
            target: task,
            sender: super::task(60, HOST, "runc"),
            signal: 9,
            result: SignalResult::Delivered,
            origin: SignalOrigin::User,
            target_dying: true,
            sender_dying: false,
        };
        self.event(-1, EventKind::Signal(signal));
        self.end(1002, 200, KILLED, 0);
        self.tick(40_000);
        let (_, _, cause) = self.death()?;
        Some(cause)
    }
}

#[test]
fn what_came_before_the_agent_is_not_concluded_from() {
    const SURE: Option<Cause> = Some(Cause::KilledWithoutStopSignal);
    const OPEN: Option<Cause> = Some(Cause::Unknown);
    // A liveness kill may have been under way, for as long as the Pod's grace period.
    for (watched_ms, cause) in [(1000, OPEN), (34_000, OPEN), (36_000, SURE)] {
        let mut world = World::new(true);
        world.status("a", &json!({"running": {}}), None);
        world.listed(-watched_ms - 1);
        assert_eq!(world.killed_after(watched_ms), cause, "{watched_ms}");
    }
    // A deletion was under way, however long that takes; and one that came later.
    for (deleted_ms, cause) in [(-700_000, OPEN), (-1000, SURE)] {
        let mut world = World::new(true);
        world.status("a", &json!({"running": {}}), None);
        if deleted_ms < -600_000 {
            world.deleted(deleted_ms);
        }
        world.listed(-600_001);
        if deleted_ms > -600_000 {
            world.deleted(deleted_ms);
            world.reported(deleted_ms);
        }
        assert_eq!(world.killed_after(600_000), cause, "{deleted_ms}");
        assert_eq!(world.death().unwrap().0, "pod_deletion");
    }
    // Nobody tells the grace period.
    for (watched_ms, cause) in [(200_000, OPEN), (301_000, SURE)] {
        assert_eq!(World::new(false).killed_after(watched_ms), cause, "{watched_ms}");
    }
}

#[test]
fn no_probe_is_blamed_for_what_something_else_explains() {
    type Change = fn(&mut World);
    let none: Change = |_| {};
    let sandbox: Change = |world| world.end(1001, 100, KILLED, -6000);
    let image: Change = |world| {
        world.pod["spec"]["containers"][0]["image"] = "web:2".into();
        world.reported(-5200);
    };
    // A probe of 30 s cannot have failed after 3 s.
    let early: Change = |world| {
        world.pod["spec"]["containers"][0]["livenessProbe"]["initialDelaySeconds"] = 30.into();
        world.reported(-5200);
    };
    for (change, trigger) in [
        (none, "liveness"),
        (sandbox, "restart_other"),
        (image, "restart_other"),
        (early, "restart_other"),
    ] {
        let mut world = World::new(true);
        world.runs();
        world.tick(-6500);
        change(&mut world);
        world.tick(-5100);
        world.terminate(1002, 200, "runc", -5000);
        world.end(1002, 200, ExitStatus::Code(0), -3000);
        world.tick(-2000);
        world.again(-1000);
        assert_eq!(world.death().map(|(trigger, ..)| trigger), Some(trigger));
    }
}

#[test]
fn a_probe_that_fails_again_and_again_is_blamed_each_time() {
    let mut world = World::new(true);
    world.runs();
    for (n, digit, ms) in [(0, 'b', -5000), (1, 'c', -3000), (2, 'd', -1000)] {
        let (cgroup, tgid) = (1002 + n, 200 + u32::try_from(n).unwrap());
        world.terminate(cgroup, tgid, "runc", ms);
        world.end(cgroup, tgid, ExitStatus::Code(0), ms + 500);
        world.tick(ms + 700);
        world.made(cgroup + 1, digit, ms + 800);
        world.exec(cgroup + 1, tgid + 1, "web", ms + 900);
        let before = ["a", "b", "c"][usize::try_from(n).unwrap()];
        let digit = digit.to_string();
        world.status(&digit, &json!({"running": {}}), Some((before, "Error")));
        world.reported(ms + 950);
        assert_eq!(world.death().map(|(trigger, ..)| trigger), Some("liveness"), "{before}");
    }
}
