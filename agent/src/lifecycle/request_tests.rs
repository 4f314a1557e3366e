//! The rule of stop requests, line by line.

use super::*;
use crate::cgroup::CgroupId;
use crate::event::{SignalOrigin, Task};

const SEC: u64 = 1_000_000_000;
const HUP: u32 = 1;
const INT: u32 = 2;
const QUIT: u32 = 3;
const USR1: u32 = 10;
const USR2: u32 = 12;
const TERM: u32 = 15;
const WINCH: u32 = 28;
const HALT: u32 = 37;

const RUNC: (&str, Sender) = ("runc", Sender::Runtime);
const SYSTEMD: (&str, Sender) = ("systemd", Sender::Host);
const HAND: (&str, Sender) = ("bash", Sender::Host);
const SIDECAR: (&str, Sender) = ("reloader", Sender::OtherContainer);

fn task(tgid: u32, comm: &str) -> Task {
    let key = TaskKey { tgid, start_boot_ns: 1 };
    Task { key, tid: tgid, cgroup: CgroupId(1), comm: comm.into() }
}

fn sent(number: u32, comm: &str) -> Signal {
    Signal {
        target: task(1, "app"),
        sender: task(2, comm),
        signal: number,
        result: SignalResult::Delivered,
        origin: SignalOrigin::User,
        target_dying: false,
        sender_dying: false,
    }
}

/// A signal at 100 s.
fn request(number: u32, (comm, sender): (&str, Sender)) -> Request {
    Request::new(100 * SEC, &sent(number, comm), sender, false).unwrap()
}

/// SIGKILL so much later, by the process `tgid` of that name.
fn kill(after_s: u64, (comm, sender): (&str, Sender), tgid: u32) -> Evidence {
    let signal = Signal { sender: task(tgid, comm), ..sent(SIGKILL, comm) };
    let time_boot_ns = (100 + after_s) * SEC;
    Evidence::Kill { time_boot_ns, by: sent_by(&signal, sender).unwrap() }
}

fn exits(after_s: u64, code: u8) -> Evidence {
    let status = Some(ExitStatus::Code(code));
    Evidence::End { time_boot_ns: (100 + after_s) * SEC, status, fatal: None }
}

fn dies(after_s: u64, signal: u32, by: Sender) -> Evidence {
    let status = Some(ExitStatus::Signal { signal, core: false });
    Evidence::End { time_boot_ns: (100 + after_s) * SEC, status, fatal: Some(by) }
}

fn vanishes(after_s: u64) -> Evidence {
    Evidence::End { time_boot_ns: (100 + after_s) * SEC, status: None, fatal: None }
}

#[test]
fn each_line_of_the_rule() {
    use Evidence::Report;
    let cases = [
        // By itself.
        (TERM, RUNC, Report, true),
        (TERM, HAND, Report, true),
        (TERM, SIDECAR, Report, true),
        (HUP, RUNC, Report, false),
        (QUIT, RUNC, Report, false),
        (HALT, RUNC, Report, false),
        // SIGKILL after it.
        (HUP, RUNC, kill(10, RUNC, 9), true),
        (USR1, RUNC, kill(35, RUNC, 9), true),
        (USR1, RUNC, kill(36, RUNC, 9), false),
        (QUIT, RUNC, kill(10, HAND, 2), false),
        (INT, SYSTEMD, kill(20, SYSTEMD, 2), true),
        (INT, HAND, kill(20, HAND, 3), false),
        (HUP, SIDECAR, kill(20, RUNC, 2), false),
        // The end by itself.
        (HUP, RUNC, dies(0, HUP, Sender::Runtime), true),
        (HUP, HAND, dies(50, HUP, Sender::Host), true),
        (HUP, HAND, dies(0, HUP, Sender::SameContainer), false),
        (USR1, RUNC, dies(0, 11, Sender::Kernel), false),
        // A clean end.
        (QUIT, RUNC, exits(30, 0), true),
        (QUIT, RUNC, exits(36, 0), false),
        (INT, HAND, exits(3, 130), true),
        (USR1, RUNC, exits(9, 0), true),
        (WINCH, RUNC, exits(9, 0), true),
        (WINCH, SYSTEMD, exits(9, 0), true),
        (USR2, RUNC, exits(0, 140), true),
        (HUP, HAND, exits(0, 0), false),
        (HUP, SIDECAR, exits(0, 0), false),
        // A crash.
        (USR1, RUNC, exits(6, 1), false),
        (HUP, RUNC, exits(0, 1), false),
        (WINCH, RUNC, exits(0, 1), false),
        (QUIT, RUNC, exits(0, 1), true),
        (QUIT, RUNC, exits(6, 1), false),
        (QUIT, RUNC, dies(1, 11, Sender::Kernel), true),
        (INT, RUNC, exits(20, 1), true),
        (INT, RUNC, exits(40, 1), false),
        (HALT, RUNC, exits(20, 3), true),
        // An end that nobody saw.
        (INT, RUNC, vanishes(1), true),
        (HUP, RUNC, vanishes(1), false),
    ];
    for (number, by, evidence, proved) in cases {
        let request = request(number, by);
        let is = request.is_proved(&evidence, &Reported::default());
        assert_eq!(is, proved, "signal {number} by {by:?}: {evidence:?}");
    }
}

#[test]
fn reported_stop_signal_counts_at_once_from_outside() {
    let reported = Reported { stop_signal: Some(USR1), ..Reported::default() };
    for by in [RUNC, HAND, SIDECAR] {
        assert!(request(USR1, by).is_proved(&Evidence::Report, &reported), "{by:?}");
        assert!(!request(USR2, by).is_proved(&Evidence::Report, &reported), "{by:?}");
        assert!(request(TERM, by).is_proved(&Evidence::Report, &reported), "{by:?}");
    }
}

#[test]
fn deletion_proves_what_the_runtime_sends_after_it() {
    let deleted = |since_s: u64, noticed_s: u64| Reported {
        deletion: Some(Deletion { since_boot_ns: since_s * SEC, noticed_boot_ns: noticed_s * SEC }),
        ..Reported::default()
    };
    let before = deleted(90, 95);
    let around = deleted(99, 101);
    let later = deleted(101, 102);
    let cases = [
        (HUP, RUNC, before, true),
        (HUP, HAND, before, false),
        (HUP, SIDECAR, before, false),
        (QUIT, RUNC, around, true),
        // A reload just before the deletion was noticed.
        (HUP, RUNC, around, false),
        (QUIT, RUNC, later, false),
    ];
    for (number, by, reported, proved) in cases {
        let is = request(number, by).is_proved(&Evidence::Report, &reported);
        assert_eq!(is, proved, "signal {number} by {by:?}");
    }
    assert!(request(HUP, RUNC).is_proved(&exits(50, 1), &around), "any end follows from it then");
    assert!(!request(HUP, RUNC).is_proved(&exits(1, 1), &later));
}

#[test]
fn grace_period_of_the_spec_is_the_limit() {
    let with = |seconds: u64| Reported { grace_ns: Some(seconds * SEC), ..Reported::default() };
    assert!(request(USR1, RUNC).is_proved(&kill(120, RUNC, 9), &with(120)));
    assert!(!request(USR1, RUNC).is_proved(&kill(20, RUNC, 9), &with(10)));
    assert!(request(USR1, RUNC).is_proved(&kill(2, RUNC, 9), &with(0)), "2 s at least");
    assert!(request(USR1, RUNC).is_proved(&kill(1 << 30, RUNC, 9), &with(u64::MAX / SEC)));
}

#[test]
fn evidence_before_the_signal_proves_nothing() {
    let late = Request { time_boot_ns: 200 * SEC, ..request(QUIT, RUNC) };
    for evidence in [exits(1, 0), vanishes(1), kill(1, RUNC, 9), dies(1, QUIT, Sender::Runtime)] {
        assert!(!late.is_proved(&evidence, &Reported::default()), "{evidence:?}");
    }
}

#[test]
fn signal_that_came_to_a_dying_process_is_no_request() {
    let began = Request { began: true, ..request(INT, RUNC) };
    assert!(!began.is_proved(&exits(1, 0), &Reported::default()));
    assert!(began.is_proved(&dies(0, INT, Sender::Runtime), &Reported::default()));
}

#[test]
fn what_comes_from_inside_or_never_stops_is_no_request() {
    for sender in [Sender::Kernel, Sender::Own, Sender::SameContainer] {
        assert_eq!(Request::new(0, &sent(TERM, "sh"), sender, false), None, "{sender:?}");
    }
    // SIGKILL, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGURG.
    for number in [0, SIGKILL, 17, 18, 19, 20, 23] {
        assert_eq!(Request::new(0, &sent(number, "runc"), Sender::Runtime, false), None);
    }
}
