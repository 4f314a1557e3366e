//! Histograms, put together from the samples of a family.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use super::family::{Family, Kind, Labels, Sample, number};

/// The upper bound of a bucket.
pub(super) const BOUND: &str = "le";

/// One histogram of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Labels that all its samples have.
    pub labels: Labels,
    /// Upper bound and cumulative count of each bucket, in order; the last bound is infinite.
    pub buckets: Vec<(f64, f64)>,
    /// Sum of all observations.
    pub sum: f64,
    /// Number of observations.
    pub count: f64,
}

impl Family {
    /// Puts together its histograms, one for each set of labels. The samples of one must follow
    /// each other, bounds rise, counts be cumulative, `+Inf` and `_count` agree, exemplars be of
    /// their buckets.
    ///
    /// # Errors
    /// If it is no family of such histograms.
    pub fn histograms(&self) -> Result<Vec<Histogram>> {
        ensure!(self.kind == Kind::Histogram, "it is a {}", self.kind);
        let mut seen = BTreeSet::new();
        let mut histograms: Vec<(Labels, Vec<&Sample>)> = Vec::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            let is_bucket = labels.remove(BOUND).is_some();
            let good = is_bucket == sample.name.ends_with("_bucket");
            ensure!(good, "le is for buckets, and they need it");
            match histograms.last_mut().filter(|(last, _)| *last == labels) {
                Some((_, samples)) => samples.push(sample),
                None => {
                    ensure!(seen.insert(labels.clone()), "its histograms are interleaved");
                    histograms.push((labels, vec![sample]));
                }
            }
        }
        histograms.into_iter().map(|(labels, samples)| one(labels, &samples)).collect()
    }
}

fn one(labels: Labels, samples: &[&Sample]) -> Result<Histogram> {
    let of = |suffix| samples.iter().filter(move |sample| sample.name.ends_with(suffix));
    let buckets = of("_bucket")
        .map(|sample| Ok((number(sample.label(BOUND))?, sample.value)))
        .collect::<Result<Vec<_>>>()?;
    let rises = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
    ensure!(rises, "the buckets are not cumulative, or out of order");
    let mut below = (f64::NEG_INFINITY, 0.0);
    for (&bucket, sample) in buckets.iter().zip(of("_bucket")) {
        if let Some(exemplar) = &sample.exemplar {
            let inside = below.0 < exemplar.value && exemplar.value <= bucket.0;
            ensure!(inside, "an exemplar of another bucket");
            ensure!(below.1 < bucket.1, "an exemplar of an empty bucket");
        }
        below = bucket;
    }
    let values = |suffix| of(suffix).map(|sample| sample.value).collect::<Vec<_>>();
    match (&*values("_sum"), &*values("_count"), buckets.last()) {
        (&[sum], &[count], Some(&(f64::INFINITY, all))) if count == all => {
            Ok(Histogram { labels, buckets, sum, count })
        }
        _ => bail!("+Inf, _count and _sum do not agree"),
    }
}
