//! What is in `deploy/`, held against promtool; the tests below hold it to what it promises.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    parts::{self, Release},
    paths, shell,
};

const SCRAPE_CONFIG: &str = "deploy/scrape-config.yaml";

/// `promtool check config` of the scrape configuration.
pub(crate) fn check() -> Result<()> {
    let file = paths::root().join(SCRAPE_CONFIG);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let copy = paths::work("prometheus")?.join("scrape-config.yaml");
    let plain = without_discovery(&text).context(SCRAPE_CONFIG)?;
    fs::write(&copy, plain).with_context(|| format!("write {}", copy.display()))?;
    for release in Release::ALL {
        let promtool = parts::prometheus(release)?.promtool;
        shell::run(Command::new(promtool).args(["check", "config"]).arg(&copy))?;
    }
    Ok(())
}

/// The configuration with a target in the place of the discovery by Kubernetes, which Debian's
/// Prometheus is built without and does not know the name of.
fn without_discovery(text: &str) -> Result<String> {
    const DISCOVERY: &str = "    kubernetes_sd_configs:\n";
    let (before, rest) = text.split_once(DISCOVERY).context("no kubernetes_sd_configs")?;
    // It ends where the next key of the same depth begins.
    let is_inside = |line: &&str| line.starts_with("     ");
    let inside: usize = rest.split_inclusive('\n').take_while(is_inside).map(str::len).sum();
    let after = rest.get(inside..).context("no end of kubernetes_sd_configs")?;
    Ok(format!("{before}    static_configs: [{{targets: ['127.0.0.1:9550']}}]\n{after}"))
}

#[cfg(test)]
mod tests;
