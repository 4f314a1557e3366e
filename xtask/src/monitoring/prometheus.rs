//! Prometheus: its configuration, the command that starts it, and its HTTP API.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::http;

use super::Labels;

/// How long an answer of the API may take.
const GET: Duration = Duration::from_secs(10);

/// What a Prometheus is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address where it listens.
    pub listen: SocketAddr,
    /// Time between two scrapes of a target, and between two evaluations of the rules, in seconds.
    pub interval_s: u64,
    /// Jobs, as in `scrape_configs`.
    pub scrape_configs: Value,
    /// Files of rules.
    pub rules: Vec<PathBuf>,
    /// Alertmanager that gets its alerts.
    pub alertmanager: Option<SocketAddr>,
}

impl Config {
    /// One agent, scraped each second as README says: with one line and no relabelling.
    pub(crate) fn of_one_agent(listen: SocketAddr, target: SocketAddr) -> Self {
        Self {
            listen,
            interval_s: 1,
            scrape_configs: json!([{
                "job_name": "podvitals",
                "honor_labels": true,
                "static_configs": [{ "targets": [target] }],
            }]),
            rules: Vec::new(),
            alertmanager: None,
        }
    }

    /// The command of a server, given the arguments for this configuration. Its files are in `dir`:
    /// the configuration, new data, and the log.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn command(&self, mut command: Command, dir: &Path) -> Result<Command> {
        let config = dir.join("prometheus.yml");
        super::write_config(&config, &self.to_value())?;
        let data = super::new_data(dir, "prometheus-data")?;
        command
            .current_dir(dir)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={}", self.listen))
            .arg("--enable-feature=exemplar-storage")
            // Links in alerts lead here, not to the host's name.
            .arg(format!("--web.external-url=http://{}/", self.listen));
        super::log_to(&mut command, &log(dir))?;
        Ok(command)
    }

    fn to_value(&self) -> Value {
        let interval = format!("{}s", self.interval_s);
        let alertmanagers =
            self.alertmanager.map(|it| json!({ "static_configs": [{ "targets": [it] }] }));
        json!({
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "rule_files": self.rules,
            "alerting": { "alertmanagers": Vec::from_iter(alertmanagers) },
            "scrape_configs": self.scrape_configs,
        })
    }
}

/// The log of a Prometheus whose files are in `dir`.
pub fn log(dir: &Path) -> PathBuf {
    dir.join("prometheus.log")
}

/// An alert of a rule.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Alert {
    /// Labels, `alertname` among them.
    pub labels: Labels,
    /// Annotations, with their templates filled in.
    pub annotations: Labels,
    /// Whether it fires.
    pub state: State,
}

/// State of an alert.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its expression holds, but not yet for as long as its rule asks.
    Pending,
    /// It is sent to Alertmanager.
    Firing,
}

/// A series with its exemplars.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Exemplars {
    /// Labels of the series, `__name__` among them.
    pub series_labels: Labels,
    /// Its exemplars, the oldest first.
    pub exemplars: Vec<Exemplar>,
}

/// An exemplar that Prometheus has stored.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Exemplar {
    /// Its labels, `trace_id` among them.
    pub labels: Labels,
    /// Its value, as text.
    pub value: String,
    /// Its time in seconds of Unix time, to the millisecond.
    pub timestamp: f64,
}

/// The HTTP API of a Prometheus.
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

    /// The alerts that are pending or firing.
    ///
    /// # Errors
    /// No answer, or one of another form.
    pub fn alerts(self) -> Result<Vec<Alert>> {
        #[derive(Deserialize)]
        struct Data {
            alerts: Vec<Alert>,
        }
        self.data::<Data>("/api/v1/alerts").map(|data| data.alerts)
    }

    /// The value of an expression that gives one sample at most.
    ///
    /// # Errors
    /// No answer, or an expression that it does not take.
    pub fn value(self, expression: &str) -> Result<Option<f64>> {
        let data: Value = self.data(&query(expression))?;
        value(&data).with_context(|| format!("{expression}: {data}"))
    }

    /// The exemplars of the series that an expression selects, between two moments in seconds of Unix
    /// time.
    ///
    /// # Errors
    /// No answer, or an expression that it does not take.
    pub fn exemplars(self, expression: &str, [from, to]: [u64; 2]) -> Result<Vec<Exemplars>> {
        let expression = http::escape(expression);
        self.data(&format!("/api/v1/query_exemplars?query={expression}&start={from}&end={to}"))
    }

    /// The answer's `data` to a GET of `path`.
    ///
    /// # Errors
    /// No answer, an error as the answer, or one of another form.
    pub fn data<T: DeserializeOwned>(self, path: &str) -> Result<T> {
        let text = http::get_text(self.0, path, GET)?;
        data(&text).with_context(|| format!("{path}: {text}"))
    }
}

/// The path of an instant query.
pub fn query(expression: &str) -> String {
    format!("/api/v1/query?query={}", http::escape(expression))
}

/// The member `data` of an answer.
fn data<T: DeserializeOwned>(answer: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Answer<T> {
        status: String,
        data: Option<T>,
    }
    let Answer { status, data } = serde_json::from_str(answer).context("another form")?;
    match data {
        Some(data) if status == "success" => Ok(data),
        _ => bail!("status {status:?}"),
    }
}

/// The first sample of `{"result":[{…,"value":[time,"1.5"]}]}`.
fn value(data: &Value) -> Result<Option<f64>> {
    let Some(sample) = data.pointer("/result/0") else { return Ok(None) };
    let text = sample.pointer("/value/1").and_then(Value::as_str);
    let text = text.context("a sample without a value")?;
    Ok(Some(text.parse().context("a sample that is no number")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_from_the_answer() {
        let answer = |result: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#
            )
        };
        let first = |text: &str| value(&data(text)?);
        let sample = r#"{"metric":{"job":"x"},"value":[1700000000.123,"2.5"]}"#;
        assert_eq!(first(&answer(sample)).unwrap(), Some(2.5));
        assert_eq!(first(&answer("")).unwrap(), None);
        first(r#"{"status":"error"}"#).unwrap_err();
    }

    #[test]
    fn alerts_are_read_with_their_state() {
        let answer = r#"{"status":"success","data":{"alerts":[{"labels":{"alertname":"A"},
            "annotations":{"summary":"s"},"state":"pending","activeAt":"2026-01-01T00:00:00Z",
            "value":"1e+00"}]}}"#;
        #[derive(Deserialize)]
        struct Data {
            alerts: Vec<Alert>,
        }
        let alerts = data::<Data>(answer).unwrap().alerts;
        assert_eq!(alerts[0].labels["alertname"], "A");
        assert_eq!(alerts[0].state, State::Pending);
    }

    #[test]
    fn the_configuration_names_what_it_was_given() {
        let config = Config {
            listen: "127.0.0.1:9090".parse().unwrap(),
            interval_s: 5,
            scrape_configs: json!([]),
            rules: vec!["/a.yaml".into()],
            alertmanager: "127.0.0.1:9093".parse().ok(),
        };
        let value = config.to_value();
        assert_eq!(value["global"]["evaluation_interval"], "5s");
        assert_eq!(value["rule_files"], json!(["/a.yaml"]));
        let target = "/alerting/alertmanagers/0/static_configs/0/targets/0";
        assert_eq!(value.pointer(target), Some(&json!("127.0.0.1:9093")));
        let alone = Config { alertmanager: None, ..config }.to_value();
        assert_eq!(alone["alerting"]["alertmanagers"], json!([]));
    }
}
