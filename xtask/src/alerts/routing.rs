//! The example for Alertmanager: its routes by amtool, and what makes what superfluous in a real
//! Alertmanager on loopback.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use testbed::http;

use crate::{child::Child, parts::Alertmanager, paths, shell, stop};

/// The example.
const CONFIGURATION: &str = "deploy/alerts/alertmanager.yaml";
/// How long Alertmanager may take to start, or to take in alerts.
const START: Duration = Duration::from_secs(30);
/// How long a GET may take.
const GET: Duration = Duration::from_secs(10);
/// How often it is asked again.
const POLL: Duration = Duration::from_millis(100);

/// Who is told of which alert.
const ROUTES: [(&str, &str); 4] = [
    ("pager", "alertname=PodvitalsNodeMemoryPressure severity=critical node=n1"),
    ("chat", "alertname=PodvitalsContainerOOM severity=warning namespace=shop workload=web"),
    ("digest", "alertname=PodvitalsChildOOM severity=info namespace=shop workload=web"),
    ("chat", "alertname=PodvitalsPodMetadataStale severity=warning node=n1"),
];

/// Alerts that fire at once, and whether another one makes each superfluous.
const ALERTS: [(&str, bool); 20] = [
    // An OOM explains the loop of the same container, and of no other.
    (
        "PodvitalsContainerOOM namespace=shop workload_kind=Deployment workload=web container=web",
        false,
    ),
    (
        "PodvitalsRestartLoop namespace=shop workload_kind=Deployment workload=web container=web",
        true,
    ),
    (
        "PodvitalsRestartLoop namespace=shop workload_kind=Deployment workload=web container=log",
        false,
    ),
    (
        "PodvitalsRestartLoop namespace=shop workload_kind=Deployment workload=api container=web",
        false,
    ),
    (
        "PodvitalsRestartLoop namespace=test workload_kind=Deployment workload=web container=web",
        false,
    ),
    // A loop explains its downtime.
    (
        "PodvitalsCrashLoopDowntime namespace=shop workload_kind=Deployment workload=api container=web",
        true,
    ),
    // An ignored stop signal explains the kill.
    (
        "PodvitalsStopSignalIgnored namespace=shop workload_kind=StatefulSet workload=db container=db",
        false,
    ),
    (
        "PodvitalsKilledAfterGrace namespace=shop workload_kind=StatefulSet workload=db container=db",
        true,
    ),
    (
        "PodvitalsKilledAfterGrace namespace=shop workload_kind=Deployment workload=web container=web",
        false,
    ),
    // An agent that is down silences what is told about its node, and itself not.
    ("PodvitalsAgentDown node=n1", false),
    ("PodvitalsEventsLost node=n1 reason=ring_full", true),
    ("PodvitalsShutdownStuck node=n1 namespace=shop pod=web-1 container=web", true),
    ("PodvitalsEventsLost node=n2 reason=ring_full", false),
    // What has no node is not silenced by what has none either.
    ("PodvitalsAgentDown instance=10.0.0.9:9550", false),
    ("PodvitalsPodMetadataStale instance=10.0.0.8:9550", false),
    // Where a node is not ready, the agent's silence is no news.
    ("KubeNodeNotReady node=n3", false),
    ("PodvitalsAgentDown node=n3", true),
    // Of a cluster without any agent each agent is no news; of another cluster it is.
    ("PodvitalsAbsent cluster=west", false),
    ("PodvitalsAgentDown cluster=west node=n1", true),
    ("PodvitalsAgentDown cluster=east node=n1", false),
];

/// Holds the example to what it promises.
pub(super) fn check(alertmanager: &Alertmanager) -> Result<()> {
    println!("Alertmanager {}:", alertmanager.version);
    let configuration = paths::root().join(CONFIGURATION);
    let amtool = || Command::new(&alertmanager.amtool);
    print!("{}", shell::output(amtool().arg("check-config").arg(&configuration))?);
    for (receiver, labels) in ROUTES {
        let mut routes = amtool();
        routes.args(["config", "routes", "test"]).arg("--config.file").arg(&configuration);
        routes.arg(format!("--verify.receivers={receiver}")).args(labels.split(' '));
        shell::output(&mut routes).with_context(|| format!("the route of {labels}"))?;
        println!("{receiver} is told of {labels}");
    }
    inhibitions(alertmanager, &configuration)
}

/// Sends all alerts to a real Alertmanager, and asks which it holds back.
fn inhibitions(alertmanager: &Alertmanager, configuration: &Path) -> Result<()> {
    let work = paths::work("alertmanager")?;
    let data = work.join("data");
    let _ = fs::remove_dir_all(&data);
    let server = http::free_address()?;
    let log = fs::File::create(work.join("alertmanager.log")).context("create a log")?;
    let mut command = alertmanager.command();
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.path={}", data.display()))
        .arg(format!("--web.listen-address={server}"))
        // No gossip: it is alone.
        .arg("--cluster.listen-address=")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share a log")?)
        .stderr(log);
    let mut child = Child::spawn("alertmanager", &mut command)?;
    until("Alertmanager answers", || http::get_text(server, "/-/ready", GET).map(|_| true))?;
    for (alert, _) in ALERTS {
        let mut add = Command::new(&alertmanager.amtool);
        add.arg(format!("--alertmanager.url=http://{server}")).args(["alert", "add"]);
        shell::output(add.args(alert.split(' ')))?;
    }
    let mut held = BTreeMap::new();
    until("all alerts are there", || {
        held = held_back(server)?;
        Ok(held.len() == ALERTS.len())
    })?;
    for (alert, expected) in ALERTS {
        let held = held.get(&sorted(alert)).with_context(|| format!("not there: {alert}"))?;
        if *held != expected {
            bail!("held back: {held} instead of {expected}: {alert}");
        }
    }
    let count = ALERTS.iter().filter(|(_, held)| *held).count();
    println!("of {} alerts that fire at once {count} are held back, as they should", ALERTS.len());
    child.stop()?;
    Ok(())
}

/// The labels of an alert in a fixed order.
fn sorted(alert: &str) -> String {
    let mut labels: Vec<String> = alert
        .split(' ')
        .map(|word| if word.contains('=') { word.to_owned() } else { format!("alertname={word}") })
        .collect();
    labels.sort();
    labels.join(" ")
}

/// The alerts that a server has, and whether it holds each back.
fn held_back(server: SocketAddr) -> Result<BTreeMap<String, bool>> {
    let answer = http::get_text(server, "/api/v2/alerts", GET)?;
    let alerts: Vec<Value> = serde_json::from_str(&answer).context("no list of alerts")?;
    let read = |alert: &Value| {
        let labels = alert.get("labels").and_then(Value::as_object)?.iter();
        let labels: Option<Vec<String>> =
            labels.map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
        let by = alert.pointer("/status/inhibitedBy").and_then(Value::as_array)?;
        Some((sorted(&labels?.join(" ")), !by.is_empty()))
    };
    alerts.iter().map(|alert| read(alert).with_context(|| format!("{alert}"))).collect()
}

/// Repeats `test` until it is true; an error counts as "not yet", and is told at the end.
fn until(what: &str, mut test: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + START;
    loop {
        stop::check()?;
        let result = test();
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let error = result.err().map_or_else(String::new, |error| format!(": {error:#}"));
            bail!("not within {START:?}: {what}{error}");
        }
        thread::sleep(POLL);
    }
}
