//! The runner: a node's tree, an agent, and all scenarios against it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, ensure};
use clap::Args;
use testbed::agent::Agent;
use testbed::runner::{self, Outcome, Report, Runner};

use crate::agent::Plan;
use crate::cases::{self, Case};
use crate::container::Node;
use crate::context::Context;
use crate::host::{Host, Met};
use crate::scratch::{Scratch, clean_on_signal};

/// Arguments of `scenarios run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The agent's binary. The user that it runs as must be able to execute it.
    #[arg(long, required_unless_present = "list")]
    agent: Option<PathBuf>,
    /// A cgroup v2 directory of our own: the hierarchy's root in a VM; elsewhere one that does not
    /// exist yet, which is removed in the end.
    #[arg(long, required_unless_present = "list")]
    cgroup_root: Option<PathBuf>,
    /// Only the scenarios whose names begin with one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the scenarios' names and what they need, and run none.
    #[arg(long)]
    list: bool,
    /// A skip that the kernel's release does not justify is a failure.
    #[arg(long)]
    strict: bool,
    /// The user that the agent runs as, with the capabilities of its Pod only; 0: root with all.
    #[arg(long, default_value_t = 65534)]
    agent_user: u32,
    /// How many scenarios at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Multiply every deadline by this: for emulated machines.
    #[arg(long, default_value_t = 1)]
    patience: u32,
}

/// Runs them. The error of a failed scenario is on stdout; this one is for a run that could not
/// be.
pub(crate) fn run(args: &RunArgs) -> Result<bool> {
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| {
            args.only.is_empty() || args.only.iter().any(|only| case.name.starts_with(only))
        })
        .collect();
    if args.list {
        for case in cases {
            println!("{} {:?}", case.name, case.needs);
        }
        return Ok(true);
    }
    ensure!(!cases.is_empty(), "no scenario is named like {:?}; see --list", args.only);
    let agent = args.agent.clone().context("--agent is missing")?;
    let root = args.cgroup_root.clone().context("--cgroup-root is missing")?;
    clean_on_signal(&root)?;

    let scratch = Scratch::make()?;
    let node = Node::make(&root, &scratch.0.join("containers"))?;
    let host = Host::read(&node.burstable())?;
    let plan = Plan {
        path: agent,
        user: args.agent_user,
        capabilities: true,
        net_admin: true,
        dir: scratch.0.clone(),
        memlock_kib: None,
        pid_namespace: false,
    };
    let timeout = Duration::from_secs(10) * args.patience;

    // Containers are dropped before their Pods.
    let older_pod = node.pod("older-than-agent")?;
    let mut older = older_pod.container("app")?;
    older.start(&["--on-term", "handle", "--code", "4"], timeout)?;

    let mut agent = plan.start(&node, timeout * 2)?;
    println!(
        "agent {} ready after {:.2} s, kernel {}, logs in {}",
        agent.address(),
        agent.ready_after.as_secs_f64(),
        host.release,
        plan.dir.display()
    );
    let context = Context {
        node,
        host,
        plan,
        address: agent.address(),
        older: Mutex::new(Some((older, older_pod))),
        patience: args.patience,
    };

    let report = Report::default();
    let cases: Vec<_> = cases
        .iter()
        .map(|case| {
            runner::Case::new(case.name, |_| run_one(&context, case, args.strict)).alone(case.alone)
        })
        .collect();
    Runner { at_once: args.jobs, second_tries: 0 }.run(&cases, &report, |_| ());
    drop(cases);
    drop(context.older.lock().unwrap_or_else(PoisonError::into_inner).take());
    report.case("agent-loses-nothing", || cases::loses_nothing(&context).into());
    report.case("agent-stops", || stop(&mut agent, timeout).into());
    let counts = report.counts();
    if !counts.good() {
        println!("the agent: {}", agent.log_end());
    }
    println!("{counts}");
    Ok(counts.good())
}

fn stop(agent: &mut Agent, timeout: Duration) -> Result<String> {
    let status = agent.stop(timeout)?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    Ok(String::new())
}

fn run_one(context: &Context, case: &Case, strict: bool) -> Outcome<String> {
    for &need in case.needs {
        match context.host.has(need) {
            Met::Yes => {}
            Met::TooOld(reason) => {
                return Outcome::Skipped(format!("{reason} ({})", context.host.release));
            }
            Met::Withheld(reason) if strict => {
                return Outcome::Failed(Error::msg(format!(
                    "{reason}, which {} does not excuse",
                    context.host.release
                )));
            }
            Met::Withheld(reason) => return Outcome::Skipped(reason),
        }
    }
    (case.run)(context).into()
}
