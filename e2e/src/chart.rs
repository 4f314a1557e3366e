//! The Helm chart on the node: a second agent beside the one from `deploy/daemonset.yaml`, under
//! another name and in another namespace, upgraded and taken away again.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xtask::chart::{self, Helm};

use super::{
    agent,
    cluster::{Cluster, text},
    steps::Steps,
};

const RELEASE: &str = "trial";
const NAMESPACE: &str = "chart";
/// What the release's objects are called.
const NAME: &str = "trial-podvitals";
const SELECTOR: &str = "app.kubernetes.io/name=podvitals,app.kubernetes.io/instance=trial";
/// How long the agent may take to be Ready, or gone (20 s on an idle machine).
const LIMIT: Duration = Duration::from_secs(120);
/// As helm takes it.
const TIMEOUT: &str = "--timeout=120s";
/// The API server takes a Secret of 1 MiB, and a release is kept in one, the whole chart included.
const RELEASE_MAX: usize = 512 << 10;

/// Installs the chart, upgrades it with a changed value, and uninstalls it.
pub(crate) fn run(cluster: &Cluster, steps: &mut Steps) -> Result<()> {
    let helm = chart::helm()?.context("without Go there is no helm")?;
    steps.begin("the chart: each values file, by dry run");
    // As its README.md says.
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    let level = "pod-security.kubernetes.io/enforce=privileged";
    cluster.kubectl(&["label", "namespace", NAMESPACE, level])?;
    // The controllers put a few things into every namespace.
    cluster.wait("the namespace has its own objects", LIMIT, || {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/kube-root-ca.crt");
        cluster.read(&path)
    })?;
    let release = Release { cluster, helm: &helm, chart: chart::folder() };
    release.dry_runs()?;
    // What an earlier step has deleted may take a while to go, and would be missed at the end.
    let leaving = ["get", "namespaces", "--field-selector=status.phase=Terminating"];
    cluster.wait("no namespace is on its way out", LIMIT, || {
        let list = cluster.kubectl(&[leaving.as_slice(), &["--output=name"]].concat())?;
        Ok(list.trim().is_empty().then_some(()))
    })?;
    let before = objects(cluster)?;
    let applied = pod(cluster, "podvitals", agent::SELECTOR)?;
    steps.begin("the chart: installed");
    release.install()?;
    steps.begin("the chart: upgraded");
    release.upgrade()?;
    steps.begin("the chart: uninstalled");
    release.helm(&["uninstall", RELEASE, "--wait", TIMEOUT])?;
    cluster
        .wait("nothing is left of the release", LIMIT, || {
            let after = objects(cluster)?;
            let lost: Vec<_> = before.difference(&after).collect();
            ensure!(lost.is_empty(), "it took away what is not its own: {lost:?}");
            Ok((after == before).then_some(()))
        })
        .with_context(|| match objects(cluster) {
            Ok(after) => format!("left: {:?}", after.difference(&before).collect::<Vec<_>>()),
            Err(error) => format!("{error:#}"),
        })?;
    ensure!(
        pod(cluster, "podvitals", agent::SELECTOR)? == applied,
        "the agent that was there before has been replaced"
    );
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    steps.end();
    Ok(())
}

struct Release<'a> {
    cluster: &'a Cluster,
    helm: &'a Helm,
    chart: std::path::PathBuf,
}

impl Release<'_> {
    fn helm(&self, args: &[&str]) -> Result<String> {
        self.cluster.helm(self.helm, &[args, &["--namespace", NAMESPACE]].concat())
    }

    fn chart(&self) -> Result<&str> {
        self.chart.to_str().context("a path that is no text")
    }

    /// What each values file of the chart's tests gives, as the API server takes it: a field that it
    /// does not know is an error.
    fn dry_runs(&self) -> Result<()> {
        let values = self.chart.join("ci");
        let mut files: Vec<_> = std::fs::read_dir(&values)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| format!("list {}", values.display()))?;
        files.sort();
        ensure!(!files.is_empty(), "no values files in {}", values.display());
        for file in files {
            let path = file.to_str().context("a path that is no text")?;
            // There is one namespace here.
            let here = ["--values", path, "--set", "dashboards.namespace="];
            let template = [["template", RELEASE, self.chart()?].as_slice(), &here].concat();
            let objects = self.helm(&template)?;
            let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
            let said =
                self.cluster.kubectl_with(&apply, &objects).with_context(|| path.to_owned())?;
            let accepted = said.lines().filter(|line| line.ends_with("(server dry run)")).count();
            ensure!(accepted > 0, "{path}: no object in {said:?}");
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            println!("    ok      {name} ({accepted} objects)");
        }
        Ok(())
    }

    fn install(&self) -> Result<()> {
        let all = ["podMonitor", "prometheusRule", "dashboards", "networkPolicy"];
        let all = all.map(|it| format!("{it}.enabled=true")).join(",");
        let install = ["install", RELEASE, self.chart()?, "--wait", TIMEOUT, "--set", &all];
        let notes = self.helm(&install)?;
        let told = format!("rollout status daemonset/{NAME}");
        ensure!(notes.contains(&told), "the notes do not say {told:?}: {notes}");
        self.rolled_out()?;
        // It is ready before it has read all.
        self.cluster.wait(&format!("its scrape has {PRESSURE}… of itself"), LIMIT, || {
            let scrape = self.scrape()?;
            let itself = format!(r#"{{namespace="{NAMESPACE}",pod="{NAME}-"#);
            let of_itself = |family: &str| {
                scrape.lines().any(|line| line.starts_with(family) && line.contains(&itself))
            };
            Ok((of_itself(INFO) && of_itself(PRESSURE)).then_some(()))
        })?;
        let path =
            format!("/api/v1/namespaces/{NAMESPACE}/secrets/sh.helm.release.v1.{RELEASE}.v1");
        let secret = self.cluster.read(&path)?.context("the release is kept nowhere")?;
        // Base64 has four characters for three bytes.
        let bytes = text(&secret, "/data/release").context("an empty release")?.len() / 4 * 3;
        ensure!(bytes <= RELEASE_MAX, "the release has {bytes} bytes; {RELEASE_MAX} are allowed");
        println!(
            "    ok      the release is a Secret of {bytes} bytes, of 1048576 that it may have"
        );
        Ok(())
    }

    fn upgrade(&self) -> Result<()> {
        let before = pod(self.cluster, NAMESPACE, SELECTOR)?;
        let off = ["--reset-then-reuse-values", "--set", "collectors.pressure=false"];
        let upgrade = ["upgrade", RELEASE, self.chart()?, "--wait", TIMEOUT];
        self.helm(&[upgrade.as_slice(), &off].concat())?;
        self.rolled_out()?;
        ensure!(pod(self.cluster, NAMESPACE, SELECTOR)? != before, "the Pod is still the same");
        let scrape = self.cluster.wait(&format!("its scrape has {INFO}…"), LIMIT, || {
            let scrape = self.scrape()?;
            Ok(scrape.contains(INFO).then_some(scrape))
        })?;
        ensure!(!scrape.contains(PRESSURE), "{PRESSURE} with that collector off");
        Ok(())
    }

    /// Waits as the notes say. Helm's own `--wait` lets as many Pods be missing as may be unavailable
    /// in an update, and so all of one node's.
    fn rolled_out(&self) -> Result<()> {
        let daemon_set = format!("daemonset/{NAME}");
        let status = ["rollout", "status", &daemon_set, TIMEOUT, "--namespace", NAMESPACE];
        self.cluster.kubectl(&status).map(drop)
    }

    fn scrape(&self) -> Result<String> {
        let pod = pod(self.cluster, NAMESPACE, SELECTOR)?;
        let address: IpAddr = pod.address.parse().with_context(|| format!("{pod:?}"))?;
        self.cluster.fetch(SocketAddr::new(address, agent::PORT), "/metrics")
    }
}

/// A family of the collector that is switched off.
const PRESSURE: &str = "podvitals_container_pressure_";
/// A family that every container has.
const INFO: &str = "podvitals_container_info";

/// The one Pod that is Ready and stays.
#[derive(Debug, PartialEq, Eq)]
struct Pod {
    uid: String,
    address: String,
}

fn pod(cluster: &Cluster, namespace: &str, selector: &str) -> Result<Pod> {
    let pods = cluster.pods(namespace, selector)?;
    let pods = pods.pointer("/items").and_then(Value::as_array).context("a list without items")?;
    let ready = |pod: &&Value| {
        let container = pod.pointer("/status/containerStatuses/0/ready");
        let stays = pod.pointer("/metadata/deletionTimestamp").is_none();
        stays && container.and_then(Value::as_bool) == Some(true)
    };
    let ready: Vec<&Value> = pods.iter().filter(ready).collect();
    let [pod] = ready.as_slice() else {
        bail!("{} Pods of {namespace} with {selector} are Ready: {pods:?}", ready.len());
    };
    let field = |pointer: &str| {
        text(pod, pointer).map(str::to_owned).with_context(|| format!("a Pod without {pointer}"))
    };
    Ok(Pod { uid: field("/metadata/uid")?, address: field("/status/podIP")? })
}

/// The names of all objects of the namespace, and of all that are in none.
fn objects(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let mut objects = BTreeSet::new();
    for (namespaced, place) in [("true", ["--namespace", NAMESPACE].as_slice()), ("false", &[])] {
        let kinds = ["api-resources", "--verbs=list,delete", "--output=name"];
        let namespaced = format!("--namespaced={namespaced}");
        let kinds = cluster.kubectl(&[kinds.as_slice(), &[&namespaced]].concat())?;
        // They tell of what was, and the node's own come and go.
        let passing = |kind: &&str| !kind.starts_with("events") && !kind.starts_with("leases");
        let kinds: Vec<&str> = kinds.lines().filter(passing).collect();
        let kinds = kinds.join(",");
        let get = ["get", &kinds, "--output=name", "--ignore-not-found"];
        let list = cluster.kubectl(&[get.as_slice(), place].concat())?;
        objects.extend(list.lines().map(str::to_owned));
    }
    Ok(objects)
}
