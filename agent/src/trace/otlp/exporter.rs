//! The exporter: takes batches from the queue and sends them, one at a time, until each is taken or
//! refused. There is no limit of attempts: what waits too long gives way to what is newer.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch;
use super::encode::Encoded;
use super::queue::{Queue, batch_spans};
use super::retry::{Backoff, Outcome};
use super::sender::Sender;
use super::stats::{Drop, Failure, Stats};

/// Shortest time between two lines of the log about one kind of failure.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The exporter's state.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    sender: Sender,
    stopping: Stopping,
    backoff: Backoff,
    random: RandomState,
    /// Since when no batch was taken, if one waits to be sent again.
    failing_since: Option<Instant>,
    /// When it was last said that spans were refused or rejected.
    said_refused: Option<Instant>,
}

/// The moment until which the exporter may run, once it is to stop.
#[derive(Clone, Debug)]
struct Stopping(watch::Receiver<Option<Instant>>);

impl Stopping {
    /// Waits until the exporter is to stop, and returns until when it may run.
    async fn requested(&mut self) -> Instant {
        let deadline = self.0.wait_for(Option::is_some).await.map(|deadline| *deadline);
        // Who has dropped the handle waits for nothing.
        deadline.ok().flatten().unwrap_or_else(Instant::now)
    }

    fn is_requested(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits until the exporter may run no longer.
    async fn over(&mut self) {
        let deadline = self.requested().await;
        sleep_until(deadline).await;
    }
}

/// What became of the batches that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// None waits any more.
    All,
    /// The time of the exporter is over.
    TimeOver,
}

impl Exporter {
    pub(super) fn new(
        queue: Arc<Queue>,
        stats: Arc<Stats>,
        sender: Sender,
        stopping: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            queue,
            stats,
            sender,
            stopping: Stopping(stopping),
            backoff: Backoff::default(),
            random: RandomState::new(),
            failing_since: None,
            said_refused: None,
        }
    }

    /// Sends what comes, until it is to stop; then what is left, until its time is over.
    pub(super) async fn run(mut self) {
        let delay = self.sender.settings.schedule_delay;
        let mut stopping = self.stopping.clone();
        loop {
            select! {
                biased;
                _ = stopping.requested() => break,
                () = self.queue.some() => {}
            }
            select! {
                biased;
                _ = stopping.requested() => break,
                () = self.queue.full() => {}
                () = sleep(delay) => {}
            }
            if self.drain().await == Drained::TimeOver {
                return self.queue.close();
            }
        }
        let _ = self.drain().await;
        self.queue.close();
    }

    /// Sends all that waits.
    async fn drain(&mut self) -> Drained {
        loop {
            let batch = self.queue.take();
            if batch.is_empty() {
                return Drained::All;
            }
            let mut stopping = self.stopping.clone();
            let outcome = select! {
                biased;
                outcome = self.sender.send(batch::body(&batch)) => outcome,
                () = stopping.over() => {
                    self.lose(Drop::Shutdown, &batch);
                    return Drained::TimeOver;
                }
            };
            match outcome {
                Outcome::Exported { rejected, message } => {
                    self.exported(&batch, rejected, &message);
                }
                Outcome::Refused { failure, why } => self.refused(&batch, failure, &why),
                Outcome::Retry { failure, after, why } => {
                    self.queue.put_back(batch);
                    self.failed(failure, &why);
                    if self.rest(after).await == Drained::TimeOver {
                        return Drained::TimeOver;
                    }
                }
            }
        }
    }

    /// Rests before the next attempt; less, once, when the exporter is to stop meanwhile.
    async fn rest(&mut self, after: Option<Duration>) -> Drained {
        let rest = self.backoff.next(after, self.random.hash_one(Instant::now()));
        if self.stopping.is_requested() {
            return select! {
                () = self.stopping.over() => Drained::TimeOver,
                () = sleep(rest) => Drained::All,
            };
        }
        select! {
            _ = self.stopping.requested() => self.backoff.reset(),
            () = sleep(rest) => {}
        }
        Drained::All
    }

    fn exported(&mut self, batch: &[Encoded], rejected: u64, message: &str) {
        let spans = batch_spans(batch);
        // The number is the receiver's.
        let rejected = rejected.min(spans);
        self.queue.done(batch);
        self.stats.exported(spans - rejected);
        self.succeeded();
        if rejected > 0 {
            self.stats.failed(Failure::Partial);
            self.stats.dropped(Drop::Rejected, rejected);
        }
        if (rejected > 0 || !message.is_empty()) && self.may_say() {
            let receiver = self.sender.settings.describe();
            tracing::warn!(receiver, rejected, message, "the receiver of traces rejected spans");
        }
    }

    fn refused(&mut self, batch: &[Encoded], failure: Failure, why: &str) {
        self.stats.failed(failure);
        self.lose(Drop::Failed, batch);
        self.backoff.reset();
        if self.may_say() {
            let (receiver, spans) = (self.sender.settings.describe(), batch_spans(batch));
            tracing::warn!(receiver, spans, error = why, "the receiver of traces refused spans");
        }
    }

    fn failed(&mut self, failure: Failure, why: &str) {
        self.stats.failed(failure);
        if self.failing_since.is_none() {
            self.failing_since = Some(Instant::now());
            let receiver = self.sender.settings.describe();
            tracing::warn!(
                receiver,
                error = why,
                "traces cannot be sent: they wait, and the oldest are dropped where room is wanted"
            );
        }
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        if let Some(since) = self.failing_since.take() {
            let (receiver, after_s) = (self.sender.settings.describe(), since.elapsed().as_secs());
            tracing::info!(receiver, after_s, "traces are sent again");
        }
    }

    fn lose(&self, reason: Drop, batch: &[Encoded]) {
        self.queue.done(batch);
        self.stats.dropped(reason, batch_spans(batch));
    }

    /// Whether enough time has passed since the last line about refusals.
    fn may_say(&mut self) -> bool {
        let due = self.said_refused.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if due {
            self.said_refused = Some(Instant::now());
        }
        due
    }
}
