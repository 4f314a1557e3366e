//! Process groups: those of all children, and what runs in them.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How much of a command line tells what runs.
const COMMAND_LINE: usize = 100;

/// Groups of children that have not been waited for: their numbers are not another's meanwhile.
static LIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

pub(crate) fn live() -> MutexGuard<'static, Vec<Pid>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends `signal` to the groups of all children.
pub(crate) fn signal_all(signal: Signal) {
    for &group in live().iter() {
        let _ = killpg(group, signal);
    }
}

/// What runs in the groups of all children, for people.
pub(crate) fn running() -> String {
    let groups = live().clone();
    names(&groups)
}

/// What runs in these process groups: command lines, cut, and pids.
pub(crate) fn names(groups: &[Pid]) -> String {
    let mut names = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let dir = process.path();
        let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
        let Some((name, 'R' | 'S' | 'D' | 'T' | 't' | 'I', group)) = state_and_group(&stat) else {
            continue;
        };
        if groups.contains(&group) {
            let line = fs::read_to_string(dir.join("cmdline")).unwrap_or_default();
            let line = line.trim_end_matches('\0').replace('\0', " ");
            let line = if line.is_empty() { name } else { &line };
            let cut: String = line.chars().take(COMMAND_LINE).collect();
            names.push(format!("{cut} (pid {})", process.file_name().to_string_lossy()));
        }
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Name, state and process group of a `/proc/<pid>/stat`. The name may have blanks and brackets.
fn state_and_group(stat: &str) -> Option<(&str, char, Pid)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some((name, state, Pid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_group_are_read_beside_any_name() {
        let stat = "42 (a) b (c) S 1 40 40 0 -1 4194560 0";
        assert_eq!(state_and_group(stat), Some(("a) b (c", 'S', Pid::from_raw(40))));
        assert_eq!(state_and_group(""), None);
    }
}
