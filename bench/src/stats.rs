//! Medians, percentiles, and figures for people.

use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        let at = self.0.partition_point(|old| *old < value);
        self.0.insert(at, value);
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The smallest value that at least `percent` of all do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.percentile(100)
    }

    /// Shortest and median, in milliseconds, of measurements in seconds.
    pub(crate) fn ms(&self) -> String {
        format!("{} / {} ms", three(self.min() * 1e3), three(self.median() * 1e3))
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut series = Self::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }
}

/// Three significant digits, no exponent.
pub(crate) fn three(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size == 0.0 || size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// CPU time of this thread that `work` takes, seconds.
pub(crate) fn cpu_seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into);
    let start = now();
    black_box(work());
    now().saturating_sub(start).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let series: Series = (1..=200).rev().map(f64::from).collect();
        assert_eq!((series.min(), series.median(), series.max()), (1.0, 100.0, 200.0));
        assert_eq!(series.percentile(99), 198.0);
        assert!(Series::default().median().is_nan());
    }

    #[test]
    fn figures_have_three_digits() {
        let texts = [1234.5, 12.345, 1.2345, 0.5, 0.01234, 0.0].map(three);
        assert_eq!(texts, ["1234", "12.3", "1.23", "0.500", "0.0123", "0.000"]);
    }
}
