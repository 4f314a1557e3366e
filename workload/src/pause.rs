//! The process of a sandbox: it holds the namespaces and buries orphans.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nix::{
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Waits for SIGTERM or SIGINT. Says nothing: a sandbox has no log.
pub(crate) fn main() -> Result<ExitCode> {
    let mut signals =
        Signals::new([SIGCHLD, SIGINT, SIGTERM]).context("handle SIGCHLD, SIGINT and SIGTERM")?;
    // A child may have ended before there was a handler.
    reap();
    for signal in signals.forever() {
        if signal != SIGCHLD {
            break;
        }
        reap();
    }
    Ok(ExitCode::SUCCESS)
}

fn reap() {
    let any = Pid::from_raw(-1);
    while let Ok(status) = waitpid(any, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
