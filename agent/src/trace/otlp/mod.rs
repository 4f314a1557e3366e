//! Export of traces over OTLP: the only room of traces with a network.
//!
//! The owner's thread encodes a trace ([`encode()`]) and puts it into a bounded [`queue`]; it never
//! waits. A thread of its own sends what is there ([`exporter`]), and nobody waits for that thread: a
//! receiver that is slow, away or hostile costs traces, which are counted ([`stats`]), and nothing
//! else.

mod batch;
mod connections;
mod encode;
mod exporter;
mod grpc;
mod http;
mod limits;
mod queue;
mod retry;
mod sender;
mod stats;
mod status;
mod tls;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::Instant;

pub use encode::{Encoded, encode};
pub use queue::{Limits, Queue};
pub use stats::{Stats, TraceStats};

use super::settings::Settings;
use crate::kernel::capabilities;
use exporter::Exporter;
use retry::Outcome;
use sender::Sender;

/// Name of the exporter's thread.
pub const THREAD: &str = "otlp";
/// Stack of the exporter's threads: a TLS handshake needs some 100 KiB of it.
const STACK_BYTES: usize = 512 << 10;
/// Longest time for the last spans, when the agent stops.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// Part of that time in which the thread itself ends.
const SHUTDOWN_REST: Duration = Duration::from_millis(100);
/// Longest time for an answer to [`probe`].
const PROBE_MAX: Duration = Duration::from_secs(5);

/// The exporter, as the owner of traces sees it.
#[derive(Debug)]
pub struct Handle {
    /// Queue of what is to be sent.
    pub queue: Arc<Queue>,
    /// Counters of the exporter and of its queue.
    pub stats: Arc<Stats>,
    /// The moment until which the exporter may run; dropped, it ends at once.
    deadline: watch::Sender<Option<Instant>>,
    ended: mpsc::Receiver<()>,
}

impl Handle {
    /// Sends what waits, if that takes no longer than `limit` and 5 s, and ends the exporter. What is
    /// left is dropped and counted, as is what is pushed later.
    pub fn shutdown(self, limit: Duration) {
        let limit = limit.min(SHUTDOWN_MAX);
        let deadline = Instant::now() + limit.saturating_sub(SHUTDOWN_REST);
        // Fails if the exporter has ended.
        let _ = self.deadline.send(Some(deadline));
        let _ = self.ended.recv_timeout(limit);
        self.queue.close();
    }
}

/// Starts the exporter in a thread of its own.
///
/// # Errors
/// Certificates that cannot be used; the error names their file. A thread that cannot be started.
pub fn start(settings: Settings) -> anyhow::Result<Handle> {
    let stats = Arc::new(Stats::new(settings.queue_max_bytes));
    let limits = Limits {
        spans: settings.queue_max_spans,
        bytes: settings.queue_max_bytes,
        batch_spans: settings.batch_max_spans,
    };
    let queue = Arc::new(Queue::new(limits, Arc::clone(&stats)));
    let sender = Sender::new(settings)?;
    let runtime = runtime()?;
    let (deadline, stopping) = watch::channel(None);
    let (end, ended) = mpsc::channel();
    let exporter = Exporter::new(Arc::clone(&queue), Arc::clone(&stats), sender, stopping);
    let run = move || {
        // Nothing here has to do with the kernel side. A refusal changes nothing about that.
        let _ = capabilities::drop_all();
        runtime.block_on(exporter.run());
        // A look-up of a name may take longer than anybody waits.
        runtime.shutdown_background();
        let _ = end.send(());
    };
    std::thread::Builder::new()
        .name(THREAD.into())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .context("cannot start the thread that sends traces")?;
    Ok(Handle { queue, stats, deadline, ended })
}

/// Reads what the exporter reads when it starts.
///
/// # Errors
/// Those of [`start`]: certificates that cannot be used; the error names their file.
pub fn examine(settings: &Settings) -> anyhow::Result<()> {
    tls::config(settings).map(drop)
}

/// Sends a request without a span, and says what came of it: whether the receiver can be reached,
/// is trusted, and takes these headers.
///
/// # Errors
/// The reason for which it does not, in one line.
pub fn probe(settings: Settings) -> Result<(), String> {
    let timeout = settings.timeout.min(PROBE_MAX);
    let settings = Settings { timeout, ..settings };
    let line = |error: anyhow::Error| format!("{error:#}");
    let mut sender = Sender::new(settings).map_err(line)?;
    let runtime = runtime().map_err(line)?;
    let outcome = runtime.block_on(sender.send(bytes::Bytes::new()));
    drop(sender);
    runtime.shutdown_background();
    match outcome {
        Outcome::Exported { .. } => Ok(()),
        Outcome::Retry { why, .. } | Outcome::Refused { why, .. } => Err(why),
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // One looks up names.
        .max_blocking_threads(1)
        .thread_name(THREAD)
        .thread_stack_size(STACK_BYTES)
        .on_thread_start(|| {
            let _ = capabilities::drop_all();
        })
        .build()
        .context("cannot start the runtime that sends traces")
}
