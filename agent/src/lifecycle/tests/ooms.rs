//! OOMs: their scope, their victims and the number of kills.

use super::super::fact::{OomScope, OomVictim, Sender};
use super::*;

fn child(tgid: u32) -> Task {
    task(tgid, WEB, "child")
}

/// Record of an OOM with these local counters: of the container, its Pod, the QoS class, the root.
fn oom(at: u64, victim: Task, current: Task, web: (u64, u64), above: [u64; 3]) -> Event {
    let levels = vec![
        oom_level(victim.cgroup, web.0, web.1),
        oom_level(POD, above[0], 0),
        oom_level(QOS, above[1], 0),
        oom_level(ROOT, above[2], 0),
    ];
    kernel_event(at, oom_record(victim, current, levels))
}

fn ooms_of(events: &[Event]) -> Vec<OomKill> {
    let mut node = Node::running();
    node.events(events);
    node.run_to(60 * SEC);
    node.oom_kills()
}

const fn fact(scope: OomScope, victim: OomVictim, killed: u32) -> OomKill {
    (Some(scope), victim, killed)
}

#[test]
fn init_killed_at_its_own_limit() {
    let mut node = Node::running();
    let kill =
        Signal { origin: SignalOrigin::Kernel, target_dying: true, ..plain(KILL, init(), init()) };
    node.events(&[
        signal(2 * SEC, kill),
        oom(2 * SEC, init(), init(), (1, 1), [0; 3]),
        exit(2 * SEC + MS, init(), KILLED),
        end(2 * SEC + 12 * MS, init(), KILLED),
    ]);
    node.run_to(3 * SEC);
    let kinds = node.kinds();
    assert_eq!(node.oom_kills(), [fact(OomScope::Container, OomVictim::Init, 1)]);
    assert!(matches!(kinds.as_slice(), [FactKind::Oom(_), FactKind::Ended(_)]), "the OOM first");
    let (_, death) = node.death();
    assert_eq!(death.cause, Cause::Oom);
    assert_eq!(death.fatal, fatal(KILL, Sender::Kernel));
}

#[test]
fn oom_comes_before_every_other_cause() {
    let mut node = Node::running();
    node.events(&[
        signal(2 * SEC, plain(TERM, runc(), init())),
        oom(3 * SEC, init(), init(), (1, 1), [0; 3]),
        end(3 * SEC, init(), KILLED),
    ]);
    node.run_to(4 * SEC);
    let (_, death) = node.death();
    assert_eq!(death.cause, Cause::Oom);
    assert_eq!((death.shutdown_ns(), death.outcome), (Some(SEC), Outcome::Killed));
    assert_eq!(death.fatal, fatal(KILL, Sender::Kernel), "the signal's record is lost");
}

#[test]
fn scope_is_the_closest_level_that_rose() {
    let cases = [
        ((1, 1), [0, 0, 0], OomScope::Container),
        ((0, 1), [1, 0, 0], OomScope::Pod),
        ((1, 1), [1, 0, 0], OomScope::Container),
        ((0, 1), [0, 1, 0], OomScope::Node),
        ((0, 1), [0, 0, 1], OomScope::Node),
        ((0, 1), [0, 0, 0], OomScope::Node),
    ];
    for (web, above, scope) in cases {
        let ooms = ooms_of(&[oom(2 * SEC, child(101), init(), web, above)]);
        assert_eq!(ooms, [fact(scope, OomVictim::Child, 1)], "{web:?} {above:?}");
    }
}

#[test]
fn child_that_dies_leaves_the_container_alive() {
    let mut node = Node::running();
    node.event(&oom(2 * SEC, child(101), child(101), (1, 1), [0; 3]));
    assert_eq!(node.lifecycle.next_deadline(), Some(2 * SEC + SETTLE_NS));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills().len(), 1);
    assert_eq!(node.facts()[0].time_boot_ns, 2 * SEC);
    node.event(&end(9 * SEC, init(), ExitStatus::Code(1)));
    node.run_to(10 * SEC);
    assert_eq!(node.death().1.cause, Cause::Error, "a child's OOM is not init's");
}

#[test]
fn group_of_five_is_one_oom() {
    let current = child(103);
    let victims = [child(101), child(102), init(), child(103), child(104)];
    let events: Vec<Event> = (1_u64..)
        .zip(victims)
        .map(|(n, victim)| oom(2 * SEC + n, victim, current, (1, n), [0; 3]))
        .collect();
    assert_eq!(ooms_of(&events), [fact(OomScope::Container, OomVictim::Init, 5)]);
    let mut backwards = events;
    backwards.reverse();
    assert_eq!(ooms_of(&backwards), [fact(OomScope::Container, OomVictim::Init, 5)]);
}

#[test]
fn other_threads_at_the_limit_do_not_split_a_group() {
    // They raise `oom` while one thread works off the group.
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), init(), (1, 1), [0; 3]),
        oom(2 * SEC + 10, child(102), init(), (3, 2), [0; 3]),
        oom(2 * SEC + 20, init(), init(), (4, 3), [0; 3]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Container, OomVictim::Init, 3)]);
}

#[test]
fn oom_of_another_thread_is_a_second_oom() {
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), child(102), (1, 1), [0; 3]),
        oom(2 * SEC + 50 * MS, child(103), child(104), (2, 2), [0; 3]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Container, OomVictim::Child, 1); 2]);
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), child(102), (0, 1), [0; 3]),
        oom(2 * SEC + 50 * MS, child(103), child(104), (0, 2), [0; 3]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Node, OomVictim::Child, 1); 2], "also with the node's scope");
}

#[test]
fn long_group_at_one_limit_stays_one_oom() {
    let mut node = Node::running();
    for n in 0..20_u32 {
        let at = 2 * SEC + u64::from(n) * 60 * MS;
        node.tick(at);
        node.event(&oom(at, child(200 + n), init(), (1, u64::from(n) + 1), [0; 3]));
    }
    node.run_to(9 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Container, OomVictim::Child, 20)]);
}

#[test]
fn node_oom_is_one_for_the_thread_that_allocates() {
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), task(5, HOST, "kswapd"), (0, 1), [0; 3]),
        oom(2 * SEC + MS, child(102), task(5, HOST, "kswapd"), (0, 2), [0; 3]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Node, OomVictim::Child, 2)]);
}

#[test]
fn marked_process_that_was_dying_is_no_kill() {
    assert_eq!(ooms_of(&[oom(2 * SEC, child(101), child(101), (1, 0), [0; 3])]), []);
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), child(102), (1, 1), [0; 3]),
        oom(2 * SEC + 5, child(103), child(103), (1, 1), [0; 3]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Container, OomVictim::Child, 1)]);
    // A kill before does not make a later mark one.
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), child(102), (1, 1), [0; 3]),
        oom(9 * SEC, child(103), child(103), (2, 1), [0; 3]),
    ]);
    assert_eq!(ooms.len(), 1);
}

#[test]
fn marked_init_that_was_dying_keeps_its_cause() {
    let mut node = Node::running();
    node.events(&[
        oom(2 * SEC, init(), init(), (1, 0), [0; 3]),
        end(2 * SEC, init(), ExitStatus::Code(1)),
    ]);
    node.run_to(3 * SEC);
    assert_eq!((node.oom_kills(), node.death().1.cause), (vec![], Cause::Error));
    // Even if it counted: init was exiting already, as its status shows.
    let mut node = Node::running();
    node.events(&[
        oom(2 * SEC, init(), init(), (1, 1), [0; 3]),
        end(2 * SEC, init(), ExitStatus::Code(1)),
    ]);
    node.run_to(3 * SEC);
    assert_eq!((node.oom_kills().len(), node.death().1.cause), (1, Cause::Error));
}

#[test]
fn exec_session_is_the_victim() {
    let probe = task(300, WEB, "probe");
    let stage = task(301, WEB, "runc:[2:INIT]");
    let started = exec(2 * SEC, probe, runc(), &["probe"]);
    let killed = oom(3 * SEC, probe, probe, (1, 1), [0; 3]);
    let ooms = ooms_of(&[started.clone(), killed.clone()]);
    assert_eq!(ooms, [fact(OomScope::Container, OomVictim::Exec, 1)]);
    let late = ooms_of(&[killed, started, end(3 * SEC, probe, KILLED)]);
    assert_eq!(late, ooms, "in any order");
    let early = ooms_of(&[oom(2 * SEC, stage, stage, (1, 1), [0; 3])]);
    assert_eq!(early, ooms, "before it executes its own program");
}

#[test]
fn oom_before_the_start_makes_the_start_fail() {
    let mut node = Node::new();
    node.made(WEB, false);
    let stage = task(90, WEB, "runc:[2:INIT]");
    node.events(&[
        oom(2 * SEC, stage, stage, (1, 1), [0; 3]),
        end(2 * SEC, stage, KILLED),
        removed(2 * SEC + MS, WEB),
    ]);
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Container, OomVictim::Init, 1)]);
    assert!(matches!(node.kinds().as_slice(), [FactKind::Oom(_), FactKind::StartFailed]));
}

#[test]
fn oom_of_a_pod_belongs_to_the_container_of_the_victim() {
    let mut node = Node::running();
    node.made(SIDE, false);
    let side = task(110, SIDE, "side");
    node.event(&exec(SEC, side, shim(), &["/side"]));
    // `side` allocates, `web` dies.
    node.event(&oom(2 * SEC, init(), side, (0, 1), [1, 0, 0]));
    node.event(&end(2 * SEC, init(), KILLED));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Pod, OomVictim::Init, 1)]);
    let about_oom = node.out.iter().find_map(|output| match output {
        Output::Fact { container, fact: Fact { kind: FactKind::Oom(_), .. } } => Some(*container),
        _ => None,
    });
    assert_eq!(about_oom, Some(WEB));
    // The Pod's counter is shared: only the next rise is the next OOM.
    node.event(&oom(9 * SEC, task(111, SIDE, "child"), side, (1, 1), [1, 0, 0]));
    node.event(&oom(20 * SEC, task(112, SIDE, "child"), side, (1, 2), [2, 0, 0]));
    node.run_to(30 * SEC);
    assert_eq!(
        node.oom_kills()[1..],
        [fact(OomScope::Container, OomVictim::Child, 1), fact(OomScope::Pod, OomVictim::Child, 1)]
    );
}

#[test]
fn one_oom_of_a_pod_may_kill_in_two_containers() {
    let mut node = Node::running();
    node.made(SIDE, false);
    let side = task(110, SIDE, "side");
    node.event(&exec(SEC, side, shim(), &["/side"]));
    node.event(&oom(2 * SEC, init(), side, (0, 1), [1, 0, 0]));
    node.event(&oom(2 * SEC + 9, side, side, (0, 1), [1, 0, 0]));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Pod, OomVictim::Init, 1); 2]);
}

#[test]
fn counters_read_at_the_start_are_no_rise() {
    let mut node = Node::new();
    let seen = [oom_level(WEB, 4, 3), oom_level(POD, 2, 0), oom_level(ROOT, 8, 0)];
    node.made_seen(WEB, true, &seen);
    node.found(init(), HOST);
    node.apply(Input::WalkDone { tasks_read: true });
    node.event(&oom(2 * SEC, child(101), child(101), (4, 4), [3, 0, 8]));
    node.event(&oom(3 * SEC, child(102), child(102), (4, 4), [3, 0, 8]));
    node.run_to(4 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Pod, OomVictim::Child, 1)]);
}

#[test]
fn limit_of_a_nested_cgroup_has_the_scope_container() {
    let mut node = Node::running();
    node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
    let victim = task(101, NESTED, "job");
    let levels = vec![oom_level(NESTED, 1, 1), oom_level(WEB, 0, 0), oom_level(POD, 0, 0)];
    node.event(&kernel_event(2 * SEC, oom_record(victim, victim, levels)));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Container, OomVictim::Child, 1)]);
}

#[test]
fn unreadable_counters_make_every_victim_a_kill_of_unknown_scope() {
    let record = |at, victim| {
        let levels = Vec::new();
        kernel_event(at, oom_record(victim, init(), levels))
    };
    let events =
        [record(2 * SEC, child(101)), record(2 * SEC, child(101)), record(2 * SEC, init())];
    let mut node = Node::running();
    node.events(&events);
    node.event(&end(2 * SEC, init(), KILLED));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [(None, OomVictim::Init, 2)]);
    assert_eq!(node.death().1.cause, Cause::Oom);
}

#[test]
fn victims_and_ooms_are_bounded_and_all_kills_are_counted() {
    let mut node = Node::running();
    for n in 0..1_000_u32 {
        node.event(&oom(2 * SEC, child(1_000 + n), init(), (1, u64::from(n) + 1), [0; 3]));
    }
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Container, OomVictim::Child, 1_000)]);
    for n in 0..100_u32 {
        let count = u64::from(n);
        let current = child(5_000 + n);
        node.event(&oom(4 * SEC, child(9_000 + n), current, (2 + count, 1_001 + count), [0; 3]));
    }
    node.run_to(5 * SEC);
    assert_eq!(node.oom_kills().iter().map(|oom| oom.2).sum::<u32>(), 1_100);
}

#[test]
fn forgotten_container_leaves_nothing_behind() {
    let mut node = Node::new();
    for id in 1_000..1_100 {
        let container = CgroupId(id);
        let victim = Task { cgroup: container, ..init() };
        node.made(container, false);
        node.event(&exec(SEC, victim, shim(), &["/web"]));
        node.event(&oom(2 * SEC, victim, victim, (1, 1), [id, 0, 0]));
        node.event(&end(2 * SEC, victim, KILLED));
        node.event(&removed(2 * SEC, container));
        node.run_to(2 * SEC + SETTLE_NS);
    }
    assert_eq!(node.deaths().len(), 100);
    let left = &node.lifecycle;
    assert!(left.is_empty() && left.inits.is_empty() && left.pods.is_empty());
    assert_eq!(left.counters.len(), 2, "the QoS class and the root");
}

#[test]
fn victim_at_a_limit_that_did_not_rise_again_belongs_to_the_oom_before() {
    let ooms = ooms_of(&[
        oom(2 * SEC, child(101), child(102), (2, 1), [0; 3]),
        oom(2 * SEC + 9 * MS, child(103), child(104), (2, 2), [0; 3]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Container, OomVictim::Child, 2)]);
}

#[test]
fn records_out_of_order_do_not_lower_known_counters() {
    let mut node = Node::running();
    node.event(&oom(2 * SEC + MS, child(102), child(201), (2, 2), [0; 3]));
    node.event(&oom(2 * SEC, child(101), child(200), (1, 1), [0; 3]));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills().iter().map(|oom| oom.2).sum::<u32>(), 2);
    // Neither a kill nor the container's limit: only what was known already.
    node.event(&oom(5 * SEC, child(103), child(103), (2, 2), [0; 3]));
    node.run_to(6 * SEC);
    assert_eq!(node.oom_kills().iter().map(|oom| oom.2).sum::<u32>(), 2);
    node.event(&oom(7 * SEC, child(104), child(104), (2, 3), [1, 0, 0]));
    node.run_to(8 * SEC);
    assert_eq!(node.oom_kills().last(), Some(&fact(OomScope::Pod, OomVictim::Child, 1)));
}

#[test]
fn oom_of_a_stage_is_not_the_death_of_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    let stage = task(90, WEB, "runc:[1:CHILD]");
    node.event(&oom(SEC, stage, stage, (1, 1), [0; 3]));
    node.run_to(2 * SEC);
    node.event(&exec(3 * SEC, init(), shim(), &["/web"]));
    node.event(&deadly(4 * SEC, KILL, shim(), init()));
    node.event(&end(4 * SEC, init(), KILLED));
    node.run_to(5 * SEC);
    assert_eq!(node.death().1.cause, Cause::KilledWithoutStopSignal);
}

#[test]
fn exec_session_in_a_container_without_a_known_init_is_recognised() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.apply(Input::WalkDone { tasks_read: false });
    let probe = task(300, WEB, "probe");
    node.event(&exec(SEC, probe, runc(), &["probe"]));
    node.event(&oom(2 * SEC, probe, probe, (1, 1), [0; 3]));
    node.run_to(3 * SEC);
    assert_eq!(node.oom_kills(), [fact(OomScope::Container, OomVictim::Exec, 1)]);
}

#[test]
fn forgotten_exec_session_is_still_the_victim_of_its_oom() {
    let probe = task(300, WEB, "probe");
    let ooms = ooms_of(&[
        exec(SEC, probe, runc(), &["probe"]),
        oom(2 * SEC, probe, probe, (1, 1), [0; 3]),
        end(2 * SEC, probe, KILLED),
        exec(2 * SEC + 2 * SETTLE_NS, task(301, WEB, "probe"), runc(), &["probe"]),
    ]);
    assert_eq!(ooms, [fact(OomScope::Container, OomVictim::Exec, 1)]);
}

#[test]
fn late_record_does_not_change_the_scope_of_the_next_oom() {
    let mut node = Node::running();
    node.event(&oom(2 * SEC + MS, child(102), child(201), (2, 2), [0; 3]));
    node.event(&oom(2 * SEC, child(101), child(200), (1, 1), [0; 3]));
    node.run_to(3 * SEC);
    node.event(&oom(5 * SEC, child(103), child(103), (2, 3), [0; 3]));
    node.run_to(6 * SEC);
    assert_eq!(node.oom_kills().last(), Some(&fact(OomScope::Node, OomVictim::Child, 1)));
}
