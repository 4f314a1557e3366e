//! Share of one container in what the programs report and track, on the running kernel.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::bpf::tracked::{NESTED_MAX, Place};
use agent::bpf::{load, object, programs::Programs, ring::Rings, survey::Survey};
use agent::cgroup::CgroupId;
use agent::event::{Event, EventKind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::cgroup::{self, Cgroup};

/// The programs, loaded; `None`, with the reason printed, where that cannot be tried.
fn load() -> Option<(Programs, Rings)> {
    let survey = object::check().and_then(|()| Survey::of_this_process());
    match survey {
        Ok(survey) => {
            let (programs, rings) = load::load(&survey, 0).unwrap();
            Some((programs, Rings::new(rings).unwrap()))
        }
        Err(error) => {
            println!("SKIPPED: {error:#}");
            None
        }
    }
}

fn id_of(cgroup: &Cgroup) -> CgroupId {
    CgroupId(cgroup::id(cgroup.dir()).unwrap())
}

/// A shell in a cgroup.
fn shell(cgroup: &Cgroup, script: &str) -> Child {
    let procs = cgroup.dir().join("cgroup.procs");
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::null());
    // SAFETY: between fork and exec only a file is written; nothing else of this process is used.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    command.spawn().unwrap()
}

fn drained(rings: &mut Rings) -> Vec<Event> {
    let mut events = Vec::new();
    rings.drain(&mut events, &mut Vec::new());
    events
}

fn signals(events: &[Event], number: i32) -> usize {
    let is_it = |event: &&Event| match &event.kind {
        EventKind::Signal(signal) => signal.signal == number.cast_unsigned(),
        _ => false,
    };
    events.iter().filter(is_it).count()
}

/// A container that floods its own init is refused what is more than its share, and is told of all
/// the same when the runtime stops it; another loses nothing.
#[tokio::test]
async fn a_flood_of_signals_from_inside_costs_a_container_its_own_share() {
    const FLOOD: usize = 20_000;
    let Some((mut programs, mut rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("flood") else { return };
    let tracked = programs.tracked().unwrap();
    tracked.track(id_of(&root), Place::Holder).unwrap();
    let [noisy, quiet] = ["noisy", "quiet"].map(|name| root.child(name).unwrap());
    for container in [&noisy, &quiet] {
        tracked.place(id_of(container), Place::Container);
    }
    let mut init = shell(&noisy, "trap '' HUP; while :; do sleep 1; done");
    let mut other = shell(&quiet, "exec sleep 1000");
    tracked.set_init(id_of(&noisy), init.id()).unwrap();
    tracked.set_init(id_of(&quiet), other.id()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drained(&mut rings);

    let flood =
        format!("i=0; while [ $i -lt {FLOOD} ]; do kill -HUP {}; i=$((i+1)); done", init.id());
    let begin = Instant::now();
    assert!(shell(&noisy, &flood).wait().unwrap().success());
    // 256 at once, less the reserve, and 64 a second.
    let most = 256 + 64 * (begin.elapsed().as_secs() as usize + 1);
    for child in [&init, &other] {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }
    let events = drained(&mut rings);
    let reported = signals(&events, Signal::SIGHUP as i32);
    let losses = programs.losses();
    assert!((1..=most).contains(&reported), "{reported} of at most {most}");
    assert_eq!(reported as u64 + losses.share_signals, FLOOD as u64, "each is counted");
    assert_eq!(signals(&events, Signal::SIGTERM as i32), 2, "from outside nothing is refused");
    assert_eq!(losses.ring_full, 0);
    for child in [&mut init, &mut other] {
        let _ = child.kill();
        child.wait().unwrap();
    }
}

/// A container has so many nested cgroups, makes no more of them in a second than its share, and
/// leaves nothing behind.
#[tokio::test]
async fn nested_cgroups_are_limited_for_each_container() {
    let Some((mut programs, mut rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("nested") else { return };
    let tracked = programs.tracked().unwrap();
    tracked.track(id_of(&root), Place::Holder).unwrap();
    let [noisy, quiet] = ["noisy", "quiet"].map(|name| root.child(name).unwrap());
    for container in [&noisy, &quiet] {
        tracked.place(id_of(container), Place::Container);
    }
    let made = |rings: &mut Rings| {
        let events = drained(rings);
        events.iter().filter(|event| matches!(event.kind, EventKind::CgroupMade(_))).count()
    };
    made(&mut rings);
    // At any depth.
    let deep = noisy.child("deep").unwrap();
    let nested: Vec<_> = (0..1000).map(|n| deep.child(&format!("n{n}")).unwrap()).collect();
    let other = quiet.child("inner").unwrap();
    let reported = made(&mut rings);
    let losses = programs.losses();
    assert!((150..=NESTED_MAX + 1).contains(&reported), "{reported}");
    assert_eq!(reported as u64 - 1 + losses.share_cgroups + losses.nested_full, 1001);
    let tracked = programs.tracked().unwrap();
    let ids = tracked.ids();
    assert_eq!(ids.len(), 3 + reported);
    assert!(ids.contains(&id_of(&other)), "the other container's");

    // Later the share has grown, up to the limit.
    std::thread::sleep(Duration::from_secs(3));
    let more: Vec<_> = (0..200).map(|n| deep.child(&format!("m{n}")).unwrap()).collect();
    let reported = reported + made(&mut rings);
    assert_eq!(reported, NESTED_MAX + 1);
    assert!(programs.losses().nested_full > 0);

    // What is removed makes room again.
    drop((nested, more));
    let gone = drained(&mut rings);
    let tracked = programs.tracked().unwrap();
    for event in gone {
        if let EventKind::CgroupRemoved(id) = event.kind {
            tracked.untrack(id);
        }
    }
    assert_eq!(tracked.ids().len(), 5, "the root, two containers and one nested in each");
    std::thread::sleep(Duration::from_secs(1));
    let _late = deep.child("late").unwrap();
    assert_eq!(made(&mut rings), 1);
    drop(other);
}

/// The removal of a cgroup whose record finds no room leaves nothing behind in the map.
#[tokio::test]
async fn a_full_ring_leaves_no_ghosts_in_the_map() {
    let Some((mut programs, mut rings)) = load() else { return };
    let Some(root) = Cgroup::for_test("ghosts") else { return };
    programs.tracked().unwrap().track(id_of(&root), Place::Holder).unwrap();
    let early = root.child("early").unwrap();
    // More than the ring holds, at 304 bytes a record.
    for n in 0..4000 {
        drop(root.child(&format!("n{n}")).unwrap());
    }
    drop(early);
    let late = root.child("late").unwrap();
    assert!(programs.losses().ring_full > 0, "the ring was never full");
    let removed = drained(&mut rings);
    let tracked = programs.tracked().unwrap();
    for event in removed {
        if let EventKind::CgroupRemoved(id) = event.kind {
            tracked.untrack(id);
        }
    }
    let mut ids = tracked.ids();
    ids.sort();
    assert_eq!(ids, [id_of(&root), id_of(&late)]);

    // One that is tracked though it is gone, as a removal that nobody saw would leave it.
    let before = [vec![CgroupId(1)], ids.clone()].concat();
    tracked.track(CgroupId(1), Place::Container).unwrap();
    tracked.track(CgroupId(2), Place::Nested(id_of(&late))).unwrap();
    tracked.reconcile(&before, |id| id != CgroupId(1));
    let mut left = tracked.ids();
    left.sort();
    assert_eq!(left[0], CgroupId(2), "it came after the walk began");
    assert_eq!(left.len(), 3);
}
