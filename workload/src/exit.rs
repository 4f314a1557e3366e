//! Exit of the program, with its last line.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde_json::json;

use crate::log::log;

/// CPU time, user and system, from getrusage(2).
pub(crate) struct Cpu {
    /// CPU time of all threads of this process.
    pub(crate) own: Duration,
    /// CPU time of children that were waited for.
    pub(crate) children: Duration,
}

/// CPU time that has been used so far.
pub(crate) fn cpu() -> Result<Cpu> {
    let read = |who| getrusage(who).context("getrusage").map(|usage| time(&usage));
    Ok(Cpu { own: read(UsageWho::RUSAGE_SELF)?, children: read(UsageWho::RUSAGE_CHILDREN)? })
}

fn time(usage: &Usage) -> Duration {
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(us.unsigned_abs())
}

/// Logs the exit, and exits.
pub(crate) fn now(code: u8, why: &str) -> ! {
    let us = |time: Duration| u64::try_from(time.as_micros()).ok();
    let cpu = cpu().ok();
    log(
        "exit",
        &json!({
            "code": code,
            "why": why,
            "cpu_us": cpu.as_ref().and_then(|cpu| us(cpu.own)),
            "children_cpu_us": cpu.as_ref().and_then(|cpu| us(cpu.children)),
        }),
    );
    std::process::exit(code.into())
}
