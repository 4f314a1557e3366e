//! Podvitals beside its peers: what each costs, measured in one run on one machine.
//!
//! A row of the result is a file in `rows`. Times are compared as ratios of what ran in turn, and
//! never fail the bench; what is counted (series, records, growth) does.

mod cgroups;
mod connect;
mod context;
mod report;
mod rows;
mod server;
mod stats;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Podvitals beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure.
    Run(context::Args),
    /// Be the load in a container.
    #[command(hide = true)]
    Work,
    /// Connect as the kubelet does.
    #[command(hide = true)]
    Connect {
        /// The server.
        server: SocketAddr,
        /// How often.
        connections: u32,
        /// The cgroup to enter first.
        cgroup: PathBuf,
        /// The short name to take.
        comm: String,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(mut args) => args.unpack_agent().and_then(|_folder| rows::run(&args)),
        Command::Work => work::forks().map(|()| true),
        Command::Connect { server, connections, cgroup, comm } => {
            connect::run(server, connections, &cgroup, &comm).map(|()| true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}
