//! The real helm, built from its Go module.

use std::{path::Path, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{go, paths, shell};

const PACKAGE: &str = "helm.sh/helm/v3";

/// A helm that can be run.
pub struct Helm {
    program: PathBuf,
    home: PathBuf,
}

/// The helm that `xtask/helm/go.mod` pins; `None` where there is no Go to build it.
pub fn program() -> Result<Option<Helm>> {
    if shell::find("go").is_none() {
        return Ok(None);
    }
    let folder = paths::root().join("xtask/helm");
    let version = go::required(&folder, PACKAGE)?;
    let ldflags = format!("-s -w -X {PACKAGE}/internal/version.version={version}");
    let dir = go::tools(&folder, "tools/helm", &format!("helm {version}"), &ldflags)?;
    Ok(Some(Helm { program: dir.join("helm"), home: paths::work("helm")? }))
}

impl Helm {
    /// A command of it that knows nothing of the user's own settings, caches and clusters.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, folder) in [("CACHE", "cache"), ("CONFIG", "config"), ("DATA", "data")] {
            command.env(format!("HELM_{name}_HOME"), self.home.join(folder));
        }
        command.env("HOME", &self.home).env("KUBECONFIG", self.home.join("no-kubeconfig"));
        command.args(args);
        command
    }

    /// What it prints.
    pub(super) fn output(&self, args: &[&str], chart: &Path) -> Result<String> {
        let mut command = self.command(args);
        shell::output(command.arg(chart))
    }
}
