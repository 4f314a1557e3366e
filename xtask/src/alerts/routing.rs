//! The example for Alertmanager: its routes by amtool, and what makes what superfluous in a real
//! Alertmanager on loopback.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use testbed::http;

use crate::{
    child::Child,
    monitoring::{alertmanager, until},
    parts::Alertmanager,
    paths, shell,
};

/// The example.
const CONFIGURATION: &str = "deploy/alerts/alertmanager.yaml";
/// How long Alertmanager may take to start, or to take in alerts.
const START: Duration = Duration::from_secs(30);

/// Who is told of which alert.
const ROUTES: [(&str, &str); 4] = [
    ("pager", "alertname=PodvitalsNodeMemoryPressure severity=critical node=n1"),
    ("chat", "alertname=PodvitalsContainerOOM severity=warning namespace=shop workload=web"),
    ("digest", "alertname=PodvitalsChildOOM severity=info namespace=shop workload=web"),
    ("chat", "alertname=PodvitalsPodMetadataStale severity=warning node=n1"),
];

/// Alerts that fire at once, and whether another one makes each superfluous.
const ALERTS: [(&str, bool); 24] = [
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
    // Timeouts tell more than what was near, of the same probe.
    (
        "PodvitalsProbeTimeouts namespace=shop workload_kind=Deployment workload=web container=web probe=liveness",
        false,
    ),
    (
        "PodvitalsProbeNearTimeout namespace=shop workload_kind=Deployment workload=web container=web probe=liveness",
        true,
    ),
    (
        "PodvitalsProbeNearTimeout namespace=shop workload_kind=Deployment workload=web container=web probe=readiness",
        false,
    ),
    // An agent that is down silences what is told about its node, and itself not.
    ("PodvitalsAgentDown node=n1", false),
    ("PodvitalsEventsLost node=n1 reason=ring_full", true),
    ("PodvitalsShutdownStuck node=n1 namespace=shop pod=web-1 container=web", true),
    ("PodvitalsLivenessKillsUnderPressure node=n1", true),
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
pub(super) fn check(program: &Alertmanager) -> Result<()> {
    println!("Alertmanager {}:", program.version);
    let configuration = paths::root().join(CONFIGURATION);
    let amtool = || Command::new(&program.amtool);
    print!("{}", shell::output(amtool().arg("check-config").arg(&configuration))?);
    for (receiver, labels) in ROUTES {
        let mut routes = amtool();
        routes.args(["config", "routes", "test"]).arg("--config.file").arg(&configuration);
        routes.arg(format!("--verify.receivers={receiver}")).args(labels.split(' '));
        shell::output(&mut routes).with_context(|| format!("the route of {labels}"))?;
        println!("{receiver} is told of {labels}");
    }
    inhibitions(program)
}

/// Sends all alerts to a real Alertmanager, and asks which it holds back.
fn inhibitions(program: &Alertmanager) -> Result<()> {
    let work = paths::work("alertmanager")?;
    let server = http::free_address()?;
    // Nobody listens there: it is about what is held back, and not about what is sent.
    let config = alertmanager::example(http::free_address()?)?;
    let mut command = alertmanager::command(program, &work, server, &config)?;
    let mut child = Child::spawn("alertmanager", &mut command)?;
    let api = alertmanager::Api(server);
    until("Alertmanager answers", START, || api.ready().map(|()| true))?;
    for (alert, _) in ALERTS {
        let mut add = Command::new(&program.amtool);
        add.arg(format!("--alertmanager.url=http://{server}")).args(["alert", "add"]);
        shell::output(add.args(alert.split(' ')))?;
    }
    let mut held = BTreeMap::new();
    until("all alerts are there", START, || {
        held = held_back(api)?;
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
fn held_back(api: alertmanager::Api) -> Result<BTreeMap<String, bool>> {
    let read = |alert: alertmanager::Alert| {
        let labels = alert.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let labels = labels.collect::<Vec<_>>().join(" ");
        (sorted(&labels), !alert.status.inhibited_by.is_empty())
    };
    Ok(api.alerts()?.into_iter().map(read).collect())
}
