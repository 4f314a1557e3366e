//! The least that a node must do: run a Pod, and end it.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{PAUSE, cluster::Cluster, steps::Steps};

/// How long a Pod may take to run, and to go.
const LIMIT: Duration = Duration::from_secs(120);

/// Applies a Pod, sees it running with an address and a cgroup, deletes it, sees both gone.
pub(crate) fn run(cluster: &Cluster, steps: &mut Steps) -> Result<()> {
    steps.begin("a Pod: Running");
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: smoke\nspec:\n  \
         terminationGracePeriodSeconds: 5\n  containers:\n  - name: main\n    image: {PAUSE}\n"
    ))?;
    let pod = cluster.wait("the Pod runs", LIMIT, || {
        let pod = cluster.get(&["pod", "smoke"])?;
        Ok((pod["status"]["phase"] == "Running").then_some(pod))
    })?;
    let address = pod["status"]["podIP"].as_str().context("a running Pod without an address")?;
    let _: IpAddr = address.parse().with_context(|| format!("the Pod's address {address:?}"))?;
    let uid = pod["metadata"]["uid"].as_str().context("a Pod without a UID")?;
    // The systemd driver writes the dashes as underscores.
    let cgroups = format!(
        "find /sys/fs/cgroup -type d -path '*kubepods*' | grep -cE '{}|{uid}'",
        uid.replace('-', "_")
    );
    let found = cluster.node_exec(&cgroups)?;
    if found.text.trim().parse::<u32>().unwrap_or(0) < 3 {
        bail!(
            "on the node there are {} cgroups of the Pod, its sandbox and its container",
            found.text.trim()
        );
    }
    steps.begin("the Pod: gone");
    cluster.kubectl(&["delete", "pod", "smoke", "--wait=false"])?;
    cluster.wait("the Pod is gone", LIMIT, || {
        let left = cluster.kubectl(&["get", "pods", "-o", "name"])?;
        Ok(left.trim().is_empty().then_some(()))
    })?;
    cluster.wait("the Pod's cgroups are gone", LIMIT, || {
        Ok((cluster.node_exec(&cgroups)?.text.trim() == "0").then_some(()))
    })?;
    steps.end();
    Ok(())
}
