//! The least that a node must do: run a Pod, and end it; live through an API server's end; end its
//! Pods when it is switched off.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use testbed::scrape::Scrape;

use super::{
    cluster::{Cluster, text},
    images::PAUSE,
    node::{self, Options},
    steps::Steps,
};
use xtask::image::WORKLOAD;

/// How long a Pod may take to run, and to go.
const LIMIT: Duration = Duration::from_secs(120);
/// Where the kubelet says whether it is well (`healthzBindAddress`).
const KUBELET: SocketAddr = SocketAddr::new(IpAddr::V4(node::ADDRESS), 10248);

/// The Pod's name.
const NAME: &str = "smoke";

/// Applies a Pod, sees it running with an address and a cgroup, deletes it, sees both gone.
pub(crate) fn run(cluster: &Cluster, options: &Options, steps: &mut Steps) -> Result<()> {
    let healthz = cluster.fetch(KUBELET, "/healthz")?;
    if healthz != "ok" {
        bail!("the kubelet's /healthz says {healthz:?}");
    }
    steps.begin("a Pod: Running");
    let pod = run_pod(cluster)?;
    let address = text(&pod, "/status/podIP").context("a running Pod without an address")?;
    let _: IpAddr = address.parse().with_context(|| format!("the Pod's address {address:?}"))?;
    let uid = text(&pod, "/metadata/uid").context("a Pod without a UID")?;
    let cgroups = check_cgroups(cluster, uid, options)?;
    // As the agent does: from a Pod to the API's service address, through the node's one rule.
    let reach = "nsenter --net=/proc/$(pgrep --newest --exact pause)/ns/net \
        bash -c 'exec 3<>/dev/tcp/203.0.113.1/443'";
    let reached = cluster.node_exec(reach)?;
    if reached.status != 0 {
        bail!("a Pod does not reach the API's service address: {}", reached.text.trim());
    }
    steps.begin("the API server: away, and back");
    cluster.stop_api()?;
    if cluster.pod(NAME).is_ok() {
        bail!("the API server was ended, and yet it answers");
    }
    cluster.start_api()?;
    cluster.pod(NAME)?.context("the API server has forgotten the Pod")?;
    steps.begin("the Pod: gone");
    cluster.kubectl(&["delete", "pod", NAME, "--wait=false"])?;
    cluster.wait("the Pod is gone", LIMIT, || Ok(cluster.pod(NAME)?.is_none().then_some(())))?;
    cluster.wait("the Pod's cgroups are gone", LIMIT, || {
        Ok(cluster.node_exec(&cgroups)?.text.trim().is_empty().then_some(()))
    })?;
    steps.end();
    Ok(())
}

/// Whether the Pod, its sandbox and its container have the cgroups that `options` ask for. Returns
/// the command that lists them.
fn check_cgroups(cluster: &Cluster, uid: &str, options: &Options) -> Result<String> {
    let name = match options.cgroup_driver.as_str() {
        // It writes the dashes as underscores.
        "systemd" => format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_")),
        _ => format!("kubepods/besteffort/pod{uid}"),
    };
    let list = format!("find /sys/fs/cgroup -type d -path '*{name}*'");
    let found = cluster.node_exec(&list)?.text;
    if found.trim().lines().count() != 3 {
        bail!("the cgroups of a Pod, its sandbox and its container are: {found:?}");
    }
    // The kubelet sets it for containers only, not for the sandbox.
    let groups = cluster.node_exec(&format!("{list} -exec cat {{}}/memory.oom.group \\;"))?.text;
    let killed_whole = groups.contains('1');
    if killed_whole == options.single_process_oom_kill {
        bail!("memory.oom.group of the Pod's cgroups, with {options:?}: {groups:?}");
    }
    Ok(list)
}

/// Switches the node off with a Pod on it: the kubelet holds that up until the Pod has ended and
/// the API knows, and the agent, which is stopped after all others, knows why.
pub(crate) fn shutdown(cluster: &Cluster, agent: SocketAddr, steps: &mut Steps) -> Result<()> {
    steps.begin("a Pod on a node that is switched off");
    // It is what the kubelet waits for before it stops the agent.
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: slow\nspec:\n  containers:\n  \
         - name: main\n    image: {WORKLOAD}\n    args: [--on-signal, 'TERM=sleep:12,exit:0']\n"
    ))?;
    run_pod(cluster)?;
    cluster.wait("the other Pod runs", LIMIT, || {
        let pod = cluster.pod("slow")?;
        Ok(pod.filter(|pod| text(pod, "/status/phase") == Some("Running")))
    })?;
    let asked = cluster.node_exec("systemctl poweroff")?;
    if asked.status != 0 {
        bail!("systemctl poweroff: {}: {}", asked.status, asked.text);
    }
    let labels = [("trigger", "node_shutdown")];
    cluster.wait("the agent knows that the Pod was ended by the shutdown", LIMIT, || {
        let scrape = Scrape::parse(&cluster.fetch(agent, "/metrics")?)?;
        let ends = scrape.sum("terminations_by_trigger_total", &labels);
        Ok(ends.is_some_and(|ends| ends >= 1.0).then_some(()))
    })?;
    // Not the status's reason: a Pod whose containers exit with 0 is `Succeeded`, and has none.
    cluster.wait("the API knows that the Pod was ended by the shutdown", LIMIT, || {
        let pod = cluster.pod(NAME)?.context("the Pod is gone")?;
        let conditions = pod.pointer("/status/conditions").map(ToString::to_string);
        Ok(conditions.is_some_and(|all| all.contains("imminent node shutdown")).then_some(()))
    })?;
    if !cluster.wait_power_off(LIMIT)? {
        bail!("the node is not off {LIMIT:?} later");
    }
    steps.end();
    Ok(())
}

fn run_pod(cluster: &Cluster) -> Result<serde_json::Value> {
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {NAME}\nspec:\n  \
         terminationGracePeriodSeconds: 5\n  containers:\n  - name: main\n    image: {PAUSE}\n"
    ))?;
    cluster.wait("the Pod runs", LIMIT, || {
        let pod = cluster.pod(NAME)?;
        Ok(pod.filter(|pod| text(pod, "/status/phase") == Some("Running")))
    })
}
