//! The kubelet's connections, where programs of others are attached to the same cgroups.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::cgroup::Cgroup;

use super::common::Case;
use super::probes::{Kubelet, all_are_told};
use crate::context::Context;
use crate::others::{ALLOW_MULTI, ALLOW_OVERRIDE, Other};

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("kubelet-connections-without-callbacks", without_callbacks).alone(),
    || Case::new("kubelet-gives-way", gives_way).alone(),
];

/// Time until the agent asks again what else is attached, by its clock.
const ASKS_AGAIN: Duration = Duration::from_secs(10);

/// Another program, which runs after ours, sets the callbacks of each socket to none: all connections are
/// told the same.
fn without_callbacks(context: &Context) -> Result<String> {
    let outer = Cgroup::make(context.node.root().join("kubelet-others"))?;
    let _other = Other::taking_callbacks(outer.dir())?;
    let kubelet = Kubelet::start(context, "kubelet-others/kubelet", true)?;
    let told = all_are_told(context, &kubelet, true)?;
    kubelet.stop(context)?;
    Ok(told)
}

/// A program above the kubelet's cgroup that ours would switch off for it goes on: the tracepoint takes
/// their place, as long as it is there. One that can share is no reason.
fn gives_way(context: &Context) -> Result<String> {
    let outer = Cgroup::make(context.node.root().join("kubelet-exclusive"))?;
    let exclusive = Other::passing(outer.dir(), ALLOW_OVERRIDE)?;
    let kubelet = Kubelet::start(context, "kubelet-exclusive/kubelet", true)?;
    attached(context, &kubelet, "inet_sock_set_state")?;
    let told = all_are_told(context, &kubelet, false)?;
    drop(exclusive);
    let _sharing = Other::passing(outer.dir(), ALLOW_MULTI)?;
    attached(context, &kubelet, "kubelet_sock_ops")?;
    kubelet.stop(context)?;
    Ok(format!("by the tracepoint {told}"))
}

/// Waits until an agent has this one of the programs attached, and none of the other way.
fn attached(context: &Context, kubelet: &Kubelet, program: &str) -> Result<()> {
    context.eventually_within(ASKS_AGAIN + context.timeout(), |_| {
        let scrape = testbed::agent::scrape(kubelet.agent.address(), context.timeout())?;
        for of_a_way in ["inet_sock_set_state", "kubelet_sock_ops"] {
            let is = scrape.sum("program_attached", &[("program", of_a_way)]).unwrap_or(0.0);
            ensure!((is == 1.0) == (of_a_way == program), "{of_a_way}: {is}");
        }
        Ok(())
    })
}
