//! Another apt on the same machine: it is waited for.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};

use crate::{paths, shell, stop};

/// How long another apt may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often a command is repeated that another apt's was ahead of, between our look and its start.
const TRIES: u32 = 5;
/// Time between two looks at a lock.
const POLL: Duration = Duration::from_millis(500);

/// Runs `command`, an apt-get that takes `lock`, when no other holds that. Where another is ahead all
/// the same, apt itself waits for dpkg's lock; for that of the lists it cannot, so the command is
/// repeated.
pub(super) fn retry(command: &mut Command, log_name: &str, lock: &Path) -> Result<()> {
    // What it says about a lock is looked for.
    command.env("LC_ALL", "C").arg("-o").arg(format!("DPkg::Lock::Timeout={}", LIMIT.as_secs()));
    for attempt in 1.. {
        wait(lock)?;
        let Err(error) = shell::run_quiet(command, log_name) else { break };
        let log = paths::work("log")?.join(format!("{log_name}.log"));
        let is_locked = fs::read_to_string(log).is_ok_and(|log| log.contains("Could not get lock"));
        if !is_locked || attempt == TRIES {
            return Err(error);
        }
        println!(
            "setup: another apt was faster: waiting for it once more ({attempt} of {TRIES}) …"
        );
        thread::sleep(POLL);
    }
    Ok(())
}

/// Waits until nobody holds `lock`, or [`LIMIT`] is over: then apt tells why it cannot go on.
fn wait(lock: &Path) -> Result<()> {
    let start = Instant::now();
    while let Some(pid) = holder(lock)? {
        if start.elapsed() >= LIMIT {
            break;
        }
        if start.elapsed() < POLL {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            println!(
                "setup: waiting for another apt ({}, pid {pid}, holds {}), {} s at most …",
                name.trim(),
                lock.display(),
                LIMIT.as_secs()
            );
        }
        stop::check()?;
        thread::sleep(POLL);
    }
    Ok(())
}

/// The process that holds `lock`, as apt and dpkg do it (fcntl(2), F_SETLK); -1 is one of a lock
/// that belongs to no process.
fn holder(lock: &Path) -> Result<Option<i32>> {
    // Without the file, or the right to read it, apt tells more.
    let Ok(file) = File::open(lock) else { return Ok(None) };
    let short = |number: i32| i16::try_from(number).context("a number of fcntl.h beyond i16");
    let mut query = libc::flock {
        l_type: short(libc::F_WRLCK)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut query))
        .with_context(|| format!("look at the lock {}", lock.display()))?;
    Ok((query.l_type != short(libc::F_UNLCK)?).then_some(query.l_pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path).unwrap(), None, "no file, no lock");
        let file = File::create(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        let lock = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // Of the open file and not of this process, whose own locks nobody tells it.
        fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        assert_eq!(holder(&path).unwrap(), Some(-1));
        drop(file);
        assert_eq!(holder(&path).unwrap(), None);
    }
}
