//! Loads the programs on the running kernel and holds what they say against what a real process in
//! a real cgroup did.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use agent::bpf::{
    load::{self, Programs, check_object, self_check},
    plan::Facts,
    ring::Ring,
};
use agent::cgroup::CgroupId;
use agent::event::{Event, EventKind, ExitStatus, SignalOrigin, SignalResult};
use agent::kernel::{btf, capabilities, cgroup_mount, host, offsets};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The programs, loaded; `None`, with the reason printed, where that cannot be tried.
fn load() -> Option<(Programs, Ring)> {
    if let Err(error) = check_object() {
        println!("SKIPPED: {error:#}");
        return None;
    }
    let capabilities = capabilities::raise().unwrap();
    if !capabilities.can_trace() {
        println!("SKIPPED: CAP_BPF and CAP_PERFMON are needed");
        return None;
    }
    let types = btf::Btf::from_file(Path::new(btf::VMLINUX)).unwrap();
    let offsets = offsets::resolve(&types).unwrap();
    let facts =
        Facts { capabilities, lockdown: host::lockdown(), memory_offsets: offsets.memory.is_ok() };
    let (programs, ring) = load::load(&types, &offsets.layout, &facts).unwrap();
    Some((programs, Ring::new(ring).unwrap()))
}

/// A cgroup of our own, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(parent: &Path, name: &str) -> std::io::Result<Self> {
        let path = parent.join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn id(&self) -> CgroupId {
        CgroupId(fs::metadata(&self.0).unwrap().ino())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn every_program_loads_attaches_and_checks_itself() {
    let Some((mut programs, _ring)) = load() else { return };
    for attached in &programs.attached {
        assert!(attached.outcome.is_ok(), "{attached:?}");
        assert_eq!(attached.lost, "", "{attached:?}");
    }
    self_check(&programs.running_tasks().unwrap()).unwrap();
}

/// A root of our own; `None`, with the reason printed, where none can be made.
fn root(name: &str) -> Option<Cgroup> {
    let Some(mount) = cgroup_mount::find().unwrap().unified else {
        println!("SKIPPED: no cgroup v2 hierarchy is mounted");
        return None;
    };
    match Cgroup::new(&mount, &format!("podvitals-{name}-{}", std::process::id())) {
        Ok(root) => Some(root),
        Err(error) => {
            println!("SKIPPED: no cgroup can be made in {}: {error}", mount.display());
            None
        }
    }
}

/// A process in a cgroup that does nothing for long.
fn sleeper(cgroup: &Cgroup) -> Child {
    let procs = cgroup.0.join("cgroup.procs");
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
    let Some((mut programs, mut ring)) = load() else { return };
    let Some(root) = root("full") else { return };
    programs.track_root(root.id()).unwrap();
    let container = Cgroup::new(&root.0, "container").unwrap();
    let mut child = sleeper(&container);
    let target = Pid::from_raw(child.id().cast_signed());
    for _ in 0..SIGNALS {
        // Ignored by default, and from outside the cgroup, so that each is told.
        kill(target, Signal::SIGWINCH).unwrap();
    }
    let mut events = Vec::new();
    ring.drain(&mut events);
    child.kill().unwrap();
    child.wait().unwrap();
    let losses = programs.losses();
    let winch = |e: &&Event| matches!(e.kind, EventKind::Signal(s) if s.signal == 28);
    let received = events.iter().filter(winch).count() as u64;
    assert!(losses.ring_full > 0, "the ring was never full: {losses:?}");
    assert_eq!(received + losses.ring_full, SIGNALS);
    ring.drain(&mut events);
    assert_eq!(programs.losses().submitted, events.len() as u64);
    assert_eq!(ring.rejected().map(|(_, count)| count).sum::<u64>(), 0);
}

#[tokio::test]
async fn the_life_of_a_process_is_told_in_order() {
    let Some((mut programs, mut ring)) = load() else { return };
    let Some(root) = root("life") else { return };
    programs.track_root(root.id()).unwrap();

    // Made after the root is tracked, so that its events are inherited, not seeded.
    let container = Cgroup::new(&root.0, "container").unwrap();
    let id = container.id();
    let mut child = sleeper(&container);
    let tgid = child.id();

    let tasks = programs.running_tasks().unwrap();
    let found = tasks.iter().find(|t| t.running.task.cgroup == id).expect("iterated");
    assert_eq!(found.running.task.key.tgid, tgid);
    assert_eq!(found.running.task.comm.bytes(), b"sleep");
    programs.set_init(id, tgid).unwrap();

    let before = host::boot_ns();
    kill(Pid::from_raw(tgid.cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    let after = host::boot_ns();
    drop(container);

    let mut events: Vec<Event> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !events.iter().any(|e| e.kind == EventKind::CgroupRemoved(id)) {
        assert!(Instant::now() < deadline, "{events:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        ring.drain(&mut events);
    }

    let made = events.iter().find_map(|e| match &e.kind {
        EventKind::CgroupMade(made) if made.cgroup == id => Some(made),
        _ => None,
    });
    assert_eq!(made.unwrap().name.as_deref(), Some(b"container".as_slice()));
    assert_eq!(made.unwrap().parent, root.id());
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
