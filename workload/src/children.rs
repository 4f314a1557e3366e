//! Child processes: this program again, with fewer acts.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{cli::Allocate, log::log};

/// Starts a child that sleeps longer than any test. It says nothing: who waits until nobody can write
/// to this program's output would wait for the child as well, as the runtime does for a probe's.
pub(crate) fn idle() -> Result<()> {
    let mut command = again(&["sleep", "1000000"].map(str::to_owned))?;
    watch(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Starts a child that allocates memory.
pub(crate) fn allocate(how: Allocate) -> Result<()> {
    watch(&mut again(&[
        "allocate".to_owned(),
        format!("--allocate-mib={}", how.mib),
        format!("--allocate-after={}", how.after.as_secs_f64()),
        format!("--allocate-rate={}", how.mib_per_second),
    ])?)
}

/// This program, with other arguments.
fn again(args: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(args);
    Ok(command)
}

/// Starts a child, and logs its end.
fn watch(command: &mut Command) -> Result<()> {
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    log("child", &json!({ "child": child.id(), "command": format!("{command:?}") }));
    thread::spawn(move || {
        let pid = child.id();
        match child.wait() {
            Ok(status) => log(
                "child_end",
                &json!({ "child": pid, "code": status.code(), "signal": status.signal() }),
            ),
            Err(error) => log("child_lost", &json!({ "child": pid, "error": error.to_string() })),
        }
    });
    Ok(())
}
