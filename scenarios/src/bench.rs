//! The agent's shutdown times against pidfd, many times.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use testbed::agent::scrape;
use testbed::scrape::Key;

use crate::agent::Plan;
use crate::cases::SHAPES;
use crate::container::{Container, Node};
use crate::scratch::{Scratch, clean_on_signal};
use crate::signal::RUNTIME;
use crate::witness::seconds_between;

/// Arguments of `scenarios bench-shutdown`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// The agent's binary.
    #[arg(long)]
    agent: PathBuf,
    /// A cgroup v2 directory of our own; made, and removed in the end, if it does not exist.
    #[arg(long)]
    cgroup_root: PathBuf,
    /// Containers of each shape.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// The user that the agent runs as; 0: root.
    #[arg(long, default_value_t = 65534)]
    agent_user: u32,
    /// Fail if the median of a shape is above this.
    #[arg(long)]
    max_p50_us: Option<f64>,
    /// Fail if the 99th percentile of a shape is above this.
    #[arg(long)]
    max_p99_us: Option<f64>,
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs it: true if all shapes are within the limits asked for.
pub(crate) fn run(args: &BenchArgs) -> Result<bool> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    clean_on_signal(&args.cgroup_root)?;
    let scratch = Scratch::make()?;
    let node = Node::make(&args.cgroup_root, &scratch.0.join("containers"))?;
    let plan = Plan {
        path: args.agent.clone(),
        user: args.agent_user,
        capabilities: true,
        net_admin: true,
        dir: scratch.0.clone(),
        memlock_kib: None,
        pid_namespace: false,
    };
    println!("|agent - pidfd| of the time from the stop signal to the end");
    println!("{:<13} {:>6} {:>9} {:>9} {:>9}", "shape", "rounds", "p50_us", "p99_us", "max_us");
    let mut good = true;
    for (shape, work) in SHAPES {
        let mut errors_us = rounds(args, &node, &plan, shape, work)?;
        errors_us.sort_by(f64::total_cmp);
        let p50 = percentile(&errors_us, 50);
        let p99 = percentile(&errors_us, 99);
        let max = percentile(&errors_us, 100);
        println!("{shape:<13} {:>6} {p50:>9.1} {p99:>9.1} {max:>9.1}", errors_us.len());
        good &= args.max_p50_us.is_none_or(|limit| p50 <= limit)
            && args.max_p99_us.is_none_or(|limit| p99 <= limit);
    }
    Ok(good)
}

/// The error of each round of one shape, microseconds. Each has an agent of its own, and each
/// container a name of its own, so that one scrape tells them all.
fn rounds(
    args: &BenchArgs,
    node: &Node,
    plan: &Plan,
    shape: &str,
    work: &[&str],
) -> Result<Vec<f64>> {
    let mut agent = plan.start(node, TIMEOUT)?;
    let pod = node.pod(&format!("bench-{}", shape.to_ascii_lowercase()))?;
    // They keep their log links until the agent has read them, as the kubelet's do.
    let mut witnessed: Vec<(Container, f64)> = Vec::new();
    for round in 0..args.rounds {
        let mut container = pod.container(&format!("r{round}"))?;
        container.start(work, TIMEOUT)?;
        let sent = RUNTIME.send(container.pid()?, &[Signal::SIGTERM], TIMEOUT)?;
        let sent_ns = *sent.first().context("no time reported")?;
        let end = container.wait(TIMEOUT)?;
        container.remove_cgroup()?;
        witnessed.push((container, seconds_between(sent_ns, end.at_ns)));
    }
    // Events come in order: when the last is known, all are.
    if let Some((container, _)) = witnessed.last() {
        wait_for(agent.address(), &container.key)?;
    }
    let scrape = scrape(agent.address(), TIMEOUT)?;
    let errors = witnessed
        .iter()
        .map(|(container, witness)| {
            let view = scrape.of(&container.key);
            let agent = view.value("container_last_shutdown_seconds", &[])?;
            Ok((agent - witness).abs() * 1e6)
        })
        .collect();
    agent.stop(TIMEOUT)?;
    errors
}

fn wait_for(address: std::net::SocketAddr, key: &Key) -> Result<()> {
    let start = std::time::Instant::now();
    while scrape(address, TIMEOUT)?.of(key).get("container_last_shutdown_seconds", &[]).is_none() {
        ensure!(start.elapsed() < TIMEOUT, "no shutdown of {key:?} after {TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The smallest value that at least `percent` of the sorted values do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), 100.0);
        assert_eq!(percentile(&values, 99), 198.0);
        assert_eq!(percentile(&values, 100), 200.0);
        assert_eq!(percentile(&[5.0], 50), 5.0);
        assert!(percentile(&[], 99).is_nan());
    }
}
