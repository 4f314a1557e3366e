//! The agent under test: a real process, started as its Pod starts it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::container::Node;
use crate::http;
use crate::process::SELF_EXE;
use crate::scrape::Scrape;

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The binary.
    pub(crate) path: PathBuf,
    /// The user that it runs as; 0 keeps all capabilities.
    pub(crate) user: u32,
    /// With what its Pod asks for; without, it can load no program.
    pub(crate) capabilities: bool,
    /// For its log.
    pub(crate) dir: PathBuf,
    /// How much memory it may lock, KiB.
    pub(crate) memlock_kib: Option<u64>,
    /// In a PID namespace of its own, as in a Pod without hostPID.
    pub(crate) pid_namespace: bool,
}

/// What it is to watch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    /// `--mode`.
    pub(crate) mode: &'a str,
    /// `--cgroup.source`.
    pub(crate) source: &'a str,
    /// `--cgroup.root`.
    pub(crate) root: &'a Path,
    /// `--pods.log-dir`.
    pub(crate) log_dir: &'a Path,
}

impl<'a> From<&'a Node> for Watch<'a> {
    fn from(node: &'a Node) -> Self {
        Self { mode: "kubernetes", source: "auto", root: node.root(), log_dir: node.log_dir() }
    }
}

/// A running agent. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    /// From its start to its first `/readyz`.
    pub(crate) ready_after: Duration,
}

impl Plan {
    /// Starts it at a free port and waits until it is ready.
    pub(crate) fn start<'a>(
        &self,
        watch: impl Into<Watch<'a>>,
        timeout: Duration,
    ) -> Result<Agent> {
        // Another process may take the port in between: then the start says so.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
        let address = listener.local_addr().context("looking for a port")?;
        drop(listener);
        let mut agent = self.spawn(watch, address)?;
        agent.wait_ready(timeout).with_context(|| agent.log_end())?;
        Ok(agent)
    }

    /// Starts it at this address and does not wait.
    pub(crate) fn spawn<'a>(
        &self,
        watch: impl Into<Watch<'a>>,
        address: SocketAddr,
    ) -> Result<Agent> {
        let Watch { mode, source, root, log_dir } = watch.into();
        ensure!(self.path.exists(), "no agent at {}", self.path.display());
        let log = self.dir.join(format!("agent-{}.log", address.port()));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new(SELF_EXE);
        command.arg("launch").args(["--user", &self.user.to_string()]);
        if !self.capabilities {
            command.arg("--no-capabilities");
        }
        if let Some(kib) = self.memlock_kib {
            command.args(["--memlock-kib", &kib.to_string()]);
        }
        command
            .arg("--")
            .arg(&self.path)
            .args(["agent", "--mode", mode, "--cgroup.source", source])
            .arg("--cgroup.root")
            .arg(root)
            .args(["--pods.source", "none"])
            .arg("--pods.log-dir")
            .arg(log_dir)
            .args(["--web.listen-address", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("duplicating the log")?)
            .stderr(out);
        let child = if self.pid_namespace {
            in_pid_namespace(|| command.spawn())?
        } else {
            command.spawn()
        };
        let child = child.context("starting the agent")?;
        Ok(Agent { child, address, log, ready_after: Duration::ZERO })
    }
}

/// Calls `spawn` so that its child is the first process of a new PID namespace.
fn in_pid_namespace<T>(spawn: impl FnOnce() -> T) -> Result<T> {
    let own = File::open("/proc/self/ns/pid").context("opening the PID namespace")?;
    // It is for the children of this thread alone.
    unshare(CloneFlags::CLONE_NEWPID).context("making a PID namespace")?;
    let spawned = spawn();
    setns(own, CloneFlags::CLONE_NEWPID).context("returning to the PID namespace")?;
    Ok(spawned)
}

impl Agent {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn wait_ready(&mut self, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for the agent")? {
                bail!("the agent ended before it was ready: {status}");
            }
            let last = match http::get(self.address, "/readyz", Duration::from_secs(5)) {
                Ok(answer) if answer.status == 200 => {
                    self.ready_after = start.elapsed();
                    return Ok(());
                }
                Ok(answer) => format!("/readyz says {}", answer.status),
                Err(error) => format!("{error:#}"),
            };
            ensure!(start.elapsed() < timeout, "the agent was not ready in {timeout:?}: {last}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, if it comes in time.
    pub(crate) fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for the agent")? {
                return Ok(status);
            }
            ensure!(start.elapsed() < timeout, "the agent did not end in {timeout:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM).context("stopping the agent")?;
        self.wait_exit(timeout)
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let end = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
        format!("the agent's log ends:\n{end}")
    }

    /// Its log, whole.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

/// One scrape of the agent at this address.
pub(crate) fn scrape(address: SocketAddr, timeout: Duration) -> Result<Scrape> {
    let answer = http::get(address, "/metrics", timeout)?;
    ensure!(answer.status == 200, "/metrics says {}", answer.status);
    let text = String::from_utf8(answer.body).context("the scrape is not UTF-8")?;
    Scrape::parse(&text)
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After an orderly stop both fail: it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
