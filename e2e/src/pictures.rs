//! The dashboards, drawn from the Prometheus that has scraped the node all the while: a panel that is
//! empty, failed or unreadable though what it shows has happened is a fault.
//!
//! What the scenarios make is gone by then. So there is one workload that lives through all of them and
//! has what a board of one Pod shows, one that never starts, and one that is being stopped while the
//! boards are drawn.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xtask::{
    draw::{
        driver::{self, Order},
        judge::{self, Exceptions},
        pictures,
    },
    image::WORKLOAD,
};

use super::{
    cluster::{Cluster, text},
    prometheus::{self, Prometheus},
    steps::Steps,
};

/// The namespace of both.
const NAMESPACE: &str = "shop";
/// The Pod that lives on.
const POD: &str = "web-0";
/// The Pod that is being stopped.
const LEAVING: &str = "report";
/// How long a Pod may take to run, and to go.
const LIMIT: Duration = Duration::from_secs(180);
/// What the agent and Prometheus need to have seen the last act: some scrapes.
const SEEN: Duration = Duration::from_secs(25);

/// What was watched.
pub(crate) struct Watch<'a> {
    /// By whom.
    pub(crate) prometheus: &'a Prometheus,
    /// Since when.
    pub(crate) since: Instant,
    /// Whether all has happened that the boards show.
    pub(crate) is_whole: bool,
}

/// Makes the workloads that live on.
pub(crate) fn begin(cluster: &Cluster) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE },
    });
    apply(cluster, &[namespace, web(), broken()])
}

/// Draws all boards. With `update` they are the new docs/pictures.
pub(crate) fn check(
    cluster: &Cluster,
    watch: &Watch<'_>,
    update: bool,
    steps: &mut Steps,
) -> Result<()> {
    steps.begin("pictures: a Pod is stopped and comes again, another does not go");
    let first = uid(cluster, POD)?.with_context(|| format!("there is no {POD}"))?;
    apply(cluster, &[leaving()])?;
    cluster.wait("the leaving Pod runs", LIMIT, || is_running(cluster, LEAVING))?;
    for pod in [POD, LEAVING] {
        cluster.kubectl(&["delete", "pod", pod, "--namespace", NAMESPACE, "--wait=false"])?;
    }
    cluster.wait("the other Pod has come again", LIMIT, || {
        let is_new = uid(cluster, POD)?.is_some_and(|uid| uid != first);
        if is_new { is_running(cluster, POD) } else { Ok(None) }
    })?;
    thread::sleep(SEEN);
    steps.begin("pictures: all boards");
    let mut order = Order::all(
        format!("http://{}", watch.prometheus.address()),
        watch.since.elapsed(),
        Duration::from_secs(prometheus::INTERVAL_S),
    )?;
    for board in &mut order.boards {
        if board.uid() == "podvitals-pod" {
            let chosen = [("namespace", NAMESPACE), ("pod", POD)];
            board.variables =
                chosen.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        }
    }
    let drawn = driver::draw(&order)?;
    if update {
        pictures::update(&drawn)?;
    }
    let result = judge::report(&drawn, &Exceptions::read()?, !watch.is_whole);
    steps.end();
    let at_once = ["--wait=false", "--force", "--grace-period=0"];
    let delete = [&["delete", "namespace", NAMESPACE][..], &at_once[..1]].concat();
    let pods = [&["delete", "pod", LEAVING, "--namespace", NAMESPACE][..], &at_once].concat();
    cluster.kubectl(&pods)?;
    cluster.kubectl(&delete)?;
    result
}

/// A server that is throttled, and beside it one that leaks, dies of it and comes again.
fn web() -> Value {
    let resources = |cpu: &str, memory: &str| {
        json!({
            "requests": { "cpu": "20m", "memory": "16Mi" },
            "limits": { "cpu": cpu, "memory": memory },
        })
    };
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": "web", "namespace": NAMESPACE },
        "spec": {
            "serviceName": "web",
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "containers": [
                        {
                            "name": "server", "image": WORKLOAD,
                            "args": [
                                "--burn-cpu", "1000000", "--allocate-mib", "24",
                                "--on-signal", "TERM=sleep:3,exit:0",
                            ],
                            "resources": resources("60m", "64Mi"),
                            "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } },
                        },
                        {
                            "name": "cache", "image": WORKLOAD,
                            "args": [
                                "--allocate-mib", "100", "--allocate-rate", "1",
                                "--on-signal", "TERM=exit:0",
                            ],
                            "resources": resources("100m", "48Mi"),
                        },
                    ],
                },
            },
        },
    })
}

/// A Pod whose program does not exist.
fn broken() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "broken", "namespace": NAMESPACE },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "main", "image": WORKLOAD, "command": ["/none"] }],
        },
    })
}

/// A Pod that takes ten minutes to stop.
fn leaving() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": LEAVING, "namespace": NAMESPACE },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 600,
            "containers": [{
                "name": "main", "image": WORKLOAD,
                "args": ["--on-signal", "TERM=sleep:600,exit:0"],
            }],
        },
    })
}

fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster.apply(&list.to_string()).map(drop)
}

/// The Pod, if it is there.
fn pod(cluster: &Cluster, name: &str) -> Result<Option<Value>> {
    cluster.read(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"))
}

fn uid(cluster: &Cluster, name: &str) -> Result<Option<String>> {
    let pod = pod(cluster, name)?;
    Ok(pod.and_then(|pod| text(&pod, "/metadata/uid").map(str::to_owned)))
}

fn is_running(cluster: &Cluster, name: &str) -> Result<Option<()>> {
    let pod = pod(cluster, name)?;
    Ok(pod.filter(|pod| text(pod, "/status/phase") == Some("Running")).map(drop))
}
