//! Loads the programs on the running kernel and holds what they say against what a real process in
//! a real cgroup did.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use agent::bpf::{
    load, object, programs::Programs, ring::Rings, subjects::SubjectId, survey::Survey,
    tasks::self_check, tracked::Place,
};
use agent::cgroup::CgroupId;
use agent::cgroup::reader::{Detail, Reader};
use agent::clock;
use agent::event::{Event, EventKind, ExitStatus, SignalOrigin, SignalResult};
use agent::kernel::capabilities;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::cgroup::{self, Cgroup};

/// The programs, loaded; `None`, with the reason printed, where that cannot be tried.
fn load() -> Option<(Programs, Rings)> {
    let (programs, rings) = load::load(&survey()?, 0).unwrap();
    Some((programs, Rings::new(rings).unwrap()))
}

/// The running kernel; `None`, with the reason printed, where nothing can be loaded.
fn survey() -> Option<Survey> {
    if let Err(error) = object::check() {
        println!("SKIPPED: {error:#}");
        return None;
    }
    match Survey::of_this_process() {
        Ok(survey) => Some(survey),
        Err(error) => {
            println!("SKIPPED: {error:#}");
            None
        }
    }
}

/// The id that the programs know a cgroup by.
fn id_of(cgroup: &Cgroup) -> CgroupId {
    CgroupId(cgroup::id(cgroup.dir()).unwrap())
}

#[tokio::test]
async fn every_program_loads_attaches_and_checks_itself() {
    let Some((mut programs, _rings)) = load() else { return };
    for attached in &programs.attached {
        assert_eq!(attached.lost, "", "{attached:?}");
    }
    // One of two ways to see the kubelet's connections is enough.
    let failed: Vec<_> = programs.attached.iter().filter(|it| it.outcome.is_err()).collect();
    assert!(failed.iter().all(|it| it.subject.id == SubjectId::InetSockSetState), "{failed:?}");
    self_check(&programs.running_tasks().unwrap().tasks).unwrap();
}

/// Each object has a ring of its own: the owner is woken by any of them, and drains all.
#[tokio::test]
async fn any_of_several_rings_wakes() {
    const SIGWINCH: u32 = 28;
    let Some(survey) = survey() else { return };
    let (mut first, mut rings) = load::load(&survey, 0).unwrap();
    let (mut second, others) = load::load(&survey, 0).unwrap();
    rings.extend(others);
    let mut rings = Rings::new(rings).unwrap();
    let Some(root) = Cgroup::for_test("rings") else { return };
    let container = root.child("container").unwrap();
    let mut child = sleeper(&container);
    let target = Pid::from_raw(child.id().cast_signed());
    let mut events = Vec::new();
    for programs in [&mut first, &mut second] {
        rings.drain(&mut events, &mut Vec::new());
        events.clear();
        let soon = Duration::from_millis(200);
        assert!(tokio::time::timeout(soon, rings.woken()).await.is_err(), "nothing has happened");
        programs.tracked().unwrap().track(id_of(&container), Place::Container).unwrap();
        programs.tracked().unwrap().set_init(id_of(&container), child.id()).unwrap();
        kill(target, Signal::SIGWINCH).unwrap();
        tokio::time::timeout(Duration::from_secs(10), rings.woken()).await.unwrap();
        rings.drain(&mut events, &mut Vec::new());
        let is_it = |e: &&Event| matches!(e.kind, EventKind::Signal(s) if s.signal == SIGWINCH);
        assert_eq!(events.iter().filter(is_it).count(), 1, "{events:?}");
        programs.tracked().unwrap().untrack(id_of(&container));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the agent does while it serves, as it does it then: each operation raises what it needs.
#[tokio::test]
async fn everything_works_with_no_capability_effective() {
    let Some((mut programs, _rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("dropped") else { return };
    // In a thread of its own, which gives them up for good.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let kept = capabilities::drop_unneeded(capabilities::Kubelet::Watched).unwrap();
            assert_eq!(kept.sets.effective, capabilities::Set::default());
            programs.tracked().unwrap().track(id_of(&root), Place::Holder).unwrap();
            let container = root.child("container").unwrap();
            programs.tracked().unwrap().track(id_of(&container), Place::Container).unwrap();
            programs.tracked().unwrap().set_init(id_of(&container), 1).unwrap();
            self_check(&programs.running_tasks().unwrap().tasks).unwrap();
            assert!(programs.losses().submitted > 0, "the cgroup was made after the root was told");
            if let Ok(mut snapshot) = programs.snapshot(root.dir()) {
                assert_eq!(snapshot.pass().unwrap().len(), 2);
            }
            programs.tracked().unwrap().untrack(id_of(&container));
            assert!(
                programs.tracked().unwrap().set_init(id_of(&container), 1).is_err(),
                "it was forgotten"
            );
        });
    });
}

/// A process in a cgroup that does nothing for long.
fn sleeper(cgroup: &Cgroup) -> Child {
    let procs = cgroup.dir().join("cgroup.procs");
    let mut command = Command::new("sleep");
    command.arg("1000");
    // SAFETY: between fork and exec only a file is written; nothing else of this process is used.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    command.spawn().unwrap()
}

/// A full ring loses records and counts each of them.
#[tokio::test]
async fn what_is_sent_is_received_or_counted_as_lost() {
    /// More than the ring holds, at 120 bytes a record.
    const SIGNALS: u64 = 30_000;
    let Some((mut programs, mut rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("full") else { return };
    programs.tracked().unwrap().track(id_of(&root), Place::Holder).unwrap();
    let container = root.child("container").unwrap();
    let mut child = sleeper(&container);
    let target = Pid::from_raw(child.id().cast_signed());
    for _ in 0..SIGNALS {
        // Ignored by default, and from outside the cgroup, so that each is told.
        kill(target, Signal::SIGWINCH).unwrap();
    }
    let mut events = Vec::new();
    rings.drain(&mut events, &mut Vec::new());
    child.kill().unwrap();
    child.wait().unwrap();
    let losses = programs.losses();
    let winch = |e: &&Event| matches!(e.kind, EventKind::Signal(s) if s.signal == 28);
    let received = events.iter().filter(winch).count() as u64;
    assert!(losses.ring_full > 0, "the ring was never full: {losses:?}");
    assert_eq!(received + losses.ring_full, SIGNALS);
    rings.drain(&mut events, &mut Vec::new());
    assert_eq!(programs.losses().submitted, events.len() as u64);
    assert_eq!(rings.rejected().map(|(_, count)| count).sum::<u64>(), 0);
}

#[tokio::test]
async fn the_life_of_a_process_is_told_in_order() {
    let Some((mut programs, mut rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("life") else { return };
    programs.tracked().unwrap().track(id_of(&root), Place::Holder).unwrap();

    // Made after the root is tracked, so that its events are inherited, not seeded.
    let container = root.child("container").unwrap();
    let id = id_of(&container);
    let mut child = sleeper(&container);
    let tgid = child.id();

    let found = programs.running_tasks().unwrap();
    assert!(found.complete, "the walk over all processes is not loaded");
    let found = found.tasks.iter().find(|t| t.running.task.cgroup == id).expect("iterated");
    assert_eq!(found.running.task.key.tgid, tgid);
    assert_eq!(found.running.task.comm.bytes(), b"sleep");
    programs.tracked().unwrap().set_init(id, tgid).unwrap();

    let before = clock::boot_ns();
    kill(Pid::from_raw(tgid.cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    let after = clock::boot_ns();
    drop(container);

    let mut events: Vec<Event> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !events.iter().any(|e| e.kind == EventKind::CgroupRemoved(id)) {
        assert!(Instant::now() < deadline, "{events:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        rings.drain(&mut events, &mut Vec::new());
    }

    let made = events.iter().find_map(|e| match &e.kind {
        EventKind::CgroupMade(made) if made.cgroup == id => Some(made),
        _ => None,
    });
    assert_eq!(made.unwrap().name.as_deref(), Some(b"container".as_slice()));
    assert_eq!(made.unwrap().parent, id_of(&root));
    let exec = events.iter().find_map(|e| match &e.kind {
        EventKind::Exec(exec) if exec.task.key.tgid == tgid => Some(exec),
        _ => None,
    });
    assert_eq!(exec.unwrap().argv, b"sleep\x001000\0");
    assert_eq!(exec.unwrap().parent.key.tgid, std::process::id());
    let signal = events.iter().find_map(|e| match e.kind {
        EventKind::Signal(signal) if signal.target.key.tgid == tgid => Some((e, signal)),
        _ => None,
    });
    let (sent, signal) = signal.unwrap();
    assert_eq!(signal.signal, 15);
    assert_eq!(signal.result, SignalResult::Delivered);
    assert_eq!(signal.origin, SignalOrigin::User);
    assert_eq!(signal.sender.key.tgid, std::process::id());
    assert!(!signal.target_dying);
    let end = events.iter().rev().find_map(|e| match e.kind {
        EventKind::End(end) if end.task.key.tgid == tgid => Some((e, end)),
        _ => None,
    });
    let (ended, end) = end.unwrap();
    assert_eq!(end.status, ExitStatus::Signal { signal: 15, core: false });
    assert_eq!(end.task.key, exec.unwrap().task.key);
    assert!(before <= sent.time_boot_ns && sent.time_boot_ns <= ended.time_boot_ns);
    assert!(ended.time_boot_ns <= after, "{} > {after}", ended.time_boot_ns);
    assert!(events.iter().any(|e| matches!(e.kind, EventKind::Exit(x) if x.task.key.tgid == tgid)));
    assert!(events.iter().any(|e| e.kind == EventKind::CgroupEmpty(id)));
    assert_eq!(programs.losses().ring_full, 0);
}

/// The iterator is asked first, of a cgroup that nobody has read for 3 s: reading its file would
/// bring the kernel's sums up to date and hide a lag.
#[tokio::test]
async fn a_pass_over_all_cgroups_says_what_the_files_say() {
    let Some((mut programs, _rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("pass") else { return };
    let mut snapshot = match programs.snapshot(root.dir()) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            println!("SKIPPED: {error:#}");
            return;
        }
    };
    let cgroups: Vec<_> = (0..50).map(|n| root.child(&format!("container-{n}")).unwrap()).collect();
    let procs = cgroups[7].dir().join("cgroup.procs");
    let mut command = Command::new("sh");
    // A loop of the shell's own; how much CPU time it took, `times` tells as the witness.
    command.args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; times"]);
    // SAFETY: between fork and exec only a file is written; nothing else of this process is used.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    let output = command.output().unwrap();
    let witness_us = shell_times_us(&String::from_utf8(output.stdout).unwrap());
    assert!(witness_us > 10_000, "the loop took {witness_us} us");
    std::thread::sleep(Duration::from_secs(3));

    fs::read(root.dir().join("cpu.stat")).unwrap();
    let stats = snapshot.pass().unwrap();
    assert_eq!(stats.len(), cgroups.len() + 1, "the root and each cgroup");
    let mut files = Reader::new(0);
    for (n, cgroup) in cgroups.iter().enumerate() {
        let stats = stats.of(id_of(cgroup)).unwrap();
        let passed_us = stats.cpu_usage_ns / 1000;
        let file = files.sample(id_of(cgroup), cgroup.dir(), Detail::Container).unwrap();
        assert_eq!(Some(passed_us), file.cpu.usage_us, "cgroup {n}");
        // Nothing has stalled since the kernel's own sum, which is 2 s old at most.
        if let Some(stalled_us) = file.cpu_pressure.some_us {
            assert_eq!(stats.stalls_ns[0] / 1000, stalled_us, "cgroup {n}");
        }
        if n == 7 {
            // The shell rounds down, to hundredths of a second.
            assert!(passed_us + 20_000 >= witness_us, "{passed_us} us passed, {witness_us} used");
        }
    }
    // What was made since is in the next pass, what was removed is not.
    let (gone, late) = (id_of(&cgroups[3]), root.child("late").unwrap());
    fs::remove_dir(cgroups[3].dir()).unwrap();
    let stats = snapshot.pass().unwrap();
    assert!(stats.of(gone).is_none() && stats.of(id_of(&late)).is_some());
    assert_eq!(stats.len(), cgroups.len() + 1);
}

/// More and more cgroups, and then more than the array holds.
#[tokio::test]
async fn a_pass_over_many_cgroups_has_all_until_the_array_is_full() {
    let Some((mut programs, _rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("many") else { return };
    let Ok(mut snapshot) = programs.snapshot(root.dir()) else {
        println!("SKIPPED: this kernel has no cgroup iterator");
        return;
    };
    let make = |n| root.child(&format!("c{n}")).unwrap();
    let mut cgroups: Vec<_> = (0..600).map(make).collect();
    for _ in 0..2 {
        let stats = snapshot.pass().unwrap();
        assert_eq!(stats.len(), 601);
        assert!(cgroups.iter().all(|cgroup| stats.of(id_of(cgroup)).is_some()));
    }
    let room = agent::bpf::plan::snapshot_elements(0) as usize - 1;
    cgroups.extend((600..room + 50).map(make));
    let stats = snapshot.pass().unwrap();
    assert_eq!(stats.len(), room, "the rest is read from files");
    let found = cgroups.iter().filter(|cgroup| stats.of(id_of(cgroup)).is_some()).count();
    assert_eq!(found + 1, room);
}

/// User and system time of the shell itself: the first line of `times`, as `0m0.51s 0m0.00s`.
fn shell_times_us(text: &str) -> u64 {
    let line = text.lines().next().unwrap();
    let parts = line.split_whitespace().map(|part| {
        let (minutes, seconds) = part.trim_end_matches('s').split_once('m').unwrap();
        let seconds: f64 = seconds.parse().unwrap();
        minutes.parse::<u64>().unwrap() * 60_000_000 + (seconds * 1e6) as u64
    });
    parts.sum()
}
