//! Processes of ours: every one starts here, and the same way, whatever this program inherited.
//!
//! Each gets default signal dispositions and an empty mask (`nohup` and a shell's `&` leave signals
//! ignored), and a process group of its own, so a Ctrl-C reaches only this program, which then ends
//! them in order. The kernel ends each should this program die before it could.

use std::{
    os::unix::process::CommandExt as _,
    process::{ChildStdout, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use testbed::child::{dying_with_parent, with_default_signals};

use crate::{groups, stop, terminal::note};

/// How long a child may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks at a child.
const POLL: Duration = Duration::from_millis(20);

/// Makes `command` start with default dispositions, an empty mask and a group of its own.
fn with_defaults(command: &mut Command) {
    dying_with_parent(with_default_signals(command.process_group(0)), Signal::SIGTERM);
}

/// A running process, ended with its group when dropped.
pub struct Child {
    name: String,
    inner: std::process::Child,
    group: Pid,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command`, unless there is a reason to end. The thread that calls this must outlive
    /// the child.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        stop::check().with_context(|| name.to_owned())?;
        with_defaults(command);
        let context = format!("start {name} ({})", command.get_program().to_string_lossy());
        let (group, inner) = groups::start(|| {
            let inner = command.spawn().context(context)?;
            Ok((Pid::from_raw(i32::try_from(inner.id()).context("a pid beyond i32")?), inner))
        })?;
        Ok(Self { name: name.to_owned(), inner, group, ended: None })
    }

    /// The child's pipe, once, if its standard output was piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = groups::wait(self.group, || {
                self.inner.try_wait().with_context(|| format!("wait for {}", self.name))
            })?;
        }
        Ok(self.ended)
    }

    /// Waits at most `limit` for it to end by itself.
    ///
    /// # Errors
    /// If there is a reason to end before.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            stop::check().with_context(|| self.name.clone())?;
            thread::sleep(POLL);
        }
    }

    /// Sends it alone a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended: {status}", self.name);
        }
        // It has not been waited for, so the number is still its own.
        kill(self.group, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Waits for it to end by itself. If there is a reason to end before, the group is ended, and
    /// the error names what ran in it, and where its `output` is.
    pub(crate) fn finish(&mut self, output: &str) -> Result<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if let Err(why) = stop::check() {
                let running = groups::names(&[self.group]);
                self.stop()?;
                bail!("{why}: ended {running} (its output: {output})");
            }
            thread::sleep(pause);
            pause = (pause * 2).min(POLL);
        }
    }

    /// SIGTERM to its group, and SIGKILL to what does not heed it.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        groups::ask(self.group).with_context(|| format!("SIGTERM to {}", self.name))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.is_zombie()? {
            if Instant::now() >= deadline {
                note(format_args!(
                    "{} did not end within {STOP_TIMEOUT:?} of SIGTERM: killed",
                    self.name
                ));
                break;
            }
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// SIGKILL to its group, for an end without order.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        // It has not been waited for, so the group's number is still its own.
        killpg(self.group, Signal::SIGKILL).with_context(|| format!("SIGKILL to {}", self.name))?;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether it has ended and nobody has waited for it.
    fn is_zombie(&self) -> Result<bool> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(self.group), flags);
        let status = status.with_context(|| format!("look at {}", self.name))?;
        Ok(status != WaitStatus::StillAlive)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            note(format_args!("{error:#}"));
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
    fn stop_ends_the_whole_group() {
        let mut shell = Command::new("sh");
        // The first of the two is not the shell's last command, so it is a process of its own.
        shell.args(["-c", "trap 'exit 3' TERM; (trap '' TERM; sleep 60.25); sleep 60.25"]);
        let mut child = Child::spawn("sh", &mut shell).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while groups::names(&[child.group]).matches("sleep 60.25 (pid").count() < 1 {
            assert!(Instant::now() < deadline, "{}", groups::names(&[child.group]));
            thread::sleep(POLL);
        }
        let group = child.group;
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while groups::names(&[group]) != "nothing" {
            assert!(Instant::now() < deadline, "left behind: {}", groups::names(&[group]));
            thread::sleep(POLL);
        }
    }
}
