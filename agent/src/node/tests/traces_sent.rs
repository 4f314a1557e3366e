//! Traces on their way out: what an agent that stops sends, what is left out, and links from outside.

use serde_json::json;

use super::traces::{ALL, drawn, kinds, restarts};
use super::{PodEventKind, SECOND, World};
use crate::cgroup::CgroupId;
use crate::event::ExitStatus;
use crate::trace::volume::Limits;

#[test]
fn an_agent_that_stops_sends_what_it_has_and_leaves_the_root_to_the_next() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    world.runs();
    world.deleted(-4000);
    world.reported(-4000);
    world.terminate(1002, 200, "runc", -3000);
    world.end(1002, 200, ExitStatus::Code(0), -1000);
    world.node.tick(world.now(-800));
    world.removed(CgroupId(1002), -700);
    world.node.stop(world.now(-500));
    assert_eq!(kinds(&sent), ["pod startup", "pod shutdown"]);
    let first = sent.lock().unwrap()[1].clone();
    assert!(first.spans.iter().all(|span| span.parent.is_some()));
    // The next agent finds the Pod without its container.
    let mut next = World::new(true);
    let sent = next.traced(ALL);
    next.finds_running(-470);
    next.status("a", &json!({"running": {}}), None);
    next.source(PodEventKind::Listed(vec![next.told()]), -450);
    next.deleted(-4000);
    next.reported(-420);
    next.end(1002, 200, ExitStatus::Code(0), -400);
    next.node.tick(next.now(-200));
    next.removed(CgroupId(1002), -150);
    let second = sent.lock().unwrap().last().cloned().unwrap();
    assert_eq!(second.id, first.id);
    assert_eq!(Some(second.spans[0].id), first.spans[0].parent, "{}", drawn(&second));
}

#[test]
fn volume_is_limited_and_what_is_left_out_is_counted() {
    let omitted = |world: &World, reason| {
        let traces = world.node.publish.traces.as_ref().unwrap();
        traces.stats().omitted.iter().find(|(other, _)| *other == reason).unwrap().1
    };
    let mut world = World::new(true);
    let sent = world.traced(Limits { only_abnormal: true, ..ALL });
    world.runs();
    restarts(&mut world, ExitStatus::Code(3));
    assert_eq!((kinds(&sent), omitted(&world, "normal")), (vec!["container restart"], 1));

    let mut world = World::new(true);
    let sent = world.traced(Limits { min_duration_ns: 10 * SECOND, ..ALL });
    world.runs();
    restarts(&mut world, ExitStatus::Code(3));
    assert_eq!((kinds(&sent), omitted(&world, "min_duration")), (vec!["container restart"], 1));

    let mut world = World::new(true);
    let sent = world.traced(Limits { per_minute: 1, ..ALL });
    world.runs();
    let mut last = 1002;
    for n in 0..30_u8 {
        let cgroup = 2000 + u64::from(n);
        let ms = -5000 + i64::from(n) * 100;
        let digit = char::from(b'1' + n % 9);
        world.end(last, if last == 1002 { 200 } else { last as u32 }, ExitStatus::Code(3), ms);
        world.made(cgroup, digit, ms + 20);
        world.exec(cgroup, cgroup as u32, "web", ms + 30);
        world.status(&digit.to_string(), &json!({"running": {}}), None);
        world.reported(ms + 40);
        last = cgroup;
    }
    world.node.tick(world.now(0));
    world.source(PodEventKind::Listed(vec![world.told()]), 100);
    assert_eq!(sent.lock().unwrap().len(), 10, "ten minutes' worth at once");
    assert!(omitted(&world, "rate") > 10);
}

#[test]
fn an_annotation_is_a_link_and_a_bad_one_is_counted_once() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (value, links) in [(good, 1), ("00-zz", 0)] {
        let mut world = World::new(true);
        let sent = world.traced(ALL);
        world.made(1001, '0', -9000);
        world.exec(1001, 100, "pause", -8900);
        world.made(1002, 'a', -8500);
        world.exec(1002, 200, "web", -8400);
        world.status("a", &json!({"running": {}}), None);
        for ms in [-8000, -7900] {
            let mut pod = world.told();
            pod.traceparent = Some(value.to_owned());
            world.source(PodEventKind::Applied(Box::new(pod)), ms);
        }
        let startup = sent.lock().unwrap()[0].clone();
        assert_eq!(startup.spans[0].links.len(), links, "{value}");
        let traces = world.node.publish.traces.as_ref().unwrap();
        assert_eq!(traces.stats().links_rejected, 1 - links as u64);
    }
}
