//! Log: its level and format, and a line for each death, ignored stop signal and OOM.

use anyhow::Context as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::event::ExitStatus;
use crate::lifecycle::fact::{Death, Fact, FactKind, OomFact, StopSignal};
use crate::lifecycle::subject::{Subject, Who};
use crate::reader::Reader;
use crate::signal;

/// Format of the log's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, level, message and fields, for humans.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// Targets that log every attempt; the agent itself logs the changes, once.
const QUIET: [&str; 2] = ["kube_client", "kube_runtime"];

/// Starts the log on stderr.
///
/// # Errors
/// `level` is neither a level (`error`, `warn`, `info`, `debug`, `trace`) nor a list of
/// `target=level`.
pub fn start(level: &str, format: Format) -> anyhow::Result<()> {
    let filter = filter(level)?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match format {
        Format::Text => lines.with_filter(filter).boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    // A second start in one process, as in tests, keeps the first log.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}

fn filter(level: &str) -> anyhow::Result<Targets> {
    let expected = || {
        format!(
            "--log.level {level:?}: expected error, warn, info, debug, trace or off, or a list such \
             as info,agent::kube=debug"
        )
    };
    // `Targets` would take a misspelt level for the name of a target.
    for level in level.split(',').filter(|item| !item.contains('=')) {
        level.trim().parse::<LevelFilter>().with_context(expected)?;
    }
    let mut filter: Targets = level.parse().with_context(expected)?;
    if !level.contains("kube") {
        for quiet in QUIET {
            filter = filter.with_target(quiet, LevelFilter::OFF);
        }
    }
    Ok(filter)
}

/// Reader that logs deaths, ignored stop signals and OOMs.
#[derive(Debug)]
pub struct Lines;

impl Reader for Lines {
    fn fact(&mut self, subject: &Subject, fact: &Fact) {
        let Subject::Container(who) = subject else {
            return tracing::debug!(pod = ?subject, ?fact, "fact");
        };
        match &fact.kind {
            FactKind::Explained(death) => ended(who, death),
            FactKind::StopSignal(stop) if stop.ignored => ignored(who, stop),
            FactKind::Oom(oom) => oom_kill(who, oom),
            kind => {
                let identity = &who.identity;
                tracing::debug!(
                    namespace = identity.namespace,
                    pod = identity.pod,
                    container = identity.container,
                    fact = ?kind,
                    "fact"
                );
            }
        }
    }
}

// Names of Pods and directories may hold anything. As string fields they are escaped by both
// formats: quoted as in Rust in the text, as JSON in JSON.

fn ended(who: &Who, death: &Death) {
    let identity = &who.identity;
    let end = &death.end;
    let (exit_code, signal) = match end.status {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal { signal, .. }) => (None, Some(signal::name(signal))),
        None => (None, end.fatal.map(|fatal| signal::name(fatal.signal))),
    };
    tracing::info!(
        namespace = identity.namespace,
        pod = identity.pod,
        container = identity.container,
        cause = end.cause.label(),
        trigger = death.trigger.label(),
        trigger_source = death.source.label(),
        exit_code,
        signal,
        sender = end.fatal.map(|fatal| fatal.sender.label()),
        shutdown_ms = end.shutdown_ns().map(|ns| ns / 1_000_000),
        grace_s = death.grace_s,
        "container ended"
    );
}

fn ignored(who: &Who, stop: &StopSignal) {
    let identity = &who.identity;
    tracing::info!(
        namespace = identity.namespace,
        pod = identity.pod,
        container = identity.container,
        signal = signal::name(stop.signal),
        sender = stop.sender.label(),
        "container ignores its stop signal"
    );
}

fn oom_kill(who: &Who, oom: &OomFact) {
    let identity = &who.identity;
    tracing::info!(
        namespace = identity.namespace,
        pod = identity.pod,
        container = identity.container,
        scope = oom.scope.map_or("unknown", |scope| scope.label()),
        victim = oom.victim.label(),
        killed = oom.killed,
        "OOM kill"
    );
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
