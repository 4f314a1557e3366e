//! One answer of the agent's `/metrics`, to be asked for single values.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

const PREFIX: &str = "podvitals_";

/// Names and values that a sample has to have.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Its samples.
#[derive(Debug)]
pub(crate) struct Scrape(Vec<Sample>);

/// One line of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    /// Whether it is of `podvitals_<name>` and has these labels.
    fn is(&self, name: &str, labels: Labels<'_>) -> bool {
        self.name.strip_prefix(PREFIX) == Some(name)
            && labels.iter().all(|(name, value)| self.label(name) == *value)
    }

    /// A label's value; empty without it, as for Prometheus.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Scrape {
    /// Understands the text format, version 0.0.4.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples = lines.map(|line| sample(line).with_context(|| format!("line {line:?}")));
        samples.collect::<Result<_>>().map(Self)
    }

    /// Their sum; `None` if there are none.
    pub(crate) fn sum(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        let found = self.0.iter().filter(|sample| sample.is(name, labels));
        found.map(|sample| sample.value).reduce(|a, b| a + b)
    }

    /// The same, or an error that names the series.
    pub(crate) fn value(&self, name: &str, labels: Labels<'_>) -> Result<f64> {
        self.sum(name, labels).with_context(|| format!("no {name}{labels:?}"))
    }

    /// The one sample with these labels.
    pub(crate) fn one(&self, name: &str, labels: Labels<'_>) -> Result<&Sample> {
        let mut all = self.0.iter().filter(|sample| sample.is(name, labels));
        let first = all.next().with_context(|| format!("no {name}{labels:?}"))?;
        anyhow::ensure!(all.next().is_none(), "several {name}{labels:?}");
        Ok(first)
    }

    /// How many samples have these labels.
    pub(crate) fn count(&self, name: &str, labels: Labels<'_>) -> usize {
        self.0.iter().filter(|sample| sample.is(name, labels)).count()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "# HELP podvitals_a x\npodvitals_a{x=\"1\",y=\"q\\\"}\\n\"} 2.5\n\
                    podvitals_a{x=\"2\"} 1\npodvitals_b 7\n";
        let scrape = Scrape::parse(text).unwrap();
        assert_eq!(scrape.sum("a", &[]), Some(3.5));
        assert_eq!(scrape.sum("a", &[("x", "1")]), Some(2.5));
        assert_eq!(scrape.one("a", &[("x", "1")]).unwrap().label("y"), "q\"}\n");
        assert_eq!(scrape.value("b", &[]).unwrap(), 7.0);
        assert!(scrape.one("a", &[]).is_err() && scrape.value("c", &[]).is_err());
        assert!(Scrape::parse("podvitals_a{x=\"1} 2").is_err());
        assert!(Scrape::parse("podvitals_a").is_err());
    }
}
