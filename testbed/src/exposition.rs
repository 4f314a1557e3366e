//! Expositions, read back: the text format 0.0.4 and OpenMetrics 1.0.0.
//!
//! The parser is strict. It refuses what a good exposition must not have, not only what Prometheus
//! would refuse: a family without help, without samples or out of order, a counter that does not
//! end in `_total`, a histogram whose parts do not agree.

mod histogram;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

pub use self::histogram::Histogram;

/// Labels by name, unescaped.
pub type Labels = BTreeMap<String, String>;

/// Names and values that a sample must have; an absent label is an empty one, as for Prometheus.
pub type Wanted<'a> = &'a [(&'a str, &'a str)];

/// The format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, without timestamps, exemplars and `_created`.
    OpenMetrics,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the series, with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Its labels. A bucket's `le` is written as Go writes a float with a point, `1.0`, whatever
    /// the text says.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// One family with its samples, of which there is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name of the family; in OpenMetrics a counter's is without `_total`.
    pub name: String,
    /// Help text as written, with its escapes.
    pub help: String,
    /// Its type.
    pub kind: Kind,
    /// Its unit; only OpenMetrics tells one.
    pub unit: Option<String>,
    /// Its samples in the order of the text.
    pub samples: Vec<Sample>,
}

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

impl Family {
    /// The histograms of this family, one for each set of labels.
    ///
    /// # Errors
    /// If it is no family of well-formed histograms.
    pub fn histograms(&self) -> Result<Vec<Histogram>> {
        histogram::all(self)
    }
}

impl Sample {
    /// Whether it has all of these labels.
    #[must_use]
    pub fn has(&self, labels: Wanted<'_>) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == *value)
    }

    /// The value of a label; empty without it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Kind {
    /// The word after `# TYPE`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many samples a text has, read without any check: for exporters that are not ours.
#[must_use]
pub fn count_samples(text: &str) -> usize {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}
