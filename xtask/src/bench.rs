//! `cargo xtask bench`: measurements, as tables.

use std::process::Command;

use anyhow::Result;

use crate::{build, cgroup, shell};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The stop signal → last exit time that the agent tells, against pidfd's.
    Shutdown {
        /// Stops measured of each kind of process.
        #[arg(long, value_name = "N")]
        rounds: Option<u32>,
    },
}

/// `cargo xtask bench`
pub(crate) fn command(args: &Args) -> Result<()> {
    let What::Shutdown { rounds } = args.what;
    let built = build::static_release()?;
    let agent = built.public_agent()?;
    let subtree = cgroup::Subtree::reserve("podvitals-bench")?;
    let mut bench = Command::new(&built.scenarios);
    bench.arg("bench-shutdown").arg("--agent").arg(agent.path());
    bench.arg("--cgroup-root").arg(subtree.dir());
    if let Some(rounds) = rounds {
        bench.arg("--rounds").arg(rounds.to_string());
    }
    shell::run(&mut bench)
}
