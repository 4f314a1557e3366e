//! The agent under test, started as its Pod starts it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use testbed::agent::{Agent, LISTEN_FLAG, Output};

use crate::container::Node;
use crate::process::SELF_EXE;

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The binary.
    pub(crate) path: PathBuf,
    /// The user that it runs as; 0 keeps all capabilities.
    pub(crate) user: u32,
    /// With what its Pod asks for; without, it can load no program.
    pub(crate) capabilities: bool,
    /// With CAP_NET_ADMIN among that.
    pub(crate) net_admin: bool,
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
    /// `--kubelet.cgroup`.
    pub(crate) kubelet: Option<&'a Path>,
}

impl<'a> From<&'a Node> for Watch<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            mode: "kubernetes",
            source: "auto",
            root: node.root(),
            log_dir: node.log_dir(),
            kubelet: None,
        }
    }
}

impl Plan {
    /// Starts it at a free port and waits until it is ready.
    pub(crate) fn start<'a>(
        &self,
        watch: impl Into<Watch<'a>>,
        timeout: Duration,
    ) -> Result<Agent> {
        let mut command = self.command(watch.into())?;
        if self.pid_namespace {
            in_pid_namespace(|| Agent::start(&mut command, &self.dir, timeout))?
        } else {
            Agent::start(&mut command, &self.dir, timeout)
        }
        .context("start the agent")
    }

    /// Starts it at this address and does not wait.
    pub(crate) fn spawn<'a>(
        &self,
        watch: impl Into<Watch<'a>>,
        address: SocketAddr,
    ) -> Result<Agent> {
        let mut command = self.command(watch.into())?;
        command.args([LISTEN_FLAG, &address.to_string()]);
        Agent::spawn(&mut command, address, Output::LogIn(&self.dir))
    }

    fn command(&self, watch: Watch<'_>) -> Result<Command> {
        let Watch { mode, source, root, log_dir, kubelet } = watch;
        ensure!(self.path.exists(), "no agent at {}", self.path.display());
        let mut command = Command::new(SELF_EXE);
        command.arg("launch").args(["--user", &self.user.to_string()]);
        if !self.capabilities {
            command.arg("--no-capabilities");
        }
        if !self.net_admin {
            command.arg("--no-net-admin");
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
            // Each connection of the kubelet, and each exec session.
            .args(["--log.level", "info,agent::node::probes=debug"]);
        if let Some(kubelet) = kubelet {
            command.arg("--kubelet.cgroup").arg(kubelet);
        }
        Ok(command)
    }
}

/// Calls `start` so that its child is the first process of a new PID namespace.
fn in_pid_namespace<T>(start: impl FnOnce() -> T) -> Result<T> {
    let own = File::open("/proc/self/ns/pid").context("opening the PID namespace")?;
    // It is for the children of this thread alone.
    unshare(CloneFlags::CLONE_NEWPID).context("making a PID namespace")?;
    let started = start();
    setns(own, CloneFlags::CLONE_NEWPID).context("returning to the PID namespace")?;
    Ok(started)
}

/// How often the agent at this address has walked over all cgroups, as its landing page says.
pub(crate) fn walks(address: SocketAddr, timeout: Duration) -> Result<u32> {
    row(address, "walks over all cgroups", timeout)
}

/// A number on the landing page of the agent at this address.
pub(crate) fn row(address: SocketAddr, name: &str, timeout: Duration) -> Result<u32> {
    let number = text_row(address, name, timeout)?;
    number.parse().with_context(|| format!("{number:?} as {name}"))
}

/// What the landing page of the agent at this address says in a row, as HTML.
pub(crate) fn text_row(address: SocketAddr, name: &str, timeout: Duration) -> Result<String> {
    let page = testbed::http::get_text(address, "/", timeout)?;
    let row = page.split_once(&format!("<th>{name}</th><td>"));
    let cell = row.and_then(|(_, rest)| rest.split_once("</td>"));
    let (text, _) = cell.with_context(|| format!("the landing page has no row {name:?}"))?;
    Ok(text.to_owned())
}
