//! Histograms, put together from the samples of a family.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use super::{Family, Kind, Labels, Sample};

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

/// The histograms of a family, checked: samples of one follow each other, bounds rise, counts are
/// cumulative, `+Inf` and `_count` agree.
pub(super) fn all(family: &Family) -> Result<Vec<Histogram>> {
    ensure!(family.kind == Kind::Histogram, "it is a {}", family.kind);
    let mut seen = BTreeSet::new();
    let mut histograms: Vec<(Labels, Vec<&Sample>)> = Vec::new();
    for sample in &family.samples {
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

fn one(labels: Labels, samples: &[&Sample]) -> Result<Histogram> {
    let of = |suffix| samples.iter().filter(move |sample| sample.name.ends_with(suffix));
    let buckets = of("_bucket")
        .map(|sample| Ok((bound(sample.label(BOUND))?, sample.value)))
        .collect::<Result<Vec<_>>>()?;
    let rises = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
    ensure!(rises, "the buckets are not cumulative, or out of order");
    let values = |suffix| of(suffix).map(|sample| sample.value).collect::<Vec<_>>();
    match (&*values("_sum"), &*values("_count"), buckets.last()) {
        (&[sum], &[count], Some(&(f64::INFINITY, all))) if count == all => {
            Ok(Histogram { labels, buckets, sum, count })
        }
        _ => bail!("+Inf, _count and _sum do not agree"),
    }
}

/// A bucket's bound as a number.
pub(super) fn bound(le: &str) -> Result<f64> {
    super::parse::number(le)
}
