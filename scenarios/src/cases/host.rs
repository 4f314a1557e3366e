//! More than one agent on a host.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{Case, born_at_zero, ended_once};
use crate::agent::scrape;
use crate::run::Context;
use crate::signal::RUNTIME;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("second-agent-same-port", same_port),
    || Case::new("second-agent-other-port", other_port).alone(),
];

/// It says what is wrong, and leaves.
fn same_port(context: &Context) -> Result<String> {
    let mut second = context.plan.spawn(&context.node, context.address)?;
    let status = second.wait_exit(context.timeout() * 2)?;
    ensure!(!status.success(), "a second agent at a port in use ended with {status}");
    // Both agents' logs are one file: the port is theirs in common.
    let log = fs::read_to_string(second.log()).context("reading the agent's log")?;
    let port = context.address.port().to_string();
    let clear = log
        .lines()
        .find(|line| line.contains(&port) && line.to_ascii_lowercase().contains("in use"))
        .context("no line in the agent's log that names the port and says that it is in use")?;
    context.scrape().context("the first agent does not answer any more")?;
    Ok(clear.trim().to_owned())
}

/// Two agents see the same.
fn other_port(context: &Context) -> Result<String> {
    let pod = context.node.pod("second-agent-other-port")?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle", "--term-ms", "100"], context.timeout())?;
    let mut second = context.plan.start(&context.node, context.timeout() * 2)?;
    let both = |check: &dyn Fn(&crate::scrape::Scrape) -> Result<f64>| -> Result<[f64; 2]> {
        Ok([
            context.eventually(check)?,
            context.eventually(|_| check(&scrape(second.address(), context.timeout())?))?,
        ])
    };
    both(&|s| born_at_zero(s, &container.key).map(|()| 0.0))?;
    context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    container.wait(context.timeout())?;
    container.remove_cgroup()?;
    let [one, two] = both(&|s| {
        let view = s.of(&container.key);
        ended_once(&view, "completed")?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    ensure!((one - two).abs() < 0.01, "the agents say {one} s and {two} s");
    let status = second.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the second agent with {status}");
    Ok(format!("both agents {one:.4} s"))
}
