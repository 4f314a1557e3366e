//! What every scenario is given.

use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use testbed::agent::{log_file, scrape};
use testbed::scrape::{Key, Scrape};

use crate::agent::Plan;
use crate::container::{Container, Node, Pod};
use crate::host::Host;
use crate::oom_line::OomLine;
use crate::signal::Sender;

/// The node, its host and the agent under test.
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
    /// What every deadline is multiplied by.
    pub(crate) patience: u32,
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

    /// The first line of the agent's log that is wanted, once it is there.
    pub(crate) fn log_line(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let path = log_file(&self.plan.dir, self.address);
        self.eventually(|_| {
            let log = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let log = String::from_utf8_lossy(&log).into_owned();
            log.lines().find(|line| wanted(line)).map(str::to_owned).context("no such line")
        })
    }

    /// The line about the only OOM kill of a container, once the agent has logged it.
    pub(crate) fn oom_line(&self, key: &Key) -> Result<OomLine> {
        let path = log_file(&self.plan.dir, self.address);
        self.eventually(|_| {
            let log = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            OomLine::find(&String::from_utf8_lossy(&log), key)
        })
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
