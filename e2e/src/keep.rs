//! A cluster that is left running, for a person.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{binaries::Binaries, cluster::Cluster, control_plane, node};
use xtask::{paths, stop};

/// A free port of the loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Tells how to use the cluster, with Prometheus and Alertmanager at `pages`, and waits for Ctrl-C.
pub(crate) fn run(
    cluster: &Cluster,
    binaries: &Binaries,
    agent: Option<SocketAddr>,
    pages: Option<(SocketAddr, SocketAddr)>,
) -> Result<()> {
    let api = cluster.forward(ANY_PORT, control_plane::ADDRESS)?;
    let commands = cluster.forward(ANY_PORT, node::EXEC)?;
    let file = address_file()?;
    fs::write(&file, commands.address.to_string())
        .with_context(|| format!("write {}", file.display()))?;
    let kubeconfig = cluster.dir().join("kubeconfig");
    cluster.write_kubeconfig(&kubeconfig, &format!("https://{}", api.address))?;
    println!(
        "\nThe cluster runs until Ctrl-C. From another terminal:\n  \
           export KUBECONFIG={}\n  \
           {} get pods --all-namespaces --output wide\n  \
           cargo xtask e2e --on-node 'journalctl --unit kubelet --no-pager'\n\
         console and logs: {}",
        kubeconfig.display(),
        binaries.kubernetes.join("kubectl").display(),
        cluster.dir().display()
    );
    if let Some(agent) = agent {
        let proxy = cluster.forward(ANY_PORT, agent)?;
        println!("agent: http://{}/", proxy.address);
    }
    if let Some((prometheus, alertmanager)) = pages {
        println!("Prometheus: http://{prometheus}/\nAlertmanager: http://{alertmanager}/");
    }
    while !stop::asked() {
        cluster.check()?;
        thread::sleep(Duration::from_millis(200));
    }
    let _ = fs::remove_file(&file);
    Ok(())
}

/// `cargo xtask e2e --on-node`
pub(crate) fn on_node(command: &str) -> Result<()> {
    let file = address_file()?;
    let address = fs::read_to_string(&file).with_context(|| {
        format!("read {}: is there a cluster, by cargo xtask e2e --keep?", file.display())
    })?;
    let address: SocketAddr = address.parse().with_context(|| format!("{address:?}"))?;
    let stream = TcpStream::connect(address).with_context(|| {
        format!("connect to {address}: does the cluster still run that wrote {}?", file.display())
    })?;
    let output = node::exchange(stream, command, Duration::from_secs(600))?;
    print!("{}", output.text);
    if output.status != 0 {
        bail!("on the node: {command}: exit status {}", output.status);
    }
    Ok(())
}

fn address_file() -> Result<PathBuf> {
    Ok(paths::work("e2e")?.join("exec-address"))
}
