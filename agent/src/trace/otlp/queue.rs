//! Queue of encoded traces between the owner and the exporter: bounded in spans and in bytes, what is
//! being sent included. Where there is no room, the oldest that wait give way, and are counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::encode::Encoded;
use super::stats::{Drop, Stats};

/// Limits of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Spans that wait or are being sent, at most.
    pub spans: u64,
    /// Bytes of these, at most.
    pub bytes: u64,
    /// Spans in a batch, at most, unless one trace has more.
    pub batch_spans: u64,
}

/// Bytes in a batch, at most, unless one trace has more. Receivers take 4 MiB at least.
const BATCH_BYTES: u64 = 1 << 20;

/// A bounded queue of encoded traces. The lock is held to move pointers, and never while anything is
/// waited for.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    limits: Limits,
    stats: Arc<Stats>,
    /// Something waits, where nothing did.
    some: Notify,
    /// A whole batch waits.
    full: Notify,
}

/// Spans and bytes of encoded traces. One without spans has a place too.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    spans: u64,
    bytes: u64,
}

impl Load {
    fn of(encoded: &Encoded) -> Self {
        Self { spans: u64::from(encoded.spans).max(1), bytes: encoded.bytes.len() as u64 }
    }

    const fn add(&mut self, other: Self) {
        self.spans = self.spans.saturating_add(other.spans);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    const fn subtract(&mut self, other: Self) {
        self.spans = self.spans.saturating_sub(other.spans);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// Whether all of these are within the limits.
    fn fit(all: &[Self], limits: &Limits) -> bool {
        all.iter().map(|load| load.spans).sum::<u64>() <= limits.spans
            && all.iter().map(|load| load.bytes).sum::<u64>() <= limits.bytes
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Encoded>,
    /// Load of what waits.
    waits: Load,
    /// Load of what is being sent.
    under_way: Load,
    closed: bool,
}

impl State {
    fn pop(&mut self) -> Option<Encoded> {
        let oldest = self.waiting.pop_front()?;
        self.waits.subtract(Load::of(&oldest));
        Some(oldest)
    }

    const fn bytes(&self) -> u64 {
        self.waits.bytes + self.under_way.bytes
    }
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits, stats: Arc<Stats>) -> Self {
        let (some, full) = (Notify::new(), Notify::new());
        Self { state: Mutex::default(), limits, stats, some, full }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a trace, and drops the oldest that wait where it needs their room. Never waits. Returns
    /// whether it is queued; if it is not, that is counted.
    pub fn push(&self, encoded: Encoded) -> bool {
        let load = Load::of(&encoded);
        let mut state = self.state();
        if state.closed {
            drop(state);
            self.stats.dropped(Drop::Shutdown, encoded.spans.into());
            return false;
        }
        // What can find no room takes it from nobody.
        let fits = Load::fit(&[load, state.under_way], &self.limits);
        let mut lost = Vec::new();
        if fits {
            while !Load::fit(&[load, state.under_way, state.waits], &self.limits) {
                lost.extend(state.pop());
            }
            let before = state.waits.spans;
            state.waits.add(load);
            state.waiting.push_back(encoded);
            let batch = self.limits.batch_spans;
            if before == 0 {
                self.some.notify_one();
            }
            if before < batch && state.waits.spans >= batch {
                self.full.notify_one();
            }
        } else {
            lost.push(encoded);
        }
        self.stats.queue_is(state.bytes());
        drop(state);
        for lost in &lost {
            self.stats.dropped(Drop::QueueFull, lost.spans.into());
        }
        fits
    }

    /// Waits until something waits to be sent.
    pub(super) async fn some(&self) {
        while self.state().waiting.is_empty() {
            self.some.notified().await;
        }
    }

    /// Waits until a whole batch waits to be sent.
    pub(super) async fn full(&self) {
        while self.state().waits.spans < self.limits.batch_spans {
            self.full.notified().await;
        }
    }

    /// Takes the next batch; empty if nothing waits. Its room is given free by [`Self::done`].
    pub(super) fn take(&self) -> Vec<Encoded> {
        let limits = Limits { spans: self.limits.batch_spans, bytes: BATCH_BYTES, ..self.limits };
        let mut batch = Vec::new();
        let mut load = Load::default();
        let mut state = self.state();
        while let Some(next) = state.waiting.front().map(Load::of) {
            if !batch.is_empty() && !Load::fit(&[load, next], &limits) {
                break;
            }
            load.add(next);
            batch.extend(state.pop());
        }
        state.under_way.add(load);
        batch
    }

    /// Puts a batch that could not be sent back in front, where it gives way first.
    pub(super) fn put_back(&self, batch: Vec<Encoded>) {
        let mut state = self.state();
        for encoded in batch.into_iter().rev() {
            let load = Load::of(&encoded);
            state.under_way.subtract(load);
            state.waits.add(load);
            state.waiting.push_front(encoded);
        }
    }

    /// Gives free the room of a batch that is over.
    pub(super) fn done(&self, batch: &[Encoded]) {
        let mut state = self.state();
        for encoded in batch {
            state.under_way.subtract(Load::of(encoded));
        }
        self.stats.queue_is(state.bytes());
    }

    /// Takes no more, and drops what waits.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        state.waits = Load::default();
        self.stats.queue_is(state.bytes());
        drop(state);
        for encoded in &waiting {
            self.stats.dropped(Drop::Shutdown, encoded.spans.into());
        }
    }
}

/// Spans of a batch.
pub(super) fn batch_spans(batch: &[Encoded]) -> u64 {
    batch.iter().map(|encoded| u64::from(encoded.spans)).sum()
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
