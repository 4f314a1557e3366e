//! From the signal to user space: the ring's forced wake-up.

use std::time::Duration;

use agent::bpf::{load, programs::Programs, ring::Rings, survey::Survey, tracked::Place};
use agent::clock;
use agent::event::EventKind;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::{Series, three};

pub(super) const HOW: &str = "A SIGWINCH to a container's init, one at a time: from the time in the \
    record to the moment when the waiting task has decoded it, in this process, with the agent's \
    own programs and ring.";

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(1)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let times = runtime.block_on(rounds(&node, args.pick(2000, 200)))?;
    let us = |seconds: f64| three(seconds * 1e6);
    Ok(vec![
        Line::new(
            "signal to user space, p50 / p99 / max",
            format!(
                "{} / {} / {} µs",
                us(times.median()),
                us(times.percentile(99)),
                us(times.max())
            ),
        )
        .peer("1 s (the drain)")
        .goal("p99 ≤ 1 ms", Verdict::goal(times.percentile(99) <= 1e-3)),
    ])
}

async fn rounds(node: &Node, rounds: u32) -> Result<Series> {
    // The runtime must be there when the ring is registered with it.
    let (mut programs, mut rings) = load()?;
    let container = node.containers.first().context("no container")?;
    let init = container.init.as_ref().context("no init")?.id();
    let tracked = programs.tracked().context("no programs that report events")?;
    tracked.track(container.id()?, Place::Container)?;
    tracked.set_init(container.id()?, init)?;
    let target = Pid::from_raw(i32::try_from(init).context("a pid beyond i32")?);
    let mut times = Series::default();
    let (mut events, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        rings.drain(&mut events, &mut connections);
        events.clear();
        kill(target, Signal::SIGWINCH).context("kill")?;
        while times_of(&events).is_none() {
            let woken = tokio::time::timeout(PATIENCE, rings.woken()).await;
            ensure!(woken.is_ok(), "no record in {PATIENCE:?}");
            rings.drain(&mut events, &mut connections);
        }
        let at = times_of(&events).context("no record")?;
        times.push(clock::boot_ns().saturating_sub(at) as f64 / 1e9);
    }
    Ok(times)
}

fn times_of(events: &[agent::event::Event]) -> Option<u64> {
    let signal = |event: &&agent::event::Event| matches!(event.kind, EventKind::Signal(_));
    events.iter().find(signal).map(|event| event.time_boot_ns)
}

/// The agent's own programs and their ring.
fn load() -> Result<(Programs, Rings)> {
    let (programs, rings) = load::load(&Survey::of_this_process()?, 0)?;
    Ok((programs, Rings::new(rings).context("wait for the rings")?))
}
