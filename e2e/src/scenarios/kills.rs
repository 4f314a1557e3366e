//! Containers that the kubelet ends and starts again: their probes failed.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    context::{Context, and, container_id, main_container, want, with},
    figure::Figure,
    scenario::Scenario,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::together("kill-by-liveness", by_liveness),
    Scenario::together("kill-by-startup", by_startup),
    Scenario::together("kill-of-a-healthy-container", of_a_healthy_container),
];

fn by_liveness(context: &Context<'_>) -> Result<Vec<Figure>> {
    let args =
        ["--health-file", "/healthy", "--fail-after", "5", "--on-signal", "TERM=sleep:0.2,exit:7"];
    let probe = json!({
        "exec": { "command": ["/workload", "check", "/healthy"] },
        "periodSeconds": 2, "failureThreshold": 1, "timeoutSeconds": 30,
    });
    killed(context, &args, &json!({ "livenessProbe": probe }), "liveness")
}

fn by_startup(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probe = json!({
        "tcpSocket": { "port": 8080 },
        "periodSeconds": 2, "failureThreshold": 2, "timeoutSeconds": 30,
    });
    let args = ["--on-signal", "TERM=sleep:0.2,exit:7"];
    killed(context, &args, &json!({ "startupProbe": probe }), "startup")
}

/// The runtime stops it, as it does for the kubelet, and its liveness probe had succeeded each time.
fn of_a_healthy_container(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probe = json!({
        "httpGet": { "port": 8001, "path": "/" },
        "initialDelaySeconds": 2, "periodSeconds": 5, "timeoutSeconds": 30,
    });
    let args = ["--serve-http=8001", "--on-signal", "TERM=sleep:0.2,exit:7"];
    let main = with(main_container(&args), &json!({ "livenessProbe": probe }));
    let pod = context.run_pod(&json!({ "containers": [main] }))?;
    let succeeded = and(&context.labels(), &[("probe", "liveness"), ("result", "success")]);
    context.eventually(|scrape| {
        let attempts = scrape.value("probe_results_total", &succeeded)?;
        ensure!(attempts >= 2.0, "{attempts} attempts");
        Ok(())
    })?;
    let id = container_id(&pod)?;
    let stop = format!("ctr --namespace k8s.io task kill --signal SIGTERM {id}");
    context.cluster.node_run(&stop)?;
    let end = context.ended()?;
    context.delete(&[])?;
    Ok(vec![
        Figure::same("cause", &end.cause, "error")?,
        // On a busy node the API may tell too late that the Pod goes on: then it is not known.
        Figure::same("by its probe", end.trigger == "liveness", false)?,
        Figure::same("exit code", &end.exit_code, 7)?,
        context.shutdown(&end, 0.2)?,
    ])
}

fn killed(
    context: &Context<'_>,
    args: &[&str],
    probe: &Value,
    trigger: &str,
) -> Result<Vec<Figure>> {
    let main = with(main_container(args), probe);
    context.cluster.apply(&context.pod(&json!({ "containers": [main] })).to_string())?;
    let code = context.pod_until("its container was started again", |pod| {
        let status = pod.pointer("/status/containerStatuses/0")?;
        status.pointer("/lastState/terminated/exitCode")?.as_i64()
    })?;
    let end = context.ended()?;
    context.eventually(|scrape| {
        let restarts = scrape.value("container_restarts_total", &context.labels())?;
        ensure!(restarts >= 1.0, "{restarts} restarts");
        // A second kill may have come by now.
        if restarts == 1.0 {
            want(scrape, "restart_downtime_seconds_count", &context.workload(), 1.0)?;
        }
        Ok(())
    })?;
    context.delete(&[])?;
    Ok(vec![
        Figure::same("why", end.why(), format!("error, {trigger}"))?,
        Figure::same("exit code", &end.exit_code, code)?,
        context.shutdown(&end, 0.2)?,
    ])
}
