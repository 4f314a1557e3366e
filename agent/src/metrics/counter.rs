//! Counters of events, which a scraper sees at 0 before their first event.
//!
//! Prometheus computes `increase()` between samples: of a series that begins at 1 it sees no
//! increase, so the first OOM or the first crash would be missed. Therefore each scraper sees a
//! [`Counter`] that is new to it as 0 once, and only then with its value
//! ([`Text::for_reader`](super::text::Text::for_reader)). Label sets that are few are initialised at
//! 0 with their entity, long before an event
//! ([`Counters::initialised`](super::counters::Counters::initialised)); the others are made by
//! their first event and are late by one scrape. Who has seen what is known by
//! [`scrapers`](super::scrapers). A human sees the value as it is.

use super::variant::FirstShown;

/// A number of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    count: u64,
    first_shown: FirstShown,
}

impl Counter {
    /// A counter at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0, first_shown: FirstShown::new() }
    }

    /// Counts one event.
    pub const fn add_one(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// Adds an amount.
    pub const fn add(&mut self, amount: u64) {
        self.count = self.count.saturating_add(amount);
    }

    /// The number of events, or the sum of the amounts.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The generation in which the series is exposed for the first time.
    pub const fn first_shown(&mut self) -> &mut FirstShown {
        &mut self.first_shown
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn a_counter_is_small() {
        assert_eq!(size_of::<Counter>(), 16);
    }
}
