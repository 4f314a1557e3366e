//! Program `workload`: it runs in the Pods of the end-to-end tests, in as few threads as possible.
//!
//! It acts as its flags say and logs each act as a line of JSON with the times of both
//! clocks, so that its log is a witness for what Podvitals reports.

mod children;
mod cli;
mod exit;
mod log;
mod memory;
mod serve;
mod signals;

use std::{
    fs::{self, File},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use serde_json::json;

use crate::{
    cli::{Cli, Command, Run},
    log::log,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = log::to(cli.log.as_deref()).and_then(|()| dispatch(cli));
    result.unwrap_or_else(|error| {
        log("failed", &json!({ "error": format!("{error:#}") }));
        eprintln!("workload: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => run(cli.run),
        Some(Command::Sleep { seconds }) => {
            log("sleep", &json!({ "seconds": seconds.as_secs_f64() }));
            thread::sleep(seconds);
            exit::now(0, "slept")
        }
        Some(Command::Check { file, delay }) => {
            thread::sleep(delay);
            let is_there = file.exists();
            log("check", &json!({ "file": file, "is_there": is_there }));
            exit::now(u8::from(!is_there), "checked")
        }
        Some(Command::Allocate(allocate)) => {
            memory::allocate(allocate);
            idle()
        }
    }
}

/// Runs every requested act, each in a thread of its own, then exits, if an exit is requested.
fn run(run: Run) -> Result<ExitCode> {
    // Before anything else: a signal that comes early must find its disposition.
    for &signal in &run.ignore {
        signals::ignore(signal)?;
    }
    signals::handle(run.on_signal)?;
    let start = Instant::now();
    log("start", &json!({ "arguments": std::env::args().skip(1).collect::<Vec<_>>() }));
    let fails_at = run.fail_after.map(|after| start + after);
    if let Some(file) = run.health_file {
        File::create(&file).with_context(|| format!("create {}", file.display()))?;
        log("healthy", &json!({ "file": file }));
        if let Some(at) = fails_at {
            thread::spawn(move || {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                let removed = fs::remove_file(&file).is_ok();
                log("unhealthy", &json!({ "file": file, "removed": removed }));
            });
        }
    }
    serve::start(&run.serve, start, fails_at)?;
    for _ in 0..run.fork {
        children::idle()?;
    }
    if run.allocate.mib > 0 {
        if run.allocate_in_child {
            children::allocate(run.allocate)?;
        } else {
            thread::spawn(move || memory::allocate(run.allocate));
        }
    }
    if let Some(seconds) = run.burn_cpu {
        burn(seconds)?;
    }
    match run.exit_after {
        Some(after) => {
            thread::sleep((start + after).saturating_duration_since(Instant::now()));
            exit::now(run.exit_code, "time")
        }
        None => idle(),
    }
}

/// Uses a CPU until this process has used `seconds` of CPU time in all.
fn burn(seconds: Duration) -> Result<()> {
    log("burn", &json!({ "seconds": seconds.as_secs_f64() }));
    while exit::cpu()?.own < seconds {
        std::hint::black_box((0..100_000_u64).sum::<u64>());
    }
    log("burned", &json!({}));
    Ok(())
}

/// Parks this thread for ever, and leaves the rest to the others.
fn idle() -> ! {
    loop {
        thread::park();
    }
}
