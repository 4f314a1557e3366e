//! A process under measurement that serves metrics on loopback.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::time::{clock_getcpuclockid, clock_gettime};
use testbed::agent::{Agent, LISTEN_FLAG, Output};
use testbed::http;
use testbed::scrape::Scrape;

use crate::cgroups::Node;
use crate::context::Args;

/// How long a start may take, and an orderly end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(2);
/// How long a GET may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The headers of a GET.
pub(crate) type Headers = &'static [(&'static str, &'static str)];

/// Who asks so is a scraper.
pub(crate) const SCRAPER: (&str, &str) = ("X-Prometheus-Scrape-Timeout-Seconds", "10");

/// Plain text, as Prometheus asks for it.
pub(crate) const TEXT: Headers = &[("Accept", "text/plain;version=0.0.4"), SCRAPER];

/// Waits until the next scrape has a look of its own: one serves all scrapes of a second.
pub(crate) fn rest() {
    std::thread::sleep(Duration::from_millis(1010));
}

/// It is ended when dropped.
pub(crate) struct Server {
    agent: Agent,
    _folder: tempfile::TempDir,
}

impl Server {
    /// The agent, when it shows all containers of the node.
    pub(crate) fn agent(args: &Args, node: &Node, more: &[&str]) -> Result<Self> {
        let wanted = node.containers.len();
        let mut command = Command::new(&args.agent);
        command.args(["agent", "--mode", "kubernetes", "--pods.source", "none"]);
        command.arg("--cgroup.root").arg(node.root());
        command.arg("--pods.log-dir").arg(node.log_dir());
        command.args(more);
        let mut server = Self::spawn(&mut command, LISTEN_FLAG)?;
        server.wait(|body| {
            let shown = |line: &&str| line.starts_with("podvitals_container_start_time_seconds{");
            body.lines().filter(shown).count() >= wanted
        })?;
        Ok(server)
    }

    /// Any exporter that takes the name of its flag for `address:port`.
    pub(crate) fn peer(command: &mut Command, flag: &str) -> Result<Self> {
        let mut server = Self::spawn(command, flag)?;
        server.wait(|body| body.contains("# TYPE "))?;
        Ok(server)
    }

    /// One that nobody has looked at yet.
    pub(crate) fn spawn(command: &mut Command, flag: &str) -> Result<Self> {
        let address = http::free_address()?;
        command.arg(format!("{flag}={address}"));
        let folder = tempfile::tempdir().context("make a folder for a log")?;
        let agent = Agent::spawn(command, address, Output::LogIn(folder.path()))?;
        Ok(Self { agent, _folder: folder })
    }

    /// Waits for a scrape that is as wanted.
    pub(crate) fn wait(&mut self, good: impl Fn(&str) -> bool) -> Result<()> {
        let mut answer = Vec::new();
        self.agent.wait_until(PATIENCE, POLL, |address| {
            http::get_into(address, "/metrics", TEXT, TIMEOUT, &mut answer)?;
            ensure!(good(body(&answer)?), "not all is shown");
            Ok(())
        })
    }

    /// From its start to the first scrape that had what was asked for.
    pub(crate) fn ready_after(&self) -> Duration {
        self.agent.ready_after
    }

    /// The body of one scrape, with a look of its own.
    pub(crate) fn scrape(&self) -> Result<String> {
        rest();
        let mut answer = Vec::new();
        self.get_into(TEXT, &mut answer)?;
        body(&answer).map(str::to_owned)
    }

    /// Duration of one scrape, into a buffer that is there already. [`rest`] comes before.
    pub(crate) fn time_scrape(&self, answer: &mut Vec<u8>) -> Result<Duration> {
        let start = Instant::now();
        self.get_into(TEXT, answer)?;
        Ok(start.elapsed())
    }

    /// One scrape in some format and coding, all of the answer.
    pub(crate) fn get_into(&self, headers: Headers, answer: &mut Vec<u8>) -> Result<()> {
        http::get_into(self.agent.address(), "/metrics", headers, TIMEOUT, answer)
    }

    /// One scrape of the agent, understood.
    pub(crate) fn read(&self) -> Result<Scrape> {
        Scrape::parse(&self.scrape()?)
    }

    /// CPU time of all its threads, those that have ended included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.agent.pid()?).context("clock_getcpuclockid")?;
        Ok(clock_gettime(clock).context("clock_gettime of a process")?.into())
    }

    /// Resident memory when the last answer is gone: it is shared for a second.
    pub(crate) fn rss_at_rest_bytes(&self) -> Result<u64> {
        std::thread::sleep(Duration::from_millis(2300));
        self.rss_bytes()
    }

    /// Resident memory now.
    pub(crate) fn rss_bytes(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The part of it that is a file's: the program, and maps of the kernel side.
    pub(crate) fn rss_file_bytes(&self) -> Result<u64> {
        self.status("RssFile:")
    }

    /// Resident memory at its most.
    pub(crate) fn peak_rss_bytes(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.agent.pid()?);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field));
        let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
        let kib: u64 = value.with_context(|| format!("no {field} in {path}"))?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// Ends it as a node would.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.agent.stop(PATIENCE).map(drop)
    }
}

/// The body of a whole answer.
fn body(answer: &[u8]) -> Result<&str> {
    let answer = str::from_utf8(answer).context("the answer is not UTF-8")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok(body)
}
