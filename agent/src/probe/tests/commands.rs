//! Probes by commands.

use super::*;
use crate::event::ExitStatus;

const KILLED: ExitStatus = ExitStatus::Signal { signal: 9, core: false };

fn container() -> Value {
    json!({
        "livenessProbe": {"exec": {"command": ["cat", "/tmp/live"]}, "timeoutSeconds": 2},
        "readinessProbe": {"exec": {"command": ["sh", "-c", "true"]}},
        "lifecycle": {"preStop": {"exec": {"command": ["drain"]}}}
    })
}

impl World {
    /// A command whose process is made `ms` after [`START`], and executes 5 ms later.
    fn begins(&mut self, tgid: u32, ms: u64, argv: &[u8]) {
        let start_boot_ns = START + ms * MS;
        let key = TaskKey { tgid, start_boot_ns };
        let begin = SessionBegin { key, exec_boot_ns: start_boot_ns + 5 * MS, argv: argv.to_vec() };
        self.probes.session_began(CgroupId(1), begin);
        self.now = self.now.max(start_boot_ns);
        self.settles(0);
    }

    fn ends(&mut self, tgid: u32, ms: u64, after_ms: u64, status: ExitStatus, settled: bool) {
        let start_boot_ns = START + ms * MS;
        let key = TaskKey { tgid, start_boot_ns };
        let time_boot_ns = start_boot_ns + after_ms * MS;
        // Only the first record of an end has the children.
        let left_behind = if settled { 0 } else { 2 };
        let end = SessionEnd { key, time_boot_ns, status, cpu_ns: 7, left_behind, settled };
        self.probes.session_ended(end);
        self.now = self.now.max(time_boot_ns);
        self.settles(0);
    }

    fn runs(&mut self, tgid: u32, ms: u64, argv: &[u8], after_ms: u64, status: ExitStatus) {
        self.begins(tgid, ms, argv);
        self.ends(tgid, ms, after_ms, status, true);
    }
}

#[test]
fn a_probes_command_is_an_attempt() {
    let mut world = World::with(container());
    world.runs(1, 0, b"sh\0-c\0true\0", 40, ExitStatus::Code(0));
    world.runs(2, 3000, b"cat\0/tmp/live\0", 30, ExitStatus::Code(1));
    let [ready, live] = *world.attempts() else { panic!("two") };
    assert_eq!((ready.probe, ready.result), (ProbeKind::Readiness, ProbeResult::Success));
    assert_eq!((ready.start_boot_ns, ready.end_boot_ns), (START, START + 40 * MS));
    let run = crate::lifecycle::fact::ExecRun {
        exec_boot_ns: Some(START + 5 * MS),
        exit_code: Some(0),
        cpu_ns: Some(7),
        left_behind: 0,
        overran: false,
    };
    assert_eq!((ready.exec, ready.network), (Some(run), None));
    assert_eq!((live.probe, live.result), (ProbeKind::Liveness, ProbeResult::Failure));
    assert_eq!((live.exec.unwrap().exit_code, live.failures_left), (Some(1), Some(2)));
    assert_eq!(world.probes.sessions().of(Outcome::Probe), 2);
}

#[test]
fn other_commands_are_none() {
    let mut world = World::with(container());
    world.runs(1, 0, b"cat\0/tmp/other\0", 40, ExitStatus::Code(0));
    world.runs(2, 0, b"sh\0", 40, ExitStatus::Code(0));
    world.runs(3, 0, b"drain\0", 40, ExitStatus::Code(0));
    assert_eq!(world.results(), []);
    let sessions = world.probes.sessions();
    assert_eq!((sessions.of(Outcome::NotAProbe), sessions.of(Outcome::Hook)), (2, 1));
    assert_eq!(world.probes.deadline(), None);
}

#[test]
fn a_command_out_of_time_is_killed_or_goes_on() {
    let mut world = World::with(container());
    let live = &b"cat\0/tmp/live\0"[..];
    // The runtime's timer began before the process did.
    world.runs(1, 0, live, 1990, KILLED);
    // Killed by somebody else.
    world.runs(2, 10_000, live, 300, KILLED);
    // It ended by itself, too late.
    world.runs(3, 20_000, live, 2100, ExitStatus::Code(0));
    let attempts = world.attempts();
    let told: Vec<_> = attempts.iter().map(|it| (it.result, it.exec.unwrap().exit_code)).collect();
    let expected = [
        (ProbeResult::Timeout, Some(137)),
        (ProbeResult::Failure, Some(137)),
        (ProbeResult::Timeout, Some(0)),
    ];
    assert_eq!(told, expected);
    assert!(attempts.iter().all(|it| !it.exec.unwrap().overran));
    // It does not end: told once, when nobody has killed it in time.
    world.begins(4, 30_000, live);
    world.settles(2900);
    assert_eq!(world.results(), []);
    world.settles(200);
    let [attempt] = *world.attempts() else { panic!("one") };
    let run = attempt.exec.unwrap();
    assert_eq!((attempt.result, run.exit_code, run.cpu_ns), (ProbeResult::Timeout, None, None));
    assert!(run.overran);
    assert_eq!(attempt.duration_ns(), 2 * SECOND, "nobody waits longer");
    world.ends(4, 30_000, 60_000, ExitStatus::Code(0), true);
    assert_eq!((world.results(), world.probes.deadline()), (vec![], None));
}

#[test]
fn only_what_is_killed_shortly_before_the_timeout_was_out_of_time() {
    // The timeout, and the life of the command in ms.
    for (timeout_s, lived_ms, expected) in [
        (1, 50, ProbeResult::Failure),
        (1, 300, ProbeResult::Failure),
        (1, 700, ProbeResult::Failure),
        (1, 760, ProbeResult::Timeout),
        (1, 1050, ProbeResult::Timeout),
        (2, 1400, ProbeResult::Failure),
        (2, 1600, ProbeResult::Timeout),
        (30, 28_900, ProbeResult::Failure),
        (30, 29_100, ProbeResult::Timeout),
    ] {
        let probe = json!({"exec": {"command": ["check"]}, "timeoutSeconds": timeout_s});
        let mut world = World::with(json!({"livenessProbe": probe}));
        world.runs(1, 0, b"check\0", lived_ms, KILLED);
        let [attempt] = *world.attempts() else { panic!("one") };
        let told = (attempt.result, attempt.exec.unwrap().exit_code, attempt.duration_ns());
        assert_eq!(told, (expected, Some(137), lived_ms * MS), "{lived_ms} ms of {timeout_s} s");
    }
}

#[test]
fn the_last_record_of_an_end_counts_and_one_suffices() {
    let mut world = World::with(container());
    let live = &b"cat\0/tmp/live\0"[..];
    world.begins(1, 0, live);
    world.ends(1, 0, 30, ExitStatus::Code(0), false);
    assert_eq!(world.results(), []);
    world.ends(1, 0, 31, ExitStatus::Code(0), true);
    let [attempt] = *world.attempts() else { panic!("one") };
    assert_eq!(attempt.end_boot_ns, START + 31 * MS);
    world.begins(2, 10_000, live);
    world.ends(2, 10_000, 30, ExitStatus::Code(0), false);
    world.settles(200);
    assert_eq!(world.results(), [("liveness", "success")]);
}

#[test]
fn a_container_takes_no_others_room() {
    let mut world = World::with(container());
    let live = &b"cat\0/tmp/live\0"[..];
    // They go on for ever: those after the limit are counted, and the room of the told is free again.
    for n in 0..16 {
        world.begins(100 + n, 0, live);
    }
    world.begins(200, 0, live);
    assert_eq!(world.probes.sessions().of(Outcome::NoRoom), 1);
    world.settles(5_000);
    assert_eq!(world.results().len(), 16);
    world.runs(300, 10_000, live, 30, ExitStatus::Code(0));
    assert_eq!(world.results(), [("liveness", "success")]);
    assert_eq!(world.probes.sessions().of(Outcome::NoRoom), 1);
}

#[test]
fn a_command_waits_for_its_container_to_be_known() {
    let mut world = World::new();
    world.runs(1, 100, b"sh\0-c\0true\0", 40, ExitStatus::Code(0));
    world.settles(300);
    assert_eq!(world.results(), []);
    world.now = START;
    world.starts("a", "web", 1);
    world.pod("a", "10.244.0.5", &[("web", container())]);
    world.now = START + SECOND;
    world.settles(0);
    assert_eq!(world.results(), [("readiness", "success")]);
    // A container of which nothing is known.
    let mut world = World::new();
    world.begins(1, 0, b"sh\0-c\0true\0");
    world.settles(10_000);
    assert_eq!(world.probes.sessions().of(Outcome::NoContainer), 1);
    assert_eq!(world.probes.deadline(), None);
}
