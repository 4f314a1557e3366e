//! `cargo xtask e2e`: a real Kubernetes node, from nothing to Ready.
//!
//! The node (kubelet, containerd, runc and crun, a bridge for Pods) is a virtual machine; the control plane
//! runs natively, in a network namespace with a tap to it. The network has only addresses that are
//! for documentation (RFC 5737): 192.0.2.0/24 the host (.1) and the node (.2), 198.51.100.0/24 the
//! Pods, 203.0.113.0/24 services, of which there is one, the API's.

mod agent;
mod alerts;
mod binaries;
mod chart;
mod cluster;
mod control_plane;
mod images;
mod keep;
mod lasting;
mod manifests;
mod netns;
mod node;
mod pictures;
mod pki;
mod prometheus;
mod proxy;
mod reader;
mod rootfs;
mod scenarios;
mod smoke;
mod steps;
mod traces;

use std::{
    fs,
    net::SocketAddr,
    process::ExitCode,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use nix::fcntl::{Flock, FlockArg};
use xtask::{build, otlp, paths, stop};

use self::{
    alerts::Delivery,
    binaries::Binaries,
    cluster::Cluster,
    node::Options,
    pictures::Watch,
    prometheus::Prometheus,
    steps::Steps,
    traces::{Check, Traces},
};

/// What is done after the scenarios, by the names that `--only` takes for it.
const ALERTS: &str = "alerts";
const PICTURES: &str = "pictures";
const CHART: &str = "chart";
const LATER: [&str; 3] = [ALERTS, PICTURES, CHART];

/// Bring up a Kubernetes node in a virtual machine, and run the scenarios on it.
#[derive(Parser)]
#[command(name = "cargo xtask e2e", bin_name = "cargo xtask e2e")]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Leave it running, with the API on loopback, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Only the scenarios whose names contain one of these; "alerts", "pictures" and "chart" are
    /// what is done after them.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Make docs/pictures of the dashboards and traces as they are drawn.
    #[arg(long)]
    update_pictures: bool,
    /// Run this on the node of a cluster that --keep has left running, and end with its status.
    #[arg(long, value_name = "COMMAND")]
    on_node: Option<String>,
}

impl Args {
    /// Whether something of [`LATER`] is to be done.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it == name)
    }

    /// The part of `--only` that is about scenarios, unless there is none to run.
    fn scenarios(&self) -> Option<Vec<String>> {
        let only = self.only.iter().filter(|it| !LATER.contains(&it.as_str()));
        let only: Vec<String> = only.cloned().collect();
        (self.only.is_empty() || !only.is_empty()).then_some(only)
    }
}

/// What watches the cluster.
struct Monitoring {
    prometheus: Prometheus,
    delivery: Delivery,
}

fn main() -> ExitCode {
    stop::exit_code(command(&Args::parse()))
}

fn command(args: &Args) -> Result<()> {
    if let Some(command) = &args.on_node {
        return keep::on_node(command);
    }
    if let Some(why) = xtask::e2e::unfit() {
        bail!("{why}");
    }
    stop::watch(stop::GRACE)?;
    run(args)
}

fn run(args: &Args) -> Result<()> {
    let built = build::static_release()?;
    let _lock = lock()?;
    let mut steps = Steps::new();
    steps.begin("programs and images");
    let binaries = binaries::fetch()?;
    // Built before the node needs the CPUs.
    otlp::collector::program()?;
    let images = [images::archive(&built, &binaries)?];
    let cluster = Cluster::start(&args.options, &binaries, &images, &mut steps)?;
    let mut monitoring = None;
    let result = checks(&cluster, &binaries, args, &mut monitoring, &mut steps);
    steps.end();
    if result.is_err() && !stop::asked() {
        cluster.save_logs();
    }
    let (agent, result) = match result {
        Ok(agent) => (Some(agent), Ok(())),
        Err(error) => (None, Err(error)),
    };
    match &result {
        Ok(()) => println!("Kubernetes {}, Linux {}", binaries.version, cluster.kernel()),
        Err(error) => println!("FAILED: {error:#}"),
    }
    if args.keep && !stop::asked() {
        let pages = monitoring.as_ref().map(|it| (it.prometheus.address(), it.delivery.address()));
        keep::run(&cluster, &binaries, agent, pages)?;
    }
    let logs = cluster.dir().to_owned();
    steps.begin("end");
    drop(monitoring);
    drop(cluster);
    steps.end();
    println!("\n{}", steps.report());
    result.with_context(|| format!("the e2e failed (logs: {})", logs.display()))
}

/// Everything that is checked. Returns where the agent serves; `monitoring` goes on.
fn checks(
    cluster: &Cluster,
    binaries: &Binaries,
    args: &Args,
    monitoring: &mut Option<Monitoring>,
    steps: &mut Steps,
) -> Result<SocketAddr> {
    smoke::run(cluster, &args.options, steps)?;
    steps.begin("OpenTelemetry Collector: it takes traces");
    let traces = Traces::start(cluster)?;
    let agent = agent::deploy(cluster, &args.options, steps)?;
    steps.begin("deploy/, by dry run");
    manifests::check(cluster, binaries)?;
    steps.begin("Prometheus and Alertmanager: the agent is scraped");
    let delivery = Delivery::start(cluster)?;
    let since = Instant::now();
    let prometheus = Prometheus::start(cluster, delivery.alertmanager())?;
    let Monitoring { delivery, prometheus } =
        monitoring.insert(Monitoring { prometheus, delivery });
    if args.wants(ALERTS) {
        alerts::begin(cluster)?;
    }
    if args.wants(PICTURES) {
        pictures::begin(cluster)?;
    }
    if let Some(only) = args.scenarios() {
        let since = SystemTime::now();
        let mut report = scenarios::run(cluster, &traces, agent, &args.options, &only, steps)?;
        let agent = agent::ready(cluster)?;
        let check = Check { cluster, traces: &traces, agent, api: prometheus.api(), since };
        report.push_str(&check.run(args.update_pictures, steps)?);
        let file = cluster.dir().join(format!("report-{}.md", args.options.cgroup_driver));
        fs::write(&file, &report).with_context(|| format!("write {}", file.display()))?;
        println!("{report}");
    }
    if args.wants(ALERTS) {
        delivery.check(cluster, steps)?;
    }
    if args.wants(PICTURES) {
        // What all panels show has happened if all was run.
        let watch = Watch { prometheus, since, is_whole: args.only.is_empty() };
        pictures::check(cluster, &watch, args.update_pictures, steps)?;
    }
    if args.wants(CHART) {
        chart::run(cluster, steps)?;
    }
    if !args.keep {
        smoke::shutdown(cluster, agent::ready(cluster)?, steps)?;
    }
    Ok(agent)
}

/// Two runs at once would share one folder.
fn lock() -> Result<Flock<fs::File>> {
    let path = paths::work("e2e")?.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).with_context(
        || format!("another e2e of this work tree runs (it holds {})", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_what_was_named() {
        let args = |only: &[&str]| {
            let only = only.iter().map(|it| (*it).to_owned()).collect();
            Args {
                options: Options::default(),
                keep: false,
                only,
                update_pictures: false,
                on_node: None,
            }
        };
        let all = args(&[]);
        assert!(all.wants(ALERTS) && all.scenarios() == Some(Vec::new()));
        let alone = args(&[ALERTS]);
        assert!(alone.wants(ALERTS) && !alone.wants(PICTURES) && alone.scenarios().is_none());
        let both = args(&["stop", ALERTS]);
        assert!(both.wants(ALERTS) && both.scenarios() == Some(vec!["stop".to_owned()]));
        assert!(!args(&["stop"]).wants(ALERTS));
    }
}
