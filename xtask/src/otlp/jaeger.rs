//! Jaeger: a store of traces with a query API, in memory.

use std::{net::SocketAddr, path::Path, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    http,
    otlp::{self, Span},
};

use super::{collector, listen::Listen};
use crate::{go, monitoring, paths};

const PACKAGE: &str = "github.com/jaegertracing/jaeger";
/// How long an answer of the API may take.
const GET: Duration = Duration::from_secs(10);
/// Storage, extension and exporter refer to each other by names.
const STORAGE: &str = "memory";
/// How many traces are kept.
const MAX_TRACES: u32 = 100_000;

/// A Jaeger that can be run.
pub struct Jaeger {
    program: PathBuf,
    /// Its version by its module, as `v1.76.0`.
    pub version: String,
}

/// The Jaeger that `xtask/jaeger/go.mod` pins. From nothing it takes 5 minutes of CPU time to build.
///
/// # Errors
/// There is no Go, or it does not build.
pub fn program() -> Result<Jaeger> {
    let folder = paths::root().join("xtask/jaeger");
    let version = go::required(&folder, PACKAGE)?;
    let what = format!("Jaeger {version} (3 to 6 minutes from nothing)");
    let dir = go::tools(&folder, "tools/jaeger", &what, "-s -w")?;
    Ok(Jaeger { program: dir.join("jaeger"), version })
}

impl Jaeger {
    /// The command that starts it with its files in `dir`, and its query API at `query`.
    ///
    /// # Errors
    /// A file that cannot be written, or no free port.
    pub fn command(&self, dir: &Path, listen: Listen, query: SocketAddr) -> Result<Command> {
        let file = dir.join("jaeger.yaml");
        monitoring::write_config(&file, &config(listen, query, http::free_address()?))?;
        let mut command = Command::new(&self.program);
        command.current_dir(dir).arg("--config").arg(&file);
        monitoring::log_to(&mut command, &dir.join("jaeger.log"))?;
        Ok(command)
    }
}

fn config(listen: Listen, query: SocketAddr, query_grpc: SocketAddr) -> Value {
    let mut service = collector::service(&json!({
        "traces": { "receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"] },
    }));
    if let Some(service) = service.as_object_mut() {
        service.insert("extensions".to_owned(), json!(["jaeger_storage", "jaeger_query"]));
    }
    json!({
        "extensions": {
            "jaeger_storage": {
                "backends": { STORAGE: { "memory": { "max_traces": MAX_TRACES } } },
            },
            "jaeger_query": {
                "storage": { "traces": STORAGE },
                "http": { "endpoint": query },
                "grpc": { "endpoint": query_grpc },
            },
        },
        "receivers": { "otlp": listen.receiver() },
        "exporters": { "jaeger_storage_exporter": { "trace_storage": STORAGE } },
        "service": service,
    })
}

/// The query API of a Jaeger.
#[derive(Clone, Copy, Debug)]
pub struct Api(pub SocketAddr);

impl Api {
    /// Whether it answers.
    ///
    /// # Errors
    /// Why it does not.
    pub fn ready(self) -> Result<()> {
        http::get_text(self.0, "/api/v3/services", GET).map(drop)
    }

    /// The spans of a trace; none if it does not know the trace.
    ///
    /// # Errors
    /// No answer, or one of another form.
    pub fn trace(self, trace_id: &str) -> Result<Vec<Span>> {
        let path = format!("/api/v3/traces/{trace_id}");
        let answer = http::get(self.0, &path, GET)?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let text = answer.text().with_context(|| path.clone())?;
        let spans = otlp::from_answer(&text).with_context(|| format!("{path}: {text}"))?;
        ensure!(spans.iter().all(|span| span.trace_id == trace_id), "{path}: another trace");
        Ok(spans)
    }

    /// The names of the services that have sent spans.
    ///
    /// # Errors
    /// No answer, or one of another form.
    pub fn services(self) -> Result<Vec<String>> {
        let text = http::get_text(self.0, "/api/v3/services", GET)?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let names = answer.get("services").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}
