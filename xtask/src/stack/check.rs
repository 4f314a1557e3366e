//! The stack as `cargo xtask test` holds it: an alert is delivered in time, and nothing is left
//! behind, neither then nor after a Ctrl-C.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::{child::Child, shell, stop};

/// Variable that all processes of a stack inherit; its value tells one stack from another.
const MARK: &str = "PODVITALS_STACK";
/// How long a stack may take to end after Ctrl-C: longer than a child may take to be killed.
const END: Duration = Duration::from_secs(25);
/// How long what a stack left may take to vanish, once its own program has ended.
const VANISH: Duration = Duration::from_secs(2);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Runs the stack twice, as a program of its own.
pub(crate) fn check(agent: &Path) -> Result<()> {
    let before = abandoned_cgroups()?;
    let start = Instant::now();
    let (mut once, mark) = command(agent, "once")?;
    shell::run(once.arg("--once"))?;
    nothing_left(&mark, &before)?;
    println!(
        "an alert was delivered, and all had ended, after {:.1} s",
        start.elapsed().as_secs_f64()
    );

    let (mut command, mark) = command(agent, "interrupted")?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut stack = Child::spawn("cargo xtask stack", &mut command)?;
    let output = stack.take_stdout().context("the stack's output")?;
    let mut lines = BufReader::new(output).lines();
    for line in lines.by_ref() {
        let line = line.context("read the stack's output")?;
        println!("[stack] {line}");
        if line.contains("Ctrl-C ends") {
            break;
        }
    }
    stop::check()?;
    let running = marked(&mark)?;
    // The stack, the demo with its Pods, the agent, Prometheus and Alertmanager.
    ensure!(running.len() >= 5, "of the stack there run only {}", running.join(", "));
    let start = Instant::now();
    stack.signal(Signal::SIGINT)?;
    // Else it could not end for want of room in the pipe.
    let rest = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let status = stack.wait(END)?.with_context(|| format!("{END:?} after SIGINT it still runs"))?;
    let rest = rest.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?.join("\n");
    ensure!(status.success(), "after SIGINT it ended with {status}: {rest}");
    nothing_left(&mark, &before)?;
    println!(
        "Ctrl-C ended {} processes in {:.1} s, and nothing is left",
        running.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// `cargo xtask stack` with the demo, and the mark of its processes.
fn command(agent: &Path, name: &str) -> Result<(Command, String)> {
    let mark = format!("{name}-{}", std::process::id());
    // The file that this program was started from may have been rebuilt since, and its path then
    // leads nowhere; this link leads to what runs.
    let mut command = Command::new("/proc/self/exe");
    command.arg("stack").arg("--demo").arg("--agent").arg(agent).env(MARK, &mark);
    Ok((command, mark))
}

/// Fails if a process or a cgroup of the stack is there a moment later.
fn nothing_left(mark: &str, before: &BTreeSet<PathBuf>) -> Result<()> {
    let deadline = Instant::now() + VANISH;
    loop {
        let processes = marked(mark)?;
        let cgroups = abandoned_cgroups()?;
        let cgroups: Vec<_> =
            cgroups.difference(before).map(|it| it.display().to_string()).collect();
        if processes.is_empty() && cgroups.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the stack left behind: {}", [processes, cgroups].concat().join(", "));
        }
        thread::sleep(POLL);
    }
}

/// Processes with the mark among their variables, but for those that nobody has waited for yet.
fn marked(mark: &str) -> Result<Vec<String>> {
    let variable = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").context("list /proc")?.flatten() {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|it| it == variable.as_bytes()) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let pid = process.file_name();
            found.push(format!("{} (pid {})", name.trim(), pid.to_string_lossy()));
        }
    }
    Ok(found)
}

/// Cgroups of demos whose process has ended.
fn abandoned_cgroups() -> Result<BTreeSet<PathBuf>> {
    let mount = testbed::cgroup::mount()?;
    let entries = fs::read_dir(&mount).with_context(|| format!("list {}", mount.display()))?;
    let is_abandoned = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let pid = name.and_then(|name| name.strip_prefix("podvitals-demo-"));
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_abandoned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_inherited_the_mark_is_found() {
        let mark = format!("test-{}", std::process::id());
        assert!(marked(&mark).unwrap().is_empty());
        let mut sleep = Command::new("sleep");
        let mut sleep = Child::spawn("sleep", sleep.arg("60").env(MARK, &mark)).unwrap();
        let found = marked(&mark).unwrap();
        assert!(found.len() == 1 && found[0].starts_with("sleep (pid "), "{found:?}");
        sleep.kill().unwrap();
        assert!(marked(&mark).unwrap().is_empty());
    }
}
