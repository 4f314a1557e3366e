//! Processes of ours: started with default signals, told by the kernel to end should we die, ended
//! in order.
//!
//! `nohup`, and a shell that runs `command &` in a script, leave SIGHUP, SIGINT and SIGQUIT ignored,
//! and a runner that waits for signals has them blocked. Both outlive `exec`. A process under test
//! must not depend on who started the test.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context as _, Result};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::Pid;

/// How long a child may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Gives the calling process default signal dispositions and an empty mask.
///
/// It makes system calls only, so it may be called between `fork` and `exec`. Nowhere else: it
/// takes away handlers that others have set.
///
/// # Errors
/// What the kernel says.
pub fn reset_signals() -> nix::Result<()> {
    for each in Signal::iterator() {
        if !matches!(each, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: the default disposition is no code of ours.
            unsafe { signal(each, SigHandler::SigDfl) }?;
        }
    }
    SigSet::empty().thread_set_mask()
}

/// Makes a command whose process has default signal dispositions and an empty mask.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    with_default_signals(&mut command);
    command
}

/// Gives the process of a command default signal dispositions and an empty mask.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only system calls are made: no allocation, no lock.
    unsafe { command.pre_exec(|| Ok(reset_signals()?)) }
}

/// Sends the process of a command this signal when the thread that starts it has ended.
pub fn dying_with_parent(command: &mut Command, signal: Signal) -> &mut Command {
    // SAFETY: between fork and exec one system call is made: no allocation, no lock.
    unsafe { command.pre_exec(move || prctl::set_pdeathsig(signal).map_err(io::Error::from)) }
}

/// A running process with a group of its own, ended when dropped.
///
/// A Ctrl-C reaches only the runner, which then ends its children in order.
#[derive(Debug)]
pub struct Child {
    name: String,
    inner: std::process::Child,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts a command under a name for messages. The calling thread must outlive the child,
    /// which gets SIGTERM otherwise.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        Self::spawn_with(name, command, Signal::SIGTERM)
    }

    /// The same with the signal that it gets when the calling thread ends first.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_with(
        name: impl Into<String>,
        command: &mut Command,
        when_alone: Signal,
    ) -> Result<Self> {
        let name = name.into();
        dying_with_parent(with_default_signals(command.process_group(0)), when_alone);
        let inner = command.spawn().with_context(|| {
            format!("start {name} ({})", command.get_program().to_string_lossy())
        })?;
        Ok(Self { name, inner, ended: None })
    }

    /// Process id; nobody else's before the end was waited for.
    ///
    /// # Errors
    /// If the kernel gives ids beyond `i32`.
    pub fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.inner.id()).context("a pid beyond i32")?))
    }

    /// The pipe to its standard input, once, if there is one.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.inner.stdin.take()
    }

    /// The pipe from its standard output, once, if there is one.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// Its status, if it has ended.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let ended = self.inner.try_wait();
            self.ended = ended.with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Waits at most `limit` for it to end by itself.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(POLL);
        }
    }

    /// Sends SIGTERM, and SIGKILL if it has not ended 10 s later.
    ///
    /// # Errors
    /// If it cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.terminate(PATIENCE)? {
            return Ok(status);
        }
        crate::note::note(format_args!(
            "{} did not end within {PATIENCE:?} of SIGTERM: killed",
            self.name
        ));
        self.kill()
    }

    /// Sends SIGTERM; `None` if it has not ended after `limit`.
    ///
    /// # Errors
    /// If it cannot be signalled or waited for.
    pub fn terminate(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        kill(self.pid()?, Signal::SIGTERM).with_context(|| format!("SIGTERM to {}", self.name))?;
        self.wait(limit)
    }

    /// Sends SIGKILL, for a process whose end needs no order.
    ///
    /// # Errors
    /// If it cannot be signalled or waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.inner.kill().with_context(|| format!("SIGKILL to {}", self.name))?;
        let status = self.inner.wait().with_context(|| format!("wait for {}", self.name))?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            crate::note::note(format_args!("{error:#}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn stop_ends_a_child_with_sigterm() {
        let mut sleep = Command::new("sleep");
        let mut child = Child::spawn("sleep", sleep.arg("60").stdin(Stdio::null())).unwrap();
        assert!(child.ended().unwrap().is_none());
        assert!(child.wait(Duration::from_millis(5)).unwrap().is_none());
        assert_eq!(child.stop().unwrap().signal(), Some(15));
        assert_eq!(child.stop().unwrap().signal(), Some(15), "a second stop changes nothing");
    }

    #[test]
    fn a_child_that_ignores_sigterm_is_killed() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "trap '' TERM; echo; while :; do sleep 1; done"]).stdout(Stdio::piped());
        let mut child = Child::spawn("sh", &mut sh).unwrap();
        // It says so when it ignores the signal.
        io::Read::read_exact(&mut child.take_stdout().unwrap(), &mut [0]).unwrap();
        assert!(child.terminate(Duration::from_millis(50)).unwrap().is_none());
        assert_eq!(child.kill().unwrap().signal(), Some(9));
    }

    /// The signals of a process, as a mask of the kernel's: 1 for the first.
    fn mask(status: &str, field: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    /// In a process of its own: what is ignored or blocked here would be so in other tests too.
    #[test]
    fn a_child_heeds_what_its_parent_ignores_and_blocks() {
        let mut cat = command("cat");
        cat.arg("/proc/self/status");
        // SAFETY: between fork and exec only system calls are made: no allocation, no lock.
        unsafe {
            cat.pre_exec(|| {
                for each in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
                    signal(each, SigHandler::SigIgn)?;
                }
                SigSet::all().thread_set_mask()?;
                Ok(())
            });
        }
        let ignoring = String::from_utf8(cat.output().unwrap().stdout).unwrap();
        assert_eq!(mask(&ignoring, "SigIgn:") & 0b111, 0b111, "{ignoring}");
        assert_ne!(mask(&ignoring, "SigBlk:"), 0, "{ignoring}");
        // The order of the hooks is the order of the calls.
        let default = with_default_signals(&mut cat).output().unwrap().stdout;
        let default = String::from_utf8(default).unwrap();
        assert_eq!(mask(&default, "SigIgn:") & 0x7fff_ffff, 0, "{default}");
        assert_eq!(mask(&default, "SigBlk:"), 0, "{default}");
    }

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let child = thread::spawn(|| {
            let mut sleep = Command::new("sleep");
            Child::spawn_with("sleep", sleep.arg("60"), Signal::SIGKILL).unwrap()
        });
        let mut child = child.join().unwrap();
        let status = child.wait(PATIENCE).unwrap().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
