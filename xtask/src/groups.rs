//! Process groups: those of all children, and what runs in them.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How much of a command line tells what runs.
const COMMAND_LINE: usize = 100;

/// Groups of children that have not been waited for: their numbers are not another's meanwhile.
static LIVE: Mutex<Vec<Group>> = Mutex::new(Vec::new());

struct Group {
    id: Pid,
    /// Whether it has been asked to end.
    asked: bool,
}

/// Starts a group's leader by `start`, and knows it from then on.
pub(crate) fn start<T>(start: impl FnOnce() -> Result<(Pid, T)>) -> Result<(Pid, T)> {
    // No signal to all is between the start and the entry.
    let mut live = live();
    let (id, leader) = start()?;
    live.push(Group { id, asked: false });
    Ok((id, leader))
}

/// Waits for a leader by `wait`, after which the group's number may be another's.
pub(crate) fn wait<T>(id: Pid, wait: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    let mut live = live();
    let ended = wait()?;
    if ended.is_some() {
        live.retain(|group| group.id != id);
    }
    Ok(ended)
}

/// Sends SIGTERM to a group.
pub(crate) fn ask(id: Pid) -> nix::Result<()> {
    for group in live().iter_mut().filter(|group| group.id == id) {
        group.asked = true;
    }
    killpg(id, Signal::SIGTERM)
}

/// Sends SIGTERM to the groups of all children that have not had it: a second one may mean more.
pub(crate) fn ask_all() {
    for group in live().iter_mut().filter(|group| !group.asked) {
        group.asked = true;
        let _ = killpg(group.id, Signal::SIGTERM);
    }
}

/// Sends SIGKILL to the groups of all children.
pub(crate) fn kill_all() {
    for group in live().iter() {
        let _ = killpg(group.id, Signal::SIGKILL);
    }
}

/// What runs in the groups of all children, for people.
pub(crate) fn running() -> String {
    let groups: Vec<Pid> = live().iter().map(|group| group.id).collect();
    names(&groups)
}

fn live() -> MutexGuard<'static, Vec<Group>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
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
