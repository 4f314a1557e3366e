//! A process under measurement that serves metrics on loopback.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::cgroups::Node;
use crate::context::Args;
use crate::exposition::Exposition;
use crate::http::{self, Headers};

/// How long a start may take, and an orderly end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(2);

/// It is ended when dropped.
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    address: SocketAddr,
    log: PathBuf,
    _folder: tempfile::TempDir,
    /// From its start to the first scrape that had what was asked for.
    pub(crate) ready_after: Duration,
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
        let mut server = Self::spawn(&mut command, "--web.listen-address")?;
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let address = listener.local_addr().context("find a free port")?;
        drop(listener);
        command.arg(format!("{flag}={address}"));
        let folder = tempfile::tempdir().context("make a folder for a log")?;
        let log = folder.path().join("log");
        let file = File::create(&log).context("create a log")?;
        command.stdin(Stdio::null()).stdout(file.try_clone().context("share a log")?).stderr(file);
        // SAFETY: between fork and exec only one system call is made: no allocation, no lock.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let child =
            command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid beyond i32")?);
        Ok(Self { child, pid, address, log, _folder: folder, ready_after: Duration::ZERO })
    }

    /// Waits for a scrape that is as wanted.
    pub(crate) fn wait(&mut self, good: impl Fn(&str) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("wait for a child")? {
                bail!("it ended at its start: {status}: {}", self.log_end());
            }
            let answer = http::get(self.address, "/metrics");
            if answer.as_ref().is_ok_and(|body| good(body)) {
                self.ready_after = start.elapsed();
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let why = answer.err().map_or("not all is shown".into(), |e| format!("{e:#}"));
                bail!("not ready after {PATIENCE:?}: {why}: {}", self.log_end());
            }
            std::thread::sleep(POLL);
        }
    }

    fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
    }

    /// The body of one scrape.
    pub(crate) fn scrape(&self) -> Result<String> {
        http::get(self.address, "/metrics")
    }

    /// How long one scrape takes, into a buffer that is there already.
    pub(crate) fn time_scrape(&self, answer: &mut Vec<u8>) -> Result<Duration> {
        let start = Instant::now();
        self.get_into(&Headers::TEXT, answer)?;
        Ok(start.elapsed())
    }

    /// One scrape in some format and coding, all of the answer.
    pub(crate) fn get_into(&self, headers: &Headers<'_>, answer: &mut Vec<u8>) -> Result<()> {
        http::get_into(self.address, "/metrics", headers, answer)
    }

    /// One scrape, understood.
    pub(crate) fn read(&self) -> Result<Exposition> {
        Exposition::parse(&self.scrape()?)
    }

    /// CPU time of all its threads, those that have ended included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid).context("clock_getcpuclockid")?;
        Ok(clock_gettime(clock).context("clock_gettime of a process")?.into())
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
        let path = format!("/proc/{}/status", self.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field));
        let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
        let kib: u64 = value.with_context(|| format!("no {field} in {path}"))?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// Ends it as a node would.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(self.pid, Signal::SIGTERM).context("SIGTERM")?;
        let start = Instant::now();
        while self.child.try_wait().context("wait for a child")?.is_none() {
            ensure!(start.elapsed() < PATIENCE, "it did not heed SIGTERM");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an orderly stop both fail: it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
