//! `cargo xtask bench`: Podvitals beside its peers, as a table and as docs/BENCHMARKS.md.
//!
//! The measurements are the crate `bench`'s; this builds what they compare.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, bail};

use crate::{
    build::{self, Built},
    cgroup,
    parts::{self, Release},
    paths, shell,
    stop::Limit,
};

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure only these rows; a full run of all is written to docs/BENCHMARKS.md.
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// About three minutes: an impression of the times, and all counts.
    #[arg(long)]
    quick: bool,
}

/// `cargo xtask bench`
pub(crate) fn command(args: &Args) -> Result<()> {
    let built = build::static_release()?;
    let mut more = args.rows.clone();
    if args.quick {
        more.push("--quick".to_owned());
    } else if args.rows.is_empty() {
        let file = paths::root().join("docs/BENCHMARKS.md");
        more.push(format!("--write={}", file.display()));
    }
    if !args.quick && (args.rows.is_empty() || args.rows.iter().any(|row| row == "cadvisor")) {
        match cadvisor() {
            Ok(path) => more.push(format!("--cadvisor={}", path.display())),
            Err(error) => more.push(format!("--no-cadvisor={error:#}")),
        }
    }
    let _limit = Limit::set("bench", LIMIT);
    run(&built, &more)
}

/// Short rounds of all rows: only counts fail.
pub(crate) fn quick(built: &Built) -> Result<()> {
    run(built, &["--quick".to_owned()])
}

fn run(built: &Built, args: &[String]) -> Result<()> {
    let agent = built.public_agent()?;
    let subtree = cgroup::Subtree::reserve("podvitals-bench")?;
    let mut bench = Command::new(&built.bench);
    bench.arg("run").args(args).arg("--agent").arg(agent.path());
    bench.arg("--scenarios").arg(&built.scenarios).arg("--cgroup-root").arg(subtree.dir());
    match parts::node_exporter(Release::Oldest) {
        Ok(part) => {
            bench.arg("--node-exporter").arg(part.node_exporter);
        }
        Err(error) => println!("without node_exporter: {error:#}"),
    }
    shell::run(&mut bench)
}

/// Built from its Go module.
fn cadvisor() -> Result<PathBuf> {
    if shell::find("go").is_none() {
        bail!("it is built with Go, which is not installed here");
    }
    println!("building cAdvisor");
    let path = paths::cache("tools")?.join("cadvisor");
    let mut go = Command::new("go");
    go.current_dir(paths::root().join("bench/cadvisor")).args(["build", "-o"]).arg(&path).arg(".");
    shell::run_quiet(&mut go, "go-build-cadvisor")?;
    Ok(path)
}
