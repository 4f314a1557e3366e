//! The kubelet's cgroup where others share it, as with k3s and RKE2: its connections are told by the short
//! name of its process.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::cgroup::Cgroup;

use super::common::Case;
use super::probes::{Asks, Kubelet, Server, ask, listen, logged};
use crate::connect::Asked;
use crate::context::Context;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("kubelet-shares-its-cgroup", |context| shares(context, true)).alone(),
    || {
        Case::new("kubelet-shares-its-cgroup-by-tracepoint", |context| shares(context, false))
            .alone()
    },
];

/// Connections of each process.
const ROUNDS: u32 = 20;

/// The cgroup is found by its place. Of those who connect there, the kubelet's are told, and no others.
fn shares(context: &Context, net_admin: bool) -> Result<String> {
    let slice = Cgroup::make(context.node.root().join("system.slice"))?;
    for (service, kubelet, others) in [
        ("k3s.service", "k3s-server", ["containerd", "k3s-serve"]),
        ("rke2-agent.service", "kubelet", ["rke2", "kubelet-other"]),
    ] {
        let agent = Kubelet::start_in(context, slice.child(service)?, None, net_admin)?;
        only_its_own(context, &agent, kubelet, others).with_context(|| format!("in {service}"))?;
        agent.stop(context)?;
    }
    Ok(format!(
        "2 services, {ROUNDS} connections of the kubelet and {} of others in each",
        2 * ROUNDS
    ))
}

fn only_its_own(context: &Context, kubelet: &Kubelet, comm: &str, others: [&str; 2]) -> Result<()> {
    let listening = listen(IpAddr::V4(Ipv4Addr::LOCALHOST), Server::Answers)?;
    let asks = |comm| {
        let asks = Asks { comm: Some(comm), ..Asks::default() };
        ask(context, kubelet.cgroup.dir(), listening.address, ROUNDS, asks)
    };
    let ports = |asked: Vec<Asked>| asked.iter().map(|it| it.port).collect::<BTreeSet<u16>>();
    let [first, last] = others;
    asks(first)?;
    let wanted = ports(asks(comm)?);
    asks(last)?;
    logged(context, &kubelet.agent, wanted.len())?;
    // Should another's be told, it comes within a second.
    context.pause(Duration::from_millis(1500));
    let found = logged(context, &kubelet.agent, wanted.len())?;
    let number = found.len();
    let found: BTreeSet<u16> = found.iter().map(|it| it.local.port()).collect();
    ensure!(found == wanted, "{found:?} instead of {wanted:?}");
    ensure!(number == wanted.len(), "{number} connections of {}", wanted.len());
    Ok(())
}
