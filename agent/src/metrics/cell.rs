//! Counters of events, which are seen at 0 before their first event.
//!
//! Prometheus computes `increase()` between samples: of a series that is born at 1 it sees no
//! increase, so the first OOM or the first crash would be missed. Therefore a [`Cell`] is written
//! as 0 in the first exposition to a scraper that it is part of, and only then with its value. Label sets that
//! are few are made with their subject and are at 0 long before an event ([`Cells::born`]); the
//! others are made by their first event and are late by one scrape.
//!
//! With several scrapers only the first of them is sure to see the 0, and who asks together with
//! it. A person who looks by hand is told the value as it is.

use std::collections::BTreeMap;

use super::edition::{FirstShown, Reader, Round};
use super::expose::{Exposition, Labels};

/// A number of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    count: u64,
    first_shown: FirstShown,
}

impl Cell {
    /// Counts one event.
    pub const fn add_one(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// The value to write now: to a scraper 0 in the first round.
    pub fn show(&mut self, reader: Reader, round: Round) -> u64 {
        if self.first_shown.is_new(reader, round) { 0 } else { self.count }
    }
}

/// The cells of one family and one subject, by label set.
#[derive(Clone, Debug)]
pub struct Cells<L> {
    cells: BTreeMap<L, Cell>,
}

impl<L> Default for Cells<L> {
    fn default() -> Self {
        Self { cells: BTreeMap::new() }
    }
}

impl<L: Labels + Ord> Cells<L> {
    /// With these label sets at 0.
    pub fn born(labels: impl IntoIterator<Item = L>) -> Self {
        Self { cells: labels.into_iter().map(|labels| (labels, Cell::default())).collect() }
    }

    /// Counts one event, making the label set at first sight.
    pub fn add_one(&mut self, labels: L) {
        self.cells.entry(labels).or_default().add_one();
    }

    /// Whether there is such a cell.
    #[must_use]
    pub fn contains(&self, labels: &L) -> bool {
        self.cells.contains_key(labels)
    }

    /// How many label sets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Writes all.
    pub fn write(&mut self, block: &[u8], to: &mut Exposition) {
        for (labels, cell) in &mut self.cells {
            to.cell(block, labels, cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Reader, Round};

    const ROUNDS: [Round; 3] = [Round::FIRST, Round::FIRST.next(), Round::FIRST.next().next()];

    #[test]
    fn the_first_round_shows_zero() {
        let mut cell = Cell::default();
        cell.add_one();
        cell.add_one();
        for _edition in 0..3 {
            assert_eq!(cell.show(Reader::Scraper, ROUNDS[0]), 0);
        }
        for _edition in 0..3 {
            assert_eq!(cell.show(Reader::Scraper, ROUNDS[1]), 2);
        }
        cell.add_one();
        assert_eq!(cell.show(Reader::Scraper, ROUNDS[2]), 3);
    }

    #[test]
    fn a_person_sees_the_value_and_leaves_the_zero_to_the_scraper() {
        let mut cell = Cell::default();
        cell.add_one();
        assert_eq!(cell.show(Reader::Person, ROUNDS[0]), 1);
        assert_eq!(cell.show(Reader::Scraper, ROUNDS[1]), 0);
        assert_eq!(cell.show(Reader::Person, ROUNDS[1]), 1);
        assert_eq!(cell.show(Reader::Scraper, ROUNDS[2]), 1);
    }

    #[test]
    fn a_cell_that_was_born_early_is_never_late() {
        let mut cell = Cell::default();
        assert_eq!(cell.show(Reader::Scraper, ROUNDS[0]), 0);
        cell.add_one();
        assert_eq!(cell.show(Reader::Scraper, ROUNDS[1]), 1);
    }

    #[test]
    fn a_cell_is_small() {
        assert_eq!(size_of::<Cell>(), 16);
    }
}
