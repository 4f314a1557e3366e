//! Counters of events, which are seen at 0 before their first event.
//!
//! Prometheus computes `increase()` between samples: of a series that is born at 1 it sees no
//! increase, so the first OOM or the first crash would be missed. Therefore a [`Cell`] is written
//! as 0 in the first exposition to a scraper that it is part of, and only then with its value. Label sets that
//! are few are made with their subject and are at 0 long before an event ([`Cells::born`]); the
//! others are made by their first event and are late by one scrape.
//!
//! With several scrapers only the first of them is sure to see the 0. A person who looks by hand is
//! told the value as it is.

use std::collections::BTreeMap;

use super::expose::{Exposition, Labels, Reader};

/// A number of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    count: u64,
    shown: bool,
}

impl Cell {
    /// Counts one event.
    pub const fn add_one(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// The value to write now: to a scraper 0 the first time.
    pub const fn show(&mut self, reader: Reader) -> u64 {
        match reader {
            Reader::Person => self.count,
            Reader::Scraper if std::mem::replace(&mut self.shown, true) => self.count,
            Reader::Scraper => 0,
        }
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
    pub fn write(&mut self, block: &[u8], to: &mut Exposition<'_>) {
        for (labels, cell) in &mut self.cells {
            to.cell(block, labels, cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Reader};

    #[test]
    fn the_first_exposition_shows_zero() {
        let mut cell = Cell::default();
        cell.add_one();
        cell.add_one();
        assert_eq!(cell.show(Reader::Scraper), 0);
        assert_eq!(cell.show(Reader::Scraper), 2);
        cell.add_one();
        assert_eq!(cell.show(Reader::Scraper), 3);
    }

    #[test]
    fn a_person_sees_the_value_and_leaves_the_zero_to_the_scraper() {
        let mut cell = Cell::default();
        cell.add_one();
        assert_eq!(cell.show(Reader::Person), 1);
        assert_eq!(cell.show(Reader::Scraper), 0);
        assert_eq!(cell.show(Reader::Scraper), 1);
    }

    #[test]
    fn a_cell_that_was_born_early_is_never_late() {
        let mut cell = Cell::default();
        assert_eq!(cell.show(Reader::Scraper), 0);
        cell.add_one();
        assert_eq!(cell.show(Reader::Scraper), 1);
    }
}
