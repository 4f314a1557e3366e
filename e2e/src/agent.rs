//! The agent on the node, from what everybody applies.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    cluster::{Cluster, text},
    node::Options,
    steps::Steps,
    traces,
};
use xtask::paths;

/// deploy/daemonset.yaml, with traces on.
const OVERLAY: &str = "deploy/overlays/otlp";
/// The Collector that it names.
const ENDPOINT: &str = "http://otel-collector.observability:4317";
/// Its Pods, as the manifest labels them, and the port that they serve.
pub(crate) const SELECTOR: &str = "app.kubernetes.io/name=podvitals";
pub(crate) const PORT: u16 = 9550;
/// How long the agent may take to be Ready (15 s on an idle machine).
const LIMIT: Duration = Duration::from_secs(180);

/// The same with CAP_NET_ADMIN left out, which README.md shows: two components in one kustomization.
const WITHOUT_NET_ADMIN: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [UP/deploy/base]
components: [UP/deploy/components/otlp, UP/deploy/components/without-net-admin]
";

/// The folder to apply.
fn overlay(cluster: &Cluster, options: &Options) -> Result<PathBuf> {
    let root = paths::root();
    if !options.without_net_admin {
        return Ok(root.join(OVERLAY));
    }
    // kustomize takes no absolute path.
    let folder = cluster.dir().join("without-net-admin");
    let below = folder.strip_prefix(&root).context("a working folder outside of the project")?;
    let up = vec![".."; below.components().count()].join("/");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(folder.join("kustomization.yaml"), WITHOUT_NET_ADMIN.replace("UP", &up))
        .with_context(|| format!("write to {}", folder.display()))?;
    Ok(folder)
}

/// Applies the manifests, waits until the agent is Ready, and reads a scrape.
pub(crate) fn deploy(
    cluster: &Cluster,
    options: &Options,
    steps: &mut Steps,
) -> Result<SocketAddr> {
    steps.begin("the agent: Ready");
    let folder = overlay(cluster, options)?;
    let yaml =
        cluster.kubectl(&["kustomize", folder.to_str().context("a path that is no text")?])?;
    ensure!(yaml.matches(ENDPOINT).count() == 1, "not once {ENDPOINT} in {OVERLAY}: {yaml}");
    ensure!(
        yaml.contains("NET_ADMIN") != options.without_net_admin,
        "CAP_NET_ADMIN is not as asked for: {yaml}"
    );
    cluster.apply(&yaml.replace(ENDPOINT, &format!("http://{}", traces::GRPC)))?;
    let address = ready(cluster)?;
    // It sees at least itself, by the name that the API has.
    let itself = r#"podvitals_container_info{namespace="podvitals",pod="podvitals-"#;
    cluster.wait(&format!("the agent's scrape has {itself}…"), LIMIT, || {
        let scrape = cluster.fetch(address, "/metrics")?;
        let line = scrape.lines().find(|line| line.starts_with(itself));
        Ok(line.filter(|line| line.contains(r#"workload_kind="DaemonSet""#)).map(drop))
    })?;
    // What scenarios take as witnesses comes this way: from the node, through the API server.
    let log = cluster.kubectl(&["logs", "--namespace", "podvitals", "--selector", SELECTOR])?;
    if log.trim().is_empty() {
        bail!("the agent logged nothing at its start");
    }
    steps.end();
    Ok(address)
}

/// Waits until the agent's one Pod is Ready; gives where it serves.
pub(crate) fn ready(cluster: &Cluster) -> Result<SocketAddr> {
    let address = cluster.wait("the agent is Ready", LIMIT, || {
        let pods = cluster.pods("podvitals", SELECTOR)?;
        // One that is being replaced may still be there.
        let pods = pods.pointer("/items").and_then(serde_json::Value::as_array);
        let stays = |pod: &&serde_json::Value| pod.pointer("/metadata/deletionTimestamp").is_none();
        let Some(pod) = pods.and_then(|pods| pods.iter().find(stays)) else { return Ok(None) };
        let containers = pod.pointer("/status/containerStatuses/0");
        if let Some(status) = containers
            && status.pointer("/restartCount").and_then(serde_json::Value::as_u64) > Some(0)
        {
            let ended = status.pointer("/lastState/terminated").map(ToString::to_string);
            bail!("the agent ended and was started again: {}", ended.unwrap_or_default());
        }
        let ready = containers.and_then(|it| it.pointer("/ready")?.as_bool()) == Some(true);
        Ok(text(pod, "/status/podIP").filter(|_| ready).map(str::to_owned))
    })?;
    let address: IpAddr = address.parse().with_context(|| format!("the Pod's {address:?}"))?;
    Ok(SocketAddr::new(address, PORT))
}
