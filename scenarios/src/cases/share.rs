//! Costs of one container, or of a burst, for the others: none.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use testbed::agent::scrape;
use testbed::cgroup::Cgroup;
use testbed::scrape::Scrape;

use super::common::{Case, born_at_zero, ended_once, lives};
use crate::agent::row;
use crate::context::Context;
use crate::signal::{RUNTIME, Sender};

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("share-of-a-container", share).alone(),
    || Case::new("ring-full-leaves-no-ghost", full).alone(),
];

/// Signals that a container sends to its own init: more than the ring holds.
const FLOOD: usize = 12_000;
/// Cgroups that it makes below its own: more than twice what it may.
const NESTED: usize = 600;

fn dropped(scrape: &Scrape, reason: &str) -> Result<f64> {
    let sum = scrape.sum("events_dropped_total", &[("reason", reason)]);
    sum.with_context(|| format!("no events_dropped_total of {reason}"))
}

/// A container floods its own init with a stop signal, and makes cgroups by the hundred. It is told
/// of when it is stopped, and so is another.
fn share(context: &Context) -> Result<String> {
    let pod = context.node.pod("share-of-a-container")?;
    let mut noisy = pod.container("noisy")?;
    let mut quiet = pod.container("quiet")?;
    noisy.start(&["--on-term", "ignore"], context.timeout())?;
    quiet.start(&["--on-term", "handle", "--term-ms", "50"], context.timeout())?;
    context.eventually(|s| {
        born_at_zero(s, &noisy.key)?;
        born_at_zero(s, &quiet.key)
    })?;
    let before = context.scrape()?;
    let itself = Sender { comm: "noisy", cgroup: Some(&noisy.dir) };
    let begin = Instant::now();
    itself.send(noisy.pid()?, &[Signal::SIGTERM; FLOOD], context.timeout() * 3)?;
    let flood_s = begin.elapsed().as_secs_f64();
    let nested: Result<Vec<_>> =
        (0..NESTED).map(|n| Cgroup::make(noisy.dir.join(format!("n{n}")))).collect();
    let nested = nested?;

    // Both are stopped as ever, while all that is still there.
    context.signal(&RUNTIME, &quiet, Signal::SIGTERM)?;
    quiet.wait(context.timeout())?;
    quiet.remove_cgroup()?;
    context.signal(&RUNTIME, &noisy, Signal::SIGTERM)?;
    context.pause(Duration::from_millis(200));
    context.signal(&RUNTIME, &noisy, Signal::SIGKILL)?;
    noisy.wait(context.timeout())?;
    drop(nested);
    noisy.remove_cgroup()?;
    let counts = context.eventually(|s| {
        ended_once(&s.of(&quiet.key), "completed")?;
        ended_once(&s.of(&noisy.key), "killed_after_grace")?;
        let by_runtime = [("signal", "SIGTERM"), ("sender", "runtime")];
        s.of(&noisy.key).want("stop_signal_ignored_total", &by_runtime, 1.0)?;
        let more = |reason| Ok::<_, anyhow::Error>(dropped(s, reason)? - dropped(&before, reason)?);
        let signals = more("share_signal")?;
        let cgroups = more("share_cgroup")? + more("nested_full")?;
        ensure!(signals >= FLOOD as f64 / 2.0, "{signals} of {FLOOD} signals were refused");
        let all = NESTED as f64;
        ensure!(cgroups >= all - 450.0 && cgroups < all, "{cgroups} of {NESTED} cgroups");
        ensure!(s.sum("events_lost_total", &[]) == Some(0.0), "events were lost");
        Ok(format!("{signals} signals refused of {FLOOD} in {flood_s:.1} s, {cgroups} cgroups"))
    })?;
    Ok(counts)
}

/// More cgroups than the ring has room for come and go while an agent stands still. What ended and
/// began in that time is found, and no ghost stays: neither in the tree nor in the kernel's map.
fn full(context: &Context) -> Result<String> {
    /// At 304 bytes a record the ring holds 3449.
    const CGROUPS: usize = 4000;
    /// Number of cgroups at once that the agent under test takes in without loss, however slow the
    /// machine.
    const BATCH: usize = 200;
    let pod = context.node.pod("ring-full")?;
    let mut early = pod.container("early")?;
    early.start(&["--exit-after-ms", "900000"], context.timeout())?;
    let mut agent = context.plan.start(&context.node, context.timeout() * 2)?;
    context.eventually_at(agent.address(), |s| lives(&s.of(&early.key)))?;

    kill(agent.pid()?, Signal::SIGSTOP).context("stopping the agent")?;
    for n in 0..CGROUPS {
        drop(Cgroup::make(context.node.burstable().join(format!("full-{n}")))?);
        if n % BATCH == BATCH - 1 {
            context.pause(Duration::from_millis(20));
        }
    }
    early.init()?.signal(Signal::SIGKILL)?;
    early.wait(context.timeout())?;
    early.remove_cgroup()?;
    let mut late = pod.container("late")?;
    late.start(&["--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| lives(&s.of(&late.key)))?;
    kill(agent.pid()?, Signal::SIGCONT).context("letting the agent go on")?;

    let begin = Instant::now();
    let tracked = |s: &Scrape| s.sum("cgroups_tracked", &[]).context("no cgroups_tracked");
    let lost = context.eventually_at(agent.address(), |s| {
        let lost = s.sum("events_lost_total", &[("reason", "ring_full")]);
        let lost = lost.filter(|lost| *lost > 0.0).context("the ring was never full")?;
        lives(&s.of(&late.key))?;
        let (here, there) = (tracked(s)?, tracked(&scrape(context.address, context.timeout())?)?);
        ensure!(here == there, "{here} cgroups, not {there}");
        let in_map =
            |address| row(address, "cgroups tracked by the kernel side", context.timeout());
        let (here, there) = (in_map(agent.address())?, in_map(context.address)?);
        ensure!(here == there, "{here} cgroups in the kernel's map, not {there}");
        s.of(&early.key).want_none("container_start_time_seconds", &[])?;
        Ok(lost)
    })?;
    let after_s = begin.elapsed().as_secs_f64();
    let status = agent.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    Ok(format!("{lost} records lost, all in order {after_s:.1} s later"))
}
