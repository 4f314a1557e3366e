//! Long-lived processes of ours: the agent, its demo, Prometheus, QEMU.
//!
//! Each gets a process group of its own, so a Ctrl-C reaches only this tool, which then ends them
//! in order; and each is told by the kernel to end should this tool die before it could.

use std::{
    os::unix::process::CommandExt as _,
    process::{ChildStdout, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
    },
    unistd::Pid,
};

/// How long a child may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running process, ended when dropped.
pub struct Child {
    name: &'static str,
    inner: std::process::Child,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command`. The thread that calls this must outlive the child.
    pub fn spawn(name: &'static str, command: &mut Command) -> Result<Self> {
        command.process_group(0);
        // SAFETY: between fork and exec only two system calls are made: no allocation, no lock.
        unsafe {
            command.pre_exec(|| {
                prctl::set_pdeathsig(Signal::SIGTERM)?;
                // The caller may wait for signals with them blocked; a child must not inherit that.
                SigSet::empty().thread_set_mask()?;
                Ok(())
            });
        }
        let inner = command.spawn().with_context(|| {
            format!("start {name} ({})", command.get_program().to_string_lossy())
        })?;
        Ok(Self { name, inner, ended: None })
    }

    /// The child's pipe, once, if its standard output was piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended =
                self.inner.try_wait().with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Waits at most `limit` for it to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and SIGKILL to one that does not heed it.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = i32::try_from(self.inner.id()).context("a pid beyond i32")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .with_context(|| format!("SIGTERM to {}", self.name))?;
        if let Some(status) = self.wait(PATIENCE)? {
            return Ok(status);
        }
        eprintln!("{} did not end within {PATIENCE:?} of SIGTERM: killed", self.name);
        self.kill()
    }

    /// SIGKILL, to one whose end needs no order.
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
            eprintln!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::Stdio};

    use super::*;

    #[test]
    fn stop_ends_a_child_with_sigterm() {
        let mut sleep = Command::new("sleep");
        let mut child = Child::spawn("sleep", sleep.arg("60").stdin(Stdio::null())).unwrap();
        assert!(child.ended().unwrap().is_none());
        assert_eq!(child.stop().unwrap().signal(), Some(15));
        assert_eq!(child.stop().unwrap().signal(), Some(15), "a second stop changes nothing");
    }

    #[test]
    fn a_child_heeds_signals_its_parent_blocks() {
        let blocked = SigSet::from(Signal::SIGTERM);
        blocked.thread_block().unwrap();
        let mut child = Child::spawn("sleep", Command::new("sleep").arg("60")).unwrap();
        blocked.thread_unblock().unwrap();
        assert_eq!(child.stop().unwrap().signal(), Some(15));
    }
}
