//! Stop requests in the life of a container: reloads, stop signals of images, and what proves them.

use super::super::fact::Sender;
use super::*;

fn sent(at: u64, number: u32) -> Event {
    signal(at, plain(number, runc(), init()))
}

fn ends(at: u64, code: u8) -> Event {
    end(at, init(), ExitStatus::Code(code))
}

impl Node {
    /// A deletion that the agent notices at this time.
    fn deleted(&mut self, at: u64) {
        let (since_boot_ns, noticed_boot_ns) = (at - SEC, at);
        self.apply(Input::KillBegins { container: WEB, since_boot_ns, noticed_boot_ns });
    }

    fn is_terminating(&self) -> bool {
        self.lifecycle.open_shutdowns(0).next().is_some()
    }
}

/// Duration of the shutdown in the end, and the signal that was told.
fn shutdown_of(events: &[Event]) -> (Option<u64>, Option<u32>) {
    let mut node = Node::running();
    node.made(SIDE, false);
    node.events(events);
    node.run_to(7200 * SEC);
    let stops = node.stops();
    assert!(stops.len() < 2, "{stops:?}");
    let (_, death) = node.death();
    if let Some((at, _)) = stops.first() {
        assert_eq!(death.stop_boot_ns, Some(*at), "the fact has the signal's own time");
    }
    (death.shutdown_ns(), stops.first().map(|(_, stop)| stop.signal))
}

#[test]
fn reload_is_no_part_of_the_shutdown_after_it() {
    let events = [sent(10 * SEC, HUP), sent(16 * SEC, TERM), ends(16 * SEC + 300 * MS, 0)];
    assert_eq!(shutdown_of(&events), (Some(300 * MS), Some(TERM)));
    // In the other order of arrival as well.
    let events = [sent(16 * SEC, TERM), sent(10 * SEC, HUP), ends(16 * SEC + 300 * MS, 0)];
    assert_eq!(shutdown_of(&events), (Some(300 * MS), Some(TERM)));
}

#[test]
fn crash_after_a_rotation_of_logs_is_no_shutdown() {
    assert_eq!(shutdown_of(&[sent(10 * SEC, USR1), ends(16 * SEC, 1)]), (None, None));
    assert_eq!(shutdown_of(&[sent(10 * SEC, HUP), ends(3600 * SEC, 0)]), (None, None));
    let segv = ExitStatus::Signal { signal: SEGV, core: true };
    let events = [sent(10 * SEC, HUP), end(10 * SEC + MS, init(), segv)];
    assert_eq!(shutdown_of(&events), (None, None));
}

#[test]
fn stop_signal_of_an_image_is_proved_by_the_end_after_it() {
    for number in [INT, QUIT, USR1, WINCH, 37] {
        let events = [sent(10 * SEC, number), ends(10 * SEC + 300 * MS, 0)];
        assert_eq!(shutdown_of(&events), (Some(300 * MS), Some(number)));
    }
}

#[test]
fn request_is_not_open_before_it_is_proved() {
    let mut node = Node::running();
    node.events(&[sent(10 * SEC, HUP), sent(11 * SEC, QUIT)]);
    node.run_to(60 * SEC);
    assert!(!node.is_terminating() && node.out.is_empty());
}

#[test]
fn kill_by_the_runtime_proves_the_last_signal_before_it() {
    let kill = deadly(20 * SEC, KILL, runc(), init());
    let killed = end(20 * SEC + MS, init(), KILLED);
    let mut node = Node::running();
    node.events(&[sent(3 * SEC, HUP), sent(10 * SEC, QUIT), sent(11 * SEC, QUIT), kill.clone()]);
    let stop = StopSignal { signal: QUIT, sender: Sender::Runtime, ignored: false };
    assert_eq!(node.stops(), [(10 * SEC, stop)], "at once, with the time of the first");
    assert_eq!(node.kinds().last(), Some(&FactKind::KilledAfterStopSignal));
    assert!(node.is_terminating());
    node.event(&killed);
    node.run_to(30 * SEC);
    let (_, death) = node.death();
    assert_eq!(death.cause, Cause::KilledAfterGrace);
    assert_eq!(death.shutdown_ns(), Some(10 * SEC + MS));
    // Whichever record comes first.
    let events = [kill.clone(), sent(10 * SEC, QUIT), killed.clone()];
    assert_eq!(shutdown_of(&events), (Some(10 * SEC + MS), Some(QUIT)));
    // An hour apart they have nothing in common.
    let (hour, then) = (3600 * SEC, 3600 * SEC + MS);
    let events =
        [sent(10 * SEC, HUP), deadly(hour, KILL, runc(), init()), end(then, init(), KILLED)];
    assert_eq!(shutdown_of(&events), (None, None));
}

#[test]
fn signal_after_the_deletion_counts_at_once() {
    let mut node = Node::running();
    node.event(&sent(3 * SEC, HUP));
    node.deleted(9 * SEC);
    assert!(!node.is_terminating(), "a reload before");
    node.event(&sent(10 * SEC, USR1));
    assert_eq!(node.stops().len(), 1);
    assert!(node.is_terminating());
    node.event(&ends(12 * SEC, 1));
    node.run_to(20 * SEC);
    assert_eq!(node.death().1.shutdown_ns(), Some(2 * SEC));
}

#[test]
fn reload_then_a_deletion_with_sigterm() {
    let mut node = Node::running();
    node.event(&sent(9 * SEC + 500 * MS, HUP));
    node.deleted(10 * SEC);
    node.event(&sent(10 * SEC + 100 * MS, TERM));
    assert_eq!(node.stops()[0].0, 10 * SEC + 100 * MS);
    node.event(&ends(11 * SEC, 0));
    node.run_to(20 * SEC);
    assert_eq!(node.death().1.shutdown_ns(), Some(900 * MS));
}

#[test]
fn deletion_that_is_noticed_late_proves_the_stop_signal() {
    let mut node = Node::running();
    node.event(&sent(9 * SEC + 500 * MS, QUIT));
    assert_eq!(node.stops(), []);
    node.deleted(10 * SEC);
    assert_eq!(node.stops()[0].0, 9 * SEC + 500 * MS);
}

#[test]
fn deletion_that_is_taken_back_proves_nothing() {
    let mut node = Node::running();
    node.deleted(5 * SEC);
    node.apply(Input::NoKill { container: WEB });
    node.events(&[sent(10 * SEC, HUP), ends(12 * SEC, 1)]);
    node.run_to(20 * SEC);
    assert_eq!((node.stops(), node.death().1.stop_boot_ns), (vec![], None));
}

#[test]
fn stop_signal_that_is_reported_late_counts_from_its_own_time() {
    let mut node = Node::running();
    node.events(&[sent(9 * SEC, HUP), sent(10 * SEC, USR1)]);
    node.apply(Input::KnownStopSignal { container: WEB, signal: USR1 });
    assert_eq!(node.stops()[0].0, 10 * SEC);
    node.apply(Input::KnownStopSignal { container: WEB, signal: USR1 });
    assert_eq!(node.stops().len(), 1);
}

#[test]
fn known_stop_signal_counts_from_any_sender_outside() {
    let mut node = Node::running();
    node.apply(Input::KnownStopSignal { container: WEB, signal: USR1 });
    node.event(&signal(10 * SEC, plain(USR1, task(70, HOST, "bash"), init())));
    assert_eq!(node.stops()[0].1.sender, Sender::Host);
}

#[test]
fn grace_period_of_the_spec_bounds_the_proof() {
    let mut node = Node::running();
    node.apply(Input::GracePeriod { container: WEB, grace_ns: 120 * SEC });
    node.events(&[sent(10 * SEC, USR1), deadly(130 * SEC, KILL, runc(), init())]);
    assert_eq!(node.stops().len(), 1);
}

#[test]
fn restart_of_a_unit_stops_it_with_its_own_signal() {
    let systemd = task(1, HOST, "systemd");
    // Reloads by the manager, by a hand and by a control process; KillSignal=SIGINT, SIGCONT.
    let events = [
        signal(5 * SEC, plain(HUP, systemd, init())),
        signal(6 * SEC, plain(HUP, task(70, HOST, "kill"), init())),
        signal(7 * SEC, plain(HUP, task(71, WEB, "kill"), init())),
        signal(10 * SEC, plain(INT, systemd, init())),
        signal(10 * SEC + 1, plain(CONT, systemd, init())),
        ends(10 * SEC + 300 * MS, 1),
    ];
    assert_eq!(shutdown_of(&events), (Some(300 * MS), Some(INT)));
}

#[test]
fn ignored_request_says_so_when_it_is_proved() {
    let mut node = Node::running();
    let ignored = Signal { result: SignalResult::Ignored, ..plain(QUIT, runc(), init()) };
    node.event(&signal(10 * SEC, ignored));
    assert_eq!(node.stops(), []);
    node.event(&deadly(20 * SEC, KILL, runc(), init()));
    assert!(node.stops()[0].1.ignored);
}

#[test]
fn flood_of_reloads_hides_no_stop() {
    let mut events: Vec<Event> = (0..10_000).map(|at| sent(2 * SEC + at, HUP)).collect();
    events.push(sent(10 * SEC, QUIT));
    events.extend((0..10_000).map(|at| sent(10 * SEC + 1 + at, USR1)));
    events.push(ends(10 * SEC + 300 * MS, 3));
    assert_eq!(shutdown_of(&events), (Some(300 * MS), Some(QUIT)));
}

#[test]
fn end_whose_status_nobody_saw_follows_from_what_commonly_stops() {
    let gone = removed(10 * SEC + 500 * MS, WEB);
    let stopped = [sent(10 * SEC, INT), gone.clone()];
    assert_eq!(shutdown_of(&stopped).1, Some(INT));
    assert_eq!(shutdown_of(&[sent(10 * SEC, HUP), gone]).1, None);
}

fn by_hand(at: u64, result: SignalResult) -> Event {
    let bash = task(70, HOST, "bash");
    signal(at, Signal { result, ..plain(TERM, bash, init()) })
}

#[test]
fn sigterm_by_hand_that_stopped_nothing_is_no_part_of_the_stop_after_it() {
    for (result, ago) in [(SignalResult::Ignored, 8 * SEC), (SignalResult::Delivered, 3600 * SEC)] {
        let mut node = Node::running();
        let stop = 10 * SEC + ago;
        node.events(&[by_hand(10 * SEC, result), sent(stop, TERM)]);
        node.event(&signal(stop + 2 * SEC, plain(KILL, runc(), init())));
        let killed = ExitStatus::Signal { signal: KILL, core: false };
        node.event(&end(stop + 2 * SEC + MS, init(), killed));
        node.run_to(7200 * SEC);
        let (_, death) = node.death();
        assert_eq!(death.cause, Cause::KilledAfterGrace);
        assert_eq!(death.shutdown_ns(), Some(2 * SEC + MS), "{result:?}");
        let senders: Vec<_> = node.stops().iter().map(|(_, stop)| stop.sender).collect();
        assert_eq!(senders, [Sender::Host, Sender::Runtime]);
    }
    // One that is under way goes on.
    let events = [by_hand(10 * SEC, SignalResult::Delivered), sent(12 * SEC, TERM)];
    let events: Vec<_> = events.into_iter().chain([ends(15 * SEC, 0)]).collect();
    assert_eq!(shutdown_of(&events).0, Some(5 * SEC));
}

#[test]
fn sigterm_by_hand_is_over_after_the_longest_stop() {
    let mut node = Node::running();
    node.event(&by_hand(10 * SEC, SignalResult::Ignored));
    assert_eq!(node.lifecycle.open_shutdowns(300 * SEC).count(), 1, "a database may take minutes");
    assert_eq!(node.lifecycle.open_shutdowns(320 * SEC).count(), 0);
    // Where the grace period is known, that decides.
    node.apply(Input::GracePeriod { container: WEB, grace_ns: 30 * SEC });
    assert_eq!(node.lifecycle.open_shutdowns(40 * SEC).count(), 1);
    assert_eq!(node.lifecycle.open_shutdowns(50 * SEC).count(), 0);
    node.event(&ends(3600 * SEC, 1));
    node.run_to(7200 * SEC);
    let (_, death) = node.death();
    assert_eq!((death.cause, death.shutdown_ns()), (Cause::Error, None));
    // The runtime's own stays open, however long it takes.
    let mut node = Node::running();
    node.event(&sent(10 * SEC, TERM));
    assert_eq!(node.lifecycle.open_shutdowns(3600 * SEC).count(), 1);
}
