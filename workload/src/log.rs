//! Log of the acts: one write(2) per line, so that the last line before the end is never lost.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

static FILE: OnceLock<File> = OnceLock::new();

/// Directs the lines to `file` from now on.
pub(crate) fn to(file: Option<&Path>) -> Result<()> {
    if let Some(path) = file {
        let opened = OpenOptions::new().append(true).open(path);
        let _ = FILE.set(opened.with_context(|| format!("open {}", path.display()))?);
    }
    Ok(())
}

/// Logs an act. If the reader of the log has gone, the program goes on without it.
pub(crate) fn log(act: &str, fields: &Value) {
    // The clocks first, so that the rest does not count as part of the time.
    let (boot, wall) = (clock_ns(ClockId::CLOCK_BOOTTIME), clock_ns(ClockId::CLOCK_REALTIME));
    let mut line =
        json!({ "boot_ns": boot, "wall_ns": wall, "pid": std::process::id(), "act": act });
    if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
        line.extend(fields.clone());
    }
    let text = format!("{line}\n");
    let _ = match FILE.get() {
        Some(mut file) => file.write(text.as_bytes()).map_err(drop),
        // Not `Stdout`, whose buffer is lost with the process.
        None => nix::unistd::write(std::io::stdout(), text.as_bytes()).map_err(drop),
    };
}

fn clock_ns(clock: ClockId) -> Option<u64> {
    let time = Duration::from(clock_gettime(clock).ok()?);
    u64::try_from(time.as_nanos()).ok()
}
