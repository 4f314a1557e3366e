//! The scrape configuration that is shipped, with another discovery of targets.
//!
//! Debian's Prometheus is built without the discovery by Kubernetes. Another one takes its place and
//! gives the same meta labels, so that all of what is shipped around it is used as it is.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::paths;

const FILE: &str = "deploy/scrape-config.yaml";
/// The key that goes.
const DISCOVERY: &str = "kubernetes_sd_configs";
/// The key that takes its place; what has it is made by [`targets`] and [`file`].
#[derive(Clone, Debug)]
pub struct Discovery {
    key: &'static str,
    value: Value,
}

/// An agent, as the discovery by Kubernetes describes a port of a Pod's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address and port.
    pub address: String,
    /// The Pod's label `app.kubernetes.io/name`.
    pub app: String,
    /// The port's name.
    pub port: String,
    /// The node's name.
    pub node: String,
    /// The Pod's phase.
    pub phase: String,
}

impl Target {
    /// The agent at `address` on `node`, labelled as `deploy/daemonset.yaml` does.
    pub fn agent(address: impl Into<String>, node: &str) -> Self {
        Self {
            address: address.into(),
            app: "podvitals".to_owned(),
            port: "metrics".to_owned(),
            node: node.to_owned(),
            phase: "Running".to_owned(),
        }
    }
}

/// Target groups, as `static_configs` and the files of `file_sd_configs` have them.
pub fn groups(targets: &[Target]) -> Value {
    let group = |target: &Target| {
        json!({
            "targets": [target.address],
            "labels": {
                "__meta_kubernetes_pod_label_app_kubernetes_io_name": target.app,
                "__meta_kubernetes_pod_container_port_name": target.port,
                "__meta_kubernetes_pod_node_name": target.node,
                "__meta_kubernetes_pod_phase": target.phase,
            },
        })
    };
    targets.iter().map(group).collect()
}

/// Targets that stay.
pub fn targets(targets: &[Target]) -> Discovery {
    Discovery { key: "static_configs", value: groups(targets) }
}

/// Targets from a file with [`groups`], which Prometheus reads again when it changes.
pub fn file(path: &std::path::Path) -> Discovery {
    Discovery { key: "file_sd_configs", value: json!([{ "files": [path] }]) }
}

/// `scrape_configs` as they are shipped, but for the discovery.
pub fn shipped(discovery: &Discovery) -> Result<Value> {
    let mut config = super::read_yaml(&paths::root().join(FILE))?;
    let jobs = config.pointer_mut("/scrape_configs").and_then(Value::as_array_mut);
    for job in jobs.with_context(|| format!("{FILE}: no scrape_configs"))? {
        let job = job.as_object_mut().with_context(|| format!("{FILE}: a job is no object"))?;
        job.remove(DISCOVERY).with_context(|| format!("{FILE}: no {DISCOVERY}"))?;
        job.insert(discovery.key.to_owned(), discovery.value.clone());
    }
    config.get_mut("scrape_configs").map(Value::take).context("scrape_configs are gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_discovery_is_as_shipped() {
        let shipped_file = super::super::read_yaml(&paths::root().join(FILE)).unwrap();
        let discovery = targets(&[Target::agent("192.0.2.2:9550", "node-1")]);
        let mut ours = shipped(&discovery).unwrap();
        let job = ours[0].as_object_mut().unwrap();
        let group = &job.remove("static_configs").unwrap()[0];
        assert_eq!(group["targets"], json!(["192.0.2.2:9550"]));
        let mut theirs = shipped_file["scrape_configs"].clone();
        theirs[0].as_object_mut().unwrap().remove(DISCOVERY).unwrap();
        assert_eq!(ours, theirs);
        // What the shipped relabelling reads is what a target has.
        let labels = group["labels"].as_object().unwrap();
        for rule in theirs[0]["relabel_configs"].as_array().unwrap() {
            for source in rule["source_labels"].as_array().unwrap() {
                assert!(labels.contains_key(source.as_str().unwrap()), "{source}");
            }
        }
    }
}
