//! Ends: when a container has ended, and when it has not.

use super::*;

#[test]
fn stopped_and_continued_container_has_not_ended() {
    let mut node = Node::running();
    for number in [STOP, CONT, TSTP, CONT] {
        node.event(&signal(2 * SEC, plain(number, runc(), init())));
    }
    node.run_to(60 * SEC);
    assert_eq!(node.out, []);
    assert!(node.idle());
}

#[test]
fn process_stuck_after_its_exit_stays_an_open_shutdown() {
    let mut node = Node::running();
    node.event(&signal(10 * SEC, term()));
    node.event(&deadly(40 * SEC, KILL, runc(), init()));
    node.event(&exit(40 * SEC, init(), KILLED));
    node.run_to(90 * SEC);
    assert_eq!(node.deaths(), []);
    let open: Vec<_> = node.lifecycle.open_shutdowns(0).collect();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].0, open[0].1.since_boot_ns, open[0].1.killed), (WEB, 10 * SEC, true));
    node.event(&end(95 * SEC, init(), KILLED));
    assert_eq!(node.lifecycle.open_shutdowns(0).count(), 0);
    node.run_to(96 * SEC);
    assert_eq!(node.death().1.shutdown_ns(), Some(85 * SEC));
}

#[test]
fn leader_may_leave_long_before_the_last_thread() {
    // The leader's own exit makes no record; the last thread's does.
    let (time, death) =
        death_of(&[exit(30 * SEC, init(), EXITED), end(30 * SEC + MS, init(), EXITED)]);
    assert_eq!((time, death.cause), (30 * SEC + MS, Cause::Completed));
}

#[test]
fn repeated_end_counts_from_the_last_record_before_it_settles() {
    let events = [end(2 * SEC, init(), EXITED), end(2 * SEC + MS, init(), EXITED)];
    assert_eq!(death_of(&events).0, 2 * SEC + MS);
    let mut node = Node::running();
    node.event(&end(2 * SEC, init(), EXITED));
    node.run_to(3 * SEC);
    node.event(&end(4 * SEC, init(), EXITED));
    node.event(&empty(4 * SEC, WEB));
    node.run_to(5 * SEC);
    assert_eq!(node.death().0, 2 * SEC);
}

#[test]
fn empty_cgroup_is_the_end_where_the_parents_signal_is_missing() {
    let (time, death) =
        death_of(&[exit(2 * SEC, init(), ExitStatus::Code(2)), empty(3 * SEC, WEB)]);
    assert_eq!((time, death.end_source), (3 * SEC, EndSource::CgroupEmpty));
    assert_eq!((death.cause, death.status), (Cause::Error, Some(ExitStatus::Code(2))));
}

#[test]
fn removal_alone_gives_an_end_without_a_status() {
    let (time, death) = death_of(&[removed(3 * SEC, WEB)]);
    assert_eq!((time, death.end_source), (3 * SEC, EndSource::CgroupRemoved));
    assert_eq!((death.cause, death.status, death.init_cpu_ns), (Cause::Unknown, None, None));
}

#[test]
fn signals_decide_the_cause_where_the_status_is_missing() {
    let kill = deadly(3 * SEC, KILL, runc(), init());
    let (_, death) = death_of(&[kill.clone(), empty(3 * SEC + MS, WEB)]);
    assert_eq!((death.cause, death.status), (Cause::KilledWithoutStopSignal, None));
    let (_, death) = death_of(&[signal(2 * SEC, term()), kill, empty(3 * SEC + MS, WEB)]);
    assert_eq!((death.cause, death.outcome), (Cause::KilledAfterGrace, Outcome::Killed));
    let died = [deadly(2 * SEC, TERM, runc(), init()), empty(3 * SEC, WEB)];
    assert_eq!(death_of(&died).1.cause, Cause::Signal);
}

#[test]
fn cgroup_that_was_empty_between_the_stages_is_no_end() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    node.event(&empty(SEC - MS, WEB));
    node.run_to(10 * SEC);
    assert_eq!(node.deaths(), []);
}

#[test]
fn flush_settles_ended_containers_only() {
    let mut node = Node::running();
    node.made(SIDE, false);
    let side = task(110, SIDE, "side");
    node.event(&exec(SEC, side, shim(), &["/side"]));
    node.event(&end(2 * SEC, init(), EXITED));
    node.event(&exit(2 * SEC, side, EXITED));
    node.apply(Input::Flush { now_boot_ns: 2 * SEC });
    assert_eq!(node.death().0, 2 * SEC);
    assert_eq!(node.last_subject(), Some(WEB));
    node.run_to(9 * SEC);
    assert_eq!(node.deaths().len(), 1, "once");
}

#[test]
fn containers_of_a_pod_stop_independently() {
    let mut node = Node::running();
    node.made(SIDE, false);
    let side = task(110, SIDE, "side");
    node.event(&exec(SEC, side, shim(), &["/side"]));
    node.event(&signal(10 * SEC, term()));
    node.event(&end(11 * SEC, init(), EXITED));
    // A sidecar is stopped after the app containers.
    node.event(&signal(11 * SEC + MS, plain(TERM, runc(), side)));
    node.event(&deadly(13 * SEC, KILL, runc(), side));
    node.event(&end(13 * SEC, side, KILLED));
    node.run_to(20 * SEC);
    let deaths = node.deaths();
    assert_eq!(deaths[0].1.cause, Cause::Completed);
    assert_eq!(deaths[1].1.cause, Cause::KilledAfterGrace);
    assert_eq!(deaths[1].1.shutdown_ns(), Some(2 * SEC - MS));
}

#[test]
fn stop_signal_before_the_agent_started_is_not_known() {
    // The agent restarted in the middle of a shutdown.
    let mut node = Node::new();
    node.made(WEB, true);
    node.found(init(), HOST);
    node.apply(Input::WalkDone { tasks_read: true });
    node.event(&deadly(10 * SEC, KILL, runc(), init()));
    node.event(&end(10 * SEC, init(), KILLED));
    node.run_to(11 * SEC);
    let (_, death) = node.death();
    assert_eq!((death.cause, death.status), (Cause::Unknown, Some(KILLED)));
    assert_eq!(death.shutdown_ns(), None);
    assert!(node.starts()[0].before_agent);
}

#[test]
fn a_stop_signal_may_be_among_records_that_were_lost() {
    let cause = |lost_after: Option<u64>, stop_after: Option<u64>| {
        let mut node = Node::running();
        node.apply(Input::GracePeriod { container: WEB, grace_ns: 30 * SEC });
        if let Some(at) = stop_after {
            node.event(&signal(at, plain(TERM, runc(), init())));
        }
        if let Some(now_boot_ns) = lost_after {
            node.apply(Input::RecordsLost { now_boot_ns });
        }
        node.event(&deadly(40 * SEC, KILL, runc(), init()));
        node.event(&end(40 * SEC, init(), KILLED));
        node.run_to(41 * SEC);
        node.death().1.cause
    };
    assert_eq!(cause(None, None), Cause::KilledWithoutStopSignal);
    assert_eq!(cause(Some(20 * SEC), None), Cause::Unknown);
    // Longer ago than any stop of it takes.
    assert_eq!(cause(Some(2 * SEC), None), Cause::KilledWithoutStopSignal);
    assert_eq!(cause(Some(20 * SEC), Some(10 * SEC)), Cause::KilledAfterGrace);
}

#[test]
fn init_that_moved_to_an_unknown_cgroup_is_still_known() {
    let mut node = Node::running();
    let moved = Task { cgroup: CgroupId(777), ..init() };
    node.event(&end(2 * SEC, moved, EXITED));
    node.run_to(3 * SEC);
    assert_eq!(node.death().0, 2 * SEC);
}

#[test]
fn last_thread_seen_twice_gives_the_cpu_time_of_the_later_record() {
    let exit = |at, cpu_runtime_ns| {
        let status = ExitStatus::Code(0);
        let exit = Exit {
            task: init(),
            status,
            parent_cgroup: HOST,
            cpu_runtime_ns,
            children_cpu_ns: 90,
            children: 0,
        };
        kernel_event(at, EventKind::Exit(exit))
    };
    let (first, second) = (exit(2 * SEC, 500), exit(2 * SEC + 10, 600));
    let empty = empty(2 * SEC + 20, WEB);
    let (_, death) = death_of(&[first.clone(), second.clone(), empty.clone()]);
    assert_eq!(death.init_cpu_ns, Some(600));
    assert_eq!(death_of(&[second, first, empty]).1.init_cpu_ns, Some(600));
}

#[test]
fn stop_signal_after_the_end_is_no_shutdown() {
    let (_, death) = death_of(&[empty(2 * SEC, WEB), signal(2 * SEC + MS, term())]);
    assert_eq!(death.shutdown_ns(), None);
}

#[test]
fn ends_out_of_order_give_the_later_one() {
    let events = [end(2 * SEC + MS, init(), EXITED), end(2 * SEC, init(), EXITED)];
    assert_eq!(death_of(&events).0, 2 * SEC + MS);
}
