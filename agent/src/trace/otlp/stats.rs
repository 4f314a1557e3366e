//! Statistics of the exporter: atomics, because two threads count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::trace::volume::Omitted;

/// Reason for which spans were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    /// Newer ones took their room, or there was none at all.
    QueueFull,
    /// The receiver took the rest of their batch.
    Rejected,
    /// The receiver refused their batch for good.
    Failed,
    /// The agent stopped.
    Shutdown,
}

impl Drop {
    /// All reasons, in the order of their counters.
    pub(super) const ALL: [Self; 4] =
        [Self::QueueFull, Self::Rejected, Self::Failed, Self::Shutdown];

    /// Value of the label `reason`.
    #[must_use]
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Reason for which an export failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection, a broken one, or a receiver that says it is not available.
    Unavailable,
    /// No whole answer in time.
    Timeout,
    /// A receiver that asks for fewer requests.
    Throttled,
    /// A refusal for good.
    Rejected,
    /// Only a part of the spans was taken.
    Partial,
    /// An answer that is none of OTLP, or too long.
    Malformed,
}

impl Failure {
    /// All reasons, in the order of their counters.
    pub(super) const ALL: [Self; 6] = [
        Self::Unavailable,
        Self::Timeout,
        Self::Throttled,
        Self::Rejected,
        Self::Partial,
        Self::Malformed,
    ];

    /// Value of the label `reason`.
    #[must_use]
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
            Self::Partial => "partial",
            Self::Malformed => "malformed",
        }
    }
}

/// Counters of the exporter and of its queue.
#[derive(Debug, Default)]
pub struct Stats {
    exported: AtomicU64,
    dropped: [AtomicU64; Drop::ALL.len()],
    failures: [AtomicU64; Failure::ALL.len()],
    queue_bytes: AtomicU64,
    queue_limit_bytes: AtomicU64,
    last_export_unix_ns: AtomicU64,
}

impl Stats {
    /// The counters of a queue with that limit.
    #[must_use]
    pub fn new(queue_limit_bytes: u64) -> Self {
        Self { queue_limit_bytes: queue_limit_bytes.into(), ..Self::default() }
    }

    /// Counts a batch that the receiver has taken, now; `spans` without those that it rejected.
    pub(super) fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        self.last_export_unix_ns.store(unix_ns, Ordering::Relaxed);
    }

    /// Counts spans that were dropped.
    pub(super) fn dropped(&self, reason: Drop, spans: u64) {
        for (count, of) in self.dropped.iter().zip(Drop::ALL) {
            if of == reason {
                count.fetch_add(spans, Ordering::Relaxed);
            }
        }
    }

    /// Counts an export that failed.
    pub(super) fn failed(&self, reason: Failure) {
        for (count, of) in self.failures.iter().zip(Failure::ALL) {
            if of == reason {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Notes the fill of the queue.
    pub(super) fn queue_is(&self, bytes: u64) {
        self.queue_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The counters at this moment, for the metrics. What the reader of facts has left out is not
    /// known here, and 0.
    #[must_use]
    pub fn read(&self) -> TraceStats {
        let counts = |counts: &[AtomicU64], labels: &mut [(&'static str, u64)]| {
            for ((_, to), from) in labels.iter_mut().zip(counts) {
                *to = from.load(Ordering::Relaxed);
            }
        };
        let mut stats = TraceStats::default();
        counts(&self.dropped, &mut stats.spans_dropped);
        counts(&self.failures, &mut stats.export_failures);
        let last = self.last_export_unix_ns.load(Ordering::Relaxed);
        stats.spans_exported = self.exported.load(Ordering::Relaxed);
        stats.queue_bytes = self.queue_bytes.load(Ordering::Relaxed);
        stats.queue_limit_bytes = self.queue_limit_bytes.load(Ordering::Relaxed);
        stats.last_export_unix_ns = (last > 0).then_some(last);
        stats
    }
}

/// Traces in figures, for the metrics. Counters are totals since the agent's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStats {
    /// Spans that the receiver has taken.
    pub spans_exported: u64,
    /// Spans that were dropped, by reason.
    pub spans_dropped: [(&'static str, u64); Drop::ALL.len()],
    /// Exports that failed, by reason.
    pub export_failures: [(&'static str, u64); Failure::ALL.len()],
    /// Encoded spans that wait or are being sent.
    pub queue_bytes: u64,
    /// Limit of these.
    pub queue_limit_bytes: u64,
    /// Last export that the receiver has taken, Unix time; `None` before the first.
    pub last_export_unix_ns: Option<u64>,
    /// Traces that were left out, by reason.
    pub omitted: [(&'static str, u64); Omitted::ALL.len()],
    /// Links to other traces that were asked for and could not be read.
    pub links_rejected: u64,
}

impl Default for TraceStats {
    /// No traces yet: every reason is there, at 0.
    fn default() -> Self {
        Self {
            spans_exported: 0,
            spans_dropped: Drop::ALL.map(|reason| (reason.label(), 0)),
            export_failures: Failure::ALL.map(|reason| (reason.label(), 0)),
            queue_bytes: 0,
            queue_limit_bytes: 0,
            last_export_unix_ns: None,
            omitted: Omitted::ALL.map(|reason| (reason.label(), 0)),
            links_rejected: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_its_own_reason() {
        let stats = Stats::new(7);
        assert_eq!(stats.read(), TraceStats { queue_limit_bytes: 7, ..TraceStats::default() });
        for (n, reason) in Drop::ALL.into_iter().enumerate() {
            stats.dropped(reason, n as u64 + 1);
        }
        for (n, reason) in Failure::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| stats.failed(reason));
        }
        stats.exported(9);
        stats.queue_is(5);
        let read = stats.read();
        assert_eq!(
            read.spans_dropped,
            [("queue_full", 1), ("rejected", 2), ("failed", 3), ("shutdown", 4)]
        );
        let failures = read.export_failures.map(|(reason, count)| format!("{reason} {count}"));
        assert_eq!(
            failures.join(", "),
            "unavailable 1, timeout 2, throttled 3, rejected 4, partial 5, malformed 6"
        );
        assert_eq!((read.spans_exported, read.queue_bytes, read.queue_limit_bytes), (9, 5, 7));
        assert!(read.last_export_unix_ns.unwrap() > 1_700_000_000_000_000_000);
    }
}
