//! A reader of the text exposition format 0.0.4, strict where Prometheus is, and the questions
//! that the scenarios ask it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use crate::container::Key;

/// The prefix of all families.
pub(crate) const PREFIX: &str = "podvitals_";

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The series' name, with `_bucket`, `_sum` or `_count`.
    pub(crate) name: String,
    /// Its labels, unescaped.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its value.
    pub(crate) value: f64,
}

/// One whole scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape {
    samples: Vec<Sample>,
}

/// Labels that a series must have.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Scrape {
    /// Reads it, and checks what holds for every scrape: no series twice, each family's type known
    /// before its samples and told once, exactly one `container_info` per container.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut samples = Vec::new();
        let mut types = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let at = || format!("line {}: {line:?}", number + 1);
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').with_context(at)?;
                let twice = types.insert(name.to_owned(), kind.to_owned()).is_some();
                ensure!(!twice, "{}: the type is told twice", at());
                continue;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = sample(line).with_context(at)?;
            ensure!(
                types.contains_key(&sample.name) || histogram_of(&sample.name, &types),
                "{}: no TYPE before it",
                at()
            );
            let series = format!("{}{:?}", sample.name, sample.labels);
            ensure!(seen.insert(series), "{}: the series is there twice", at());
            samples.push(sample);
        }
        ensure!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
        let scrape = Self { samples };
        scrape.check_info()?;
        Ok(scrape)
    }

    fn check_info(&self) -> Result<()> {
        let mut keys = BTreeSet::new();
        for sample in self.all("container_info", &[]) {
            let key: Vec<_> =
                ["namespace", "pod", "container"].map(|l| sample.labels.get(l)).into();
            ensure!(keys.insert(format!("{key:?}")), "two container_info for {key:?}");
        }
        Ok(())
    }

    /// The samples of `podvitals_<name>` that have these labels.
    pub(crate) fn all<'a>(
        &'a self,
        name: &'a str,
        labels: Labels<'a>,
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |s| {
            s.name.strip_prefix(PREFIX) == Some(name)
                && labels.iter().all(|(k, v)| s.labels.get(*k).map_or("", String::as_str) == *v)
        })
    }

    /// The sum of these samples; `None` if there are none.
    pub(crate) fn sum(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        self.all(name, labels).map(|s| s.value).reduce(|a, b| a + b)
    }

    /// Whether the family `name`, prefix included, has a sample.
    pub(crate) fn has_family(&self, name: &str, kind: &str) -> bool {
        let suffix = if kind == "histogram" { "_count" } else { "" };
        self.samples.iter().any(|sample| sample.name.strip_suffix(suffix) == Some(name))
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The view of one container.
    pub(crate) fn of<'a>(&'a self, key: &'a Key) -> View<'a> {
        View { scrape: self, key }
    }
}

/// A scrape as seen by one container. Families that begin with `container_` are asked with its
/// labels, those with `pod_` with its Pod's, all others with its workload's; without an API source
/// the workload is the Pod itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    scrape: &'a Scrape,
    key: &'a Key,
}

impl<'a> View<'a> {
    fn labels(&self, name: &str, extra: Labels<'a>) -> Vec<(&'a str, &'a str)> {
        let Key { namespace, pod, container } = self.key;
        let mut labels = vec![("namespace", namespace.as_str())];
        if name.starts_with("container_") {
            labels.extend([("pod", pod.as_str()), ("container", container.as_str())]);
        } else if name.starts_with("pod_") {
            labels.push(("pod", pod));
        } else {
            labels.extend([
                ("workload_kind", "Pod"),
                ("workload", pod.as_str()),
                ("container", container.as_str()),
            ]);
        }
        labels.extend_from_slice(extra);
        labels
    }

    /// The sum of its series with these labels; `None` if there are none.
    pub(crate) fn get(&self, name: &str, extra: Labels<'a>) -> Option<f64> {
        self.scrape.sum(name, &self.labels(name, extra))
    }

    /// The same, or an error that names the series.
    pub(crate) fn value(&self, name: &str, extra: Labels<'a>) -> Result<f64> {
        self.get(name, extra).with_context(|| format!("no {name}{:?}", self.labels(name, extra)))
    }

    /// The value must be exactly this.
    pub(crate) fn want(&self, name: &str, extra: Labels<'a>, wanted: f64) -> Result<()> {
        let value = self.value(name, extra)?;
        ensure!(
            (value - wanted).abs() < 1e-9 * wanted.abs().max(1.0),
            "{name}{extra:?} of {} is {value}, not {wanted}",
            self.key.pod
        );
        Ok(())
    }

    /// No such series, or 0.
    pub(crate) fn want_none_or_zero(&self, name: &str, extra: Labels<'a>) -> Result<()> {
        let value = self.get(name, extra).unwrap_or(0.0);
        ensure!(value == 0.0, "{name}{extra:?} of {} is {value}, not 0", self.key.pod);
        Ok(())
    }

    /// No such series.
    pub(crate) fn want_none(&self, name: &str, extra: Labels<'a>) -> Result<()> {
        match self.get(name, extra) {
            None => Ok(()),
            Some(value) => bail!("{name}{extra:?} of {} is there: {value}", self.key.pod),
        }
    }

    /// A label of its only series of this family.
    pub(crate) fn label(&self, name: &str, label: &str) -> Result<String> {
        let labels = self.labels(name, &[]);
        let mut all = self.scrape.all(name, &labels);
        let sample = all.next().with_context(|| format!("no {name}{labels:?}"))?;
        ensure!(all.next().is_none(), "more than one {name}{labels:?}");
        sample
            .labels
            .get(label)
            .cloned()
            .with_context(|| format!("{name}{labels:?} has no label {label}"))
    }

    /// Its only series of this family has this label.
    pub(crate) fn want_label(&self, name: &str, label: &str, wanted: &str) -> Result<()> {
        let value = self.label(name, label)?;
        ensure!(
            value == wanted,
            "label {label} of {name} of {} is {value:?}, not {wanted:?}",
            self.key.pod
        );
        Ok(())
    }
}

fn histogram_of(name: &str, types: &BTreeMap<String, String>) -> bool {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|end| name.strip_suffix(end))
        .any(|base| types.get(base).is_some_and(|t| t == "histogram" || t == "summary"))
}

/// One line: `name{label="value",…} value [timestamp]`.
fn sample(line: &str) -> Result<Sample> {
    let name_end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    ensure!(
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            && !name.starts_with(|c: char| c.is_ascii_digit()),
        "bad name"
    );
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"").context("no =\" after a label")?;
            ensure!(
                !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
                "bad label name {label:?}"
            );
            let (value, after) = quoted(after)?;
            ensure!(labels.insert(label.to_owned(), value).is_none(), "label {label} twice");
            rest = after.strip_prefix(',').unwrap_or(after);
            ensure!(after != rest || rest.starts_with('}'), "no comma between labels");
        }
    }
    let mut words = rest.split_ascii_whitespace();
    let value = match words.next().context("no value")? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().with_context(|| format!("value {number:?}"))?,
    };
    if let Some(time) = words.next() {
        time.parse::<i64>().with_context(|| format!("timestamp {time:?}"))?;
    }
    ensure!(words.next().is_none(), "more after the timestamp");
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// A label value up to its closing quote, unescaped, and the rest.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                other => bail!("bad escape {other:?}"),
            },
            c => value.push(c),
        }
    }
    bail!("a label value has no closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "# HELP podvitals_container_info Who it is.\n",
        "# TYPE podvitals_container_info gauge\n",
        "podvitals_container_info{namespace=\"scenarios\",pod=\"a\",container=\"app\",x=\"q\\\"\\\\\\n\"} 1\n",
        "# TYPE podvitals_shutdown_duration_seconds histogram\n",
        "podvitals_shutdown_duration_seconds_bucket{namespace=\"scenarios\",workload_kind=\"Pod\",",
        "workload=\"a\",container=\"app\",outcome=\"exited\",le=\"+Inf\"} 2\n",
        "podvitals_shutdown_duration_seconds_sum{namespace=\"scenarios\",workload_kind=\"Pod\",",
        "workload=\"a\",container=\"app\",outcome=\"exited\"} 0.6021\n",
        "# TYPE podvitals_x gauge\n",
        "podvitals_x +Inf\n",
        "podvitals_x{a=\"\",} 1e3 1700000000000\n",
    );

    fn key() -> Key {
        Key { namespace: "scenarios".into(), pod: "a".into(), container: "app".into() }
    }

    #[test]
    fn reads_escapes_histograms_and_timestamps() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.len(), 5);
        let key = key();
        let view = scrape.of(&key);
        assert_eq!(view.label("container_info", "x").unwrap(), "q\"\\\n");
        assert_eq!(
            view.value("shutdown_duration_seconds_sum", &[("outcome", "exited")]).unwrap(),
            0.6021
        );
        assert!(view.value("shutdown_duration_seconds_sum", &[("outcome", "killed")]).is_err());
        assert_eq!(scrape.sum("x", &[]), Some(f64::INFINITY));
    }

    #[test]
    fn an_absent_label_is_an_empty_one() {
        let scrape = Scrape::parse("# TYPE podvitals_x gauge\npodvitals_x 1\n").unwrap();
        assert_eq!(scrape.sum("x", &[("namespace", "")]), Some(1.0));
        assert_eq!(scrape.sum("x", &[("namespace", "a")]), None);
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        let typed = |line: &str| format!("# TYPE podvitals_x gauge\n{line}\n");
        for bad in [
            "podvitals_x",
            "podvitals_x{a=\"b\" 1",
            "podvitals_x{a=\"b\"c=\"d\"} 1",
            "podvitals_x{a=\"\\t\"} 1",
            "podvitals_x{a=\"b\",a=\"c\"} 1",
            "podvitals_x{a-b=\"c\"} 1",
            "podvitals_x one",
            "podvitals_x 1 2 3",
            "podvitals_y 1",
            "podvitals_x 1\npodvitals_x 2",
        ] {
            assert!(Scrape::parse(&typed(bad)).is_err(), "{bad}");
        }
        assert!(Scrape::parse("# TYPE a gauge\n# TYPE a gauge\n").is_err());
        assert!(Scrape::parse("# TYPE a gauge\na 1").is_err());
    }

    #[test]
    fn refuses_two_identities_of_one_container() {
        let text = concat!(
            "# TYPE podvitals_container_info gauge\n",
            "podvitals_container_info{namespace=\"n\",pod=\"a\",container=\"c\",container_id=\"1\"} 1\n",
            "podvitals_container_info{namespace=\"n\",pod=\"a\",container=\"c\",container_id=\"2\"} 1\n",
        );
        assert!(Scrape::parse(text).is_err());
    }
}
