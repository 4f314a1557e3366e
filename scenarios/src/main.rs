//! Real processes in real cgroups, and the checks that hold Podvitals' scrape against the
//! kernel's own witnesses: pidfd, waitid, the cgroups' files.
//!
//! The same binary is everything that takes part: PID 1 of the test VM, the runner, the workload
//! in the containers, the runtime that sends the signals.

mod agent;
mod bench;
mod cases;
mod compared;
mod connect;
mod container;
mod context;
mod guise;
mod host;
mod init;
mod launch;
mod oom_line;
mod others;
mod process;
mod rehearse;
mod run;
mod scratch;
mod signal;
mod stage;
mod witness;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(about = "Real processes in real cgroups against the agent's scrape")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Be PID 1 of a test VM: mount, run, power off.
    Init,
    /// Run the scenarios against an agent.
    Run(run::RunArgs),
    /// Compare shutdown times with pidfd, many times.
    BenchShutdown(bench::BenchArgs),
    /// Run the workloads without an agent: what does the witness see?
    Rehearse(rehearse::RehearseArgs),
    /// Be a container's process.
    #[command(hide = true)]
    Work(work::WorkArgs),
    /// Be the one who sends signals.
    #[command(hide = true)]
    Signal(signal::SignalArgs),
    /// Be the kubelet: connect, ask, wait, close, and say when.
    #[command(hide = true)]
    Connect(connect::ConnectArgs),
    /// Give up root, keep three capabilities, execute.
    #[command(hide = true)]
    Launch(launch::LaunchArgs),
}

fn main() -> ExitCode {
    let argv: Vec<String> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let result = if let Some(plan) = stage::plan(&argv) {
        stage::run(&plan).map(|()| true)
    } else if init::is_init(&argv) {
        init::run()
    } else {
        match Cli::parse().command {
            Command::Init => init::run(),
            Command::Run(args) => run::run(&args),
            Command::BenchShutdown(args) => bench::run(&args),
            Command::Rehearse(args) => rehearse::run(&args),
            Command::Work(args) => work::run(&args).map(|()| true),
            Command::Signal(args) => signal::run(&args).map(|()| true),
            Command::Connect(args) => connect::run(&args).map(|()| true),
            Command::Launch(args) => launch::run(&args).map(|()| true),
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scenarios: {error:#}");
            ExitCode::from(2)
        }
    }
}
