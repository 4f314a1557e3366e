//! Counters of one family and one entity, by label set.

use std::collections::BTreeMap;

use super::counter::Counter;
use super::expose::{Exposition, Labels};

/// The counters of one family and one entity, by label set.
#[derive(Clone, Debug)]
pub struct Counters<L> {
    counters: BTreeMap<L, Counter>,
}

impl<L> Default for Counters<L> {
    fn default() -> Self {
        Self { counters: BTreeMap::new() }
    }
}

impl<L: Labels + Ord> Counters<L> {
    /// Counters with these label sets, at 0.
    pub fn initialised(labels: impl IntoIterator<Item = L>) -> Self {
        Self { counters: labels.into_iter().map(|labels| (labels, Counter::default())).collect() }
    }

    /// Counts one event, making the label set at first sight.
    pub fn add_one(&mut self, labels: L) {
        self.counters.entry(labels).or_default().add_one();
    }

    /// Counts one event under its label set if that exists or if there are fewer than `named`, else
    /// under `other`, so that label sets stay few and no event is lost. Returns whether it has its
    /// own label set.
    pub fn add_one_bounded(&mut self, labels: L, named: usize, other: L) -> bool {
        let known = self.counters.len() < named || self.counters.contains_key(&labels);
        self.add_one(if known { labels } else { other });
        known
    }

    /// Writes all counters.
    pub fn write(&mut self, block: &[u8], to: &mut Exposition) {
        for (labels, counter) in &mut self.counters {
            to.counter(block, labels, counter);
        }
    }
}

#[cfg(test)]
impl<L> Counters<L> {
    /// The number of label sets.
    pub(super) fn len(&self) -> usize {
        self.counters.len()
    }

    /// The number of events counted.
    pub(super) fn sum(&self) -> u64 {
        self.counters.values().map(Counter::count).sum()
    }
}
