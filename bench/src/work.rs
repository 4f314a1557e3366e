//! The load in a container: as many processes, one after the other, as time allows.

use std::io::{BufRead as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// What is executed: it does nothing.
pub(crate) const NOTHING: &str = "/bin/true";

/// For each line on standard input, which is a number of milliseconds: forks, executes and reaps
/// for that long, and prints how often, and the microseconds of CPU that it took with all children.
pub(crate) fn forks() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let millis: u64 = line?.trim().parse().context("milliseconds")?;
        let end = Instant::now() + Duration::from_millis(millis);
        let mut count = 0_u64;
        let cpu = cpu_us()?;
        while Instant::now() < end {
            let status = Command::new(NOTHING).stdin(Stdio::null()).status().context(NOTHING)?;
            ensure!(status.success(), "{NOTHING}: {status}");
            count += 1;
        }
        println!("{count} {}", cpu_us()? - cpu);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn cpu_us() -> Result<i64> {
    let mut sum = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).context("getrusage")?;
        sum += (usage.user_time() + usage.system_time()).num_microseconds();
    }
    Ok(sum)
}
