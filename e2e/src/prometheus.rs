//! A real Prometheus that scrapes the agent from its start on: native, beside the control plane, with
//! the scrape configuration and the rules of `deploy/`.
//!
//! Debian's Prometheus is built without the discovery by Kubernetes. So a thread here plays that part:
//! it lists the Pods as the shipped configuration asks for, and writes their ports, with the same meta
//! labels, to a file that Prometheus watches. Which of them are scraped, and under which labels, is
//! left to what is shipped.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::{
    child::Child,
    monitoring::{
        self,
        prometheus::{Api, Config},
        scrape_config::{self, Target},
    },
    parts::{self, Release},
};

use super::{
    cluster::{Cluster, text},
    reader::Reader,
};

/// Where it listens in the cluster's network.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// A free port of the machine's loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Time between two scrapes: one takes the emulated node some 50 ms.
pub(crate) const INTERVAL_S: u64 = 5;
/// How often Pods are listed.
const DISCOVERY: Duration = Duration::from_secs(2);
/// The Pods that `deploy/scrape-config.yaml` asks for.
const PODS: &str = "/api/v1/namespaces/podvitals/pods";
/// How long it may take to start, and then to scrape the agent.
const START: Duration = Duration::from_secs(60);

/// A running Prometheus, which ends when dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    _server: Child,
}

impl Prometheus {
    /// Starts it, and waits until it has scraped the agent. Its alerts go to `alertmanager`.
    pub(crate) fn start(cluster: &Cluster, alertmanager: SocketAddr) -> Result<Self> {
        let program = parts::prometheus(Release::Newest)?;
        let dir = cluster.dir().join("prometheus");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let targets = dir.join("targets.json");
        discover(cluster.reader()?, targets.clone())?;
        let config = Config {
            listen: LISTEN,
            interval_s: INTERVAL_S,
            scrape_configs: scrape_config::shipped(&scrape_config::file(&targets))?,
            rules: vec![monitoring::rules()],
            alertmanager: Some(alertmanager),
        };
        let mut command = config.command(program.command(), &dir)?;
        let server = cluster.spawn("prometheus", &mut command)?;
        cluster.wait("Prometheus is ready", START, || {
            // Until it listens there is no answer.
            Ok(cluster.fetch(LISTEN, "/-/ready").ok())
        })?;
        let address = cluster.forward(ANY_PORT, LISTEN)?.address;
        let prometheus = Self { address, _server: server };
        let what = "Prometheus has scraped the agent";
        cluster.wait(what, START, || {
            let up = prometheus.api().value(r#"up{job="podvitals",node!=""}"#)?;
            Ok((up == Some(1.0)).then_some(()))
        })?;
        println!("    Prometheus {}: http://{address}/", program.version);
        Ok(prometheus)
    }

    /// Where it serves on this machine's loopback.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its HTTP API.
    pub(crate) fn api(&self) -> Api {
        Api(self.address)
    }
}

/// Keeps `file` up to date on a thread that ends with this tool.
fn discover(reader: Reader, file: PathBuf) -> Result<()> {
    // Prometheus complains about a file that is not there.
    let mut known = Value::Null;
    write_if_new(&file, &mut known, scrape_config::groups(&[]))?;
    thread::spawn(move || {
        loop {
            // While the API is away, what was known stays, as with the real discovery.
            if let Ok(Some(pods)) = reader.read(PODS) {
                let groups = scrape_config::groups(&targets(&pods));
                if let Err(error) = write_if_new(&file, &mut known, groups) {
                    eprintln!("{error:#}");
                }
            }
            thread::sleep(DISCOVERY);
        }
    });
    Ok(())
}

fn write_if_new(file: &Path, known: &mut Value, groups: Value) -> Result<()> {
    if *known != groups {
        // Prometheus may read at any time: the file is whole at once.
        let new = file.with_extension("new");
        fs::write(&new, groups.to_string())
            .and_then(|()| fs::rename(&new, file))
            .with_context(|| format!("write {}", file.display()))?;
        *known = groups;
    }
    Ok(())
}

/// The ports of Pods that have an address, as the discovery by Kubernetes gives them.
fn targets(pods: &Value) -> Vec<Target> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut targets = Vec::new();
    for pod in list(pods.pointer("/items")) {
        let Some(address) = text(&pod, "/status/podIP") else { continue };
        for container in list(pod.pointer("/spec/containers")) {
            for port in list(container.get("ports")) {
                let Some(number) = port.get("containerPort").and_then(Value::as_u64) else {
                    continue;
                };
                let label = "/metadata/labels/app.kubernetes.io~1name";
                targets.push(Target {
                    address: format!("{address}:{number}"),
                    app: text(&pod, label).unwrap_or_default().to_owned(),
                    port: text(&port, "/name").unwrap_or_default().to_owned(),
                    node: text(&pod, "/spec/nodeName").unwrap_or_default().to_owned(),
                    phase: text(&pod, "/status/phase").unwrap_or_default().to_owned(),
                });
            }
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_port_of_a_pod_with_an_address_is_a_target() {
        let pod = |status: Value| {
            json!({
                "metadata": { "labels": { "app.kubernetes.io/name": "podvitals" } },
                "spec": {
                    "nodeName": "node-1",
                    "containers": [{ "ports": [{ "name": "metrics", "containerPort": 9550 }] }, {}],
                },
                "status": status,
            })
        };
        let running = json!({ "podIP": "198.51.100.2", "phase": "Running" });
        let pods = json!({ "items": [pod(running), pod(json!({ "phase": "Pending" }))] });
        assert_eq!(targets(&pods), [Target::agent("198.51.100.2:9550", "node-1")]);
    }

    #[test]
    fn the_file_is_whole_and_written_when_something_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("targets.json");
        let mut known = Value::Null;
        write_if_new(&file, &mut known, json!([1])).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "[1]");
        fs::remove_file(&file).unwrap();
        write_if_new(&file, &mut known, json!([1])).unwrap();
        assert!(!file.exists());
        write_if_new(&file, &mut known, json!([])).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "[]");
    }
}
