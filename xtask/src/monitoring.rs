//! A real Prometheus and a real Alertmanager with what `deploy/` has for them, and a receiver of what
//! they send: for `cargo xtask stack`, for `cargo xtask metrics`, and for the crate `e2e`.
//!
//! Nothing here starts a process: each server gives the command that starts it, so that the caller
//! can have it run where it wants, in a network of its own for one.

pub mod alertmanager;
pub mod prometheus;
pub mod scrape_config;
pub mod webhook;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{paths, stop};

/// How often a server is asked again.
const POLL: Duration = Duration::from_millis(200);

/// Labels or annotations of an alert, by name.
pub type Labels = BTreeMap<String, String>;

/// The rules that are shipped.
pub fn rules() -> PathBuf {
    paths::root().join("deploy/alerts/podvitals.rules.yaml")
}

/// A file of YAML with one document.
pub(crate) fn read_yaml(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Writes a server's configuration. YAML is a superset of JSON.
pub(crate) fn write_config(path: &Path, config: &Value) -> Result<()> {
    fs::write(path, format!("{config:#}\n")).with_context(|| format!("write {}", path.display()))
}

/// Makes `name` in `dir`, an empty folder for a server's data.
fn new_data(dir: &Path, name: &str) -> Result<PathBuf> {
    let data = dir.join(name);
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    Ok(data)
}

/// Makes `command` write all that it prints to a file.
pub(crate) fn log_to(command: &mut Command, path: &Path) -> Result<()> {
    let log = fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    command.stdin(Stdio::null());
    command.stdout(log.try_clone().context("share a log")?).stderr(log);
    Ok(())
}

/// Repeats `test` until it is true; an error counts as "not yet", and is reported at the end.
pub(crate) fn until(
    what: &str,
    limit: Duration,
    mut test: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        stop::check()?;
        let result = test();
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let error = result.err().map_or_else(String::new, |error| format!(": {error:#}"));
            bail!("not within {limit:?}: {what}{error}");
        }
        thread::sleep(POLL);
    }
}
