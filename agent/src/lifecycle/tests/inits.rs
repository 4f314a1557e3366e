//! Init: the process that was first in the cgroup, with or without an exec; and where it is.

use super::*;

/// A process that was restored from a checkpoint: it never executes.
fn restored() -> Task {
    let key = TaskKey { tgid: 100, start_boot_ns: SEC };
    Task { key, ..task(100, WEB, "python3") }
}

fn probe(tgid: u32, at: u64) -> Task {
    let key = TaskKey { tgid, start_boot_ns: at };
    Task { key, ..task(tgid, WEB, "probe") }
}

/// A probe that runs for 1 ms.
fn probes(tgid: u32, at: u64) -> [Event; 3] {
    let probe = probe(tgid, at);
    [exec(at, probe, runc(), &["probe"]), exit(at + MS, probe, EXITED), end(at + MS, probe, EXITED)]
}

fn started(task: &Task) -> Started {
    Started { init: task.key, before_agent: false, is_pause: false }
}

#[test]
fn process_that_never_executes_is_init_at_the_first_probe() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[restored()]);
    node.events(&probes(200, SEC + 10 * MS));
    assert_eq!(node.starts(), [started(&restored())]);
    assert_eq!(node.facts()[0].time_boot_ns, SEC);
    node.events(&probes(201, 2 * SEC));
    node.event(&signal(10 * SEC, plain(TERM, runc(), restored())));
    node.event(&end(10 * SEC + 300 * MS, restored(), EXITED));
    node.run_to(20 * SEC);
    let (time, death) = node.death();
    assert_eq!((time, death.shutdown_ns()), (10 * SEC + 300 * MS, Some(300 * MS)));
    assert_eq!(node.looks, 1, "once");
}

#[test]
fn process_that_never_executes_is_init_without_a_probe() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[restored()]);
    node.run_to(3 * SEC);
    assert_eq!((node.starts(), node.looks), (vec![started(&restored())], 1));
    // A signal from before waits for it.
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[restored()]);
    node.event(&signal(SEC + 100 * MS, plain(TERM, runc(), restored())));
    node.event(&end(SEC + 300 * MS, restored(), EXITED));
    node.run_to(3 * SEC);
    assert_eq!(node.death().1.shutdown_ns(), Some(200 * MS));
}

#[test]
fn overlapping_sessions_are_younger_than_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    let (one, two) = (probe(200, SEC + MS), probe(201, SEC + 2 * MS));
    node.runs(&[two, one, restored()]);
    node.events(&[
        exec(SEC + 3 * MS, two, runc(), &["two"]),
        exec(SEC + 3 * MS, one, runc(), &["1"]),
    ]);
    assert_eq!(node.starts(), [started(&restored())]);
    node.events(&[end(SEC + 5 * MS, one, EXITED), end(SEC + 5 * MS, two, EXITED)]);
    node.run_to(3 * SEC);
    assert_eq!(node.deaths(), []);
}

#[test]
fn init_that_executed_and_ended_before_the_look_is_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    // What it has left behind is younger.
    node.runs(&[probe(300, 2 * SEC)]);
    let first = probe(200, SEC);
    node.events(&[exec(SEC + MS, first, runc(), &["job"]), end(SEC + 2 * MS, first, EXITED)]);
    assert_eq!(node.starts(), [started(&first)]);
    node.run_to(3 * SEC);
    assert_eq!(node.death().0, SEC + 2 * MS);
}

#[test]
fn plain_start_needs_no_look() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[restored()]);
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    assert_eq!(node.starts(), [started(&init())]);
    node.run_to(20 * SEC);
    assert_eq!(node.looks, 0);
}

#[test]
fn exec_long_after_the_creation_is_looked_at_whoever_the_parent_is() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[restored()]);
    // crun leaves the process of a session to the shim.
    let late = probe(200, 3 * SEC);
    node.event(&exec(3 * SEC, late, shim(), &["probe"]));
    assert_eq!(node.starts(), [started(&restored())]);
}

/// A stage in a new container that has stayed there until now.
fn stays(comm: &str, now_boot_ns: u64) -> (Node, Task) {
    let stage = Task { comm: comm.into(), ..restored() };
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[stage]);
    node.run_to(now_boot_ns);
    (node, stage)
}

/// Names of stages that run some programs themselves: those of wasm shims do.
const STAGES: [&str; 4] = ["youki:[2:INIT]", "3", "memfd:crun_clone", "runc"];

#[test]
fn stages_are_not_init_until_they_have_stayed_too_long() {
    for comm in STAGES {
        let (mut node, stage) = stays(comm, 9 * SEC);
        assert_eq!((node.lifecycle.init_of(WEB), node.looks), (None, 1), "{comm}");
        node.run_to(59 * SEC);
        assert_eq!((node.lifecycle.init_of(WEB), node.looks), (Some(stage.key), 2), "{comm}");
        assert_eq!(node.starts(), [], "{comm} may still execute");
        node.run_to(62 * SEC);
        assert_eq!(node.starts(), [started(&stage)], "{comm}");
        node.event(&exec(63 * SEC, stage, shim(), &["/late"]));
        assert_eq!(node.starts().len(), 1);
    }
}

#[test]
fn stage_that_waits_long_for_its_start_runs_from_its_exec_on() {
    for comm in STAGES.into_iter().chain(["runc:[2:INIT]"]) {
        let (mut node, stage) = stays(comm, 30 * SEC);
        let program = Task { comm: "web".into(), ..stage };
        node.event(&exec(31 * SEC, stage, runc(), &["/usr/bin/crun", "init"]));
        node.event(&exec(32 * SEC, program, shim(), &["/web"]));
        node.run_to(100 * SEC);
        assert_eq!(node.starts(), [started(&program)], "{comm}");
        assert_eq!(node.facts()[0].time_boot_ns, 32 * SEC, "{comm}");
        node.event(&exec(101 * SEC, program, shim(), &["/again"]));
        assert_eq!(node.starts().len(), 1, "{comm}");
    }
}

#[test]
fn look_in_the_midst_of_an_exec_waits_for_its_record() {
    let mut node = Node::new();
    node.made(WEB, false);
    // It has its new name already.
    node.runs(&[init()]);
    node.run_to(SEC + 750 * MS);
    assert_eq!(
        (node.lifecycle.init_of(WEB), node.looks, node.starts()),
        (Some(init().key), 1, vec![])
    );
    node.event(&exec(SEC + 760 * MS, init(), shim(), &["/web"]));
    assert_eq!(node.starts(), [started(&init())]);
    assert_eq!(node.facts()[0].time_boot_ns, SEC + 760 * MS);
    // Restored, it has none.
    let mut node = Node::new();
    node.made(WEB, false);
    node.runs(&[restored()]);
    node.run_to(3 * SEC);
    assert_eq!(node.facts()[0].time_boot_ns, restored().key.start_boot_ns);
}

#[test]
fn start_that_is_held_back_is_told_before_whatever_follows() {
    let session = exec(21 * SEC, probe(200, 21 * SEC), runc(), &["probe"]);
    let (mut node, stage) = stays("youki:[2:INIT]", 20 * SEC);
    node.event(&session);
    assert_eq!(node.starts(), [started(&stage)]);

    let (mut node, stage) = stays("youki:[2:INIT]", 20 * SEC);
    node.event(&signal(21 * SEC, plain(TERM, runc(), stage)));
    node.event(&end(22 * SEC, stage, EXITED));
    node.run_to(30 * SEC);
    assert_eq!(node.starts(), [started(&stage)]);
    assert!(matches!(node.kinds()[0], FactKind::Started(_)), "{:?}", node.kinds());
    assert_eq!(node.death().1.shutdown_ns(), Some(SEC));

    let (mut node, stage) = stays("youki:[2:INIT]", 20 * SEC);
    node.event(&end(22 * SEC, stage, ExitStatus::Code(3)));
    node.run_to(30 * SEC);
    assert!(matches!(node.kinds()[..], [FactKind::Started(_), FactKind::Ended(_)]));
}

#[test]
fn runcs_own_stage_is_never_init() {
    for existing in [false, true] {
        let mut node = Node::new();
        node.made(WEB, existing);
        let stage = Task { comm: "runc:[2:INIT]".into(), ..restored() };
        node.runs(&[stage]);
        if existing {
            node.found(stage, HOST);
            node.apply(Input::WalkDone { tasks_read: true });
        }
        node.run_to(3600 * SEC);
        assert_eq!((node.lifecycle.init_of(WEB), node.starts()), (None, vec![]), "{existing}");
        // A start that fails is none, however late.
        node.event(&end(3600 * SEC, stage, ExitStatus::Signal { signal: 9, core: false }));
        node.event(&removed(3601 * SEC, WEB));
        node.run_to(3602 * SEC);
        assert_eq!(node.kinds(), [FactKind::StartFailed], "{existing}");
    }
}

#[test]
fn stage_of_a_session_is_not_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    let stage = Task { comm: "runc:[1:CHILD]".into(), ..probe(199, 2 * SEC) };
    node.runs(&[stage]);
    let only = probe(200, 2 * SEC + MS);
    node.event(&exec(2 * SEC + 2 * MS, only, runc(), &["/web"]));
    assert_eq!(node.starts(), [started(&only)]);
}

#[test]
fn container_that_stays_empty_is_looked_at_twice() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.run_to(3600 * SEC);
    assert_eq!((node.looks, node.out.len()), (2, 0));
    assert!(node.idle());
}

#[test]
fn process_without_exec_that_ends_well_before_anyone_looked_has_lived() {
    let mut node = Node::new();
    node.made(WEB, false);
    let life = [exit(SEC + 100 * MS, restored(), EXITED), end(SEC + 101 * MS, restored(), EXITED)];
    node.events(&life);
    node.event(&removed(SEC + 110 * MS, WEB));
    node.run_to(3 * SEC);
    assert_eq!(node.death().1.cause, Cause::Completed);
    // A start that fails ends otherwise, or in a stage.
    for (comm, status) in
        [("python3", ExitStatus::Code(127)), ("runc:[1:CHILD]", EXITED), ("3", EXITED)]
    {
        let stage = Task { comm: comm.into(), ..restored() };
        let mut node = Node::new();
        node.made(WEB, false);
        node.event(&end(SEC + 101 * MS, stage, status));
        node.event(&removed(SEC + 110 * MS, WEB));
        node.run_to(3 * SEC);
        assert_eq!(node.kinds(), [FactKind::StartFailed], "{comm}");
    }
}

#[test]
fn process_older_than_its_cgroup_is_init_since_it_came() {
    // A session's scope is made around sshd's process, which does not execute.
    let mut node = Node::new();
    node.unit(WEB);
    let leader = task(100, WEB, "sshd");
    node.runs(&[leader]);
    node.run_to(3 * SEC);
    assert_eq!(node.starts(), [started(&leader)]);
    assert_eq!(node.facts()[0].time_boot_ns, SEC / 2, "not before its cgroup");
}

#[test]
fn restored_process_older_than_the_agent_is_found_by_the_walk() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.found(probe(200, 2 * SEC), HOST);
    node.found(restored(), HOST);
    node.apply(Input::WalkDone { tasks_read: true });
    assert_eq!(node.starts(), [Started { before_agent: true, ..started(&restored()) }]);
}

#[test]
fn stage_older_than_the_agent_is_init_if_it_stays() {
    let mut node = Node::new();
    node.made(WEB, true);
    let wasm = task(100, WEB, "youki:[2:INIT]");
    node.found(wasm, HOST);
    node.apply(Input::WalkDone { tasks_read: true });
    node.runs(&[wasm]);
    node.run_to(61 * SEC);
    assert_eq!(node.starts(), [Started { before_agent: true, ..started(&wasm) }]);
}

/// A node whose init has left its cgroup empty, without a record of its exit.
fn moved(to: Option<CgroupId>, records_complete: bool) -> Node {
    let mut node = Node::running();
    node.records_complete = records_complete;
    if let Some(cgroup) = to {
        node.runs(&[Task { cgroup, ..init() }]);
    }
    node.event(&empty(2 * SEC, WEB));
    node.run_to(10 * SEC);
    node
}

#[test]
fn process_that_moved_has_not_ended() {
    for (to, complete) in [(Some(QOS), true), (Some(QOS), false), (None, true)] {
        let mut node = moved(to, complete);
        assert_eq!((node.deaths(), node.looks), (vec![], 1), "{to:?} {complete}");
        let there = Task { cgroup: to.unwrap_or(CgroupId(777)), ..init() };
        node.event(&signal(20 * SEC, plain(TERM, runc(), there)));
        assert_eq!(node.lifecycle.open_shutdowns(0).count(), 1);
        node.event(&end(20 * SEC + 300 * MS, there, EXITED));
        node.run_to(30 * SEC);
        assert_eq!(node.death().1.shutdown_ns(), Some(300 * MS));
    }
}

#[test]
fn removal_ends_a_container_whose_process_moved() {
    let mut node = moved(None, true);
    node.event(&removed(20 * SEC, WEB));
    node.run_to(30 * SEC);
    assert_eq!(node.death().1.status, None);
    assert!(node.lifecycle.is_empty());
}

#[test]
fn empty_cgroup_is_the_end_where_its_record_can_be_lost() {
    let node = moved(None, false);
    let (time, death) = node.death();
    assert_eq!((time, death.status, death.end_source), (2 * SEC, None, EndSource::CgroupEmpty));
}

#[test]
fn process_that_moved_and_executes_is_the_other_containers() {
    let mut node = Node::running();
    node.made(SIDE, false);
    let moved = Task { cgroup: SIDE, ..init() };
    node.runs(&[moved]);
    node.events(&[empty(2 * SEC, WEB), exec(2 * SEC, moved, runc(), &["/side"])]);
    assert_eq!(node.lifecycle.init_of(SIDE), Some(init().key));
    node.event(&removed(3 * SEC, WEB));
    node.run_to(4 * SEC);
    node.event(&end(5 * SEC, moved, EXITED));
    node.run_to(6 * SEC);
    assert_eq!(node.last_subject(), Some(SIDE));
    assert_eq!(node.deaths().len(), 2);
}

#[test]
fn process_that_moved_to_another_container_is_init_of_both() {
    let mut node = Node::running();
    node.made(SIDE, false);
    let moved = Task { cgroup: SIDE, ..init() };
    node.runs(&[moved]);
    node.event(&empty(2 * SEC, WEB));
    node.run_to(20 * SEC);
    assert_eq!(node.lifecycle.init_of(SIDE), Some(init().key));
    node.event(&signal(30 * SEC, plain(TERM, runc(), moved)));
    node.event(&end(31 * SEC, moved, EXITED));
    node.run_to(40 * SEC);
    let ends: Vec<_> = node.deaths().iter().map(|(_, death)| death.shutdown_ns()).collect();
    assert_eq!(ends, [Some(SEC), Some(SEC)]);
}
