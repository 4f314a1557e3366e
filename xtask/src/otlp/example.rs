//! The example of a Collector in `deploy/opentelemetry`, as the real Collector takes it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{collector, listen::Listen};
use crate::{
    monitoring::{
        self,
        scrape_config::{self, Target},
    },
    paths,
};

/// The example.
pub(super) const FILE: &str = "deploy/opentelemetry/collector.yaml";
/// The processor that the Collector of the checks is built without: its module cannot be had.
pub(super) const NOT_BUILT: &str = "k8s_attributes";

/// The example as it stands.
///
/// # Errors
/// It cannot be read.
pub(super) fn shipped() -> Result<Value> {
    monitoring::read_yaml(&paths::root().join(FILE))
}

/// The example without the processor that is not built in.
///
/// # Errors
/// It does not have it.
pub(super) fn as_built() -> Result<Value> {
    let mut config = shipped()?;
    let processors = config.pointer_mut("/processors").and_then(Value::as_object_mut);
    processors.and_then(|it| it.remove(NOT_BUILT)).with_context(|| format!("no {NOT_BUILT}"))?;
    let used = config.pointer_mut("/service/pipelines/traces/processors");
    let used = used.and_then(Value::as_array_mut).context("traces have no processors")?;
    used.retain(|name| name != NOT_BUILT);
    Ok(config)
}

/// The example on this machine: it listens at `listen`, scrapes the agent at `agent`, and sends both on
/// to `store`. All else is as shipped.
///
/// # Errors
/// The example has another form.
pub(super) fn on_loopback(listen: Listen, agent: SocketAddr, store: Listen) -> Result<Value> {
    let mut config = as_built()?;
    let target = Target::agent(agent.to_string(), "node-1");
    let mut jobs = scrape_config::shipped(&scrape_config::targets(&[target]))?;
    set(&mut jobs, "/0", "scrape_interval", json!("1s"))?;
    set(&mut config, "/receivers/prometheus/config", "scrape_configs", jobs)?;
    let protocols = "/receivers/otlp/protocols";
    set(&mut config, &format!("{protocols}/grpc"), "endpoint", json!(listen.grpc))?;
    set(&mut config, &format!("{protocols}/http"), "endpoint", json!(listen.http))?;
    set(&mut config, "/exporters/otlp_grpc~1traces", "endpoint", json!(store.grpc))?;
    let url = format!("http://{}", store.http);
    set(&mut config, "/exporters/otlp_http~1metrics", "endpoint", json!(url))?;
    let no_port = collector::service(&Value::Null).get("telemetry").cloned();
    set(&mut config, "/service", "telemetry", no_port.context("no telemetry")?)?;
    Ok(config)
}

/// Sets a key of what is at `pointer`.
fn set(config: &mut Value, pointer: &str, key: &str, value: Value) -> Result<()> {
    let map = config.pointer_mut(pointer).and_then(Value::as_object_mut);
    map.with_context(|| format!("{FILE}: nothing at {pointer}"))?.insert(key.to_owned(), value);
    Ok(())
}
