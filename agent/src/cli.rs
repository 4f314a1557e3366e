//! The command line: what can be run, and with which settings.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::{DemoArgs, DemoWorkArgs};
use crate::node::Source;

/// How every Pod on this node lives and dies, from the kernel's own record.
///
/// Without a command the agent runs with its defaults. Every setting can also be given as an
/// environment variable, named in brackets.
#[derive(Debug, Parser)]
#[command(name = "podvitals", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to run; `agent` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this node and serve what is seen at /metrics (the default).
    Agent(AgentArgs),
    /// Say what this host allows, what will therefore work, and what is lost.
    ///
    /// Exit status: 0 all works, 1 something is lost, 2 the agent cannot run here.
    Check(CheckArgs),
    /// Run real processes in real cgroups of the kubelet's shape that crash, ignore their stop
    /// signal, stop in order and run out of memory.
    Demo(DemoArgs),
    /// What the demo runs in its containers.
    #[command(hide = true)]
    DemoWork(DemoWorkArgs),
    /// Print the name and the type of each metric family.
    #[command(hide = true)]
    Catalogue,
}

/// Settings of `podvitals check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The cgroup v2 directory to watch.
    #[arg(long = "cgroup.root", env = "PODVITALS_CGROUP_ROOT", value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
}

/// What the cgroups of this node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// `kubernetes` if there are Pods' cgroups, else `host`.
    Auto,
    /// Pods and their containers.
    Kubernetes,
    /// Every leaf cgroup: systemd units, Docker containers.
    Host,
}

/// Where Pods' names come from, besides the links of `--pods.log-dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PodsSource {
    /// Nowhere.
    None,
}

/// Settings of `podvitals agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// What the cgroups of this node are.
    #[arg(long, env = "PODVITALS_MODE", value_enum, default_value = "auto")]
    pub mode: Mode,
    /// The cgroup v2 directory to watch [default: where cgroup2 is mounted].
    #[arg(long = "cgroup.root", env = "PODVITALS_CGROUP_ROOT", value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Where the figures of cgroups come from.
    #[arg(
        long = "cgroup.source",
        env = "PODVITALS_CGROUP_SOURCE",
        value_enum,
        default_value = "auto"
    )]
    pub cgroup_source: Source,
    /// Where Pods' names come from, besides the links of --pods.log-dir.
    #[arg(long = "pods.source", env = "PODVITALS_PODS_SOURCE", value_enum, default_value = "none")]
    pub pods_source: PodsSource,
    /// Where the kubelet leaves a link for each container, named after its Pod.
    #[arg(
        long = "pods.log-dir",
        env = "PODVITALS_PODS_LOG_DIR",
        value_name = "DIR",
        default_value = "/var/log/containers"
    )]
    pub pods_log_dir: PathBuf,
    /// Where to serve: `host:port`, or `:port` for all addresses.
    #[arg(
        long = "web.listen-address",
        env = "PODVITALS_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = ":9550",
        value_parser = parse_address
    )]
    pub listen_address: SocketAddr,
    /// How long counters of a container stay after it is gone, in seconds; at least two scrapes.
    #[arg(
        long = "metrics.linger",
        env = "PODVITALS_METRICS_LINGER",
        value_name = "SECONDS",
        default_value = "300",
        value_parser = parse_seconds
    )]
    pub linger: Duration,
    /// Series beyond this many are not shown but counted in podvitals_series_dropped_total.
    #[arg(
        long = "metrics.max-series",
        env = "PODVITALS_METRICS_MAX_SERIES",
        value_name = "N",
        default_value = "200000"
    )]
    pub max_series: usize,
    /// What to log: error, warn, info, debug, trace, or a filter of the tracing crate.
    #[arg(
        long = "log.level",
        env = "PODVITALS_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
}

/// Settings from defaults and the environment alone.
#[must_use]
pub fn default_agent_args() -> AgentArgs {
    /// `AgentArgs` as a command of its own.
    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: AgentArgs,
    }
    Alone::parse_from(["podvitals"]).args
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| format!("{port:?} is no port number"))?;
        // The unspecified IPv6 address takes IPv4 connections as well.
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    text.parse().map_err(|_| {
        format!("{text:?} is no address: give an IP address and a port, such as 127.0.0.1:9550")
    })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse::<u64>()
        .map(Duration::from_secs)
        .map_err(|_| format!("{text:?} is no whole number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_come_in_the_exporters_style() {
        assert_eq!(parse_address(":9550").unwrap(), "[::]:9550".parse().unwrap());
        assert_eq!(parse_address("127.0.0.1:1").unwrap(), "127.0.0.1:1".parse().unwrap());
        for wrong in ["", ":", ":99999", "localhost", "1.2.3.4"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }
}
