//! Expositions, read back: the text format 0.0.4 and OpenMetrics 1.0.0.
//!
//! The parser is strict. It refuses what a good exposition must not have, not only what Prometheus
//! would refuse: a family without help, without samples or out of order, a counter that does not
//! end in `_total`, a histogram whose parts do not agree, an exemplar in a bucket that has nothing
//! of its kind.

mod family;
mod histogram;
mod parse;
#[cfg(test)]
mod tests;

use anyhow::Result;

pub use self::family::{Exemplar, Family, Format, Kind, Labels, Sample, Wanted};
pub use self::histogram::Histogram;

/// A whole exposition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Its families in the order of the text.
    pub families: Vec<Family>,
}

impl Exposition {
    /// Reads and checks a whole exposition.
    ///
    /// # Errors
    /// What is wrong, with the line or the family that it is wrong in.
    pub fn parse(text: &str, format: Format) -> Result<Self> {
        parse::exposition(text, format).map(|families| Self { families })
    }

    /// All samples in the order of the text.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }

    /// The samples of that name which have these labels.
    pub fn all<'a>(
        &'a self,
        name: &'a str,
        labels: Wanted<'a>,
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples().filter(move |sample| sample.name == name && sample.has(labels))
    }
}

/// How many samples a text has, read without any check: for exporters that are not ours.
#[must_use]
pub fn count_samples(text: &str) -> usize {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}
