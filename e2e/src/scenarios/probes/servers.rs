//! Probes beside the requests that their servers have logged.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::{
    context::{Context, and, container, container_id, with},
    figure::Figure,
};
use super::judge::{ATTEMPTS, counts, http};

/// The Pod's address is the node's, which is that of other Pods as well.
pub(super) fn on_the_hosts_network(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probe = with(http(18_001, "/ready"), &json!({ "periodSeconds": 3, "timeoutSeconds": 5 }));
    let args = ["--serve-http=18001", "--on-signal", "TERM=exit:0"];
    let main = with(container("main", &args), &json!({ "readinessProbe": probe }));
    context.run_pod(&json!({ "hostNetwork": true, "containers": [main] }))?;
    let figure = by_server(context, "main", 1.0)?;
    context.delete(&[])?;
    Ok(vec![figure])
}

/// Liveness and readiness on one port: told apart by their paths, or not at all. A preStop hook over
/// HTTP is none of them.
pub(super) fn paths(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probes = |port, liveness: &str, readiness: &str| {
        let times = json!({ "initialDelaySeconds": 10, "periodSeconds": 3, "timeoutSeconds": 5 });
        json!({
            "livenessProbe": with(http(port, liveness), &times),
            "readinessProbe": with(http(port, readiness), &times),
        })
    };
    let args = |port: &'static str| [port, "--on-signal", "TERM=exit:0"];
    let apart =
        with(container("apart", &args("--serve-http=8001")), &probes(8001, "/live", "/ready"));
    let apart = with(apart, &json!({ "lifecycle": { "preStop": http(8001, "/bye") } }));
    let alike = with(container("alike", &args("--serve-http=8002")), &probes(8002, "/", "/"));
    context.run_pod(&json!({ "containers": [apart, alike] }))?;
    let mut figures = vec![by_server(context, "apart", 2.0)?, by_server(context, "alike", 2.0)?];
    context.delete(&[])?;
    let of_apart = [("namespace", "default"), ("workload", context.name), ("container", "apart")];
    let hook = and(&of_apart, &[("handler", "http")]);
    figures.push(context.eventually(|scrape| {
        Figure::same("preStops", scrape.value("prestop_duration_seconds_count", &hook)?, 1)
    })?);
    Ok(figures)
}

/// The container ends, and another takes its place: what was counted of the first is kept, and an
/// attempt that comes in between is refused at most.
pub(super) fn after_a_servers_restart(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probe = with(http(8001, "/ready"), &json!({ "periodSeconds": 3, "timeoutSeconds": 5 }));
    let main = with(container("main", &["--serve-http=8001"]), &json!({ "readinessProbe": probe }));
    let pod = context.run_pod(&json!({ "containers": [main] }))?;
    let mut figures = vec![by_server(context, "main", 1.0)?];
    let id = container_id(&pod)?;
    let kill = format!(
        "cd /sys/fs/cgroup && kill -9 $(find . -path '*{id}*' -name cgroup.procs -exec cat {{}} +)"
    );
    context.cluster.node_run(&kill)?;
    context.pod_until("its container runs again", |pod| {
        let status = pod.pointer("/status/containerStatuses/0")?;
        status.pointer("/state/running")?;
        (status.pointer("/restartCount")?.as_u64()? == 1).then_some(())
    })?;
    figures.extend(context.eventually(|_| {
        let lives =
            [context.acts_before(context.name, "main")?, context.acts(context.name, "main")?];
        let [first, second] = lives.map(|acts| acts.texts("request", "path").len() as f64);
        ensure!(first >= ATTEMPTS && second >= ATTEMPTS, "{first} and {second} requests");
        let mut told = counts(&context.scrape()?, context.name, "main");
        let success = told.remove("readiness/http/success").unwrap_or_default();
        let refused = told.remove("readiness/http/refused").unwrap_or_default();
        ensure!(told.is_empty(), "{told:?}");
        Ok(vec![
            Figure::same("main, of both", success, first + second)?,
            Figure::between("main, in between", refused, 0.0, 2.0)?,
        ])
    })?);
    context.delete(&["--grace-period=1"])?;
    Ok(figures)
}

/// The kubelet's cgroup goes with its unit, and comes again.
pub(super) fn after_a_kubelets_restart(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probe = with(http(8001, "/ready"), &json!({ "periodSeconds": 3, "timeoutSeconds": 5 }));
    let args = ["--serve-http=8001", "--on-signal", "TERM=exit:0"];
    let main = with(container("main", &args), &json!({ "readinessProbe": probe }));
    context.run_pod(&json!({ "containers": [main] }))?;
    let before = by_server(context, "main", 1.0)?;
    context.cluster.node_run("systemctl restart kubelet")?;
    context.cluster.wait_ready()?;
    let after = by_server(context, "main", 2.0)?;
    context.delete(&[])?;
    Ok(vec![before, after])
}

/// What the agent counts of a container's probes over HTTP, beside the requests that its server has
/// logged, once there are this many times [`ATTEMPTS`].
fn by_server(context: &Context<'_>, name: &str, times: f64) -> Result<Figure> {
    // An attempt may be under way between the two.
    context.eventually(|_| {
        let mut served = BTreeMap::<_, f64>::new();
        for path in context.acts(context.name, name)?.texts("request", "path") {
            let probe = match &*path {
                "/live" => "liveness",
                "/ready" => "readiness",
                _ => "liveness_or_readiness",
            };
            *served.entry(format!("{probe}/http/success")).or_default() += 1.0;
        }
        ensure!(served.values().sum::<f64>() >= times * ATTEMPTS, "{served:?}");
        let told = counts(&context.scrape()?, context.name, name);
        Figure::same(name, format!("{told:?}"), format!("{served:?}"))
    })
}
