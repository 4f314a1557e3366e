//! Pods that have to go although nobody deleted them.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    context::{Context, main_container},
    figure::Figure,
    scenario::Scenario,
};
use crate::cluster::text;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::together("evicted-by-the-api", by_the_api),
    Scenario::alone("evicted-by-node-pressure", by_node_pressure),
];

fn by_the_api(context: &Context<'_>) -> Result<Vec<Figure>> {
    let main = main_container(&["--on-signal", "TERM=sleep:0.3,exit:0"]);
    context.run_pod(&json!({ "containers": [main] }))?;
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": { "name": context.name, "namespace": "default" },
    });
    let path = format!("/api/v1/namespaces/default/pods/{}/eviction", context.name);
    let acts = context.acts_until_end(context.name, "main", || {
        let evict = ["create", "--raw", &path, "-f", "-"];
        context.cluster.kubectl_with(&evict, &eviction.to_string())?;
        context.gone()
    })?;
    let end = context.ended()?;
    Ok(vec![
        context.shutdown(&end, acts.between("signal", "exit")?)?,
        Figure::same("why", end.why(), "completed, api_eviction")?,
    ])
}

/// Memory is short: the kubelet ends the Pod that has the most of it, as the API tells afterwards.
fn by_node_pressure(context: &Context<'_>) -> Result<Vec<Figure>> {
    let calm_since = context.node_until("it has memory", |node| {
        memory_pressure(node).map(|(_, since)| since.to_owned())
    })?;
    // Some of the memory is taken outside of Pods, so that the Pod's part can grow slowly.
    let ballast = "kb=$(awk '/MemAvailable/ {print $2}' /proc/meminfo); \
        mkdir -p /ballast && mount -t tmpfs -o size=100% none /ballast && \
        fallocate -l $(( kb - 900 * 1024 ))KiB /ballast/file";
    let taken = context.cluster.node_exec(ballast)?;
    ensure!(taken.status == 0, "taking memory: {}", taken.text);
    let result = (|| {
        let args = ["--allocate-mib", "800", "--allocate-rate", "20", "--on-signal", "TERM=exit:0"];
        let main = main_container(&args);
        let spec = json!({ "containers": [main], "restartPolicy": "Never" });
        context.cluster.apply(&context.pod(&spec).to_string())?;
        let reason = context.pod_until("it has failed", |pod| {
            let failed = text(pod, "/status/phase") == Some("Failed");
            failed.then(|| text(pod, "/status/reason").unwrap_or_default().to_owned())
        })?;
        let end = context.ended()?;
        let trigger = if reason == "Evicted" { "node_pressure" } else { &reason };
        Ok(vec![
            Figure::same("trigger", &end.trigger, trigger)?,
            Figure::same("share of a grace that the API does not know", "none", {
                end.grace_used.map_or("none".to_owned(), |used| used.to_string())
            })?,
        ])
    })();
    let freed = context.cluster.node_exec("umount /ballast").context("umount /ballast");
    let _ = context.delete(&[]);
    freed?;
    // Until then the node takes no Pod. What the API says of it may still be what was before.
    context.node_until("it has memory again", |node| {
        let (status, since) = memory_pressure(node)?;
        (status == "False" && since != calm_since && !is_tainted(node)).then_some(())
    })?;
    result
}

/// The node's condition: its status, and since when.
fn memory_pressure(node: &Value) -> Option<(&str, &str)> {
    let conditions = node.pointer("/status/conditions")?.as_array()?;
    let condition = conditions.iter().find(|it| text(it, "/type") == Some("MemoryPressure"))?;
    Some((text(condition, "/status")?, text(condition, "/lastTransitionTime")?))
}

fn is_tainted(node: &Value) -> bool {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    taints.is_some_and(|taints| !taints.is_empty())
}
