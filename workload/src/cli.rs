//! Command line: the acts, as flags that can be combined.

use std::{path::PathBuf, str::FromStr as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::Signal;

/// Program of the Pods in the end-to-end tests: it acts as its flags say, and logs each act as a
/// line of JSON with the times of the boot-time and of the wall clock, in nanoseconds.
///
/// Without --exit-after it runs until it is killed. Times are in seconds, and may be fractions.
#[derive(Debug, Parser)]
#[command(name = "workload", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// Write the lines to this file instead of the standard output: `/proc/1/fd/1` puts those of a
    /// hook into the container's own log.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// Commands for probes and hooks, and for a sandbox.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sleep, then exit with 0.
    Sleep {
        /// Time to sleep.
        #[arg(value_parser = seconds)]
        seconds: Duration,
    },
    /// Exit with 0 if a file exists, else with 1.
    Check {
        /// File to check.
        file: PathBuf,
        /// Delay before the check.
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
        delay: Duration,
    },
    /// Allocate memory and keep it: the child of --allocate-in-child.
    #[command(hide = true)]
    Allocate(Allocate),
}

/// Acts of the program.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Become unhealthy after this time: HTTP answers 503, gRPC answers NOT_SERVING, the TCP server
    /// closes, and the health file is removed.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) fail_after: Option<Duration>,
    /// Create this file, for `workload check`.
    #[arg(long, value_name = "FILE")]
    pub(crate) health_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) allocate: Allocate,
    /// Allocate the memory in a child process.
    #[arg(long)]
    pub(crate) allocate_in_child: bool,
    /// Start this many children that sleep.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) fork: u32,
    /// Ignore a signal (SIG_IGN).
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(crate) ignore: Vec<Signal>,
    /// Handle a signal: log it, then run the steps, each sleep:SECONDS or exit:CODE.
    #[arg(long, value_name = "SIGNAL=STEP,…", value_parser = on_signal)]
    pub(crate) on_signal: Vec<OnSignal>,
    /// Use this much CPU time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) burn_cpu: Option<Duration>,
    /// Exit this long after the start, or when the CPU time is used up, if that is later.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) exit_after: Option<Duration>,
    /// Exit code for --exit-after.
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    pub(crate) exit_code: u8,
}

/// Servers of the program.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// Answer HTTP requests for any path on this port; /to/x is a redirect to /x.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_http: Option<u16>,
    /// Answer HTTPS requests on this port, with a self-signed certificate.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_https: Option<u16>,
    /// Answer gRPC's health check on this port, for any service.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_grpc: Option<u16>,
    /// Accept connections on this port and close them.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_tcp: Option<u16>,
    /// Leave connections to this port waiting: its queue is full, so that the kernel drops each SYN.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_full: Option<u16>,
    /// Delay of each answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub(crate) delay: Duration,
    /// Start to listen this long after the start.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub(crate) listen_after: Duration,
}

/// Allocation of memory.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Allocate {
    /// Allocate and use this much memory; more than the limit ends in an OOM kill.
    #[arg(long = "allocate-mib", value_name = "MIB", default_value_t = 0)]
    pub(crate) mib: u64,
    /// Start to allocate this long after the start.
    #[arg(
        long = "allocate-after", value_name = "SECONDS", value_parser = seconds, default_value = "0"
    )]
    pub(crate) after: Duration,
    /// Allocate this much a second; 0 is as fast as possible.
    #[arg(long = "allocate-rate", value_name = "MIB", default_value_t = 100)]
    pub(crate) mib_per_second: u64,
}

/// Handling of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnSignal {
    /// The signal that is handled.
    pub(crate) signal: Signal,
    /// Steps, in the order in which they run.
    pub(crate) steps: Vec<Step>,
}

/// A step in the handling of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sleep for this time.
    Sleep(Duration),
    /// Exit with this code.
    Exit(u8),
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 =
        text.parse().with_context(|| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text} seconds"))
}

/// Parses the name of a signal: `SIGTERM`, `term`, …
fn signal(text: &str) -> Result<Signal> {
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let signal =
        Signal::from_str(&name).ok().with_context(|| format!("{text:?} is not a signal"))?;
    if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
        bail!("{signal} can be neither ignored nor handled");
    }
    Ok(signal)
}

fn on_signal(text: &str) -> Result<OnSignal> {
    let (name, steps) = text.split_once('=').unwrap_or((text, ""));
    let steps =
        steps.split(',').filter(|step| !step.is_empty()).map(step).collect::<Result<_>>()?;
    Ok(OnSignal { signal: signal(name)?, steps })
}

fn step(text: &str) -> Result<Step> {
    match text.split_once(':') {
        Some(("sleep", time)) => Ok(Step::Sleep(seconds(time)?)),
        Some(("exit", code)) => {
            Ok(Step::Exit(code.parse().with_context(|| format!("{code:?} is not an exit code"))?))
        }
        _ => bail!("{text:?}: a step is sleep:SECONDS or exit:CODE"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn signals_come_with_their_steps() {
        let parsed = on_signal("sigterm=sleep:0.3,exit:7").unwrap();
        let steps = vec![Step::Sleep(Duration::from_millis(300)), Step::Exit(7)];
        assert_eq!(parsed, OnSignal { signal: Signal::SIGTERM, steps });
        assert_eq!(on_signal("usr1").unwrap(), OnSignal { signal: Signal::SIGUSR1, steps: vec![] });
        for wrong in ["", "x", "TERM=", "KILL=exit:0", "TERM=exit:256", "TERM=sleep:-1", "TERM=x"] {
            let is_right = wrong == "TERM=";
            assert_eq!(on_signal(wrong).is_ok(), is_right, "{wrong}");
        }
    }
}
