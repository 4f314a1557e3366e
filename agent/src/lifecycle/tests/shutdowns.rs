//! Shutdowns: stop signals, ends and their causes.

use super::super::fact::Sender;
use super::*;

fn stop_of(events: &[Event]) -> Vec<(u64, StopSignal)> {
    let mut node = Node::running();
    node.made(SIDE, false);
    node.events(events);
    node.stops()
}

#[test]
fn container_that_stops_in_time() {
    let mut node = Node::running();
    node.event(&signal(10 * SEC, term()));
    let stop = StopSignal { signal: TERM, sender: Sender::Runtime, ignored: false };
    assert_eq!(node.stops(), [(10 * SEC, stop)], "at once");
    node.event(&exit(12 * SEC, init(), EXITED));
    assert_eq!(node.out.last(), Some(&Output::ReadLast { container: WEB }));
    node.event(&end(12 * SEC + MS, init(), EXITED));
    node.event(&empty(12 * SEC + MS, WEB));
    node.tick(12 * SEC + MS + SETTLE_NS - 1);
    assert_eq!(node.deaths(), [], "not settled");
    assert_eq!(node.lifecycle.next_deadline(), Some(12 * SEC + MS + SETTLE_NS));
    node.tick(12 * SEC + MS + SETTLE_NS);
    let termination = Termination {
        cause: Cause::Completed,
        status: Some(EXITED),
        stop_boot_ns: Some(10 * SEC),
        end_boot_ns: 12 * SEC + MS,
        outcome: Outcome::Exited,
        fatal: None,
        end_source: EndSource::ParentNotified,
        init_cpu_ns: Some(7),
    };
    assert_eq!(node.death(), (12 * SEC + MS, termination));
    node.event(&removed(13 * SEC, WEB));
    node.run_to(14 * SEC);
    assert_eq!(node.out.last(), Some(&Output::Forget { container: WEB }));
    assert_eq!(node.deaths().len(), 1);
    assert_eq!(node.out.iter().filter(|o| matches!(o, Output::ReadLast { .. })).count(), 2);
    assert!(node.lifecycle.is_empty() && node.idle());
}

#[test]
fn container_that_is_killed_after_its_grace() {
    let mut node = Node::running();
    node.event(&signal(10 * SEC, term()));
    node.event(&deadly(40 * SEC, KILL, runc(), init()));
    node.event(&signal(
        40 * SEC + MS,
        Signal { result: SignalResult::Ignored, target_dying: true, ..plain(KILL, shim(), init()) },
    ));
    assert_eq!(
        node.facts().last(),
        Some(&Fact { time_boot_ns: 40 * SEC, kind: FactKind::KilledAfterStopSignal })
    );
    node.event(&end(40 * SEC + 5 * MS, init(), KILLED));
    node.run_to(41 * SEC);
    let (time, death) = node.death();
    assert_eq!(time, 40 * SEC + 5 * MS);
    assert_eq!(death.cause, Cause::KilledAfterGrace);
    assert_eq!(death.shutdown_ns(), Some(30 * SEC + 5 * MS));
    assert_eq!(death.outcome, Outcome::Killed);
    assert_eq!(death.fatal, fatal(KILL, Sender::Runtime));
    let kills = node.kinds().iter().filter(|k| **k == FactKind::KilledAfterStopSignal).count();
    assert_eq!(kills, 1);
}

#[test]
fn ignored_stop_signal_is_reported_at_once() {
    let stops = stop_of(&[signal(SEC, Signal { result: SignalResult::Ignored, ..term() })]);
    assert_eq!(stops, [(SEC, StopSignal { signal: TERM, sender: Sender::Runtime, ignored: true })]);
}

#[test]
fn signal_to_a_dying_or_zombie_init_is_no_stop_signal() {
    for result in [SignalResult::Ignored, SignalResult::AlreadyPending, SignalResult::Unknown(9)] {
        let late = Signal { result, target_dying: true, ..term() };
        assert_eq!(stop_of(&[signal(2 * SEC, late)]), [], "{result:?}");
    }
    // Linux 5.10 still queues signals to a dying process.
    let late = deadly(3 * SEC, TERM, runc(), init());
    let exits = exit(2 * SEC, init(), EXITED);
    assert_eq!(stop_of(&[exits, late.clone()]), []);
    assert_eq!(stop_of(&[deadly(2 * SEC, KILL, runc(), init()), late.clone()])[..], []);
    let (_, death) = death_of(&[late, end(4 * SEC, init(), EXITED)]);
    assert_eq!((death.cause, death.shutdown_ns()), (Cause::Completed, None), "it exited by itself");
}

#[test]
fn stop_signal_without_a_handler_kills_and_counts() {
    let mut node = Node::running();
    node.event(&deadly(2 * SEC, TERM, runc(), init()));
    assert_eq!(node.stops().len(), 1, "the signal itself made it dying");
    node.event(&end(2 * SEC + MS, init(), ExitStatus::Signal { signal: TERM, core: false }));
    node.run_to(3 * SEC);
    let (_, death) = node.death();
    assert_eq!(death.cause, Cause::Signal);
    assert_eq!(death.shutdown_ns(), Some(MS));
    assert_eq!(death.outcome, Outcome::Exited);
    assert_eq!(death.fatal, fatal(TERM, Sender::Runtime));
}

#[test]
fn first_stop_signal_counts_and_later_ones_do_not() {
    let again = Signal { result: SignalResult::AlreadyPending, ..term() };
    let events = [
        signal(10 * SEC, term()),
        signal(11 * SEC, again),
        signal(12 * SEC, plain(QUIT, runc(), init())),
    ];
    assert_eq!(stop_of(&events).len(), 1);
    let end = end(20 * SEC, init(), EXITED);
    let events: Vec<Event> = events.into_iter().chain([end]).collect();
    assert_eq!(death_of(&events).1.shutdown_ns(), Some(10 * SEC));
}

#[test]
fn pending_stop_signal_counts_if_no_earlier_one_was_seen() {
    let pending = Signal { result: SignalResult::AlreadyPending, ..term() };
    assert_eq!(stop_of(&[signal(SEC, pending)]).len(), 1);
}

#[test]
fn only_sigterm_stops_by_itself() {
    for number in [0, HUP, QUIT, KILL, CHLD, CONT, STOP, TSTP, URG, WINCH, 37] {
        assert_eq!(stop_of(&[signal(SEC, plain(number, runc(), init()))]), [], "{number}");
    }
    assert_eq!(stop_of(&[signal(SEC, term())]).len(), 1);
}

#[test]
fn others_outside_stop_with_sigterm_only() {
    for (sender, who) in
        [(task(1, HOST, "systemd"), Sender::Host), (task(70, SIDE, "sh"), Sender::OtherContainer)]
    {
        let stops = stop_of(&[
            signal(SEC, plain(HUP, sender, init())),
            signal(2 * SEC, plain(QUIT, sender, init())),
            signal(3 * SEC, plain(TERM, sender, init())),
        ]);
        assert_eq!(stops.len(), 1);
        assert_eq!((stops[0].0, stops[0].1.sender), (3 * SEC, who));
    }
}

#[test]
fn neither_the_container_nor_the_kernel_sends_a_stop_signal() {
    let resize =
        Signal { origin: SignalOrigin::Kernel, ..plain(WINCH, task(50, HOST, "conmon"), init()) };
    assert_eq!(
        stop_of(&[
            signal(SEC, plain(TERM, task(200, WEB, "kill"), init())),
            signal(SEC, plain(TERM, init(), init())),
            signal(SEC, plain(TERM, task(60, WEB, "runc"), init())),
            signal(SEC, resize),
        ]),
        []
    );
}

#[test]
fn signals_to_other_processes_of_the_container_do_not_count() {
    assert_eq!(stop_of(&[signal(SEC, plain(TERM, runc(), task(101, WEB, "child")))]), []);
}

#[test]
fn sigkill_by_hand_without_a_stop_signal() {
    let hand = task(70, HOST, "bash");
    let (_, death) = death_of(&[deadly(2 * SEC, KILL, hand, init()), end(2 * SEC, init(), KILLED)]);
    assert_eq!(death.cause, Cause::KilledWithoutStopSignal);
    assert_eq!((death.shutdown_ns(), death.outcome), (None, Outcome::Exited));
    assert_eq!(death.fatal, fatal(KILL, Sender::Host));
}

#[test]
fn refused_sigkill_from_inside_is_no_kill() {
    let inside =
        Signal { result: SignalResult::Ignored, ..plain(KILL, task(9, WEB, "sh"), init()) };
    let mut node = Node::running();
    node.event(&signal(2 * SEC, term()));
    node.event(&signal(3 * SEC, inside));
    assert_eq!(node.lifecycle.open_shutdowns(0).next().map(|(_, s)| s.killed), Some(false));
    assert_eq!(node.kinds().len(), 1);
}

#[test]
fn kill_that_arrives_before_its_stop_signal_is_reported_after_it() {
    let mut node = Node::running();
    node.event(&deadly(3 * SEC, KILL, runc(), init()));
    node.event(&signal(2 * SEC, term()));
    assert_eq!(node.kinds().len(), 2);
    assert_eq!(node.kinds()[1], FactKind::KilledAfterStopSignal);
}

#[test]
fn stop_signal_after_the_kill_does_not_make_it_a_shutdown() {
    let (_, death) = death_of(&[
        deadly(2 * SEC, KILL, runc(), init()),
        signal(
            2 * SEC + MS,
            Signal { result: SignalResult::Ignored, target_dying: true, ..term() },
        ),
        end(2 * SEC + 2 * MS, init(), KILLED),
    ]);
    assert_eq!(death.cause, Cause::KilledWithoutStopSignal);
}

#[test]
fn exit_code_separates_completed_from_error() {
    assert_eq!(death_of(&[end(2 * SEC, init(), EXITED)]).1.cause, Cause::Completed);
    let (_, death) = death_of(&[end(2 * SEC, init(), ExitStatus::Code(143))]);
    assert_eq!((death.cause, death.fatal), (Cause::Error, None), "143 is a code here");
}

#[test]
fn fatal_signal_has_the_sender_of_its_last_record() {
    let events = [
        signal(2 * SEC, plain(HUP, task(70, HOST, "logrotate"), init())),
        deadly(3 * SEC, HUP, task(101, WEB, "sh"), init()),
        end(3 * SEC + MS, init(), ExitStatus::Signal { signal: HUP, core: false }),
    ];
    assert_eq!(death_of(&events).1.fatal, fatal(HUP, Sender::SameContainer));
}

#[test]
fn fatal_signal_without_a_record_came_from_the_kernel_or_the_container() {
    let ended = |signal| {
        let status = ExitStatus::Signal { signal, core: false };
        death_of(&[end(2 * SEC, init(), status)]).1
    };
    for signal in [4, 5, 7, 8, SEGV, 24, 25, 31] {
        assert_eq!(ended(signal).fatal, fatal(signal, Sender::Kernel));
        assert_eq!(ended(signal).cause, Cause::Signal);
    }
    assert_eq!(ended(ABRT).fatal, fatal(ABRT, Sender::SameContainer));
    assert_eq!(ended(KILL).fatal, fatal(KILL, Sender::Host));
}

#[test]
fn end_of_a_shared_pid_namespace_is_a_kill_by_the_kernel() {
    let mut node = Node::running();
    node.made(SIDE, false);
    node.event(&signal(2 * SEC, term()));
    let pause = task(80, SIDE, "pause");
    let teardown = Signal {
        origin: SignalOrigin::Kernel,
        sender_dying: true,
        target_dying: true,
        ..plain(KILL, pause, init())
    };
    node.event(&signal(3 * SEC, teardown));
    assert_eq!(node.kinds().len(), 1, "no process sent it to init");
    node.event(&end(3 * SEC, init(), KILLED));
    node.run_to(4 * SEC);
    assert_eq!(node.death().1.fatal, fatal(KILL, Sender::Kernel));
}

#[test]
fn signal_that_dumped_core_is_the_last_one() {
    let events = [
        signal(2 * SEC, plain(QUIT, task(70, HOST, "bash"), init())),
        signal(3 * SEC, plain(QUIT, task(101, WEB, "sh"), init())),
        end(3 * SEC + MS, init(), ExitStatus::Signal { signal: QUIT, core: true }),
    ];
    assert_eq!(death_of(&events).1.fatal, fatal(QUIT, Sender::SameContainer));
}

#[test]
fn kill_that_was_refused_or_came_before_is_not_the_end_of_a_grace_period() {
    for (at, result) in [(3 * SEC, SignalResult::Ignored), (SEC + MS, SignalResult::Delivered)] {
        let mut node = Node::running();
        node.event(&signal(2 * SEC, term()));
        node.event(&signal(at, Signal { result, ..plain(KILL, task(70, HOST, "sh"), init()) }));
        assert_eq!(node.kinds().len(), 1, "{result:?}");
    }
}

#[test]
fn signal_to_the_stage_that_became_init_does_not_count() {
    let mut node = Node::running();
    node.event(&signal(SEC - MS, term()));
    assert_eq!(node.stops(), []);
}

/// Linux 5.10 queues signals to a dying process and reports them as delivered.
#[test]
fn nothing_reaches_a_killed_process() {
    let kill = signal(2 * SEC, plain(KILL, runc(), init()));
    let late = signal(2 * SEC + MS, term());
    assert_eq!(stop_of(&[kill.clone(), late.clone()]), []);
    for order in [[&kill, &late], [&late, &kill]] {
        let ended = end(2 * SEC + 2 * MS, init(), KILLED);
        let (_, death) = death_of(&[order[0].clone(), order[1].clone(), ended]);
        assert_eq!(death.cause, Cause::KilledWithoutStopSignal);
        assert_eq!(death.shutdown_ns(), None);
    }
}
