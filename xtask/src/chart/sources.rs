//! What the chart is made from, and where it is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::paths;

/// The rules, which the chart has as they are.
pub(super) const RULES: &str = "deploy/alerts/podvitals.rules.yaml";
const DASHBOARDS: &str = "dashboards";

/// Where the chart is.
pub fn folder() -> PathBuf {
    paths::root().join("deploy/chart")
}

/// Name and text of each dashboard.
pub(super) fn dashboards() -> Result<BTreeMap<String, String>> {
    let mut dashboards = BTreeMap::new();
    let folder = paths::root().join(DASHBOARDS);
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.extension().is_some_and(|end| end == "json") {
            let name = path.file_name().context("a file without a name")?.to_string_lossy();
            dashboards.insert(name.into_owned(), read(&path)?);
        }
    }
    Ok(dashboards)
}

/// All files below a folder; none where there is no folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(all) };
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else {
            all.push(path);
        }
    }
    Ok(all)
}

pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
