//! The runner: a node's tree, an agent, and all scenarios against it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};

use crate::agent::{Agent, Plan, scrape};
use crate::cases::{self, Case};
use crate::container::{Container, Node, Pod, remove_tree};
use crate::host::{Host, Met};
use crate::report::{Outcome, Report};
use crate::scrape::Scrape;
use crate::signal::Sender;

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
    /// The user that the agent runs as, with CAP_BPF and CAP_PERFMON only; 0: root with all.
    #[arg(long, default_value_t = 65534)]
    agent_user: u32,
    /// How many scenarios at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Multiply every deadline by this: for emulated machines.
    #[arg(long, default_value_t = 1)]
    patience: u32,
}

/// What every scenario is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The tree.
    pub(crate) node: Node,
    /// This host.
    pub(crate) host: Host,
    /// How agents are started.
    pub(crate) plan: Plan,
    /// The agent under test.
    pub(crate) address: SocketAddr,
    /// A container that was there before the agent.
    pub(crate) older: Mutex<Option<(Container, Pod)>>,
    patience: u32,
}

impl Context {
    /// A deadline for things that take about no time.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(10) * self.patience
    }

    /// Sleeps that long, times the patience.
    pub(crate) fn pause(&self, time: Duration) {
        std::thread::sleep(time * self.patience);
    }

    /// One scrape of another agent, until `check` is content.
    pub(crate) fn eventually_at<T>(
        &self,
        address: SocketAddr,
        mut check: impl FnMut(&Scrape) -> Result<T>,
    ) -> Result<T> {
        self.eventually(|_| check(&scrape(address, self.timeout())?))
    }

    /// One scrape.
    pub(crate) fn scrape(&self) -> Result<Scrape> {
        scrape(self.address, self.timeout())
    }

    /// Scrapes until `check` is content, [`Self::timeout`] at most.
    pub(crate) fn eventually<T>(&self, check: impl FnMut(&Scrape) -> Result<T>) -> Result<T> {
        self.eventually_within(self.timeout(), check)
    }

    /// Scrapes until `check` is content. A scrape that fails, or is not well-formed, is an error
    /// at once.
    pub(crate) fn eventually_within<T>(
        &self,
        timeout: Duration,
        mut check: impl FnMut(&Scrape) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            match check(&self.scrape()?) {
                Ok(value) => return Ok(value),
                Err(error) if start.elapsed() > timeout => {
                    return Err(error.context(format!("not so after {timeout:?}")));
                }
                Err(_) => self.pause(Duration::from_millis(50)),
            }
        }
    }

    /// `sender` sends a signal to the container's init; `CLOCK_BOOTTIME` just before kill(2).
    pub(crate) fn signal(
        &self,
        sender: &Sender<'_>,
        container: &Container,
        signal: Signal,
    ) -> Result<u64> {
        let sent = sender.send(container.pid()?, &[signal], self.timeout())?;
        sent.first().copied().context("no time reported")
    }

    /// Waits until the agent has seen all that happened before: a container made now has ended in
    /// its eyes too.
    pub(crate) fn fence(&self, name: &str) -> Result<()> {
        let pod = self.node.pod(&format!("{name}-fence"))?;
        let mut container = pod.container("app")?;
        container.start(&["--exit-after-ms", "0"], self.timeout())?;
        container.wait(self.timeout())?;
        container.remove_cgroup()?;
        self.eventually(|s| {
            s.of(&container.key).want("terminations_total", &[("cause", "completed")], 1.0)
        })
    }
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
        dir: scratch.0.clone(),
        memlock_kib: None,
        pid_namespace: false,
    };
    let timeout = Duration::from_secs(10) * args.patience;

    // Containers are dropped before their Pods.
    let older_pod = node.pod("older-than-agent")?;
    let mut older = older_pod.container("app")?;
    older.start(&["--on-term", "handle", "--code", "4"], timeout)?;

    let report = Report::default();
    let mut agent = plan.start(&node, timeout * 2)?;
    println!(
        "agent {} ready after {:.2} s, kernel {}, log {}",
        agent.address(),
        agent.ready_after.as_secs_f64(),
        host.release,
        agent.log().display()
    );
    let context = Context {
        node,
        host,
        plan,
        address: agent.address(),
        older: Mutex::new(Some((older, older_pod))),
        patience: args.patience,
    };

    run_all(&context, &cases, args, &report);
    drop(context.older.lock().unwrap_or_else(PoisonError::into_inner).take());
    report.add("agent-loses-nothing", &outcome(cases::loses_nothing(&context)));
    report.add("agent-stops", &outcome(stop(&mut agent, timeout)));
    let counts = report.counts();
    if !counts.good() {
        println!("{}", agent.log_end());
    }
    println!("{counts}");
    Ok(counts.good())
}

fn stop(agent: &mut Agent, timeout: Duration) -> Result<String> {
    let status = agent.stop(timeout)?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    Ok(String::new())
}

fn outcome(result: Result<String>) -> Outcome {
    match result {
        Ok(figures) => Outcome::Ok(figures),
        Err(error) => Outcome::Failed(error),
    }
}

/// First those that bear company, `jobs` at once, then the others.
fn run_all(context: &Context, cases: &[Case], args: &RunArgs, report: &Report) {
    let (alone, company): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.alone);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some(case) = company.get(next.fetch_add(1, Ordering::Relaxed)) {
                    report.add(case.name, &run_one(context, case, args.strict));
                }
            });
        }
    });
    for case in alone {
        report.add(case.name, &run_one(context, case, args.strict));
    }
}

fn run_one(context: &Context, case: &Case, strict: bool) -> Outcome {
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
    outcome((case.run)(context))
}

/// A folder of our own, world-readable, removed in the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// Makes it.
    pub(crate) fn make() -> Result<Self> {
        let dir = Self::path();
        std::fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self(dir))
    }

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("podvitals-scenarios-{}", std::process::id()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("scenarios: removing {}: {error}", self.0.display());
        }
    }
}

/// On SIGINT or SIGTERM, leaves nothing behind. Call it before any other thread is started.
pub(crate) fn clean_on_signal(root: &Path) -> Result<()> {
    let made_root = !root.exists();
    let root = root.to_owned();
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block().context("blocking signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || -> Result<()> {
            let Ok(signal) = set.wait() else { bail!("sigwait") };
            eprintln!("scenarios: {signal}: cleaning up");
            let ours = if made_root { root } else { root.join("kubepods.slice") };
            if let Err(error) = remove_tree(&ours) {
                eprintln!("scenarios: {error:#}");
            }
            // It may not have been made yet.
            let _ = std::fs::remove_dir_all(Scratch::path());
            std::process::exit(130)
        })
        .context("starting a thread")?;
    Ok(())
}
