//! Child processes: this program again, with fewer acts.

use std::{os::unix::process::ExitStatusExt as _, process::Command, thread};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{cli::Allocate, log::log};

/// Starts a child that sleeps longer than any test.
pub(crate) fn idle() -> Result<()> {
    start(&["sleep", "1000000"].map(str::to_owned))
}

/// Starts a child that allocates memory.
pub(crate) fn allocate(how: Allocate) -> Result<()> {
    start(&[
        "allocate".to_owned(),
        format!("--allocate-mib={}", how.mib),
        format!("--allocate-after={}", how.after.as_secs_f64()),
        format!("--allocate-rate={}", how.mib_per_second),
    ])
}

/// Starts a child, and logs its end.
fn start(args: &[String]) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(&program)
        .args(args)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    log("child", &json!({ "child": child.id(), "arguments": args }));
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
