//! The command line: commands and their flags.

mod collectors;
mod url;
mod variables;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use collectors::CollectorArgs;
use variables::without_empty;

use crate::demo::{DemoArgs, DemoWorkArgs};
use crate::escape;
use crate::http::ListenAddress;
use crate::kube::client::{Endpoint, Trust};
use crate::kube::log_names;
use crate::kube::source::{
    self, CannotUse, Chosen, PodsSource, Surroundings, parse_kubelet_address,
};
use crate::log::Format;
use crate::node::Source;
use crate::trace::settings::TraceArgs;

/// Node agent that shows how every Pod on this node lives and dies, from the kernel's own record.
///
/// Without a command the agent runs with its defaults. Every flag can also be set by the environment
/// variable named in brackets.
#[derive(Debug, Parser)]
#[command(name = "podvitals", version, about, max_term_width = 100)]
pub struct Cli {
    /// The command to run; `agent` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this node and serve metrics at /metrics (the default).
    Agent(AgentArgs),
    /// Report what this host allows: what works, what is lost, and why.
    ///
    /// Exit status: 0 everything works, 1 something is lost, 2 the agent cannot run here.
    Check(CheckArgs),
    /// Run demo containers: real processes in kubelet-shaped cgroups that crash, ignore their stop
    /// signal, stop in order and run out of memory.
    Demo(DemoArgs),
    /// The program in the demo's containers.
    #[command(hide = true)]
    DemoWork(DemoWorkArgs),
    /// Print every metric family: name, type, labels, collector, series and needs.
    Catalogue(CatalogueArgs),
}

/// Settings of `podvitals catalogue`.
#[derive(Args, Debug)]
pub struct CatalogueArgs {
    /// Print an array of objects, with unit and help text.
    #[arg(long)]
    pub json: bool,
}

/// Settings of `podvitals check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// cgroup v2 directory to watch [default: the mount point of cgroup2].
    #[arg(long = "cgroup.root", env = "PODVITALS_CGROUP_ROOT", value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// cgroup of the kubelet, as for the agent [default: looked for in the usual places,
    /// and, by the agent, by its process].
    #[arg(long = "kubelet.cgroup", env = "PODVITALS_KUBELET_CGROUP", value_name = "DIR")]
    pub kubelet_cgroup: Option<PathBuf>,
    /// The Pod source.
    #[command(flatten)]
    pub pods: PodsArgs,
    /// The export of traces.
    #[command(flatten)]
    pub trace: TraceArgs,
}

impl PodsArgs {
    /// The Pod sources that this process could use.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        Surroundings::detect(self.node_name.as_deref(), self.api_url.as_ref())
    }

    /// The endpoint of the chosen Pod source; `None` without one.
    ///
    /// # Errors
    /// The token must not go there.
    pub fn endpoint(&self, chosen: &Chosen) -> Result<Option<Endpoint>, CannotUse> {
        let (url, trust) = match chosen {
            Chosen::Api { url, .. } => (url.clone(), Trust::Authority(self.api_ca_file.clone())),
            Chosen::Kubelet => {
                let url = source::kubelet_url(self.kubelet_address);
                let authority = || Trust::Authority(self.kubelet_ca_file.clone());
                (url, if self.kubelet_insecure { Trust::SkipVerify } else { authority() })
            }
            Chosen::None(_) => return Ok(None),
        };
        let token = source::token(&url, self.token_file.as_deref())?;
        Ok(Some(Endpoint { url, trust, token }))
    }
}

/// The kind of node: whose cgroups are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// `host` until Pods have cgroups here, then `kubernetes`. If users other than root can create
    /// cgroups, set the mode: they could imitate Pods.
    Auto,
    /// Pods and their containers.
    Kubernetes,
    /// Every leaf cgroup: systemd units, Docker containers, machines. Containers of Pods too, as
    /// plain ones.
    Host,
}

/// Flags of the Pod source.
#[derive(Args, Clone, Debug)]
pub struct PodsArgs {
    /// Source of Pod metadata: names, owners, requests, grace periods.
    #[arg(long = "pods.source", env = "PODVITALS_PODS_SOURCE", value_enum, default_value = "auto")]
    pub source: PodsSource,
    /// Name of this node; its Pods are watched.
    #[arg(long = "node.name", env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// URL of the API server [default: the cluster's, as every Pod knows it]. `kubectl proxy` serves
    /// one without TLS. A user and a password in it are not used.
    #[arg(
        long = "api.url",
        env = "PODVITALS_API_URL",
        value_name = "URL",
        value_parser = url::UrlParser,
        hide_env_values = true
    )]
    pub api_url: Option<http::Uri>,
    /// CA certificate of the API server; read again every minute.
    #[arg(
        long = "api.ca-file",
        env = "PODVITALS_API_CA_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    )]
    pub api_ca_file: PathBuf,
    /// Token for the API server or the kubelet; read again every minute, and never sent to another
    /// machine without TLS [default: the service account's, where there is one].
    #[arg(long = "pods.token-file", env = "PODVITALS_PODS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Address of this node's kubelet: an IP address, with a port if it is not 10250.
    #[arg(
        long = "kubelet.address",
        env = "PODVITALS_KUBELET_ADDRESS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        value_parser = parse_kubelet_address
    )]
    pub kubelet_address: SocketAddr,
    /// CA certificate of the kubelet; read again every minute.
    #[arg(
        long = "kubelet.ca-file",
        env = "PODVITALS_KUBELET_CA_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    )]
    pub kubelet_ca_file: PathBuf,
    /// Skip verification of the kubelet's certificate: any server at its address gets the token.
    #[arg(long = "kubelet.insecure-skip-verify", env = "PODVITALS_KUBELET_INSECURE_SKIP_VERIFY")]
    pub kubelet_insecure: bool,
    /// Directory in which the kubelet links the log of each container, named after its Pod.
    #[arg(
        long = "pods.log-dir",
        env = "PODVITALS_PODS_LOG_DIR",
        value_name = "DIR",
        default_value = log_names::DEFAULT_DIR
    )]
    pub log_dir: PathBuf,
}

/// Settings of `podvitals agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Kind of node: whose cgroups are shown.
    #[arg(long, env = "PODVITALS_MODE", value_enum, default_value = "auto")]
    pub mode: Mode,
    /// cgroup v2 directory to watch [default: the mount point of cgroup2].
    #[arg(long = "cgroup.root", env = "PODVITALS_CGROUP_ROOT", value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Source of the cgroups' resource usage.
    #[arg(
        long = "cgroup.source",
        env = "PODVITALS_CGROUP_SOURCE",
        value_enum,
        default_value = "auto"
    )]
    pub cgroup_source: Source,
    /// cgroup of the kubelet, whose connections are its network probes: its path below the cgroup v2
    /// directory [default: looked for in the usual places of kubeadm, kind, k3s, RKE2, MicroK8s,
    /// k0s and others, and then by the kubelet's process].
    #[arg(long = "kubelet.cgroup", env = "PODVITALS_KUBELET_CGROUP", value_name = "DIR")]
    pub kubelet_cgroup: Option<PathBuf>,
    /// The Pod source.
    #[command(flatten)]
    pub pods: PodsArgs,
    /// Address to serve on: `host:port`, or `:port` for all addresses, IPv4 and IPv6.
    #[arg(
        long = "web.listen-address",
        env = "PODVITALS_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = ":9550"
    )]
    pub listen_address: ListenAddress,
    /// Retention of a container's counters after it is gone, in seconds. The default outlives the
    /// kubelet's longest back-off; a container that the API knows as waiting is kept anyway.
    #[arg(
        long = "metrics.retention",
        env = "PODVITALS_METRICS_RETENTION",
        value_name = "SECONDS",
        default_value = "600",
        allow_negative_numbers = true,
        value_parser = parse_seconds
    )]
    pub retention: Duration,
    /// Limit of the series of containers, Pods and workloads. What is gone gives way to what is
    /// there; what still finds no room is hidden, and counted in podvitals_series_dropped_total.
    #[arg(
        long = "metrics.max-series",
        env = "PODVITALS_METRICS_MAX_SERIES",
        value_name = "N",
        default_value = "400000",
        allow_negative_numbers = true,
        value_parser = parse_count
    )]
    pub max_series: usize,
    /// The collectors.
    #[command(flatten)]
    pub collectors: CollectorArgs,
    /// Level of the log: error, warn, info, debug, trace or off; or a list of them by part, such as
    /// info,agent::kube=debug.
    #[arg(
        long = "log.level",
        env = "PODVITALS_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: String,

    /// Format of the log: text for people, json for log pipelines (an object in each line).
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        env = "PODVITALS_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: Format,
    /// The export of traces.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// The command line of this process. A wrong one is told on standard error, and ends the process.
#[must_use]
pub fn parse() -> Cli {
    parsed(std::env::args_os())
}

/// Environment variables of this process that look like settings and are none.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    variables::unknown(&Cli::command(), std::env::vars_os().map(|(name, _)| name))
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
    parsed::<Alone>(["podvitals".into()]).args
}

fn parsed<T: CommandFactory + FromArgMatches>(arguments: impl IntoIterator<Item = OsString>) -> T {
    let mut command = without_empty(T::command());
    let matches = command.try_get_matches_from_mut(arguments);
    let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| refuse(&error.format(&mut command)))
}

/// Ends the process. An error repeats what was given, which may come from anywhere.
fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    eprint!("{}", escape::lines(&error.render().to_string()));
    std::process::exit(error.exit_code())
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse::<u64>()
        .map(Duration::from_secs)
        .map_err(|_| "expected a whole number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_password_of_a_url_is_shown_nowhere() {
        let parse = |url| Cli::try_parse_from(["podvitals", "check", "--api.url", url]);
        let cli = format!("{:?}", parse("https://user:hunter2@host:6443").unwrap());
        assert!(cli.contains("host:6443") && !cli.contains("hunter2"), "{cli}");
        for wrong in ["foo", "https://user:hunter2@ho st", "ftp://user:hunter2@host"] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation);
            let error = error.to_string();
            assert!(error.contains("--api.url") && !error.contains("hunter2"), "{error}");
        }
    }
}
