//! The way of an alert, from a Pod on the node to who is on call: the real agent, Prometheus with the
//! rules of `deploy/`, Alertmanager with the routes and inhibitions of `deploy/`, and a webhook in the
//! place of each of its receivers.
//!
//! The Pods that are to raise alerts are made before the scenarios, and are judged after them: a
//! kubelet takes minutes to start a container for the fifth time.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::{
    child::Child,
    monitoring::{
        alertmanager::{self, Api},
        webhook::{self, Webhook},
    },
    parts::{self, Release},
};

use super::{cluster::Cluster, steps::Steps};

/// Where Alertmanager and the webhook listen in the cluster's network.
const ALERTMANAGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9093);
const WEBHOOK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9094);
/// A free port of the machine's loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long Alertmanager may take to start.
const START: Duration = Duration::from_secs(60);
/// How long after the scenarios an alert may take: what raises it is minutes old by then.
const LIMIT: Duration = Duration::from_secs(600);

/// An alert that has to be delivered: its rule, and the workload that raises it.
struct Expected {
    rule: &'static str,
    workload: &'static str,
}

/// A container with a leak, killed for it again and again.
const OOM: Expected = Expected { rule: "PodvitalsContainerOOM", workload: "leaky" };
/// Three Pods that do not heed SIGTERM, and are deleted.
const IGNORED: Expected = Expected { rule: "PodvitalsStopSignalIgnored", workload: "deaf" };
/// A container that exits with an error again and again.
const CRASH_LOOP: Expected = Expected { rule: "PodvitalsRestartLoop", workload: "crashing" };
const DELIVERED: [Expected; 3] = [OOM, IGNORED, CRASH_LOOP];
/// An alert that is not to be delivered, since [`OOM`] says why: the leaky container restarts as often
/// as the crashing one.
const INHIBITED: Expected = Expected { rule: CRASH_LOOP.rule, workload: OOM.workload };

/// The workloads.
const WORKLOADS: &str = include_str!("../alerts.yaml");

/// Labels and annotations without which nobody on call can work.
const LABELS: [&str; 5] = ["alertname", "severity", "namespace", "workload", "container"];
const ANNOTATIONS: [&str; 4] = ["summary", "description", "runbook_url", "dashboard"];
/// What is left of a template that found nothing to fill in.
const UNFILLED: [&str; 4] = ["<no value>", "{{", "<error", "%!"];

/// A running Alertmanager with a webhook, which ends when dropped.
pub(crate) struct Delivery {
    address: SocketAddr,
    webhook: Webhook,
    _server: Child,
}

impl Delivery {
    /// Starts both, and waits until Alertmanager answers.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let program = parts::alertmanager(Release::Newest)?;
        let dir = cluster.dir().join("alertmanager");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let webhook = Webhook::serve(cluster.listen(WEBHOOK)?)?;
        let config = alertmanager::example(WEBHOOK)?;
        let mut command = alertmanager::command(&program, &dir, ALERTMANAGER, &config)?;
        let server = cluster.spawn("alertmanager", &mut command)?;
        cluster.wait("Alertmanager is ready", START, || {
            // Until it listens there is no answer.
            Ok(cluster.fetch(ALERTMANAGER, "/-/ready").ok())
        })?;
        let address = cluster.forward(ANY_PORT, ALERTMANAGER)?.address;
        let delivery = Self { address, webhook, _server: server };
        println!("    Alertmanager {}: http://{address}/", program.version);
        Ok(delivery)
    }

    /// Where Prometheus finds Alertmanager.
    pub(crate) const fn alertmanager(&self) -> SocketAddr {
        ALERTMANAGER
    }

    /// Where Alertmanager serves on this machine's loopback.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    fn api(&self) -> Api {
        Api(self.address)
    }

    /// Checks that the alerts of the workloads of [`begin`] are delivered, and that one inhibits
    /// another.
    pub(crate) fn check(&self, cluster: &Cluster, steps: &mut Steps) -> Result<()> {
        steps.begin("alerts: delivered to the webhook");
        for expected in &DELIVERED {
            let Expected { rule, workload } = expected;
            let alert =
                cluster.wait(&format!("{rule} of {workload} is delivered"), LIMIT, || {
                    Ok(self.delivered(expected))
                })?;
            filled(&alert).with_context(|| format!("{rule} of {workload}: {alert:?}"))?;
            let summary = alert.annotations.get("summary").map_or("", String::as_str);
            println!("    ok      {rule}: {summary}");
        }
        steps.begin("alerts: one inhibits another");
        let Expected { rule, workload } = INHIBITED;
        let what = format!("{rule} of {workload} is inhibited by {}", OOM.rule);
        cluster.wait(&what, LIMIT, || {
            let alerts = self.api().alerts()?;
            let find = |it: &Expected| alerts.iter().find(|alert| it.is(&alert.labels));
            let (Some(cause), Some(effect)) = (find(&OOM), find(&INHIBITED)) else {
                return Ok(None);
            };
            Ok(effect.status.inhibited_by.contains(&cause.fingerprint).then_some(()))
        })?;
        if let Some(alert) = self.delivered(&INHIBITED) {
            bail!("it was delivered all the same: {alert:?}");
        }
        println!("    ok      {what}");
        steps.end();
        clear(cluster)
    }

    /// The alert as the webhook got it first, if it did.
    fn delivered(&self, expected: &Expected) -> Option<webhook::Alert> {
        let alerts = self.webhook.received(0).into_iter().flat_map(|it| it.alerts);
        alerts.filter(|it| it.status == "firing").find(|it| expected.is(&it.labels))
    }
}

impl Expected {
    fn is(&self, labels: &xtask::monitoring::Labels) -> bool {
        let has = |name: &str, value: &str| labels.get(name).is_some_and(|it| it == value);
        has("alertname", self.rule) && has("workload", self.workload)
    }
}

/// Makes the workloads.
pub(crate) fn begin(cluster: &Cluster) -> Result<()> {
    cluster.apply(WORKLOADS).map(drop)
}

fn clear(cluster: &Cluster) -> Result<()> {
    let names = [OOM, IGNORED, CRASH_LOOP].map(|it| it.workload);
    let at_once = ["--wait=false", "--force", "--grace-period=0"];
    for kind in ["deployment", "job"] {
        let delete = [&["delete", "--ignore-not-found", kind][..], &names, &at_once].concat();
        cluster.kubectl(&delete)?;
    }
    Ok(())
}

/// Fails unless all of an alert is there that somebody on call needs.
fn filled(alert: &webhook::Alert) -> Result<()> {
    let webhook::Alert { labels, annotations, .. } = alert;
    for (names, all, found) in
        [("labels", &LABELS[..], labels), ("annotations", &ANNOTATIONS[..], annotations)]
    {
        let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        let missing: Vec<&str> = all.iter().copied().filter(|it| !found.contains(it)).collect();
        ensure!(missing.is_empty(), "{names} are missing: {}", missing.join(", "));
    }
    for (name, value) in labels.iter().chain(annotations) {
        ensure!(!value.trim().is_empty(), "{name} is empty");
        if let Some(unfilled) = UNFILLED.iter().find(|it| value.contains(**it)) {
            bail!("{name} has {unfilled:?}: {value}");
        }
    }
    let says = |annotation: &str, what: &str| -> Result<()> {
        let text = annotations.get(annotation).map(String::as_str).unwrap_or_default();
        ensure!(text.contains(what), "{annotation} does not name {what}: {text}");
        Ok(())
    };
    let label = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    for annotation in ["summary", "description"] {
        for whom in ["namespace", "workload", "container"] {
            says(annotation, label(whom))?;
        }
    }
    let page = format!("docs/runbooks/{}.md", label("alertname"));
    says("runbook_url", &page)?;
    ensure!(xtask::paths::root().join(&page).is_file(), "there is no {page}");
    says("dashboard", "podvitals-")
}

#[cfg(test)]
mod tests {
    use xtask::monitoring::Labels;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn alert() -> webhook::Alert {
        webhook::Alert {
            status: "firing".to_owned(),
            labels: pairs(&[
                ("alertname", OOM.rule),
                ("severity", "warning"),
                ("namespace", "default"),
                ("workload", OOM.workload),
                ("container", "main"),
            ]),
            annotations: pairs(&[
                ("summary", "default/leaky, container main: killed"),
                ("description", "default/leaky, container main, was killed"),
                ("runbook_url", &format!("https://a.example/docs/runbooks/{}.md", OOM.rule)),
                ("dashboard", "/d/podvitals-why"),
            ]),
        }
    }

    #[test]
    fn an_alert_with_a_gap_is_not_filled() {
        filled(&alert()).unwrap();
        type Spoil = fn(&mut webhook::Alert);
        let spoils: [(&str, Spoil); 7] = [
            ("labels are missing: container", |it| drop(it.labels.remove("container"))),
            ("annotations are missing: dashboard", |it| drop(it.annotations.remove("dashboard"))),
            ("severity is empty", |it| drop(it.labels.insert("severity".into(), " ".into()))),
            ("<no value>", |it| {
                it.annotations.insert("summary".into(), "<no value> died".into());
            }),
            ("does not name leaky", |it| {
                it.annotations.insert("summary".into(), "default, container main".into());
            }),
            ("runbook_url does not name", |it| {
                it.annotations.insert("runbook_url".into(), "https://a.example/".into());
            }),
            ("dashboard does not name", |it| {
                it.annotations.insert("dashboard".into(), "x".into());
            }),
        ];
        for (wanted, spoil) in spoils {
            let mut alert = alert();
            spoil(&mut alert);
            let error = filled(&alert).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn the_workloads_are_those_that_are_waited_for() {
        for Expected { workload, .. } in DELIVERED {
            assert!(
                WORKLOADS.contains(&format!("\nmetadata:\n  name: {workload}\n")),
                "{workload}"
            );
        }
        let image = format!("image: {}\n", xtask::image::WORKLOAD);
        assert_eq!(WORKLOADS.matches(&image).count(), DELIVERED.len());
    }

    #[test]
    fn an_expected_alert_is_known_by_rule_and_workload() {
        assert!(OOM.is(&alert().labels));
        assert!(!IGNORED.is(&alert().labels) && !INHIBITED.is(&alert().labels));
    }
}
