//! Reading an exposition back: text format 0.0.4, and as much of OpenMetrics as the peers write.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

/// Labels by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// A line with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// With `_bucket`, `_sum`, `_count`.
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

/// A family and its samples.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// A whole exposition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exposition(pub(crate) Vec<Family>);

impl Exposition {
    /// Reads it; each sample must come after its family's type.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut families: Vec<Family> = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').context("a type without a kind")?;
                let (name, kind) = (name.to_owned(), kind.to_owned());
                families.push(Family { name, kind, samples: Vec::new() });
            } else if !line.is_empty() && !line.starts_with('#') {
                let sample = sample(line).with_context(|| format!("line {line:?}"))?;
                let family = families.last_mut().context("a sample without a type")?;
                ensure!(sample.name.starts_with(&family.name), "{line:?} is in no family");
                family.samples.push(sample);
            }
        }
        Ok(Self(families))
    }

    /// All samples.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter().flat_map(|family| &family.samples)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.samples().count()
    }

    /// The sum over all series of that name with that label.
    pub(crate) fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let has = |sample: &Sample| {
            label.is_none_or(|(name, value)| sample.labels.get(name).is_some_and(|it| it == value))
        };
        self.samples().filter(|it| it.name == name && has(it)).map(|it| it.value).sum()
    }
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (name, after) = rest.split_once("=\"").context("a label without a value")?;
            let (value, after) = quoted(after)?;
            // `1` and `1.0` are one bound.
            let value = match value.parse::<f64>() {
                Ok(bound) if name == "le" => bound.to_string(),
                _ => value,
            };
            labels.insert(name.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
    }
    let value = rest.split_whitespace().next().context("no value")?;
    let value = value.parse().with_context(|| format!("value {value:?}"))?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, unescaped, and the rest.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c)) => value.push(c),
                None => break,
            },
            c => value.push(c),
        }
    }
    anyhow::bail!("a label's value has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let text = "# TYPE a gauge\na{x=\"q\\\"\\n\",le=\"1.0\"} 1e3\na 2 123\n\
                    # TYPE b counter\nb_total{} 4\n# EOF\n";
        let parsed = Exposition::parse(text).unwrap();
        assert_eq!(parsed.len(), 3);
        let first = parsed.samples().next().unwrap();
        assert_eq!(first.labels["x"], "q\"\n");
        assert_eq!(first.labels["le"], "1");
        assert_eq!(parsed.sum("a", None), 1002.0);
        assert_eq!(parsed.sum("a", Some(("le", "1"))), 1000.0);
        assert!(Exposition::parse("a 1\n").is_err());
    }
}
