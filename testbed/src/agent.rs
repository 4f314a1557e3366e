//! The agent under test: a real process at a port of its own, ready, and ended in order.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::child::Child;
use crate::http;
use crate::scrape::Scrape;

/// The flag that tells the agent where to listen.
pub const LISTEN_FLAG: &str = "--web.listen-address";

/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);
/// Lines of the log that an error shows.
const LOG_LINES: usize = 40;

/// A running agent, or any other server of metrics. Dropped, it is killed.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    address: SocketAddr,
    log: Option<PathBuf>,
    started: Instant,
    /// Time from its start until it was ready.
    pub ready_after: Duration,
}

/// Where a process writes its output.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// To the file `agent-<port>.log` in this folder, at its end: errors show the last lines.
    LogIn(&'a Path),
    /// Where this process writes.
    Inherited,
}

/// The log that an agent at this address writes in a folder.
#[must_use]
pub fn log_file(dir: &Path, address: SocketAddr) -> PathBuf {
    dir.join(format!("agent-{}.log", address.port()))
}

impl Agent {
    /// Starts a command at a free port, which it is told by [`LISTEN_FLAG`], and waits until it is
    /// ready.
    ///
    /// # Errors
    /// If it is not ready within `limit`, or ends: with the end of its log.
    pub fn start(command: &mut Command, log_dir: &Path, limit: Duration) -> Result<Self> {
        let address = http::free_address()?;
        command.arg(format!("{LISTEN_FLAG}={address}"));
        let mut agent = Self::spawn(command, address, Output::LogIn(log_dir))?;
        agent.wait_ready(limit)?;
        Ok(agent)
    }

    /// Starts a command that will listen at this address, and does not wait. The calling thread
    /// must outlive it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command, address: SocketAddr, output: Output<'_>) -> Result<Self> {
        let log = match output {
            Output::Inherited => None,
            Output::LogIn(dir) => Some(log_file(dir, address)),
        };
        if let Some(log) = &log {
            let file = File::options().create(true).append(true).open(log);
            let file = file.with_context(|| format!("make {}", log.display()))?;
            command.stdout(file.try_clone().context("duplicate the log")?).stderr(file);
        }
        command.stdin(Stdio::null());
        let name = command.get_program().to_string_lossy().into_owned();
        let child = Child::spawn_with(name, command, Signal::SIGKILL)?;
        let started = Instant::now();
        Ok(Self { child, address, log, started, ready_after: Duration::ZERO })
    }

    /// Waits until its `/readyz` answers 200.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        self.wait_until(limit, POLL, |address| http::get_text(address, "/readyz", LOOK).map(drop))
    }

    /// Waits until a look at it succeeds; looks again after each `pause`.
    ///
    /// # Errors
    /// If none does within `limit`, or it ends: with the end of its log.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        pause: Duration,
        mut look: impl FnMut(SocketAddr) -> Result<()>,
    ) -> Result<()> {
        let alive = || match self.child.ended()? {
            Some(status) => bail!("it ended before it was ready: {status}"),
            None => Ok(()),
        };
        let ready = until(limit, pause, alive, || look(self.address));
        self.ready_after = self.started.elapsed();
        ready.map_err(|error| anyhow!("{error:#}\n{}", self.log_end()))
    }

    /// Address where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Process id.
    ///
    /// # Errors
    /// If the kernel gives ids beyond `i32`.
    pub fn pid(&self) -> Result<Pid> {
        self.child.pid()
    }

    /// Its log so far, whole.
    ///
    /// # Errors
    /// If it writes none of its own, or that cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.log.as_ref().context("it has no log of its own")?;
        let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The last lines of its log, for a message.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = match self.log() {
            Ok(text) => text,
            Err(error) => return format!("{error:#}"),
        };
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        format!("its log ends:\n{}", lines.get(from..).unwrap_or_default().join("\n"))
    }

    /// Its status, if it has ended.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.ended()
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = self.child.wait(limit)?;
        status.with_context(|| format!("it did not end in {limit:?}\n{}", self.log_end()))
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// If it does not end within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = self.child.terminate(limit)?;
        status.with_context(|| {
            format!("it did not end within {limit:?} of SIGTERM\n{}", self.log_end())
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            crate::note::note(format_args!("{error:#}"));
        }
    }
}

/// Waits until a look succeeds; looks again after each `pause`. An error of `alive`, which is asked
/// before each look, ends the wait.
///
/// # Errors
/// That of `alive`, or of the last look within `limit`.
pub fn until(
    limit: Duration,
    pause: Duration,
    mut alive: impl FnMut() -> Result<()>,
    mut look: impl FnMut() -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        alive()?;
        match look() {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("not ready in {limit:?}")));
            }
            Err(_) => std::thread::sleep(pause),
        }
    }
}

/// One scrape of the agent at this address.
///
/// # Errors
/// If there is no answer within `limit`, or it is not well-formed.
pub fn scrape(address: SocketAddr, limit: Duration) -> Result<Scrape> {
    Scrape::parse(&http::get_text(address, "/metrics", limit)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        command
    }

    #[test]
    fn an_agent_that_ends_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = sh("echo \"no room at $1\"; exit 3");
        let error = Agent::start(&mut command, dir.path(), LIMIT).unwrap_err().to_string();
        for word in ["ended before", "exit status: 3", "no room at --web.listen-address=127.0.0.1:"]
        {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_agent_that_is_not_ready_shows_why_and_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("echo $$ > {}; echo waiting; exec sleep 60", pid.display());
        let limit = Duration::from_millis(300);
        let error = Agent::start(&mut sh(&script), dir.path(), limit).unwrap_err();
        let error = format!("{error:#}");
        for word in ["not ready in 300ms", "waiting", "/readyz", "Connection refused"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        let pid = fs::read_to_string(pid).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "{pid} runs");
    }

    /// The port is served here, the process is another: readiness is what the port says.
    #[test]
    fn an_agent_is_ready_when_it_says_so_and_ends_with_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 256]).unwrap();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
        let mut command = sh("trap 'echo bye; exit 7' TERM; while :; do sleep 0.01; done");
        let mut agent = Agent::spawn(&mut command, address, Output::LogIn(dir.path())).unwrap();
        agent.wait_ready(LIMIT).unwrap();
        assert!(agent.ready_after >= POLL && agent.ended().unwrap().is_none());
        assert_eq!(agent.stop(LIMIT).unwrap().code(), Some(7));
        assert!(agent.log_end().ends_with("bye"));
    }
}
