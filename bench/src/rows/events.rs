//! Records without loss: signals to watched processes, at a given pace, from outside.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::scrape::Scrape;

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::Server;
use crate::stats::three;

pub(super) const HOW: &str = "A sender outside the container, pinned to one CPU, sends SIGWINCH, \
    each of which is a record: to a second process of the container, whose records wait for the \
    next drain, and, as the peer, to its init, each of whose records wakes the agent. Produced is \
    what kill(2) was called for; consumed and dropped are the agent's own counters. The flood sends \
    as fast as it can.";

const RATE: f64 = 200_000.0;

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(1)?;
    let server = Server::agent(args, &node, &[])?;
    let container = node.containers.first().context("no container")?;
    let mut session = container.spawn(Command::new("sleep").arg("100000"))?;
    // Its exec is a record as well.
    std::thread::sleep(Duration::from_millis(300));
    let init = pid(container.init.as_ref().context("no init")?)?;
    let result = rounds(args, &server, pid(&session)?, init);
    session.kill().context("kill a process of ours")?;
    session.wait().context("wait for a process of ours")?;
    result
}

fn pid(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id()).context("a pid beyond i32")?))
}

/// What became of a number of signals.
struct Outcome {
    produced: u64,
    consumed: u64,
    dropped: u64,
    /// Produced in a second.
    rate: f64,
    /// The agent's share of a CPU.
    cpu: f64,
}

impl Outcome {
    fn cpu_ns(&self) -> f64 {
        self.cpu / self.rate * 1e9
    }
}

fn rounds(args: &Args, server: &Server, session: Pid, init: Pid) -> Result<Vec<Line>> {
    let long = args.pick(Duration::from_secs(10), Duration::from_secs(1));
    let short = args.pick(Duration::from_secs(2), Duration::from_millis(500));
    let batched = send(server, session, Some(RATE), long)?;
    let woken = send(server, init, Some(RATE), long)?;
    let flood = send(server, session, None, short)?;

    let percent = |share: f64| format!("{} %", three(share * 100.0));
    let accounts = |outcome: &Outcome| {
        let Outcome { produced, consumed, dropped, .. } = outcome;
        Line::new(
            format!("at {:.0}/s: produced = consumed + dropped", outcome.rate),
            format!("{produced} = {consumed} + {dropped}"),
        )
        .goal("equal", Verdict::count(*produced == consumed + dropped))
        .because("records were lost that nobody counted, or counted that nobody sent")
    };
    Ok(vec![
        accounts(&batched),
        Line::new("dropped then", batched.dropped.to_string())
            .goal("0", Verdict::goal(batched.dropped == 0))
            .because("the agent did not drain the ring (2 MiB, 65 ms at this rate) in time"),
        Line::new("the agent's CPU then", percent(batched.cpu))
            .goal("≤ 2 % of a core", Verdict::goal(batched.cpu <= 0.02))
            .because("see the CPU of a record: decoding, sorting and the lifecycle"),
        Line::new("the agent's CPU for a record", format!("{} ns", three(batched.cpu_ns())))
            .peer(format!("{} ns (woken for each)", three(woken.cpu_ns())))
            .ratio(batched.cpu_ns() / woken.cpu_ns()),
        accounts(&woken),
        accounts(&flood),
        Line::new(
            "the agent's CPU in the flood",
            format!("{}, {} ns a record", percent(flood.cpu), three(flood.cpu_ns())),
        ),
    ])
}

fn send(server: &Server, target: Pid, rate: Option<f64>, time: Duration) -> Result<Outcome> {
    let before = server.read()?;
    let cpu_before = server.cpu()?;
    let start = Instant::now();
    let produced = pinned(|| paced(target, rate, time))??;
    let elapsed = start.elapsed();
    let cpu = server.cpu()?.saturating_sub(cpu_before).as_secs_f64() / elapsed.as_secs_f64();
    // A scrape drains the ring first. Those before may have had what came while they were made.
    server.scrape()?;
    let after = server.read()?;
    let rise = |name: &str, label| {
        let value = |scrape: &Scrape| scrape.value(name, &[label]);
        Ok::<_, Error>((value(&after)? - value(&before)?) as u64)
    };
    Ok(Outcome {
        produced,
        consumed: rise("events_received_total", ("kind", "signal_generate"))?,
        dropped: rise("events_lost_total", ("reason", "ring_full"))?,
        rate: produced as f64 / elapsed.as_secs_f64(),
        cpu,
    })
}

/// Runs `work` on the last CPU that this process may use.
fn pinned<T>(work: impl FnOnce() -> T) -> Result<T> {
    let own = Pid::from_raw(0);
    let all = sched_getaffinity(own).context("sched_getaffinity")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| all.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("no CPU")?).context("a set of one CPU")?;
    sched_setaffinity(own, &one).context("sched_setaffinity")?;
    let result = work();
    sched_setaffinity(own, &all).context("sched_setaffinity")?;
    Ok(result)
}

/// One signal after the other, each when it is due.
fn paced(target: Pid, rate: Option<f64>, time: Duration) -> Result<u64> {
    let start = Instant::now();
    let mut sent = 0;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= time {
            return Ok(sent);
        }
        if rate.is_none_or(|rate| sent as f64 <= elapsed.as_secs_f64() * rate) {
            kill(target, Signal::SIGWINCH).context("kill")?;
            sent += 1;
        }
    }
}
