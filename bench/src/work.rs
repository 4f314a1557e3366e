//! The load in a container: as many processes, one after the other, as time allows.

use std::io::{BufRead as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// What is executed: it does nothing.
pub(crate) const NOTHING: &str = "/bin/true";

/// For each line on standard input, which is a number of milliseconds: forks, executes and reaps
/// for that long, and prints how often.
pub(crate) fn forks() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let millis: u64 = line?.trim().parse().context("milliseconds")?;
        let end = Instant::now() + Duration::from_millis(millis);
        let mut count = 0_u64;
        while Instant::now() < end {
            let status = Command::new(NOTHING).stdin(Stdio::null()).status().context(NOTHING)?;
            ensure!(status.success(), "{NOTHING}: {status}");
            count += 1;
        }
        println!("{count}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
