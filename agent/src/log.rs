//! Log: its level and format, and a line for each death, ignored stop signal, OOM and series of failed
//! probes.
//!
//! A line is dropped and counted rather than waited for; see [`dropped`].

mod line;
mod probes;
mod writer;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::event::ExitStatus;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{Death, Fact, FactKind, OomFact, OomOrigin, ProbeAttempt, StopSignal};
use crate::lifecycle::subject::{Subject, Who};
use crate::rate::{Buckets, Rate};
use crate::reader::Reader;
use crate::signal;
use probes::{Probes, Told};
use writer::{Output, Queue};

/// Format of the log's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, level, message and fields, for humans.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// Rate of each kind of message: a node that is drained ends hundreds of containers at once.
const MESSAGES: Rate = Rate { burst: 1000, every_ns: 50_000_000 };
/// Rate of the lines about one container.
const CONTAINER: Rate = Rate { burst: 20, every_ns: 6_000_000_000 };
/// Time for the last lines to be written, at the end of the process.
const LAST: Duration = Duration::from_millis(300);

/// Starts the log on stderr.
///
/// # Errors
/// `level` is neither a level (`error`, `warn`, `info`, `debug`, `trace`) nor a list of
/// `target=level`.
pub fn start(level: &str, format: Format) -> anyhow::Result<()> {
    let limited = Limited::new(filter(level)?);
    // A second start in one process, as in tests, keeps the first log.
    let _ = subscriber(Queue::of_stderr(), format, limited).try_init();
    Ok(())
}

fn subscriber(
    queue: &Arc<Queue>,
    format: Format,
    limited: Limited,
) -> impl Subscriber + Send + Sync + use<> {
    let to = |harmless| Output { queue: Arc::clone(queue), harmless };
    let lines = fmt::layer().with_ansi(false);
    let lines = match format {
        Format::Text => lines.with_writer(to(line::text)).boxed(),
        Format::Json => lines.json().flatten_event(true).with_writer(to(line::json)).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(limited)
}

/// Lines that were dropped since the start, by reason.
#[must_use]
pub fn dropped() -> [(&'static str, u64); 3] {
    Queue::of_stderr().dropped.read()
}

/// Name of the log's own thread, which opens no file and has no capability.
pub const THREAD: &str = writer::THREAD;

/// Puts a panic into the log, where no reader is waited for longer than a moment.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        finish();
    }));
}

/// Says a program's last words on stderr.
pub fn say(words: &str) {
    Queue::of_stderr().push(line::text(words));
}

/// Waits for the last lines to be written, if they are within a moment.
pub fn finish() {
    Queue::of_stderr().flush(LAST);
}

/// Filter by level and target, and of each kind of message by its rate. What is asked for in order
/// to debug is not limited.
struct Limited {
    targets: Targets,
    start: Instant,
    messages: Mutex<Buckets<Identifier>>,
}

impl Limited {
    fn new(targets: Targets) -> Self {
        Self { targets, start: Instant::now(), messages: Mutex::new(Buckets::new(MESSAGES)) }
    }
}

impl<S: Subscriber> Layer<S> for Limited {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&self.targets, metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        Layer::enabled(&self.targets, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&self.targets)
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = messages.take(metadata.callsite(), now_ns);
        if !passes {
            count_limited();
        }
        passes
    }
}

fn count_limited() {
    Queue::of_stderr().dropped.rate.fetch_add(1, Ordering::Relaxed);
}

fn filter(level: &str) -> anyhow::Result<Targets> {
    let expected = || {
        format!(
            "--log.level {level:?}: expected error, warn, info, debug, trace or off, or a list such \
             as info,agent::kube=debug"
        )
    };
    // `Targets` would take a misspelt level for the name of a target, and nothing for `error`.
    for item in level.split(',') {
        let level = item.rsplit_once('=').map_or(item, |(_, level)| level).trim();
        level.parse::<LevelFilter>().with_context(expected)?;
        ensure!(!level.is_empty() && !item.starts_with('='), expected());
    }
    level.parse().with_context(expected)
}

/// Reader that logs deaths, ignored stop signals, OOMs and series of failed probes.
#[derive(Debug)]
pub struct Lines {
    /// A Pod's container that goes down again and again, or is out of memory all the time, leaves
    /// the log to the others. The keys are hashes of names.
    containers: Buckets<u64>,
    hasher: RandomState,
    probes: Probes,
}

impl Default for Lines {
    fn default() -> Self {
        let containers = Buckets::new(CONTAINER);
        Self { containers, hasher: RandomState::new(), probes: Probes::default() }
    }
}

impl Lines {
    /// The line about an attempt of a probe, if there is one.
    fn probed<'a>(&mut self, who: &Who, attempt: &'a ProbeAttempt) -> Option<Line<'a>> {
        let told = self.probes.attempt(who.cgroup, attempt).unwrap_or_else(|()| {
            // One that is not known to be the first failure of many, or not to be one.
            count_limited();
            None
        });
        Some(Line::Probed(attempt, told?))
    }

    /// Whether one line more about the container is within its rate, at the time of a fact.
    fn admit(&mut self, who: &Who, time_boot_ns: u64) -> bool {
        let identity = &who.identity;
        let names = (&identity.namespace, &identity.pod, &identity.container);
        let passes = self.containers.take(self.hasher.hash_one(names), time_boot_ns);
        if !passes {
            count_limited();
        }
        passes
    }
}

impl Reader for Lines {
    fn fact(&mut self, subject: &Subject, fact: &Fact) {
        let Subject::Container(who) = subject else {
            return tracing::debug!(pod = ?subject, ?fact, "fact");
        };
        let line = match &fact.kind {
            FactKind::Explained(death) => Line::Ended(death),
            FactKind::StopSignal(stop) if stop.ignored => Line::Ignored(stop),
            FactKind::Oom(oom) => Line::Oom(oom),
            FactKind::Probed(attempt) => match self.probed(who, attempt) {
                Some(line) => line,
                None => return,
            },
            kind => {
                let identity = &who.identity;
                return tracing::debug!(
                    namespace = identity.namespace,
                    pod = identity.pod,
                    container = identity.container,
                    fact = ?kind,
                    "fact"
                );
            }
        };
        if !self.admit(who, fact.time_boot_ns) {
            return;
        }
        match line {
            Line::Ended(death) => ended(who, death),
            Line::Ignored(stop) => ignored(who, stop),
            Line::Oom(oom) => oom_kill(who, oom),
            Line::Probed(attempt, told) => probed(who, attempt, told),
        }
    }

    fn retracted(&mut self, subject: &Subject, now_boot_ns: u64) {
        self.gone(subject, now_boot_ns);
    }

    fn gone(&mut self, subject: &Subject, _: u64) {
        if let Some(cgroup) = subject.cgroup() {
            self.probes.gone(cgroup);
        }
    }
}

/// Subject of a line.
enum Line<'a> {
    Ended(&'a Death),
    Ignored(&'a StopSignal),
    Oom(&'a OomFact),
    Probed(&'a ProbeAttempt, Told),
}

// Names of Pods and directories may hold anything. As string fields they are quoted by both formats,
// and whatever that leaves is escaped on the way to the writer.

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
    let by = &oom.triggered_by;
    let other = by.who.as_ref().filter(|_| by.origin != OomOrigin::SameContainer).map(|other| {
        let Identity { namespace, pod, container, .. } = &other.identity;
        format!("{namespace}/{pod}/{container}")
    });
    let resident = oom.resident.as_ref();
    tracing::info!(
        namespace = identity.namespace,
        pod = identity.pod,
        container = identity.container,
        scope = oom.scope.map_or("unknown", |scope| scope.label()),
        limit_bytes = oom.limit_bytes,
        usage_bytes = oom.usage_bytes,
        victim = oom.victim.label(),
        comm = oom.comm.to_string(),
        killed = oom.killed,
        anon_bytes = resident.map(|resident| resident.anon_bytes),
        file_bytes = resident.map(|resident| resident.file_bytes),
        shmem_bytes = resident.map(|resident| resident.shmem_bytes),
        triggered_by = by.origin.label(),
        triggered_by_container = other,
        triggered_by_comm = by.comm.to_string(),
        "OOM kill"
    );
}

fn probed(who: &Who, attempt: &ProbeAttempt, told: Told) {
    let identity = &who.identity;
    macro_rules! line {
        ($message:literal $(, $field:ident = $value:expr)*) => {
            tracing::info!(
                namespace = identity.namespace,
                pod = identity.pod,
                container = identity.container,
                probe = attempt.probe.label(),
                handler = attempt.handler.label(),
                result = attempt.result.label(),
                status = attempt.status,
                exit_code = attempt.exec.and_then(|run| run.exit_code),
                duration_ms = attempt.duration_ns() / 1_000_000,
                timeout_s = attempt.timeout_s,
                failures_left = attempt.failures_left,
                $($field = $value,)*
                $message
            )
        };
    }
    match told {
        Told::Failed => line!("probe failed"),
        Told::ReachedThreshold { failures } => {
            line!("probe reached its failure threshold", failures = failures);
        }
        Told::Recovered { failures, for_ns } => {
            line!("probe recovered", failures = failures, failed_for_ms = for_ns / 1_000_000);
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
