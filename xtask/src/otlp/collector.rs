//! The OpenTelemetry Collector that `xtask/collector` is: its build, its configurations, the command
//! that starts it, and what it has written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testbed::otlp::{self, Span};

use super::listen::Listen;
use crate::{go, monitoring, paths, shell};

const PACKAGE: &str = "go.opentelemetry.io/collector/otelcol";
/// The only discovery of the Prometheus receiver that is used. Those of all clouds together would be
/// 236 packages more.
const TAGS: &str = "remove_all_sd,enable_kubernetes_sd";
/// The file in a Collector's folder to which it writes spans.
const SPANS: &str = "spans.json";

/// A Collector that can be run.
pub struct Collector {
    program: PathBuf,
    /// Its version, as `v0.165.0`.
    pub version: String,
}

/// The Collector that `xtask/collector/go.mod` pins. From nothing it takes 215 s of CPU time to build,
/// 130 s of which are for the Prometheus receiver.
///
/// # Errors
/// There is no Go, or it does not build.
pub fn program() -> Result<Collector> {
    let folder = paths::root().join("xtask/collector");
    let version = go::required(&folder, PACKAGE)?;
    let module = go::Module {
        folder: &folder,
        dir: "tools/collector",
        what: &format!("the OpenTelemetry Collector {version} (2 to 4 minutes from nothing)"),
        ldflags: &format!("-s -w -X main.version={version}"),
        tags: TAGS,
    };
    Ok(Collector { program: module.program()?.join("collector"), version })
}

impl Collector {
    /// The command that starts it with its files in `dir`: the configuration and the log.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn command(&self, dir: &Path, config: &Value) -> Result<Command> {
        let file = dir.join("collector.yaml");
        monitoring::write_config(&file, config)?;
        let mut command = Command::new(&self.program);
        command.current_dir(dir).arg("--config").arg(&file);
        monitoring::log_to(&mut command, &log(dir))?;
        Ok(command)
    }

    /// What is wrong with a configuration, of which all parts must be built in.
    ///
    /// # Errors
    /// What it says.
    pub fn validate(&self, dir: &Path, config: &Value) -> Result<()> {
        let file = dir.join("validate.yaml");
        monitoring::write_config(&file, config)?;
        let mut command = Command::new(&self.program);
        shell::output(command.arg("validate").arg("--config").arg(&file)).map(drop)
    }
}

/// The log of a Collector whose files are in `dir`.
pub fn log(dir: &Path) -> PathBuf {
    dir.join("collector.log")
}

/// A Collector that writes each span that it is sent to a file in `dir` at once, also over restarts.
pub fn to_file(listen: Listen, dir: &Path) -> Value {
    json!({
        "receivers": { "otlp": listen.receiver() },
        "exporters": { "file": {
            "path": dir.join(SPANS), "append": true, "flush_interval": "100ms",
        } },
        "service": service(&json!({
            "traces": { "receivers": ["otlp"], "exporters": ["file"] },
        })),
    })
}

/// The service with these pipelines. It serves no metrics of its own: their port is the same for every
/// Collector.
pub(super) fn service(pipelines: &Value) -> Value {
    json!({ "telemetry": { "metrics": { "level": "none" } }, "pipelines": pipelines })
}

/// What a Collector that is configured by [`to_file`] has received so far.
///
/// # Errors
/// A file with something else than spans.
pub fn spans(dir: &Path) -> Result<Vec<Span>> {
    let file = dir.join(SPANS);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    otlp::from_lines(&text).with_context(|| file.display().to_string())
}
