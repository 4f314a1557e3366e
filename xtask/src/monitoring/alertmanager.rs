//! Alertmanager: the example of `deploy/` as its configuration, the command that starts it, and its
//! HTTP API.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::http;

use super::Labels;
use crate::{parts, paths};

/// The example, with grouping, routes and inhibitions.
const EXAMPLE: &str = "deploy/alerts/alertmanager.yaml";
/// How long an answer of the API may take.
const GET: Duration = Duration::from_secs(10);

/// The example, but that every receiver sends to `webhook`, under its own name as the path.
///
/// # Errors
/// A file that cannot be read, or has no receivers.
pub fn example(webhook: SocketAddr) -> Result<Value> {
    let mut config = super::read_yaml(&paths::root().join(EXAMPLE))?;
    to_webhook(&mut config, webhook).context(EXAMPLE)?;
    Ok(config)
}

fn to_webhook(config: &mut Value, webhook: SocketAddr) -> Result<()> {
    let receivers = config.pointer_mut("/receivers").and_then(Value::as_array_mut);
    for receiver in receivers.context("no receivers")? {
        let name =
            receiver.get("name").and_then(Value::as_str).context("a receiver has no name")?;
        let url = format!("http://{webhook}/{}", http::escape(name));
        *receiver = json!({
            "name": name,
            "webhook_configs": [{ "url": url, "send_resolved": true }],
        });
    }
    Ok(())
}

/// The command that starts `program` at `listen`, with its files in `dir`: the configuration, new
/// data, and the log.
///
/// # Errors
/// A file that cannot be written.
pub fn command(
    program: &parts::Alertmanager,
    dir: &Path,
    listen: SocketAddr,
    config: &Value,
) -> Result<Command> {
    let file = dir.join("alertmanager.yml");
    super::write_config(&file, config)?;
    let data = super::new_data(dir, "alertmanager-data")?;
    let mut command = program.command();
    command
        .current_dir(dir)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", data.display()))
        .arg(format!("--web.listen-address={listen}"))
        .arg(format!("--web.external-url=http://{listen}/"))
        // Alone: it looks for no others, and opens no port for them.
        .arg("--cluster.listen-address=");
    super::log_to(&mut command, &dir.join("alertmanager.log"))?;
    Ok(command)
}

/// An alert, as Alertmanager has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Alert {
    /// Labels, `alertname` among them.
    pub labels: Labels,
    /// Alertmanager's id for the labels.
    pub fingerprint: String,
    /// Whether it is sent on.
    pub status: Status,
}

/// Whether an alert is sent on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `active`, `suppressed`, or `unprocessed`.
    pub state: String,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
}

/// The HTTP API of an Alertmanager.
#[derive(Clone, Copy, Debug)]
pub struct Api(pub SocketAddr);

impl Api {
    /// Whether it is ready.
    ///
    /// # Errors
    /// Why it is not.
    pub fn ready(self) -> Result<()> {
        http::get_text(self.0, "/-/ready", GET).map(drop)
    }

    /// The alerts that it has, suppressed ones included.
    ///
    /// # Errors
    /// No answer, or one of another form.
    pub fn alerts(self) -> Result<Vec<Alert>> {
        let text = http::get_text(self.0, "/api/v2/alerts", GET)?;
        serde_json::from_str(&text).with_context(|| format!("Alertmanager's alerts: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_receiver_sends_to_the_webhook_and_all_else_stays() {
        let shipped = super::super::read_yaml(&paths::root().join(EXAMPLE)).unwrap();
        let ours = example("127.0.0.1:1".parse().unwrap()).unwrap();
        for (key, value) in shipped.as_object().unwrap() {
            if key != "receivers" {
                assert_eq!(&ours[key], value, "{key}");
            }
        }
        let names = |config: &Value| -> Vec<Value> {
            config["receivers"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect()
        };
        assert_eq!(names(&ours), names(&shipped));
        for receiver in ours["receivers"].as_array().unwrap() {
            assert_eq!(receiver.as_object().unwrap().len(), 2, "{receiver}");
            let url = receiver["webhook_configs"][0]["url"].as_str().unwrap();
            assert!(url.starts_with("http://127.0.0.1:1/"), "{url}");
        }
    }

    #[test]
    fn a_suppressed_alert_names_what_inhibits_it() {
        let answer = r#"[{"annotations":{},"endsAt":"2026-01-01T00:00:00Z","fingerprint":"b",
            "receivers":[{"name":"r"}],"startsAt":"2026-01-01T00:00:00Z",
            "status":{"inhibitedBy":["a"],"mutedBy":[],"silencedBy":[],"state":"suppressed"},
            "updatedAt":"2026-01-01T00:00:00Z","labels":{"alertname":"B"}}]"#;
        let alerts: Vec<Alert> = serde_json::from_str(answer).unwrap();
        assert_eq!(alerts[0].status.state, "suppressed");
        assert_eq!(alerts[0].status.inhibited_by, ["a"]);
    }
}
