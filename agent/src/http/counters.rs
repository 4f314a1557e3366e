//! Counters of the server, which the owner reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Reason why a connection was closed before its client closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Without a request, to make room for another.
    Crowded,
    /// The head of a request took too long.
    Head,
    /// No further request came.
    Idle,
    /// The client did not take its answer in time, or while its room was needed.
    SlowReader,
    /// Refusal for want of room.
    Refused,
}

impl Closed {
    const NAMES: [&str; 5] = ["crowded", "head_timeout", "idle_timeout", "slow_reader", "refused"];
}

/// Counters of the server since its start.
#[derive(Debug, Default)]
pub struct Counters {
    closed: [AtomicU64; Closed::NAMES.len()],
    scrapes_refused: AtomicU64,
}

impl Counters {
    pub(super) fn closed(&self, why: Closed) {
        if let Some(count) = self.closed.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn scrape_refused(&self) {
        self.scrapes_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were closed or refused, by reason.
    #[must_use]
    pub fn connections_closed(&self) -> Vec<(&'static str, u64)> {
        let counts = self.closed.iter().map(|count| count.load(Ordering::Relaxed));
        Closed::NAMES.into_iter().zip(counts).collect()
    }

    /// Scrapes that were answered 503.
    #[must_use]
    pub fn scrapes_refused(&self) -> u64 {
        self.scrapes_refused.load(Ordering::Relaxed)
    }
}
