//! Counters of events, which a scraper sees at 0 before their first event.
//!
//! Prometheus computes `increase()` between samples: of a series that begins at 1 it sees no
//! increase, so the first OOM or the first crash would be missed. Therefore a [`Counter`] is
//! written as 0 in the first exposition to a scraper that it is part of, and only then with its
//! value. Label sets that are few are initialised at 0 with their entity, long before an event
//! ([`Counters::initialised`](super::counters::Counters::initialised)); the others are made by
//! their first event and are late by one scrape.
//!
//! With several scrapers only the first of them is sure to see the 0, and who scrapes together with
//! it. A human sees the value as it is.

use super::variant::{Audience, FirstShown, Generation};

/// A number of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    count: u64,
    first_shown: FirstShown,
}

impl Counter {
    /// Counts one event.
    pub const fn add_one(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// The value to write now: to a scraper 0 in the first generation.
    pub fn show(&mut self, audience: Audience, generation: Generation) -> u64 {
        if self.first_shown.is_new(audience, generation) { 0 } else { self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::{Audience, Counter, Generation};

    const GENERATIONS: [Generation; 3] =
        [Generation::FIRST, Generation::FIRST.next(), Generation::FIRST.next().next()];

    #[test]
    fn the_first_generation_shows_zero() {
        let mut counter = Counter::default();
        counter.add_one();
        counter.add_one();
        for _variant in 0..3 {
            assert_eq!(counter.show(Audience::Scraper, GENERATIONS[0]), 0);
        }
        for _variant in 0..3 {
            assert_eq!(counter.show(Audience::Scraper, GENERATIONS[1]), 2);
        }
        counter.add_one();
        assert_eq!(counter.show(Audience::Scraper, GENERATIONS[2]), 3);
    }

    #[test]
    fn a_human_sees_the_value_and_leaves_the_zero_to_the_scraper() {
        let mut counter = Counter::default();
        counter.add_one();
        assert_eq!(counter.show(Audience::Human, GENERATIONS[0]), 1);
        assert_eq!(counter.show(Audience::Scraper, GENERATIONS[1]), 0);
        assert_eq!(counter.show(Audience::Human, GENERATIONS[1]), 1);
        assert_eq!(counter.show(Audience::Scraper, GENERATIONS[2]), 1);
    }

    #[test]
    fn a_counter_that_was_initialised_early_is_never_late() {
        let mut counter = Counter::default();
        assert_eq!(counter.show(Audience::Scraper, GENERATIONS[0]), 0);
        counter.add_one();
        assert_eq!(counter.show(Audience::Scraper, GENERATIONS[1]), 1);
    }

    #[test]
    fn a_counter_is_small() {
        assert_eq!(size_of::<Counter>(), 16);
    }
}
