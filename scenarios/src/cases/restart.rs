//! Ends and new beginnings under the same name, and lives too short for a scrape.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::WaitStatus;

use super::common::{Case, born_at_zero, ended, ended_once, no_shutdown};
use crate::compared::Compared;
use crate::context::Context;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("restart-crash-loop", crash_loop),
    || Case::new("completed", completed),
    || Case::new("short-lived", short_lived).alone(),
    || Case::new("burst", burst).alone(),
];

/// They leave so many series behind that they come last of all.
pub(super) const LAST_CASES: &[fn() -> Case] =
    &[|| Case::new("burst-made-run-removed", made_run_removed).alone()];

/// The same name three times, each a new container id.
fn crash_loop(context: &Context) -> Result<String> {
    let pod = context.node.pod("restart-crash-loop")?;
    let mut last_end_ns = None;
    let mut outages = Vec::new();
    let mut key = None;
    for round in 0..3_u8 {
        let mut container = pod.container("app")?;
        // Longer than a look at the node is shared: the first is to be seen at zero.
        let work = ["--exit-after-ms", "2000", "--code", "3"];
        let started_ns = container.start(&work, context.timeout())?;
        if let Some(end_ns) = last_end_ns {
            outages.push((end_ns, started_ns));
        }
        if round == 0 {
            context.eventually(|s| born_at_zero(s, &container.key))?;
        }
        let end = container.wait(context.timeout())?;
        ensure!(matches!(end.status, WaitStatus::Exited(_, 3)), "ended by {:?}", end.status);
        container.remove_cgroup()?;
        last_end_ns = Some(end.at_ns);
        let ends = f64::from(round) + 1.0;
        context.eventually(|s| {
            let view = s.of(&container.key);
            ended(&view, "error", ends)?;
            view.want("container_restarts_total", &[], ends - 1.0)?;
            view.want_label("container_last_termination_info", "exit_code", "3")?;
            no_shutdown(&view)
        })?;
        key = Some(container.key.clone());
        context.pause(Duration::from_millis(300));
    }
    let key = key.unwrap_or_else(|| unreachable!("three rounds"));
    let agent = context.eventually(|s| {
        let view = s.of(&key);
        view.want("restart_downtime_seconds_count", &[], 2.0)?;
        view.value("container_last_restart_downtime_seconds", &[])
    })?;
    let (end_ns, started_ns) = *outages.last().unwrap_or(&(0, 0));
    Ok(Compared::new(agent, end_ns, started_ns).check()?.to_string())
}

fn completed(context: &Context) -> Result<String> {
    let pod = context.node.pod("completed")?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "300"], context.timeout())?;
    container.wait(context.timeout())?;
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "completed")?;
        view.want_label("container_last_termination_info", "exit_code", "0")?;
        no_shutdown(&view)
    })?;
    Ok(String::new())
}

/// It comes, works, and is gone before anyone scrapes; what it used is known.
fn short_lived(context: &Context) -> Result<String> {
    let pod = context.node.pod("short-lived")?;
    let mut container = pod.container("app")?;
    let work = ["--burn-ms", "150", "--exit-after-ms", "0"];
    container.start(&work, context.timeout())?;
    container.wait(context.timeout())?;
    let usage_us = container.read_field("cpu.stat", "usage_usec")?;
    container.remove_cgroup()?;
    let witness = Duration::from_micros(usage_us).as_secs_f64();
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "completed")?;
        view.value("container_cpu_usage_seconds_total", &[])
    })?;
    let allowed = (witness * 0.1).max(0.02);
    ensure!(
        (agent - witness).abs() <= allowed,
        "CPU time: agent {agent:.4} s, cpu.stat {witness:.4} s"
    );
    Ok(format!("CPU time: agent {agent:.4} s, cpu.stat {witness:.4} s"))
}

/// A hundred containers at once, each gone in no time.
fn burst(context: &Context) -> Result<String> {
    const COUNT: usize = 100;
    let start = Instant::now();
    let pod = context.node.pod("burst")?;
    let mut containers = (0..COUNT)
        .map(|number| pod.container(&format!("c{number}")))
        .collect::<Result<Vec<_>>>()?;
    for container in &mut containers {
        container.start(&["--quiet", "--exit-after-ms", "0"], context.timeout())?;
    }
    for container in &mut containers {
        let end = container.wait(context.timeout())?;
        ensure!(matches!(end.status, WaitStatus::Exited(_, 0)), "ended by {:?}", end.status);
        container.remove_cgroup()?;
    }
    let took = start.elapsed();
    context.eventually(|s| {
        let labels = [("namespace", crate::container::NAMESPACE), ("workload", "burst")];
        let sum = s.sum("terminations_total", &labels).unwrap_or(0.0);
        for container in &containers {
            ended_once(&s.of(&container.key), "completed")
                .with_context(|| format!("{sum} of {COUNT} have ended, not {}", container.id))?;
        }
        ensure!((sum - 100.0).abs() < 0.5, "{sum} terminations, not {COUNT}");
        let lost = s.sum("events_lost_total", &[]).unwrap_or(f64::NAN);
        ensure!(lost == 0.0, "events_lost_total is {lost}");
        Ok(())
    })?;
    Ok(format!("{COUNT} containers in {:.2} s", took.as_secs_f64()))
}

/// Two hundred containers, each made, run, and removed at once when it has ended: the agent sees
/// each of them, though most are gone before it has heard of them.
fn made_run_removed(context: &Context) -> Result<String> {
    const COUNT: usize = 200;
    let start = Instant::now();
    let pod = context.node.pod("made-run-removed")?;
    // Containers of one name, as restarts are: their sums are what is looked at. Their links stay
    // to the end, as the kubelet's do for longer than the agent looks for them.
    let mut gone = Vec::new();
    for _ in 0..COUNT {
        let mut container = pod.container("app")?;
        container.start(&["--quiet", "--exit-after-ms", "0"], context.timeout())?;
        let end = container.wait(context.timeout())?;
        ensure!(matches!(end.status, WaitStatus::Exited(_, 0)), "ended by {:?}", end.status);
        container.remove_cgroup()?;
        gone.push(container);
    }
    let took = start.elapsed();
    let key = &gone.first().context("there were many")?.key;
    context.eventually(|s| {
        let view = s.of(key);
        ended(&view, "completed", 200.0)?;
        view.want("container_restarts_total", &[], 199.0)?;
        let lost = s.sum("events_lost_total", &[]).unwrap_or(f64::NAN);
        ensure!(lost == 0.0, "events_lost_total is {lost}");
        Ok(())
    })?;
    Ok(format!("{COUNT} containers in {:.2} s", took.as_secs_f64()))
}
