//! What all rely on goes away for a while: the agent itself, the API server, the kubelet, the
//! runtime.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    context::{Context, LIMIT, main_container, want},
    figure::Figure,
    scenario::Scenario,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::alone("outage-of-the-kubelet", of_the_kubelet),
    Scenario::alone("outage-of-containerd", of_containerd),
    Scenario::alone("outage-of-the-api", of_the_api),
    Scenario::alone("outage-of-the-agent", of_the_agent),
    Scenario::alone("outage-of-the-collector", of_the_collector),
];

fn of_the_kubelet(context: &Context<'_>) -> Result<Vec<Figure>> {
    restarted(context, "kubelet")
}

fn of_containerd(context: &Context<'_>) -> Result<Vec<Figure>> {
    restarted(context, "containerd")
}

/// A unit is started again while a Pod runs: nothing dies, and the shutdown after it is whole.
fn restarted(context: &Context<'_>, unit: &str) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.3,exit:0"]);
    context.run_pod(&json!({ "containers": [main] }))?;
    context.eventually(|scrape| want(scrape, "terminations_total", &context.workload(), 0.0))?;
    context.cluster.node_run(&format!("systemctl restart {unit}"))?;
    context.cluster.wait_ready()?;
    let deaths = context.scrape()?.value("terminations_total", &context.workload())?;
    let acts = context.acts_until_end(context.name, "main", || context.delete(&[]))?;
    let end = context.ended()?;
    Ok(vec![
        Figure::same("deaths meanwhile", deaths, 0)?,
        context.shutdown(&end, acts.between("signal", "exit")?)?,
        Figure::same("why", end.why(), "completed, pod_deletion")?,
    ])
}

/// For a minute nobody can ask the API; a container dies and is started again.
fn of_the_api(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--exit-after", "20", "--exit-code", "3"]);
    context.run_pod(&json!({ "containers": [main] }))?;
    context.eventually(|scrape| {
        scrape.value("container_start_time_seconds", &context.labels()).map(drop)
    })?;
    context.cluster.stop_api()?;
    std::thread::sleep(Duration::from_secs(60));
    let away = context.scrape();
    context.cluster.start_api()?;
    let away = away?;
    let age = away.value("pod_metadata_age_seconds", &[])?;
    let workload = context.workload();
    let during = away.value("terminations_total", &workload)?;
    // The kernel told of it; its name was known from before.
    ensure!(during >= 1.0, "{during} deaths were told while the API was away");
    let deaths = context.eventually(|scrape| {
        let pod = context.cluster.pod(context.name)?.context("no Pod")?;
        let count = pod.pointer("/status/containerStatuses/0/restartCount");
        let count = count.and_then(Value::as_f64).unwrap_or_default();
        ensure!(count >= 1.0, "the API knows of {count} restarts");
        want(scrape, "container_restarts_total", &context.labels(), count)?;
        let deaths = scrape.value("terminations_total", &workload)?;
        ensure!(deaths == count || deaths == count + 1.0, "{deaths} deaths, {count} restarts");
        Ok(deaths)
    })?;
    let age_after = context.eventually(|scrape| {
        let age = scrape.value("pod_metadata_age_seconds", &[])?;
        ensure!(age < 30.0, "what is known of Pods is {age} s old");
        Ok(age)
    })?;
    context.delete(&[])?;
    Ok(vec![
        Figure::between("age of names when the API was away, s", age, 50.0, 135.0)?,
        Figure::between("age of names afterwards, s", age_after, 0.0, 30.0)?,
        Figure::between("deaths told", deaths, 1.0, 20.0)?,
    ])
}

/// The agent is replaced in the middle of a shutdown, and while another container crashes: the new
/// one tells the death that it sees, and has the restarts from the API.
fn of_the_agent(context: &Context<'_>) -> Result<Vec<Figure>> {
    let crashing = format!("{}-crashing", context.name);
    let crash = main_container(&["--exit-after", "15", "--exit-code", "3"]);
    let mut crash = context.pod(&json!({ "containers": [crash] }));
    if let Some(metadata) = crash.pointer_mut("/metadata/name") {
        *metadata = json!(crashing);
    }
    let main = main_container(&["--on-signal", "TERM=sleep:60,exit:0"]);
    context.run_pod(&json!({ "containers": [main], "terminationGracePeriodSeconds": 120 }))?;
    context.cluster.apply(&crash.to_string())?;
    context.cluster.kubectl(&["delete", "pod", context.name, "--wait=false"])?;
    context.eventually(|scrape| {
        scrape.value("container_terminating_seconds", &context.labels()).map(drop)
    })?;
    let daemon_set = ["--namespace", "podvitals", "daemonset/podvitals"];
    context.cluster.kubectl(&[["rollout", "restart"].as_slice(), &daemon_set].concat())?;
    let status = ["rollout", "status", "--timeout=180s"];
    context.cluster.kubectl(&[status.as_slice(), &daemon_set].concat())?;
    context.wait_new_agent()?;
    context.gone()?;
    let end = context.ended()?;
    let deaths = context.scrape()?.value("terminations_total", &context.workload())?;
    let labels = [("namespace", "default"), ("pod", crashing.as_str()), ("container", "main")];
    let restarts = context.eventually(|scrape| {
        let pod = context.cluster.pod(&crashing)?.context("no Pod")?;
        let count = pod.pointer("/status/containerStatuses/0/restartCount");
        let count = count.and_then(Value::as_f64).unwrap_or_default();
        ensure!(count >= 1.0, "the API knows of {count} restarts");
        let told = scrape.value("container_restarts_total", &labels)?;
        Figure::same("restarts of the other", told, count)
    })?;
    context.cluster.clear(&crashing)?;
    Ok(vec![
        Figure::same("deaths, told by the new agent", deaths, 1)?,
        Figure::same("cause", &end.cause, "completed")?,
        // The signal came before it: no time is made up.
        Figure::same("shutdown time", format!("{:?}", end.shutdown), "None")?,
        restarts,
    ])
}

/// For a while nobody takes traces: they wait, and come afterwards, as the step after the scenarios
/// sees.
fn of_the_collector(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.3,exit:0"]);
    context.run_pod(&json!({ "containers": [main] }))?;
    let failures = context.scrape()?.sum("trace_export_failures_total", &[]).unwrap_or(0.0);
    context.traces.stop()?;
    let away: Result<_> = (|| {
        let acts = context.acts_until_end(context.name, "main", || context.delete(&[]))?;
        let end = context.ended()?;
        std::thread::sleep(Duration::from_secs(20));
        let failed = context.eventually(|scrape| {
            let failed = scrape.sum("trace_export_failures_total", &[]).unwrap_or(0.0) - failures;
            ensure!(failed > 0.0, "no request to the Collector has failed");
            Ok(failed)
        })?;
        Ok((acts.between("signal", "exit")?, end, failed, context.scrape()?))
    })();
    context.traces.resume(context.cluster)?;
    let (witness, end, failed, scrape) = away?;
    let waited = scrape.value("trace_queue_bytes", &[])?;
    let uid = context.traces.uid(context.name)?;
    context.cluster.wait("the shutdown's trace has come", LIMIT, || {
        let spans = context.traces.spans()?;
        let came =
            spans.iter().any(|it| it.name == "pod shutdown" && it.text("k8s.pod.uid") == uid);
        Ok(came.then_some(()))
    })?;
    let dropped = context.scrape()?.sum("trace_spans_dropped_total", &[]).unwrap_or(0.0);
    Ok(vec![
        context.shutdown(&end, witness)?,
        Figure::between("requests that failed", failed, 1.0, 1000.0)?,
        Figure::between("bytes that waited", waited, 1.0, 4_194_304.0)?,
        Figure::same("spans dropped", dropped, 0)?,
    ])
}
