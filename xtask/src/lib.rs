//! Podvitals' own tasks. Each command installs what it lacks, says so, and then does its work.
//!
//! One file per command; the nouns they share have files of their own: `child` (processes),
//! `shell` (short commands) and `terminal` (text for people), `stop` and `steps` (early ends, time limits), `apt` and `kernels` (what
//! Debian serves), `parts` and `monitoring` (Prometheus and its like), `otlp`
//! (receivers of traces), `go` (programs of Go modules),
//! `qemu`, `initramfs`, `cgroup`, `demo`. The public ones serve the crate `e2e` too.

mod alerts;
pub mod apt;
mod bench;
pub mod build;
mod cgroup;
pub mod chart;
pub mod child;
mod circles;
mod dashboards;
mod demo;
mod deploy;
pub mod draw;
pub mod e2e;
mod exemplars;
mod fuzz;
pub mod go;
mod groups;
pub mod image;
mod initramfs;
mod kernels;
mod licences;
#[cfg(test)]
mod links;
pub mod monitoring;
mod names;
pub mod npm;
mod object;
pub mod otlp;
pub mod parts;
pub mod paths;
mod ports;
mod prometheus;
pub mod qemu;
mod run;
mod setup;
pub mod shell;
mod stack;
pub mod steps;
pub mod stop;
mod table;
mod terminal;
mod test;
mod vm;
pub mod waterfall;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
What is missing is installed first (Debian and its like, as root) or named.

Environment:
  AGENT_EBPF_OBJECT  take the eBPF objects in this folder instead of building them
  PODVITALS_CACHE    where kernels and tools are kept (default: .cache in the work tree)

Examples:
  cargo xtask run                       watch this machine's containers, or a demo's
  cargo xtask stack                     the same with Prometheus, Alertmanager and our rules
  cargo xtask test --quick              before a commit: format, lints, unit tests
  cargo xtask test                      what CI runs, 70 minutes on two cores
  cargo xtask vm --kernel all           every supported kernel under QEMU
  cargo xtask e2e --keep                a real Kubernetes node to try the agent on
  cargo xtask build --static            the binary that is shipped";

/// Podvitals' own tasks: set-up, build, run, test, kernels, benchmarks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install everything the other commands would install on their own.
    Setup(setup::Args),
    /// Build the eBPF object and the agent that embeds it.
    Build(build::Args),
    /// Build and start the agent on this machine, on a demo if it has no container.
    Run(run::Args),
    /// Start the agent, Prometheus with our rules, and Alertmanager, and show alerts as they fire.
    Stack(stack::Args),
    /// Write the agent's container image as an archive, and check it.
    Image(image::Args),
    /// Run every check that CI runs, and end with a table of them.
    ///
    /// From nothing it takes about 70 minutes on two cores, 8 of them the build of Kubernetes. A step
    /// alone is a command of its own: alerts, chart, dashboards, vm, e2e and others.
    Test(test::Args),
    /// Boot Linux kernels under QEMU and run the scenarios in each.
    Vm(vm::Args),
    /// Bring up a Kubernetes node in a virtual machine, and run the scenarios on it.
    E2e(e2e::Args),
    /// Run the fuzz targets, each for a few seconds.
    Fuzz(fuzz::Args),
    /// Check the demo's scrape with promtool and a real Prometheus.
    Metrics(prometheus::Args),
    /// Check real receivers of OTLP with what `deploy/` has for them, and with the agent's scrape.
    Otlp(otlp::Args),
    /// Write the dashboards' JSON from their source.
    Dashboards(dashboards::Args),
    /// Write the alert rules for the Prometheus Operator from those for Prometheus, or test both.
    Alerts(alerts::Args),
    /// Draw the dashboards from a Prometheus with Grafana's panel library, and judge them.
    Draw(draw::Args),
    /// Draw traces that a Collector has written to a file.
    Waterfall(waterfall::Args),
    /// Measure, and print a table.
    Bench(bench::Args),
    /// Write the parts of the Helm chart that are made from other files, and check it with Helm.
    Chart,
    /// Name the files that use each other in a circle.
    Circles,
}

/// The command line: runs the task that it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    stop::exit_code(stop::watch(stop::GRACE).and_then(|()| task(cli)))
}

fn task(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Setup(args) => setup::command(&args),
        Command::Build(args) => build::command(&args),
        Command::Run(args) => run::command(&args),
        Command::Stack(args) => stack::command(&args),
        Command::Image(args) => image::command(&args),
        Command::Test(args) => test::command(&args),
        Command::Vm(args) => vm::command(&args),
        Command::E2e(args) => e2e::command(&args),
        Command::Fuzz(args) => fuzz::command(&args),
        Command::Metrics(args) => prometheus::command(&args),
        Command::Otlp(args) => otlp::command(&args),
        Command::Dashboards(args) => dashboards::command(&args),
        Command::Alerts(args) => alerts::command(&args),
        Command::Draw(args) => draw::command(&args),
        Command::Waterfall(args) => waterfall::command(&args),
        Command::Bench(args) => bench::command(&args),
        Command::Chart => chart::command(),
        Command::Circles => circles::check(),
    }
}
