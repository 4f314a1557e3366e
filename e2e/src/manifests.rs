//! Everything in `deploy/`, as an API server takes it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{binaries::Binaries, cluster::Cluster};
use xtask::paths;

/// Files for `kubectl apply -f`, the one that makes the namespace first.
const FILES: [&str; 3] =
    ["deploy/daemonset.yaml", "deploy/podmonitor.yaml", "deploy/networkpolicy.yaml"];

/// Asks the API server for a dry run of each manifest, in a cluster that has the namespace. A field
/// that it does not know is an error.
pub(crate) fn check(cluster: &Cluster, binaries: &Binaries) -> Result<()> {
    for definition in &binaries.definitions {
        let path = definition.to_str().context("a path that is no text")?;
        // Too large for the annotation in which a plain apply keeps what it was given.
        cluster.kubectl(&["apply", "--server-side", "-f", path])?;
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", path];
        cluster.kubectl(&established)?;
    }
    let root = paths::root();
    let overlays = inside(&root.join("deploy/overlays"))?;
    // A component with the name of an overlay is patches alone, which take that overlay's base.
    let mut components = inside(&root.join("deploy/components"))?;
    components.retain(|it| !overlays.iter().any(|overlay| overlay.file_name() == it.file_name()));
    let files = FILES.map(|file| ("-f", root.join(file)));
    let folders = overlays.into_iter().chain(components).chain([root.join("deploy/base")]);
    for (how, path) in files.into_iter().chain(folders.map(|folder| ("-k", folder))) {
        let accepted = dry_run(cluster, how, &path)?;
        println!(
            "    ok      {} ({accepted} objects)",
            path.strip_prefix(&root).unwrap_or(&path).display()
        );
    }
    Ok(())
}

/// The folders in a folder, in order.
fn inside(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut inside: Vec<_> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("list {}", folder.display()))?;
    inside.sort();
    Ok(inside)
}

/// How many objects the API server would have taken.
fn dry_run(cluster: &Cluster, how: &str, path: &Path) -> Result<usize> {
    let path = path.to_str().context("a path that is no text")?;
    let said = cluster.kubectl(&["apply", "--dry-run=server", "--validate=strict", how, path])?;
    let accepted = said.lines().filter(|line| line.ends_with("(server dry run)")).count();
    ensure!(accepted > 0, "{path}: no object in {said:?}");
    Ok(accepted)
}
