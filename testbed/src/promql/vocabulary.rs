//! What expressions can name: metrics with their labels, and the values of labels that have few.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

/// Names of labels.
pub type Labels = BTreeSet<String>;

/// Labels that a scrape, or what gathers several Prometheus, adds to each series.
const ADDED: [&str; 6] = ["cluster", "node", "job", "instance", "replica", "prometheus_replica"];

/// Metrics, their labels, and the values of labels.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    metrics: BTreeMap<String, Labels>,
    /// Metrics of other exporters, whose labels may have the names of ours and other values.
    foreign: BTreeSet<String>,
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Vocabulary {
    /// The agent's metrics, as docs/METRICS.md has them, which is generated from the catalogue; and
    /// `up`, which every scrape has.
    ///
    /// # Errors
    /// The text is not such a document.
    pub fn of_reference(markdown: &str) -> Result<Self> {
        let mut this = Self::default().with("up", &[]);
        let mut of_section = Vec::new();
        for line in markdown.lines() {
            if line.starts_with("## ") {
                of_section.clear();
            } else if let Some(labels) = line.strip_prefix("Labels of each series: ") {
                of_section = quoted(labels);
            } else if let Some(row) = line.strip_prefix("| `") {
                let cells: Vec<&str> = row.split(" | ").collect();
                match cells[..] {
                    [name, kind, _unit, labels, ..] => {
                        let name = name.trim_end_matches('`');
                        this.family(name, kind, &[of_section.clone(), quoted(labels)].concat());
                    }
                    // Labels whose values are names from outside share a row.
                    [label, values] if is_name(label.trim_end_matches('`')) => {
                        let label = label.trim_end_matches('`').to_owned();
                        let values = quoted(values).into_iter().filter(|it| is_value(it));
                        this.values.insert(label, values.collect());
                    }
                    _ => {}
                }
            }
        }
        ensure!(this.metrics.len() > 1, "no table of families");
        Ok(this)
    }

    /// The same with a metric of another exporter.
    #[must_use]
    pub fn with<'a>(mut self, name: &str, labels: impl IntoIterator<Item = &'a &'a str>) -> Self {
        self.add(name, labels.into_iter().map(|label| (*label).to_owned()));
        self.foreign.insert(name.to_owned());
        self
    }

    /// Adds a metric of a recording rule: its series have these labels.
    ///
    /// # Errors
    /// There is such a metric.
    pub fn record(&mut self, name: &str, labels: Labels) -> Result<()> {
        let known = self.metrics.insert(name.to_owned(), labels);
        ensure!(known.is_none(), "{name} is there twice");
        Ok(())
    }

    /// Names of all metrics.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.metrics.keys().map(String::as_str)
    }

    pub(super) fn labels_of_metric(&self, name: &str) -> Option<Labels> {
        self.metrics.get(name).cloned()
    }

    /// All values of a label of that metric, if they are few.
    pub(super) fn values_of(&self, metric: &str, label: &str) -> Option<&BTreeSet<String>> {
        (!self.foreign.contains(metric)).then(|| self.values.get(label)).flatten()
    }

    fn family(&mut self, name: &str, kind: &str, labels: &[String]) {
        if kind != "histogram" {
            self.add(name, labels.iter().cloned());
            return;
        }
        for suffix in ["_sum", "_count"] {
            self.add(&format!("{name}{suffix}"), labels.iter().cloned());
        }
        let with_le = labels.iter().cloned().chain(["le".to_owned()]);
        self.add(&format!("{name}_bucket"), with_le);
    }

    fn add(&mut self, name: &str, labels: impl Iterator<Item = String>) {
        let labels = ADDED.map(str::to_owned).into_iter().chain(labels).collect();
        self.metrics.insert(name.to_owned(), labels);
    }
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn is_value(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-')
}

#[cfg(test)]
pub(super) const REFERENCE: &str = "\
## Labels

| label | values |
|---|---|
| `namespace`, `pod` | the Pod's own, such as `Shop` |
| `cause` | `oom`, `error` (of `kubectl exec`): see above |

## Questions

| question | PromQL |
|---|---|
| Who ends? | `podvitals_ends_total` |

## Per container

Labels of each series: `namespace`, `pod`.

| family | type | unit | labels | series | collector | needs | help |
|---|---|---|---|---|---|---|---|
| `podvitals_info` | gauge |  | `image` | 1 | info |  | Information. |
| `podvitals_age_seconds` | gauge | s |  | 1 | info |  | Age. |
| `podvitals_age_seconds` | histogram | s |  | 1 | info |  | Ages. |

## Per node

Labels of each series: `namespace`.

| `podvitals_ends_total` | counter |  | `cause` | 7 | terminations |  | Ends. |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_read() {
        let vocabulary = Vocabulary::of_reference(REFERENCE).unwrap();
        let own = |name: &str| {
            let labels = vocabulary.labels_of_metric(name).unwrap();
            assert!(labels.contains("cluster") && labels.contains("node"));
            let own: Vec<String> =
                labels.into_iter().filter(|it| !ADDED.contains(&it.as_str())).collect();
            own.join(" ")
        };
        assert_eq!(own("podvitals_info"), "image namespace pod");
        assert_eq!(own("podvitals_age_seconds"), "namespace pod");
        assert_eq!(own("podvitals_age_seconds_bucket"), "le namespace pod");
        assert_eq!(own("podvitals_age_seconds_count"), "namespace pod");
        assert_eq!(own("podvitals_ends_total"), "cause namespace");
        assert_eq!(own("up"), "");
        assert_eq!(vocabulary.labels_of_metric("Who ends?"), None);
        let causes = vocabulary.values_of("podvitals_ends_total", "cause").unwrap();
        assert_eq!(causes, &BTreeSet::from(["oom".to_owned(), "error".to_owned()]));
        assert_eq!(vocabulary.values_of("podvitals_ends_total", "namespace"), None);
        assert!(Vocabulary::of_reference("# Else").is_err());
    }

    #[test]
    fn a_record_has_the_labels_of_its_expression_and_no_others() {
        let mut vocabulary = Vocabulary::of_reference(REFERENCE).unwrap();
        let labels = Labels::from(["pod".to_owned()]);
        vocabulary.record("pod:age:max", labels.clone()).unwrap();
        assert_eq!(vocabulary.labels_of("pod:age:max").unwrap(), labels);
        assert!(vocabulary.labels_of(r#"pod:age:max{node="a"}"#).is_err());
        assert!(vocabulary.record("pod:age:max", Labels::new()).is_err());
        let with = vocabulary.with("kube_pod_info", &["host", "cause"]);
        let theirs = r#"kube_pod_info{host="a", node="b", cause="of another kind"}"#;
        with.labels_of(theirs).unwrap();
        assert!(with.metrics().any(|name| name == "kube_pod_info"));
    }
}
