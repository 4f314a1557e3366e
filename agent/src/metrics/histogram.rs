//! Histograms of times with fixed bounds.

use super::exemplar::Exemplar;
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

/// Bounds of the fraction of a limit in time that was used. Ratios are counted as times of which 1 is a
/// second.
pub const RATIO_BOUNDS: &[Bound] = &[
    Bound { ns: 100_000_000, le: "0.1" },
    Bound { ns: 250_000_000, le: "0.25" },
    Bound { ns: 500_000_000, le: "0.5" },
    Bound { ns: 750_000_000, le: "0.75" },
    Bound { ns: 900_000_000, le: "0.9" },
    Bound { ns: 1_000_000_000, le: "1.0" },
];

/// The fraction of a time that was used, as a time of which 1 is a second; `None` of no time.
#[must_use]
pub fn ratio_ns(used_ns: u64, of_ns: u128) -> Option<u64> {
    let ratio = (u128::from(used_ns) * 1_000_000_000).checked_div(of_ns)?;
    Some(u64::try_from(ratio).unwrap_or(u64::MAX))
}

/// Times, counted by bucket. As with a [`Counter`](super::counter::Counter), each scraper sees it empty
/// once.
///
/// A bucket has the newest of the exemplars that were given for it. It keeps it, as Prometheus takes
/// no older one than it has of the series, and knows the same one again.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [Bound],
    /// One count for each bound, and one for what is above all.
    counts: Box<[u64]>,
    sum_ns: u64,
    /// Buckets that have an exemplar, in order: few, and none where nothing is traced.
    exemplars: Vec<(usize, Exemplar)>,
    first_shown: FirstShown,
}

impl Histogram {
    /// An empty histogram; `bounds` rise.
    #[must_use]
    pub fn new(bounds: &'static [Bound]) -> Self {
        let counts = vec![0; bounds.len() + 1].into_boxed_slice();
        let first_shown = FirstShown::default();
        Self { bounds, counts, sum_ns: 0, exemplars: Vec::new(), first_shown }
    }

    /// Counts one time.
    pub fn observe_ns(&mut self, time_ns: u64) {
        let at = self.bucket(time_ns);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
    }

    /// Takes in the exemplar of a time that was counted. One that is older than the bucket's, and one
    /// whose bucket is empty, is passed over.
    pub fn exemplify(&mut self, exemplar: Exemplar) {
        let bucket = self.bucket(exemplar.time_ns);
        if self.counts.get(bucket).is_none_or(|count| *count == 0) {
            return;
        }
        match self.exemplars.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => {
                if let Some((_, known)) = self.exemplars.get_mut(at)
                    && known.at_boot_ns <= exemplar.at_boot_ns
                {
                    *known = exemplar;
                }
            }
            Err(at) => {
                self.exemplars.reserve_exact(1);
                self.exemplars.insert(at, (bucket, exemplar));
            }
        }
    }

    /// The number of the bucket that a time is counted in.
    fn bucket(&self, time_ns: u64) -> usize {
        self.bounds.partition_point(|bound| bound.ns < time_ns)
    }

    /// The generation in which the series are exposed for the first time.
    pub(super) const fn first_shown(&mut self) -> &mut FirstShown {
        &mut self.first_shown
    }

    /// The number of series: the buckets, their sum and count.
    pub(super) const fn series(&self) -> u64 {
        self.counts.len() as u64 + 2
    }

    /// The label `le` and how many are not above it, the last one `+Inf`, with the exemplar of those
    /// that are above the bound before.
    pub(super) fn cumulative(
        &self,
    ) -> impl Iterator<Item = (&'static str, u64, Option<&Exemplar>)> {
        let bounds = self.bounds.iter().map(|bound| bound.le).chain(["+Inf"]);
        let mut exemplars = self.exemplars.iter().peekable();
        bounds.zip(&self.counts).enumerate().scan(0, move |total, (at, (le, count))| {
            *total += *count;
            let exemplar = exemplars.next_if(|(bucket, _)| *bucket == at);
            Some((le, *total, exemplar.map(|(_, exemplar)| exemplar)))
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
    use super::{Bound, Exemplar, Histogram};

    static BOUNDS: [Bound; 2] = [Bound { ns: 10, le: "1.0" }, Bound { ns: 20, le: "2.0" }];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&BOUNDS);
        for time_ns in [0, 10, 11, 20, 21, 1000] {
            histogram.observe_ns(time_ns);
        }
        let buckets: Vec<_> = histogram.cumulative().collect();
        assert_eq!(buckets, [("1.0", 2, None), ("2.0", 4, None), ("+Inf", 6, None)]);
        assert_eq!((histogram.count(), histogram.sum_ns(), histogram.series()), (6, 1062, 5));
    }

    #[test]
    fn a_bucket_has_the_newest_exemplar_of_its_own_times() {
        let exemplar = |trace: u128, time_ns, at_boot_ns| Exemplar {
            trace: trace.into(),
            time_ns,
            at_boot_ns,
        };
        let exemplars = |histogram: &Histogram| {
            histogram.cumulative().map(|(.., exemplar)| exemplar.copied()).collect::<Vec<_>>()
        };
        let mut histogram = Histogram::new(&BOUNDS);
        histogram.exemplify(exemplar(1, 15, 100));
        assert_eq!(exemplars(&histogram), [None; 3], "nothing was counted");
        histogram.observe_ns(1000);
        histogram.observe_ns(10);
        histogram.exemplify(exemplar(1, 1000, 100));
        histogram.exemplify(exemplar(2, 10, 90));
        histogram.exemplify(exemplar(3, 15, 110));
        let [low, high] = [exemplar(2, 10, 90), exemplar(1, 1000, 100)];
        assert_eq!(exemplars(&histogram), [Some(low), None, Some(high)], "not in the order given");
        histogram.exemplify(exemplar(4, 21, 99));
        assert_eq!(exemplars(&histogram), [Some(low), None, Some(high)], "an older one comes late");
        let newer = exemplar(5, 21, 100);
        histogram.exemplify(newer);
        assert_eq!(exemplars(&histogram), [Some(low), None, Some(newer)]);
        assert_eq!((histogram.count(), histogram.sum_ns(), histogram.series()), (2, 1010, 5));
    }
}
