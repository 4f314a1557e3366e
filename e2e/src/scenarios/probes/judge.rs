//! Readiness probes of the containers of one Pod, and what the agent has to count of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::scrape::Scrape;

use super::super::{
    context::{Context, container, with},
    figure::Figure,
};
use crate::{cluster::text, node};

/// Attempts of each probe that are waited for.
pub(super) const ATTEMPTS: f64 = 3.0;

/// A container with one readiness probe, and what each attempt has to be.
pub(super) struct Probed {
    pub(super) name: &'static str,
    pub(super) args: &'static [&'static str],
    pub(super) probe: Value,
    pub(super) handler: &'static str,
    pub(super) result: &'static str,
    /// Seconds that an attempt takes, at least and at most; `None` where it says nothing of the
    /// container: a connection that is refused.
    pub(super) takes: Option<(f64, f64)>,
}

impl Probed {
    pub(super) const fn new(
        name: &'static str,
        args: &'static [&'static str],
        probe: Value,
        handler: &'static str,
        result: &'static str,
        takes: Option<(f64, f64)>,
    ) -> Self {
        Self { name, args, probe, handler, result, takes }
    }
}

/// A handler over HTTP.
pub(super) fn http(port: u16, path: &str) -> Value {
    json!({ "httpGet": { "port": port, "path": path } })
}

/// The same over TLS.
pub(super) fn https(port: u16) -> Value {
    json!({ "httpGet": { "port": port, "path": "/", "scheme": "HTTPS" } })
}

/// A handler that runs a command.
pub(super) fn exec(command: &[&str]) -> Value {
    json!({ "exec": { "command": command } })
}

/// Runs them in one Pod, and compares what the agent has counted, which is given as well.
pub(super) fn judge(context: &Context<'_>, probed: &[Probed]) -> Result<(Vec<Figure>, Scrape)> {
    let containers: Vec<_> = probed
        .iter()
        .map(|it| {
            let args = [&["--on-signal", "TERM=exit:0"], it.args].concat();
            // A busy node takes its time for what is to come in time.
            let timeout_s = if it.result == "timeout" { 2 } else { 10 };
            // The servers listen by then: an attempt before is refused.
            let probe = with(
                it.probe.clone(),
                &json!({
                    "initialDelaySeconds": 10, "periodSeconds": 4, "timeoutSeconds": timeout_s,
                }),
            );
            with(container(it.name, &args), &json!({ "readinessProbe": probe }))
        })
        .collect();
    let pod = context.run_pod(&json!({ "containers": containers }))?;
    context.eventually(|scrape| {
        probed.iter().try_for_each(|it| {
            let counts = counts(scrape, context.name, it.name);
            let all: f64 = counts.values().sum();
            ensure!(all >= ATTEMPTS, "{}: {counts:?}", it.name);
            Ok(())
        })
    })?;
    // A command by hand is no probe, whatever it runs.
    for it in probed.iter().filter(|it| it.handler == "exec") {
        let mut args = vec!["exec", context.name, "--container", it.name, "--"];
        args.extend(["/workload", "sleep", "0.1"]);
        context.cluster.kubectl(&args)?;
    }
    for it in probed.iter().filter(|it| matches!(it.result, "success" | "unknown")) {
        ask(context, &pod, &it.probe)?;
    }
    // The kubelet counts a moment later: what the agent counts is between what it had and has.
    let before = kubelet(context, "Readiness")?;
    let scrape = context.scrape()?;
    let after = kubelet(context, "Readiness")?;
    context.delete(&[])?;
    let mut figures = Vec::new();
    for it in probed {
        let name = it.name;
        let found = counts(&scrape, context.name, name);
        let all: f64 = found.values().sum();
        let wanted = BTreeMap::from([(format!("readiness/{}/{}", it.handler, it.result), all)]);
        figures.push(Figure::same(name, format!("{found:?}"), format!("{wanted:?}"))?);
        let labels = [("namespace", "default"), ("pod", context.name), ("container", name)];
        let last = scrape.sum("probe_last_duration_seconds", &labels);
        figures.push(match (it.takes, last) {
            (Some((least, most)), Some(last)) => {
                Figure::between(&format!("{name}, s"), last, least, most)?
            }
            (takes, last) => Figure::same(
                &format!("{name}, s"),
                format!("{last:?}"),
                format!("{:?}", takes.map(|(least, _)| least)),
            )?,
        });
        let from = before.get(name).copied().unwrap_or_default() - 1.0;
        let to = after.get(name).copied().unwrap_or_default() + 1.0;
        figures.push(Figure::between(&format!("{name}, by the kubelet"), all, from, to)?);
    }
    Ok((figures, scrape))
}

/// Has another process of the node connect to a probe's server a few times, and ask what the kubelet
/// would: it is no probe. Where the kubelet shares its cgroup, the process is in that.
fn ask(context: &Context<'_>, pod: &Value, probe: &Value) -> Result<()> {
    let handlers = ["/httpGet/port", "/tcpSocket/port", "/grpc/port"];
    let Some(port) = handlers.iter().find_map(|port| probe.pointer(port)) else { return Ok(()) };
    let path = text(probe, "/httpGet/path").unwrap_or("/");
    let ip = text(pod, "/status/podIP").context("no podIP")?;
    let unit = &context.options.kubelet_unit;
    let enter = if unit == "kubelet" {
        String::new()
    } else {
        format!("echo $$ >/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs || exit; ")
    };
    let command = format!(
        "bash -c '{enter}for i in 1 2 3 4 5; do exec 3<>/dev/tcp/{ip}/{port} || exit; \
         printf \"GET {path} HTTP/1.1\\r\\nHost: {ip}:{port}\\r\\nUser-Agent: kube-probe/1.37\\r\\n\\r\\n\" \
         >&3 2>/dev/null; timeout 2 cat <&3 >/dev/null; exec 3>&-; done'"
    );
    context.cluster.node_run(&command)
}

/// Results of a container that are not 0, by `probe/handler/result`.
pub(super) fn counts(scrape: &Scrape, pod: &str, container: &str) -> BTreeMap<String, f64> {
    let labels = [("namespace", "default"), ("pod", pod), ("container", container)];
    let samples = scrape.all("probe_results_total", &labels).filter(|it| it.value > 0.0);
    let key = |label: &dyn Fn(&str) -> String| ["probe", "handler", "result"].map(label).join("/");
    samples.map(|it| (key(&|name| it.label(name).to_owned()), it.value)).collect()
}

/// Attempts of the Pod's probes of a kind that the kubelet has counted (`prober_probe_total`), by
/// container.
pub(super) fn kubelet(context: &Context<'_>, kind: &str) -> Result<BTreeMap<String, f64>> {
    let path = format!("/api/v1/nodes/{}/proxy/metrics/probes", node::NAME);
    let text = context.cluster.kubectl(&["get", "--raw", &path])?;
    let [pod, kind] = [("pod", context.name), ("probe_type", kind)]
        .map(|(name, value)| format!("{name}=\"{value}\""));
    let mut counts = BTreeMap::new();
    let lines = text.lines().filter(|line| line.starts_with("prober_probe_total{"));
    for line in lines.filter(|line| line.contains(&pod) && line.contains(&kind)) {
        let container = line.split("container=\"").nth(1).and_then(|rest| rest.split('"').next());
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        let (container, value) = container.zip(value).with_context(|| line.to_owned())?;
        *counts.entry(container.to_owned()).or_default() += value;
    }
    Ok(counts)
}
