//! An imitation of the runtime's own stages (`runc init`), which live and end inside the cgroup of
//! the container that they prepare.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::unistd::{getpid, getppid};

use crate::process::SELF_EXE;

/// What follows `runc init` in our imitation.
pub(crate) enum Plan<'a> {
    /// Ends with this code: the container fails to start.
    Fail(i32),
    /// Leaves a sibling, as runc does with `CLONE_PARENT`, which says its process id and executes
    /// `scenarios <args>`.
    HandOver(&'a [String]),
}

/// Whether the arguments are those of a stage, and of which.
pub(crate) fn plan(argv: &[String]) -> Option<Plan<'_>> {
    match argv {
        [name, init, rest @ ..] if name == "runc" && init == "init" => match rest {
            [word, args @ ..] if word == "hand-over" => Some(Plan::HandOver(args)),
            [code, ..] => Some(Plan::Fail(code.parse().unwrap_or(1))),
            [] => Some(Plan::Fail(1)),
        },
        _ => None,
    }
}

/// Runs the stage.
pub(crate) fn run(plan: &Plan<'_>) -> Result<()> {
    // As libcontainer's nsexec.c names itself.
    prctl::set_name(c"runc:[1:CHILD]").context("prctl(PR_SET_NAME)")?;
    match plan {
        Plan::Fail(code) => std::process::exit(*code),
        Plan::HandOver(args) => hand_over(args),
    }
}

fn hand_over(args: &[String]) -> Result<()> {
    ensure!(getppid().as_raw() > 0, "no parent in this PID namespace");
    // SAFETY: without CLONE_VM this is a fork, of a process that has one thread.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        0 => {
            prctl::set_name(c"runc:[2:INIT]").context("prctl(PR_SET_NAME)")?;
            println!("{}", getpid());
            let error = Command::new(SELF_EXE).arg0("scenarios").args(args).exec();
            bail!("executing {args:?}: {error}")
        }
        pid if pid > 0 => Ok(()),
        _ => Err(Errno::last()).context("clone(CLONE_PARENT)"),
    }
}
