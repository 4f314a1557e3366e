//! Differences of one exposition from another: its format, the collection that it is of, and what
//! its reader has seen before.

use std::num::NonZeroU64;

/// Format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0 as text.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Time for which a new series counts as new to a scraper that is not known: a scraper that comes
/// for the first time, or after a longer silence. It is Prometheus' lookback: what scrapes less
/// often has gaps anyway, and what is older belongs to a past that an increase must not tell of.
pub const NEWS_NS: u64 = 300_000_000_000;

/// Time of a collection, `CLOCK_BOOTTIME`. No two have the same; all expositions of one collection
/// do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// The first generation.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The generation after this one, of a collection at that time.
    #[must_use]
    pub fn next(self, now_boot_ns: u64) -> Self {
        self.max(NonZeroU64::new(now_boot_ns).map_or(self, Self))
            .max(Self(self.0.saturating_add(1)))
    }

    /// Series seen by a scraper that is not known: all but the news.
    #[must_use]
    pub const fn stranger(self) -> Seen {
        Seen(self.0.get().saturating_sub(NEWS_NS))
    }

    /// Series seen by a scraper that was shown this generation.
    #[must_use]
    pub const fn seen(self) -> Seen {
        Seen(self.0.get())
    }
}

/// Series that the reader of an exposition has seen: those that were there at a time,
/// `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen(u64);

impl Seen {
    /// All there is: nothing is new to a human, who looks once and does not compare.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether a series that was first shown then is among them.
    #[must_use]
    pub const fn has(self, first_shown: Generation) -> bool {
        first_shown.0.get() <= self.0
    }
}

/// Generation in which a series was exposed for the first time, to whoever it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstShown(Option<Generation>);

impl FirstShown {
    /// A series that was not exposed.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether the series was exposed.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// The generation for a series that is exposed in this one.
    pub fn at(&mut self, generation: Generation) -> Generation {
        *self.0.get_or_insert(generation)
    }
}

#[cfg(test)]
mod tests {
    use super::{FirstShown, Generation, NEWS_NS, Seen};

    #[test]
    fn generations_rise_whatever_the_clock_says() {
        let first = Generation::FIRST.next(0);
        assert!(first > Generation::FIRST);
        let later = first.next(1_000_000);
        assert_eq!(later.seen(), Seen(1_000_000));
        assert!(later.next(1_000_000) > later && later.next(5) > later);
    }

    #[test]
    fn a_series_is_new_to_who_has_not_seen_its_generation() {
        let mut series = FirstShown::default();
        let first = Generation::FIRST.next(NEWS_NS);
        assert_eq!((series.is_shown(), series.at(first), series.is_shown()), (false, first, true));
        assert_eq!(series.at(first.next(2 * NEWS_NS)), first);
        assert!(first.seen().has(first) && Seen::ALL.has(first));
        assert!(!Generation::FIRST.seen().has(first));
        assert!(!first.next(2 * NEWS_NS - 1).stranger().has(first), "news");
        assert!(first.next(2 * NEWS_NS).stranger().has(first), "no news any more");
    }
}
