//! Shutdowns: how a Pod meets its stop signal.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    context::{Context, and, main_container, with},
    figure::Figure,
    scenario::Scenario,
};
use crate::traces::End;
use xtask::image::WORKLOAD_SIGQUIT;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::together("stop-clean", clean).with_each_runtime(),
    Scenario::together("stop-most-of-the-grace", most_of_the_grace),
    Scenario::together("stop-ignored", ignored).with_each_runtime(),
    Scenario::together("stop-by-sigquit", by_sigquit),
    Scenario::together("stop-after-prestop-exec", after_prestop_exec).with_each_runtime(),
    Scenario::together("stop-after-prestop-sleep", after_prestop_sleep),
    Scenario::together("stop-forced", forced),
    Scenario::together("stop-in-the-hosts-pids", in_the_hosts_pids),
    Scenario::together("stop-in-shared-pids", in_shared_pids).with_each_runtime(),
];

/// Deletes the Pod: the agent's end of it, and the time from the signal to the exit by its own log.
fn delete(context: &Context<'_>, options: &[&str]) -> Result<(End, f64)> {
    let acts = context.acts_until_end(context.name, "main", || context.delete(options))?;
    Ok((context.ended()?, acts.between("signal", "exit")?))
}

fn clean(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.3,exit:0"]);
    let pod = context.run_pod(&json!({ "containers": [main] }))?;
    let below = context.cgroup_below(&pod)?;
    let (end, witness) = delete(context, &[])?;
    let scrape = context.scrape()?;
    let exited = and(&context.workload(), &[("outcome", "exited")]);
    Ok(vec![
        Figure::same("cgroup below the container's (wanted, found)", context.below(), below)?,
        context.shutdown(&end, witness)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
        Figure::same("exit code", &end.exit_code, 0)?,
        Figure::same("grace, s", end.grace.context("no grace")?, 30)?,
        Figure::same(
            "shutdowns of the workload",
            scrape.value("shutdown_duration_seconds_count", &exited)?,
            1,
        )?,
    ])
}

fn most_of_the_grace(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:4,exit:0"]);
    context.run_pod(&json!({ "containers": [main], "terminationGracePeriodSeconds": 5 }))?;
    let (end, witness) = delete(context, &[])?;
    let used = end.grace_used.context("no share of the grace")?;
    Ok(vec![
        context.shutdown(&end, witness)?,
        Figure::same("grace, s", end.grace.context("no grace")?, 5)?,
        // The kill began up to a second before the signal, on a clock of whole seconds.
        Figure::between("share of the grace", used, witness / 5.0 - 0.05, witness / 4.0 + 0.05)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
    ])
}

/// The agent says so while the container still lives.
fn ignored(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--ignore", "TERM"]);
    context.run_pod(&json!({ "containers": [main], "terminationGracePeriodSeconds": 8 }))?;
    context.cluster.kubectl(&["delete", "pod", context.name, "--wait=false"])?;
    let open = context.eventually(|scrape| {
        let told = scrape.value("stop_signal_ignored_total", &context.workload())?;
        ensure!(told == 1.0, "{told} ignored stop signals");
        scrape.value("container_terminating_seconds", &context.labels())
    })?;
    context.gone()?;
    let end = context.ended()?;
    Ok(vec![
        Figure::between("told so long before the end, s", 8.0 - open, 0.0, 8.0)?,
        Figure::same("why", end.why(), "killed_after_grace, pod_deletion")?,
        Figure::same("signal", &end.signal, "SIGKILL")?,
        // From the signal to the kill is the kubelet's clock; the kill has to pass the runtime.
        Figure::between("shutdown, s", end.shutdown()?, 7.5, 13.0)?,
    ])
}

fn by_sigquit(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "QUIT=sleep:0.2,exit:0"]);
    let main = with(main, &json!({ "image": WORKLOAD_SIGQUIT }));
    context.run_pod(&json!({ "containers": [main] }))?;
    let (end, witness) = delete(context, &[])?;
    Ok(vec![
        context.shutdown(&end, witness)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
    ])
}

fn after_prestop_exec(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=exit:0"]);
    let hook =
        json!({ "exec": { "command": ["/workload", "sleep", "2", "--log", "/proc/1/fd/1"] } });
    let main = with(main, &json!({ "lifecycle": { "preStop": hook } }));
    context.run_pod(&json!({ "containers": [main] }))?;
    let acts = context.acts_until_end(context.name, "main", || context.delete(&[]))?;
    let end = context.ended()?;
    let signal = acts.first("signal")?.boot_seconds()?;
    let sleep = acts.first("sleep")?.boot_seconds()?;
    let slept = acts.first("exit")?.boot_seconds()? - sleep;
    let exit = acts.last("exit")?.boot_seconds()?;
    let handler = and(&context.workload(), &[("handler", "exec")]);
    let scrape = context.scrape()?;
    let count = scrape.value("prestop_duration_seconds_count", &handler)?;
    let sum = scrape.value("prestop_duration_seconds_sum", &handler)?;
    Ok(vec![
        Figure::same("preStops", count, 1)?,
        // The hook's program has to start before it can log, emulated.
        Figure::between("preStop, s", sum, slept - 0.05, slept + 0.5)?,
        context.shutdown(&end, exit - signal)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
    ])
}

fn after_prestop_sleep(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=exit:0"]);
    let main = with(main, &json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } } }));
    context.run_pod(&json!({ "containers": [main] }))?;
    let (end, witness) = delete(context, &[])?;
    let handler = and(&context.workload(), &[("handler", "sleep")]);
    let scrape = context.scrape()?;
    Ok(vec![
        Figure::same("preStops", scrape.value("prestop_duration_seconds_count", &handler)?, 1)?,
        Figure::same("preStop, s", scrape.value("prestop_duration_seconds_sum", &handler)?, 2)?,
        context.shutdown(&end, witness)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
    ])
}

/// The API forgets the Pod at once; the kubelet ends it all the same.
fn forced(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.3,exit:0"]);
    context.run_pod(&json!({ "containers": [main] }))?;
    context.delete(&["--grace-period=0", "--force"])?;
    let end = context.ended()?;
    Ok(vec![
        // Nobody can read its log any more: what it was told to do.
        context.shutdown(&end, 0.3)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
    ])
}

/// Its init is no process 1.
fn in_the_hosts_pids(context: &Context<'_>) -> Result<Vec<Figure>> {
    pids(context, "hostPID")
}

/// The sandbox's is process 1.
fn in_shared_pids(context: &Context<'_>) -> Result<Vec<Figure>> {
    pids(context, "shareProcessNamespace")
}

fn pids(context: &Context<'_>, field: &str) -> Result<Vec<Figure>> {
    let main = main_container(&["--fork", "2", "--on-signal", "TERM=sleep:0.3,exit:0"]);
    context.run_pod(&json!({ "containers": [main], field: true }))?;
    let (end, witness) = delete(context, &[])?;
    let scrape = context.scrape()?;
    let ends = scrape.value("terminations_total", &context.workload())?;
    Ok(vec![
        context.shutdown(&end, witness)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
        Figure::same("deaths", ends, 1)?,
    ])
}
