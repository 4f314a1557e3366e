//! The kubelet in a place that nobody knows: it is found by its process, and what only looks like it is
//! not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testbed::agent::Agent;
use testbed::cgroup::Cgroup;

use super::common::Case;
use crate::agent::{Watch, row, text_row};
use crate::context::Context;
use crate::process::{Process, Spawn};

pub(super) const CASES: &[fn() -> Case] = &[|| Case::new("kubelet-by-its-process", by_its_process)];

/// Name of the row, as HTML.
const ROW: &str = "the kubelet&#39;s connections";
const FOUND: &str = "found by its process";
/// What the agent says when it has looked and there is none.
const NOBODY: &str = "no process of root&#39;s outside of Pods has its name";
/// Time between two looks of the agent.
const LOOK: Duration = Duration::from_secs(10);
const POD: &str = "kubepods.slice/kubepods-burstable.slice/\
                   kubepods-burstable-pod5e2c8a7b_1f6d_4c39_9a40_7d1b3e5f8c27.slice";

/// A node whose kubelet is in no usual place.
struct Odd<'a> {
    context: &'a Context,
    // What runs here is reaped before its cgroups are removed.
    processes: Vec<Process>,
    root: Cgroup,
    to: SocketAddr,
}

impl<'a> Odd<'a> {
    fn make(context: &'a Context) -> Result<Self> {
        let root = Cgroup::make(context.node.root().join("kubelet-by-its-process"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening")?;
        let to = listener.local_addr().context("the server's address")?;
        thread::spawn(move || while listener.accept().is_ok() {});
        Ok(Self { context, processes: Vec::new(), root, to })
    }

    fn cgroup(&self, path: &str) -> Result<PathBuf> {
        let dir = self.root.dir().join(path);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }

    /// Starts a process in a cgroup that passes for the kubelet.
    fn start(&self, path: &str, more: &[&str]) -> Result<Process> {
        let dir = self.cgroup(path)?;
        let args = [&["work", "--comm", "kubelet"], more].concat();
        let mut process = Spawn::scenarios(args).cgroup(&dir).start()?;
        process.expect_line("ready", self.context.timeout())?;
        Ok(process)
    }

    fn agent(&self) -> Result<Agent> {
        let log_dir = PathBuf::from("/nonexistent");
        let watch =
            Watch { root: self.root.dir(), log_dir: &log_dir, ..Watch::from(&self.context.node) };
        self.context.plan.start(watch, self.context.timeout() * 2)
    }

    /// Waits until the agent says so of the kubelet's connections; returns how long that took.
    fn says(&self, agent: &Agent, words: &[&str]) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            let said = text_row(agent.address(), ROW, self.context.timeout())?;
            if words.iter().all(|words| said.contains(words)) {
                return Ok(begin.elapsed());
            }
            let late = begin.elapsed() > LOOK * 3 + self.context.timeout();
            ensure!(!late, "{said:?} is said, not {words:?}:\n{}", agent.log_end());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has a process of this name connect from a cgroup.
    fn connect(&self, dir: &Path, comm: &str) -> Result<()> {
        let args = ["connect", "--comm", comm, "--to", &self.to.to_string(), "--timeout-ms", "1"];
        let mut process = Spawn::scenarios(args).cgroup(dir).start()?;
        while process.line(self.context.timeout())?.is_some() {}
        process.end_ns(self.context.timeout())?;
        process.reap().map(drop)
    }

    /// The connections that the agent sees, of all that are made: one as the kubelet, one of another
    /// process of its cgroup, and one that is called so, in a Pod.
    fn observes_one(&self, agent: &Agent, dir: &Path) -> Result<()> {
        const LINE: &str = "a connection of the kubelet connection=";
        let count = || Ok::<_, anyhow::Error>(agent.log()?.matches(LINE).count());
        let before = count()?;
        let pod = self.cgroup(&container())?;
        for (dir, comm) in [(dir, "other"), (pod.as_path(), "kubelet"), (dir, "kubelet")] {
            self.connect(dir, comm)?;
        }
        let begin = Instant::now();
        while count()? == before {
            ensure!(begin.elapsed() < self.context.timeout(), "none is seen:\n{}", agent.log_end());
            thread::sleep(Duration::from_millis(50));
        }
        // Should another be told, it comes within a second.
        self.context.pause(Duration::from_millis(1500));
        ensure!(count()? == before + 1, "{} are seen", count()? - before);
        Ok(())
    }

    fn stop(&self, mut agent: Agent) -> Result<()> {
        let status = agent.stop(self.context.timeout())?;
        ensure!(status.success(), "SIGTERM ended the agent with {status}");
        Ok(())
    }
}

/// The cgroup of a Pod's container.
fn container() -> String {
    format!("{POD}/cri-containerd-{}.scope", "3c".repeat(32))
}

/// A Pod's process and another user's are not taken. The kubelet is, after it has been there for some
/// seconds: when it comes later than the agent, after a restart at once, and when it was there before.
fn by_its_process(context: &Context) -> Result<String> {
    const PLACE: &str = "unusual.slice/node-agent";
    let mut odd = Odd::make(context)?;
    for (path, more) in [
        (container(), &[] as &[&str]),
        ("user.slice/user-65534.slice/session-1.scope".to_owned(), &["--uid", "65534"]),
    ] {
        let process = odd.start(&path, more)?;
        odd.processes.push(process);
    }
    let agent = odd.agent()?;
    odd.says(&agent, &[NOBODY])?;
    // Two more looks.
    thread::sleep(LOOK * 2 + Duration::from_secs(1));
    let said = text_row(agent.address(), ROW, context.timeout())?;
    ensure!(said.contains(NOBODY), "{said:?} is said");

    let short = odd.start("short", &["--exit-after-ms", "1000"])?;
    let kubelet = odd.start(PLACE, &[])?;
    let later = odd.says(&agent, &[PLACE, FOUND])?;
    let dir = odd.cgroup(PLACE)?;
    odd.observes_one(&agent, &dir)?;
    drop((short, kubelet));
    testbed::cgroup::remove(&dir)?;
    odd.says(&agent, &["not observed"])?;
    let found = row(agent.address(), "times that they were found", context.timeout())?;
    let kubelet = odd.start(PLACE, &[])?;
    let again = odd.says(&agent, &[PLACE, FOUND])?;
    ensure!(again < LOOK / 2 * context.patience, "found again after {again:?} only");
    ensure!(row(agent.address(), "times that they were found", context.timeout())? == found + 1);
    odd.observes_one(&agent, &dir)?;
    odd.processes.push(kubelet);
    odd.stop(agent)?;

    let agent = odd.agent()?;
    let before = odd.says(&agent, &[PLACE, FOUND])?;
    odd.observes_one(&agent, &dir)?;
    odd.stop(agent)?;
    let [later, again, before] = [later, again, before].map(|time| time.as_secs_f64());
    Ok(format!(
        "found {later:.1} s after its start, {again:.1} s after a restart, {before:.1} s after the \
         agent's start"
    ))
}
