//! Histograms of times with fixed bounds.

use super::expose::{Exposition, Labels, Reader};

/// The upper bound of a bucket.
#[derive(Debug)]
pub struct Bound {
    /// The greatest time that is inside.
    pub ns: u64,
    /// The value of the label `le`: the same in seconds.
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
    shown: bool,
}

impl Histogram {
    /// Empty; `bounds` rise.
    #[must_use]
    pub fn new(bounds: &'static [Bound]) -> Self {
        let counts = vec![0; bounds.len() + 1].into_boxed_slice();
        Self { bounds, counts, sum_ns: 0, shown: false }
    }

    /// Counts one.
    pub fn observe_ns(&mut self, time_ns: u64) {
        let at = self.bounds.partition_point(|bound| bound.ns < time_ns);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(time_ns);
    }

    /// Writes it.
    pub fn write(&mut self, block: &[u8], labels: &impl Labels, to: &mut Exposition<'_>) {
        let empty = match to.reader() {
            Reader::Person => false,
            Reader::Scraper => !std::mem::replace(&mut self.shown, true),
        };
        to.histogram(block, labels, &Shown { histogram: self, empty });
    }
}

/// A histogram as it is written now.
#[derive(Debug)]
pub struct Shown<'a> {
    histogram: &'a Histogram,
    empty: bool,
}

impl Shown<'_> {
    /// The label `le` and how many are not above it, the last one `+Inf`.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = self.histogram.bounds.iter().map(|bound| bound.le).chain(["+Inf"]);
        let empty = self.empty;
        bounds.zip(&self.histogram.counts).scan(0, move |total, (le, count)| {
            *total += if empty { 0 } else { *count };
            Some((le, *total))
        })
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        if self.empty { 0 } else { self.histogram.counts.iter().sum() }
    }

    /// All of them together.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        if self.empty { 0 } else { self.histogram.sum_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::super::expose::Reader;
    use super::{Bound, Histogram, Shown};

    static BOUNDS: [Bound; 2] = [Bound { ns: 10, le: "1" }, Bound { ns: 20, le: "2" }];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&BOUNDS);
        for time_ns in [0, 10, 11, 20, 21, 1000] {
            histogram.observe_ns(time_ns);
        }
        let shown = Shown { histogram: &histogram, empty: false };
        let buckets: Vec<_> = shown.cumulative().collect();
        assert_eq!(buckets, [("1", 2), ("2", 4), ("+Inf", 6)]);
        assert_eq!((shown.count(), shown.sum_ns()), (6, 1062));
    }

    #[test]
    fn the_first_exposition_shows_it_empty() {
        let mut histogram = Histogram::new(&BOUNDS);
        histogram.observe_ns(15);
        let mut text = Vec::new();
        for _ in 0..2 {
            let mut to = super::Exposition::new(&mut text, Reader::Scraper);
            to.family(&crate::metrics::restart::OUTAGE.family);
            histogram.write(b"", &crate::metrics::expose::NONE, &mut to);
        }
        let text = String::from_utf8(text).unwrap();
        let counts: Vec<_> = text.lines().filter(|line| line.contains("_count")).collect();
        assert_eq!(
            counts,
            [
                "podvitals_restart_outage_seconds_count 0",
                "podvitals_restart_outage_seconds_count 1"
            ]
        );
    }
}
