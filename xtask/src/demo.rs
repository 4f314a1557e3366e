//! The agent, and the demo it can watch where no container runs.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use testbed::{agent::until, http};

use crate::{
    cgroup,
    child::Child,
    stop,
    terminal::{note, try_say},
};

/// How long the demo may take to make its cgroups.
const DEMO_START: Duration = Duration::from_secs(20);
/// How long the agent may take to load its programs and be ready.
const AGENT_START: Duration = Duration::from_secs(30);
/// How long a GET may take.
const GET: Duration = Duration::from_secs(10);
/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(50);

/// `podvitals demo`: real processes in real cgroups.
pub(crate) struct Demo {
    child: Child,
    cgroup_root: PathBuf,
    log_dir: PathBuf,
}

impl Demo {
    /// Starts it if no container runs on this machine, or if it is `wanted`; says why.
    pub(crate) fn start_unless_busy(agent: &Path, wanted: bool) -> Result<Option<Self>> {
        let mount = testbed::cgroup::mount().ok();
        let container = mount.and_then(|mount| cgroup::find_container(&mount));
        if let Some(container) = container.filter(|_| !wanted) {
            println!(
                "containers run here, the first in {}; with --demo it watches a demo instead",
                container.display()
            );
            return Ok(None);
        }
        let why = if wanted { "as asked" } else { "no container runs on this machine" };
        println!("{why}: starting podvitals demo for something to watch");
        Self::start(agent).map(Some)
    }

    /// Starts it, and waits until it tells where its cgroups are.
    pub(crate) fn start(agent: &Path) -> Result<Self> {
        let mut command = Command::new(agent);
        command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Child::spawn("podvitals demo", &mut command)?;
        let stdout = child.take_stdout().context("the demo's output")?;
        let (sender, first_line) = mpsc::channel();
        // Reads on to the end, or the demo would block on a full pipe.
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            if let Some(line) = lines.next() {
                let _ = sender.send(line);
            }
            lines
                .filter(|line| !is_about_an_agent(line))
                .for_each(|line| try_say(format_args!("[demo] {line}")));
        });
        let line = match first_line.recv_timeout(DEMO_START) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("podvitals demo said nothing for {DEMO_START:?}")
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("podvitals demo ended ({:?}) without a DEMO line", child.stop()?)
            }
        };
        let (cgroup_root, log_dir) =
            parse(&line).with_context(|| format!("podvitals demo said {line:?}, no DEMO line"))?;
        Ok(Self { child, cgroup_root, log_dir })
    }

    /// What tells the agent to watch this demo.
    pub(crate) fn agent_args(&self) -> Vec<OsString> {
        vec![
            "--mode".into(),
            "kubernetes".into(),
            "--cgroup.root".into(),
            self.cgroup_root.clone().into(),
            "--pods.log-dir".into(),
            self.log_dir.clone().into(),
        ]
    }

    /// Its cgroups' root.
    pub(crate) fn cgroup_root(&self) -> &Path {
        &self.cgroup_root
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.child.ended()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Err(error) = self.child.stop() {
            note(format_args!("{error:#}"));
        }
        // The demo removes what it made; one that was killed could not.
        if self.cgroup_root.exists()
            && let Err(error) = testbed::cgroup::remove(&self.cgroup_root)
        {
            note(format_args!("left behind: {error:#}"));
        }
        if is_demos_own(&self.log_dir)
            && let Err(error) = fs::remove_dir_all(&self.log_dir)
        {
            note(format_args!("left behind: {}: {error}", self.log_dir.display()));
        }
    }
}

/// Whether a folder is there that a demo made for itself.
fn is_demos_own(dir: &Path) -> bool {
    let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with("podvitals-demo-") && dir.exists()
}

/// What tells the agent to watch `demo`, or this machine.
pub(crate) fn agent_args(demo: Option<&Demo>) -> Vec<OsString> {
    demo.map_or_else(|| vec!["--mode".into(), "auto".into()], Demo::agent_args)
}

/// Whether eBPF programs may be loaded; a clear word if not.
pub(crate) fn check_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "loading eBPF programs needs root: sudo env \"PATH=$PATH\" cargo xtask {}",
            std::env::args().skip(1).collect::<Vec<_>>().join(" ")
        );
    }
    Ok(())
}

/// Whether a line of the demo tells how to start an agent, which is started here.
fn is_about_an_agent(line: &str) -> bool {
    line == "Watch them with:" || line.starts_with("  podvitals agent ")
}

/// `DEMO cgroup_root=<dir> log_dir=<dir>`
fn parse(line: &str) -> Option<(PathBuf, PathBuf)> {
    let rest = line.strip_prefix("DEMO cgroup_root=")?;
    let (cgroup_root, log_dir) = rest.split_once(" log_dir=")?;
    let absolute = |dir: &str| Some(PathBuf::from(dir.trim())).filter(|dir| dir.is_absolute());
    Some((absolute(cgroup_root)?, absolute(log_dir)?))
}

/// Whether the agent could listen on `address`; a clear word if not.
pub(crate) fn check_free(address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_listener) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "{address} is in use by another process; choose another with \
             `-- --web.listen-address 127.0.0.1:PORT`"
        ),
        Err(error) => Err(error).with_context(|| format!("listen on {address}")),
    }
}

/// Starts the agent on `address` and waits until it is ready; how long that took. Its log goes to the
/// terminal, or to a file.
pub(crate) fn start_agent(
    agent: &Path,
    address: SocketAddr,
    args: &[OsString],
    log: Option<&Path>,
) -> Result<(Child, Duration)> {
    check_free(address)?;
    let mut command = Command::new(agent);
    command.arg("agent").args(args).stdin(Stdio::null());
    if let Some(log) = log {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        command.stdout(file.try_clone().context("share the agent's log")?).stderr(file);
    }
    let start = Instant::now();
    let mut child = Child::spawn("podvitals agent", &mut command)?;
    until(
        AGENT_START,
        POLL,
        || match child.ended()? {
            Some(status) => {
                let log = log.map(|log| format!(" (its log: {})", log.display()));
                bail!(
                    "podvitals agent ended before it was ready: {status}{}",
                    log.unwrap_or_default()
                )
            }
            None => stop::check(),
        },
        || http::get_text(address, "/readyz", GET).map(drop),
    )?;
    Ok((child, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_tells_where_it_is() {
        let line = "DEMO cgroup_root=/sys/fs/cgroup/demo log_dir=/tmp/a b";
        let expected = (PathBuf::from("/sys/fs/cgroup/demo"), PathBuf::from("/tmp/a b"));
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("DEMO cgroup_root=relative log_dir=/tmp"), None);
        assert_eq!(parse("hello"), None);
    }
}
