//! Whole lives: names, roles, restarts, and what short lives used.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    context::{Context, LIMIT, and, container, main_container, want},
    figure::Figure,
    kernel,
    scenario::Scenario,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::together("life-of-150-ms", of_150_ms).with_each_runtime(),
    Scenario::together("life-in-a-crash-loop", in_a_crash_loop).with_each_runtime(),
    Scenario::together("life-of-a-cronjob", of_a_cronjob),
    Scenario::together("life-with-init-and-sidecar", with_init_and_sidecar).with_each_runtime(),
    Scenario::together("life-of-a-static-pod", of_a_static_pod),
    Scenario::together("life-of-a-deployment", of_a_deployment),
];

/// A Job's container lives shorter than any scrape interval: its last CPU time is known.
fn of_150_ms(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--burn-cpu", "0.15", "--exit-after", "0"]);
    let template = context.template(&json!({ "containers": [main], "restartPolicy": "Never" }));
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": context.name },
        "spec": { "template": template, "backoffLimit": 0 },
    });
    context.cluster.apply(&job.to_string())?;
    let pod = pod_of(context, |pod| {
        (pod.pointer("/status/phase").and_then(Value::as_str) == Some("Succeeded")).then_some(())
    })?;
    let acts = context.acts(&pod, "main")?;
    let witness = acts.first("exit")?.number("cpu_us")? / 1e6;
    let labels = [("namespace", "default"), ("pod", pod.as_str()), ("container", "main")];
    let workload = context.workload_of("Job");
    context.eventually(|scrape| {
        let last = scrape.one("container_last_termination_info", &labels)?;
        let why = format!("{}, {}", last.label("cause"), last.label("trigger"));
        let cpu = scrape.value("container_cpu_usage_seconds_total", &labels)?;
        Ok(vec![
            Figure::same("why", why, "completed, none")?,
            // The runtime's own stages ran in the same cgroup before.
            Figure::between("CPU time, s", cpu, witness, witness + 0.5)?,
            Figure::same("deaths of the Job", scrape.value("terminations_total", &workload)?, 1)?,
        ])
    })
}

/// The one Pod of the scenario, once `look` finds something in it.
fn pod_of(context: &Context<'_>, look: impl Fn(&Value) -> Option<()>) -> Result<String> {
    let selector = format!("scenario={}", context.name);
    context.cluster.wait(&format!("the Pod of {} is as wanted", context.name), LIMIT, || {
        let pods = context.cluster.pods("default", &selector)?;
        let Some(pod) = pods.pointer("/items/0") else { return Ok(None) };
        let name = pod.pointer("/metadata/name").and_then(Value::as_str);
        Ok(look(pod).and(name).map(str::to_owned))
    })
}

fn in_a_crash_loop(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--exit-after", "0.2", "--exit-code", "3"]);
    context.cluster.apply(&context.pod(&json!({ "containers": [main] })).to_string())?;
    context.pod_until("it waits for its third start", |pod| {
        let status = pod.pointer("/status/containerStatuses/0")?;
        let waits = status.pointer("/state/waiting/reason")?.as_str() == Some("CrashLoopBackOff");
        (waits && status.pointer("/restartCount")?.as_u64()? >= 2).then_some(())
    })?;
    let end = context.ended()?;
    let labels = context.labels();
    let errors = and(&context.workload(), &[("cause", "error")]);
    // The next start may come between two questions: until all agree.
    let mut figures = context.eventually(|scrape| {
        let pod = context.cluster.pod(context.name)?.context("no Pod")?;
        let count = pod.pointer("/status/containerStatuses/0/restartCount");
        let count = count.and_then(Value::as_f64).context("no restartCount")?;
        let restarts = scrape.value("container_restarts_total", &labels)?;
        let deaths = scrape.value("terminations_total", &errors)?;
        Ok(vec![
            Figure::same("restarts", restarts, count)?,
            Figure::same("deaths", deaths, count + 1.0)?,
        ])
    })?;
    context.delete(&[])?;
    figures.extend([
        Figure::same("why", end.why(), "error, none")?,
        Figure::same("exit code", &end.exit_code, 3)?,
    ]);
    Ok(figures)
}

fn of_a_cronjob(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--exit-after", "0.2"]);
    let template = context.template(&json!({ "containers": [main], "restartPolicy": "Never" }));
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": context.name },
        // Once in four years: the Job below is made by hand, as it would be by the controller.
        "spec": {
            "schedule": "0 0 29 2 *",
            "jobTemplate": { "spec": { "template": template } },
        },
    });
    context.cluster.apply(&cron_job.to_string())?;
    let job = format!("{}-29870000", context.name);
    let from = format!("cronjob/{}", context.name);
    context.cluster.kubectl(&["create", "job", &job, "--from", &from])?;
    let workload = context.workload_of("CronJob");
    context.eventually(|scrape| {
        let deaths = scrape.value("terminations_total", &workload)?;
        Ok(vec![Figure::same("deaths of the CronJob", deaths, 1)?])
    })
}

fn with_init_and_sidecar(context: &Context<'_>) -> Result<Vec<Figure>> {
    let mut sidecar = container("proxy", &["--on-signal", "TERM=sleep:0.2,exit:0"]);
    if let Some(sidecar) = sidecar.as_object_mut() {
        sidecar.insert("restartPolicy".into(), "Always".into());
    }
    let spec = json!({
        "initContainers": [container("prepare", &["--exit-after", "0.3"]), sidecar],
        "containers": [main_container(&["--exit-after", "4"])],
        "restartPolicy": "Never",
    });
    context.cluster.apply(&context.pod(&spec).to_string())?;
    let mut roles = BTreeMap::new();
    let names = ["prepare", "proxy", "main"];
    let whys = context.eventually(|scrape| {
        let mut whys = Vec::new();
        for name in names {
            let labels = [("namespace", "default"), ("pod", context.name), ("container", name)];
            let role = scrape.one("container_info", &labels)?.label("role").to_owned();
            roles.insert(name, role);
            let last = scrape.one("container_last_termination_info", &labels)?;
            whys.push(format!("{name} {} {}", last.label("cause"), last.label("trigger")));
        }
        Ok(whys.join(", "))
    })?;
    let roles = names.map(|name| format!("{name} {}", roles.get(name).map_or("", String::as_str)));
    context.delete(&[])?;
    Ok(vec![
        Figure::same("roles", roles.join(", "), "prepare init, proxy sidecar, main app")?,
        Figure::same(
            "why",
            whys,
            "prepare completed none, proxy completed pod_completion, main completed none",
        )?,
    ])
}

/// Its cgroup has another UID than the API's mirror of it.
fn of_a_static_pod(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.2,exit:0"]);
    let pod = context.pod(&json!({ "containers": [main] }));
    let file = format!("/etc/kubernetes/manifests/{}.json", context.name);
    let made = context
        .cluster
        .node_exec(&format!("cat >{file}.tmp <<'EOF'\n{pod}\nEOF\nmv {file}.tmp {file}"))?;
    ensure!(made.status == 0, "writing {file}: {}", made.text);
    let mirror = format!("{}-node-1", context.name);
    let labels = [("namespace", "default"), ("pod", mirror.as_str()), ("container", "main")];
    let role = context.eventually(|scrape| {
        scrape.value("container_start_time_seconds", &labels)?;
        Ok(scrape.one("container_info", &labels)?.label("role").to_owned())
    })?;
    let removed = context.cluster.node_exec(&format!("rm {file}"))?;
    ensure!(removed.status == 0, "rm {file}: {}", removed.text);
    let (cause, end_unix_s, shutdown) = context.eventually(|scrape| {
        let last = scrape.one("container_last_termination_info", &labels)?;
        let shutdown = scrape.value("container_last_shutdown_seconds", &labels)?;
        Ok((last.label("cause").to_owned(), last.value, shutdown))
    })?;
    Ok(vec![
        Figure::same("role", role, "app")?,
        Figure::same("cause", cause, "completed")?,
        kernel::shutdown(context.cluster, end_unix_s, shutdown, 0.2)?,
    ])
}

/// A rolling update ends five Pods; the counters of the Deployment go on.
fn of_a_deployment(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.2,exit:0"]);
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": context.name },
        "spec": {
            "replicas": 5,
            "selector": { "matchLabels": { "scenario": context.name } },
            "template": context.template(&json!({ "containers": [main] })),
        },
    });
    let rolled_out = || {
        let name = format!("deployment/{}", context.name);
        context.cluster.kubectl(&["rollout", "status", &name, "--timeout=240s"]).map(drop)
    };
    context.cluster.apply(&deployment.to_string())?;
    rolled_out()?;
    if let Some(labels) = deployment.pointer_mut("/spec/template/metadata/labels") {
        *labels = super::context::with(labels.take(), &json!({ "version": "2" }));
    }
    context.cluster.apply(&deployment.to_string())?;
    rolled_out()?;
    let workload = context.workload_of("Deployment");
    let exited = and(&workload, &[("outcome", "exited")]);
    let completed = and(&workload, &[("cause", "completed")]);
    let deaths = context.eventually(|scrape| {
        want(scrape, "shutdown_duration_seconds_count", &exited, 5.0)?;
        Figure::same("deaths", scrape.value("terminations_total", &completed)?, 5)
    })?;
    let scrape = context.scrape()?;
    let sum = scrape.value("shutdown_duration_seconds_sum", &exited)?;
    let labels = [("workload_kind", "Deployment"), ("workload", context.name)];
    let pods: Vec<_> = scrape.all("container_info", &labels).collect();
    let mut together = 0.0;
    for pod in &pods {
        let pod = [("namespace", "default"), ("pod", pod.label("pod"))];
        let Some(shutdown) = scrape.sum("container_last_shutdown_seconds", &pod) else { continue };
        let end_unix_s = scrape.value("container_last_termination_info", &pod)?;
        kernel::shutdown(context.cluster, end_unix_s, shutdown, 0.2)?;
        together += shutdown;
    }
    let pods = pods.len() as f64;
    context.cluster.kubectl(&["delete", "deployment", context.name, "--wait=false"])?;
    Ok(vec![
        deaths,
        Figure::within("shutdowns together, s", sum, together, 0.001)?,
        // The old ones linger for five minutes.
        Figure::between("Pods of the Deployment", pods, 5.0, 10.0)?,
    ])
}
