//! `cargo xtask alerts`: the rules for the Prometheus Operator, written from those for Prometheus.
//! The step `alerts` holds both, and the example for Alertmanager, against the real programs; the
//! tests below hold them to what they promise.

mod routing;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    parts::{self, Release},
    paths, shell,
};

/// The rules, the one source.
const RULES: &str = "deploy/alerts/podvitals.rules.yaml";
/// The same for the Prometheus Operator.
const PROMETHEUS_RULE: &str = "deploy/alerts/prometheusrule.yaml";
/// Series and the alerts that they must and must not cause.
const TESTS: &str = "deploy/alerts/tests";
/// The head of [`PROMETHEUS_RULE`].
const HEAD: &str = "\
# For the Prometheus Operator. Written from podvitals.rules.yaml by cargo xtask alerts; a change by
# hand is lost. A Prometheus whose ruleSelector asks for another label, such as the release of a Helm
# chart, needs that label here.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: podvitals
  namespace: podvitals
  labels:
    app.kubernetes.io/name: podvitals
spec:
";

/// Arguments of `cargo xtask alerts`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing: test the rules with promtool, and the example for Alertmanager with a real one.
    #[arg(long)]
    check: bool,
}

/// `cargo xtask alerts`
pub(crate) fn command(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    let file = paths::root().join(PROMETHEUS_RULE);
    fs::write(&file, prometheus_rule(&text(RULES)?)?)
        .with_context(|| format!("write {}", file.display()))?;
    println!("{PROMETHEUS_RULE} is written from {RULES}");
    Ok(())
}

/// The step `alerts`.
pub(crate) fn check() -> Result<()> {
    let tests = tests()?;
    for release in Release::ALL {
        let prometheus = parts::prometheus(release)?;
        let promtool = || {
            let mut promtool = Command::new(&prometheus.promtool);
            promtool.current_dir(paths::root());
            promtool
        };
        // Without lint-fatal a finding would only be printed.
        let check = ["check", "rules", "--lint=all", "--lint-fatal", RULES];
        let found = shell::output(promtool().args(check))?;
        let success =
            found.lines().find(|line| line.contains("SUCCESS")).unwrap_or_default().trim();
        println!("promtool {}: {success}", prometheus.version);
        shell::output(promtool().args(["test", "rules"]).args(&tests))?;
        println!("promtool {}: {} files of tests pass", prometheus.version, tests.len());
    }
    routing::check(&parts::alertmanager(Release::Newest)?)
}

/// The files of tests.
fn tests() -> Result<Vec<PathBuf>> {
    let dir = paths::root().join(TESTS);
    let entries = fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    if files.is_empty() {
        bail!("no tests in {}", dir.display());
    }
    Ok(files)
}

/// A text of this repository.
fn text(path: impl AsRef<Path>) -> Result<String> {
    let path = paths::root().join(path);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The rules as a resource of Kubernetes: the same lines, two columns to the right.
fn prometheus_rule(rules: &str) -> Result<String> {
    let begin = rules.find("\ngroups:\n").context("no line `groups:`")?;
    let mut out = HEAD.to_owned();
    for line in rules.get(begin..).unwrap_or_default().trim().lines() {
        if !line.is_empty() {
            out.push_str("  ");
        }
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
