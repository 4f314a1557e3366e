//! Families, their samples and their values.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};

/// Labels by name, unescaped.
pub type Labels = BTreeMap<String, String>;

/// Names and values that a sample must have; an absent label is an empty one, as for Prometheus.
pub type Wanted<'a> = &'a [(&'a str, &'a str)];

/// The format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, without timestamps and `_created`, and with exemplars of buckets alone.
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
    /// An observation that is in it, of a bucket in OpenMetrics.
    pub exemplar: Option<Exemplar>,
}

/// One observation with what it leads to, a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its labels, `trace_id` among them.
    pub labels: Labels,
    /// The value that was observed.
    pub value: f64,
    /// When it was observed, in Unix time.
    pub unix_s: f64,
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

/// A value as both formats write it: Rust's own parser takes `inf` and `nan` as well.
pub(super) fn number(text: &str) -> Result<f64> {
    let decimal = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let good = text.chars().all(decimal) || matches!(text, "+Inf" | "-Inf" | "NaN");
    let value = text.parse().ok().filter(|_| good);
    value.with_context(|| format!("{text:?} is no number"))
}
