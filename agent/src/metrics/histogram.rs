//! Histograms of times with fixed bounds.

use super::edition::{FirstShown, Reader, Round};

/// The upper bound of a bucket.
#[derive(Debug)]
pub struct Bound {
    /// The greatest time that is inside.
    pub ns: u64,
    /// The value of the label `le`: the same in seconds, as a canonical number of OpenMetrics
    /// (`1.0`). Text 0.0.4 takes any number; the same one in both keeps the series the same.
    pub le: &'static str,
}

/// Times, counted by bucket. As with [`super::cell::Cell`], a scraper sees it
/// empty the first time.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [Bound],
    /// One for each bound, and one for what is above all.
    counts: Box<[u64]>,
    sum_ns: u64,
    first_shown: FirstShown,
}

impl Histogram {
    /// Empty; `bounds` rise.
    #[must_use]
    pub fn new(bounds: &'static [Bound]) -> Self {
        let counts = vec![0; bounds.len() + 1].into_boxed_slice();
        Self { bounds, counts, sum_ns: 0, first_shown: FirstShown::default() }
    }

    /// Counts one.
    pub fn observe_ns(&mut self, time_ns: u64) {
        let at = self.bounds.partition_point(|bound| bound.ns < time_ns);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
    }

    /// As it is to be written now: to a scraper empty in the first round.
    pub(super) fn show(&mut self, reader: Reader, round: Round) -> Shown<'_> {
        let empty = self.first_shown.is_new(reader, round);
        Shown { histogram: self, empty }
    }
}

/// A histogram as it is written now.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    histogram: &'a Histogram,
    empty: bool,
}

impl Shown<'_> {
    /// The label `le` and how many are not above it, the last one `+Inf`.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = self.histogram.bounds.iter().map(|bound| bound.le).chain(["+Inf"]);
        let empty = self.empty;
        bounds.zip(&self.histogram.counts).scan(0, move |total, (le, count)| {
            *total += if empty { 0 } else { *count };
            Some((le, *total))
        })
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        if self.empty { 0 } else { self.histogram.counts.iter().sum() }
    }

    /// All of them together.
    pub(super) const fn sum_ns(&self) -> u64 {
        if self.empty { 0 } else { self.histogram.sum_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Histogram, Reader, Round};

    static BOUNDS: [Bound; 2] = [Bound { ns: 10, le: "1.0" }, Bound { ns: 20, le: "2.0" }];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&BOUNDS);
        for time_ns in [0, 10, 11, 20, 21, 1000] {
            histogram.observe_ns(time_ns);
        }
        let shown = histogram.show(Reader::Person, Round::FIRST);
        let buckets: Vec<_> = shown.cumulative().collect();
        assert_eq!(buckets, [("1.0", 2), ("2.0", 4), ("+Inf", 6)]);
        assert_eq!((shown.count(), shown.sum_ns()), (6, 1062));
    }

    #[test]
    fn the_first_round_shows_it_empty() {
        let mut histogram = Histogram::new(&BOUNDS);
        histogram.observe_ns(15);
        let mut show = |round| {
            let shown = histogram.show(Reader::Scraper, round);
            let all = shown.cumulative().last().map(|(_, count)| count);
            (all, shown.count(), shown.sum_ns())
        };
        for _edition in 0..2 {
            assert_eq!(show(Round::FIRST), (Some(0), 0, 0));
        }
        assert_eq!(show(Round::FIRST.next()), (Some(1), 1, 15));
    }
}
