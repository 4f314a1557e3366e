//! Histograms of times with fixed bounds.

use super::variant::{Audience, FirstShown, Generation};

/// Upper bound of a bucket.
#[derive(Debug)]
pub struct Bound {
    /// The greatest time inside.
    pub ns: u64,
    /// The value of the label `le`: the same in seconds, as a canonical number of OpenMetrics
    /// (`1.0`). Text 0.0.4 takes any number; the same one in both keeps the series the same.
    pub le: &'static str,
}

/// Times, counted by bucket. As with a [`Counter`](super::counter::Counter), a scraper sees it empty
/// the first time.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [Bound],
    /// One count for each bound, and one for what is above all.
    counts: Box<[u64]>,
    sum_ns: u64,
    first_shown: FirstShown,
}

impl Histogram {
    /// An empty histogram; `bounds` rise.
    #[must_use]
    pub fn new(bounds: &'static [Bound]) -> Self {
        let counts = vec![0; bounds.len() + 1].into_boxed_slice();
        Self { bounds, counts, sum_ns: 0, first_shown: FirstShown::default() }
    }

    /// Counts one time.
    pub fn observe_ns(&mut self, time_ns: u64) {
        let at = self.bounds.partition_point(|bound| bound.ns < time_ns);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
    }

    /// The histogram as it is written now: to a scraper empty in the first generation.
    pub(super) fn show(&mut self, audience: Audience, generation: Generation) -> Shown<'_> {
        let empty = self.first_shown.is_new(audience, generation);
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

    /// The number of times.
    pub(super) fn count(&self) -> u64 {
        if self.empty { 0 } else { self.histogram.counts.iter().sum() }
    }

    /// The sum of the times.
    pub(super) const fn sum_ns(&self) -> u64 {
        if self.empty { 0 } else { self.histogram.sum_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::{Audience, Bound, Generation, Histogram};

    static BOUNDS: [Bound; 2] = [Bound { ns: 10, le: "1.0" }, Bound { ns: 20, le: "2.0" }];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&BOUNDS);
        for time_ns in [0, 10, 11, 20, 21, 1000] {
            histogram.observe_ns(time_ns);
        }
        let shown = histogram.show(Audience::Human, Generation::FIRST);
        let buckets: Vec<_> = shown.cumulative().collect();
        assert_eq!(buckets, [("1.0", 2), ("2.0", 4), ("+Inf", 6)]);
        assert_eq!((shown.count(), shown.sum_ns()), (6, 1062));
    }

    #[test]
    fn the_first_generation_shows_it_empty() {
        let mut histogram = Histogram::new(&BOUNDS);
        histogram.observe_ns(15);
        let mut show = |generation| {
            let shown = histogram.show(Audience::Scraper, generation);
            let all = shown.cumulative().last().map(|(_, count)| count);
            (all, shown.count(), shown.sum_ns())
        };
        for _variant in 0..2 {
            assert_eq!(show(Generation::FIRST), (Some(0), 0, 0));
        }
        assert_eq!(show(Generation::FIRST.next()), (Some(1), 1, 15));
    }
}
