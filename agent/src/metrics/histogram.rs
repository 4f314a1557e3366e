//! Histograms of times with fixed bounds.

use super::variant::FirstShown;

/// Upper bound of a bucket.
#[derive(Debug)]
pub struct Bound {
    /// The greatest time inside.
    pub ns: u64,
    /// The value of the label `le`: the same in seconds, as a canonical number of OpenMetrics
    /// (`1.0`). Text 0.0.4 takes any number; the same one in both keeps the series the same.
    pub le: &'static str,
}

/// Times, counted by bucket. As with a [`Counter`](super::counter::Counter), each scraper sees it empty
/// once.
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

    /// The generation in which the series are exposed for the first time.
    pub(super) const fn first_shown(&mut self) -> &mut FirstShown {
        &mut self.first_shown
    }

    /// The number of series: the buckets, their sum and count.
    pub(super) const fn series(&self) -> u64 {
        self.counts.len() as u64 + 2
    }

    /// The label `le` and how many are not above it, the last one `+Inf`.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = self.bounds.iter().map(|bound| bound.le).chain(["+Inf"]);
        bounds.zip(&self.counts).scan(0, |total, (le, count)| {
            *total += *count;
            Some((le, *total))
        })
    }

    /// The number of times.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the times.
    pub(super) const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Histogram};

    static BOUNDS: [Bound; 2] = [Bound { ns: 10, le: "1.0" }, Bound { ns: 20, le: "2.0" }];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&BOUNDS);
        for time_ns in [0, 10, 11, 20, 21, 1000] {
            histogram.observe_ns(time_ns);
        }
        let buckets: Vec<_> = histogram.cumulative().collect();
        assert_eq!(buckets, [("1.0", 2), ("2.0", 4), ("+Inf", 6)]);
        assert_eq!((histogram.count(), histogram.sum_ns(), histogram.series()), (6, 1062, 5));
    }
}
