//! The scenarios' other half, without an agent: workloads, senders and witnesses do what the
//! scenarios rely on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use testbed::runner::{Outcome, Report};

use crate::container::{Container, Node};
use crate::host::{Host, Met, Need};
use crate::process::Process;
use crate::scratch::{Scratch, clean_on_signal};
use crate::signal::RUNTIME;
use crate::witness::seconds_between;

/// Arguments of `scenarios rehearse`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RehearseArgs {
    /// A cgroup v2 directory of our own; made, and removed in the end, if it does not exist.
    #[arg(long)]
    cgroup_root: PathBuf,
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// How a rehearsed container must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Exit(i32),
    Signal(Signal),
    /// Not by SIGTERM; SIGKILL ends it then.
    Survives,
}

/// Workload, wanted end, shortest time from SIGTERM to the end in milliseconds.
const WORKS: [(&str, &[&str], Wanted, u64); 11] = [
    ("plain", &[], Wanted::Signal(Signal::SIGTERM), 0),
    ("handler", &["--on-term", "handle", "--code", "3"], Wanted::Exit(3), 300),
    ("threads", &["--threads", "8"], Wanted::Signal(Signal::SIGTERM), 0),
    (
        "leader-first",
        &["--on-term", "handle", "--leader-leaves", "term", "--term-ms", "200"],
        Wanted::Exit(0),
        200,
    ),
    (
        "leader-gone",
        &["--on-term", "handle", "--leader-leaves", "start", "--term-ms", "200"],
        Wanted::Exit(0),
        200,
    ),
    ("large-memory", &["--touch-mib", "200"], Wanted::Signal(Signal::SIGTERM), 0),
    ("ignores", &["--on-term", "ignore"], Wanted::Survives, 0),
    ("blocks", &["--on-term", "block"], Wanted::Survives, 0),
    (
        "crash-segv",
        &["--exit-after-ms", "0", "--crash", "segv"],
        Wanted::Signal(Signal::SIGSEGV),
        0,
    ),
    (
        "crash-abort",
        &["--exit-after-ms", "0", "--crash", "abort"],
        Wanted::Signal(Signal::SIGABRT),
        0,
    ),
    (
        "crash-term",
        &["--exit-after-ms", "0", "--crash", "term"],
        Wanted::Signal(Signal::SIGTERM),
        0,
    ),
];

/// Runs them; true if none failed.
pub(crate) fn run(args: &RehearseArgs) -> Result<bool> {
    clean_on_signal(&args.cgroup_root)?;
    let scratch = Scratch::make()?;
    let node = Node::make(&args.cgroup_root, &scratch.0.join("containers"))?;
    let report = Report::default();
    for (name, work, wanted, least_ms) in WORKS {
        report.case(name, || one(&node, name, work, wanted, least_ms).into());
    }
    report.case("pid-namespace", || pid_namespace(&node).into());
    report.case("stages", || stages(&node).into());
    if Host::read(&node.burstable())?.has(Need::Memory) == Met::Yes {
        report.case("oom", || oom(&node, &["--hog"], "1", 1).into());
        report.case("oom-group", || oom(&node, &["--child-hog"], "1", 2).into());
        report.case("oom-child", || oom(&node, &["--child-hog"], "0", 1).into());
    } else {
        report.case("oom", || Outcome::Skipped("no memory controller".into()));
    }
    let counts = report.counts();
    println!("{counts}");
    Ok(counts.good())
}

fn one(node: &Node, name: &str, work: &[&str], wanted: Wanted, least_ms: u64) -> Result<String> {
    let pod = node.pod(name)?;
    let mut container = pod.container("app")?;
    container.start(work, TIMEOUT)?;
    let stopping = !work.contains(&"--crash");
    if stopping {
        let procs = container.read("cgroup.procs")?;
        ensure!(
            procs.trim() == container.pid()?.to_string(),
            "cgroup.procs is {procs:?}, init is {}",
            container.pid()?
        );
    }
    stop(&mut container, wanted, least_ms, stopping)
}

fn stop(
    container: &mut Container,
    wanted: Wanted,
    least_ms: u64,
    stopping: bool,
) -> Result<String> {
    let mut sent_ns = crate::witness::boot_ns();
    if stopping {
        let sent = RUNTIME.send(container.pid()?, &[Signal::SIGTERM], TIMEOUT)?;
        sent_ns = *sent.first().context("no time reported")?;
    }
    if wanted == Wanted::Survives {
        std::thread::sleep(Duration::from_millis(200));
        ensure!(!container.init()?.has_ended(), "SIGTERM ended it");
        RUNTIME.send(container.pid()?, &[Signal::SIGKILL], TIMEOUT)?;
    }
    let end = container.wait(TIMEOUT)?;
    let good = match (wanted, end.status) {
        (Wanted::Exit(wanted), WaitStatus::Exited(_, code)) => wanted == code,
        (Wanted::Signal(wanted), WaitStatus::Signaled(_, signal, _)) => wanted == signal,
        (Wanted::Survives, WaitStatus::Signaled(_, signal, _)) => signal == Signal::SIGKILL,
        _ => false,
    };
    ensure!(good, "ended by {:?}, not {wanted:?}", end.status);
    let took = seconds_between(sent_ns, end.at_ns);
    let least = Duration::from_millis(least_ms).as_secs_f64();
    ensure!(took >= least || !stopping, "ended after {took} s, before {least} s");
    let usage_us = container.read_field("cpu.stat", "usage_usec")?;
    container.remove_cgroup()?;
    ensure!(!container.dir.exists(), "the cgroup is still there");
    Ok(format!("{took:.4} s, {usage_us} µs of CPU"))
}

fn pid_namespace(node: &Node) -> Result<String> {
    let pod = node.pod("pid-namespace")?;
    let mut container = pod.container("app")?;
    container.start_as(&[], true, TIMEOUT)?;
    stop(&mut container, Wanted::Survives, 0, true)
}

fn stages(node: &Node) -> Result<String> {
    let pod = node.pod("stages")?;
    let mut container = pod.container("app")?;
    let mut stage =
        container.exec_argv(&["runc", "init", "hand-over", "work", "--exit-after-ms", "200"])?;
    let line = stage.line(TIMEOUT)?.context("the stage said no process id")?;
    container.set_init(Process::adopt(Pid::from_raw(line.parse()?))?);
    stage.expect_line("ready", TIMEOUT)?;
    stage.end_ns(TIMEOUT)?;
    stage.reap()?;
    stop(&mut container, Wanted::Signal(Signal::SIGTERM), 0, true)
}

/// Memory runs out at 32 MiB; so many processes die of it.
fn oom(node: &Node, work: &[&str], group: &str, kills: u64) -> Result<String> {
    let pod = node.pod("oom")?;
    let mut container = pod.container("app")?;
    container.set("memory.max", "33554432")?;
    container.set("memory.oom.group", group)?;
    container.start(work, TIMEOUT)?;
    let lives = group == "0";
    if lives {
        container.init()?.expect_line("child-ended", TIMEOUT)?;
        ensure!(!container.init()?.has_ended(), "init has ended");
    } else {
        let end = container.wait(TIMEOUT)?;
        let killed = matches!(end.status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
        ensure!(killed, "ended by {:?}", end.status);
    }
    let counted = container.read_field("memory.events", "oom_kill")?;
    // A group kill takes the first victim a second time (mm/oom_kill.c, oom_kill_process).
    let most = if lives { kills } else { kills + 1 };
    ensure!((kills..=most).contains(&counted), "memory.events says {counted} kills, not {kills}");
    Ok(format!("{kills} killed, oom_kill {counted}"))
}
