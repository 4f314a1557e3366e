//! The acts, as flags that can be combined.

use std::{path::PathBuf, str::FromStr as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::Signal;

/// What runs in the Pods of the end-to-end tests: it does what the flags say, and tells each act in
/// a line of JSON with the boot-time and the wall clock, in nanoseconds.
///
/// Without --exit-after it runs until it is killed. Times are in seconds, and may be fractions.
#[derive(Debug, Parser)]
#[command(name = "workload", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// Where the lines go, if not to the standard output: `/proc/1/fd/1` puts those of a hook into
    /// the container's own log.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// What probes and hooks execute, and what a sandbox runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sleep, then exit with 0.
    Sleep {
        /// How long.
        #[arg(value_parser = seconds)]
        seconds: Duration,
    },
    /// Exit with 0 if a file is there, else with 1.
    Check {
        /// Which.
        file: PathBuf,
        /// Look after so long.
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
        delay: Duration,
    },
    /// Allocate memory and keep it: the child of --allocate-in-child.
    #[command(hide = true)]
    Allocate(Allocate),
}

/// The acts.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// From then on be unhealthy: HTTP answers 503, gRPC says NOT_SERVING, TCP is closed, and the
    /// health file is removed.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) fail_after: Option<Duration>,
    /// Create this file, for `workload check`.
    #[arg(long, value_name = "FILE")]
    pub(crate) health_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) allocate: Allocate,
    /// Let a child do it.
    #[arg(long)]
    pub(crate) allocate_in_child: bool,
    /// Start so many children that sleep.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) fork: u32,
    /// Ignore a signal (SIG_IGN).
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(crate) ignore: Vec<Signal>,
    /// Handle a signal: tell it, then do the steps, which are any of sleep:SECONDS and exit:CODE.
    #[arg(long, value_name = "SIGNAL=STEP,…", value_parser = on_signal)]
    pub(crate) on_signal: Vec<OnSignal>,
    /// Use so much CPU time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) burn_cpu: Option<Duration>,
    /// Exit so long after the start, or when the CPU time has been used, if that is later.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) exit_after: Option<Duration>,
    /// With what.
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    pub(crate) exit_code: u8,
}

/// What is served.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// Answer HTTP requests for any path.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_http: Option<u16>,
    /// The same over TLS, with a certificate of its own.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_https: Option<u16>,
    /// Answer gRPC's health check, for any service.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_grpc: Option<u16>,
    /// Accept connections and close them.
    #[arg(long, value_name = "PORT")]
    pub(crate) serve_tcp: Option<u16>,
    /// Answer so late.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub(crate) delay: Duration,
    /// Listen only so long after the start.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub(crate) listen_after: Duration,
}

/// How memory is allocated.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Allocate {
    /// Allocate and use so much memory; more than the limit ends in an OOM kill.
    #[arg(long = "allocate-mib", value_name = "MIB", default_value_t = 0)]
    pub(crate) mib: u64,
    /// Begin so long after the start.
    #[arg(
        long = "allocate-after", value_name = "SECONDS", value_parser = seconds, default_value = "0"
    )]
    pub(crate) after: Duration,
    /// How fast, a second; 0 is as fast as it goes.
    #[arg(long = "allocate-rate", value_name = "MIB", default_value_t = 100)]
    pub(crate) mib_per_second: u64,
}

/// What a signal makes the program do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnSignal {
    /// Which.
    pub(crate) signal: Signal,
    /// In this order.
    pub(crate) steps: Vec<Step>,
}

/// One of the things done on a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// For so long.
    Sleep(Duration),
    /// With this code.
    Exit(u8),
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse().with_context(|| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text} seconds"))
}

/// `SIGTERM`, `term`, …
fn signal(text: &str) -> Result<Signal> {
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let signal = Signal::from_str(&name).ok().with_context(|| format!("{text:?} is no signal"))?;
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
            Ok(Step::Exit(code.parse().with_context(|| format!("{code:?} is no exit code"))?))
        }
        _ => bail!("{text:?}: a step is sleep:SECONDS or exit:CODE"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
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
