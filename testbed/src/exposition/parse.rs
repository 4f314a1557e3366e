//! The strict parser of both formats.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::family::{Exemplar, Family, Format, Kind, Labels, Sample, number};
use super::histogram::BOUND;

/// Parses a whole exposition.
pub(super) fn exposition(text: &str, format: Format) -> Result<Vec<Family>> {
    let body = match format {
        Format::Text => text,
        Format::OpenMetrics => text.strip_suffix("# EOF\n").context("no # EOF at the end")?,
    };
    ensure!(body.is_empty() || body.ends_with('\n'), "the last line is not closed");
    let mut reader = Reader::new(format);
    for (number, line) in body.split_terminator('\n').enumerate() {
        reader.line(line).with_context(|| format!("line {}: {line:?}", number + 1))?;
    }
    let families = reader.finish()?;
    for family in &families {
        check(family, format).with_context(|| format!("family {}", family.name))?;
    }
    Ok(families)
}

/// What is told of a family before its samples, by keyword.
struct Head {
    name: String,
    words: Vec<(String, String)>,
}

impl Head {
    fn get(&self, keyword: &str) -> Option<&str> {
        self.words.iter().find(|(of, _)| of == keyword).map(|(_, text)| text.as_str())
    }
}

/// The families so far, and the head of the next.
struct Reader {
    format: Format,
    families: Vec<Family>,
    head: Option<Head>,
    /// Names of families, and series.
    seen: BTreeSet<String>,
}

impl Reader {
    fn new(format: Format) -> Self {
        Self { format, families: Vec::new(), head: None, seen: BTreeSet::new() }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        match line.strip_prefix('#') {
            Some(comment) => self.comment(comment),
            None => self.sample(line),
        }
    }

    fn comment(&mut self, comment: &str) -> Result<()> {
        let mut words = comment.strip_prefix(' ').context("a comment")?.splitn(3, ' ');
        let (Some(keyword), Some(name), Some(text)) = (words.next(), words.next(), words.next())
        else {
            bail!("a comment, or a word without a text");
        };
        match (keyword, self.format) {
            ("HELP", format) => ensure!(is_escaped(text, format), "a bad escape"),
            ("TYPE", _) | ("UNIT", Format::OpenMetrics) => {}
            _ => bail!("a comment"),
        }
        let head =
            self.head.get_or_insert_with(|| Head { name: name.to_owned(), words: Vec::new() });
        ensure!(head.name == name, "family {} has no samples", head.name);
        ensure!(head.get(keyword).is_none(), "{keyword} comes twice");
        head.words.push((keyword.to_owned(), text.to_owned()));
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<()> {
        if let Some(head) = self.head.take() {
            let family = family(&head)?;
            ensure!(self.seen.insert(format!("family {}", head.name)), "the family comes twice");
            self.families.push(family);
        }
        let mut sample = sample(line, self.format)?;
        let family = self.families.last_mut().context("no family before it")?;
        ensure!(owns(family, &sample.name, self.format), "not below its family");
        let may = sample.name.ends_with("_bucket") && family.kind == Kind::Histogram;
        ensure!(may || sample.exemplar.is_none(), "an exemplar of what is no bucket");
        if family.kind == Kind::Histogram
            && let Some(le) = sample.labels.get_mut(BOUND)
        {
            *le = canonical_bound(le, self.format)?;
        }
        let series = format!("series {}{:?}", sample.name, sample.labels);
        ensure!(self.seen.insert(series), "the series comes twice");
        family.samples.push(sample);
        Ok(())
    }

    fn finish(self) -> Result<Vec<Family>> {
        match self.head {
            Some(head) => Err(anyhow!("family {} has no samples", head.name)),
            None => Ok(self.families),
        }
    }
}

fn family(head: &Head) -> Result<Family> {
    check_name(&head.name)?;
    Ok(Family {
        name: head.name.clone(),
        help: head.get("HELP").context("no HELP before it")?.to_owned(),
        kind: match head.get("TYPE").context("no TYPE before it")? {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            other => bail!("unknown type {other:?}"),
        },
        unit: head.get("UNIT").map(str::to_owned),
        samples: Vec::new(),
    })
}

/// Whether a help text has only the escapes of its format, and no character that needs one.
fn is_escaped(help: &str, format: Format) -> bool {
    let mut chars = help.chars();
    while let Some(c) = chars.next() {
        let good = match c {
            '\\' => match chars.next() {
                Some('\\' | 'n') => true,
                Some('"') => format == Format::OpenMetrics,
                _ => false,
            },
            '"' => format == Format::Text,
            _ => true,
        };
        if !good {
            return false;
        }
    }
    true
}

fn owns(family: &Family, name: &str, format: Format) -> bool {
    match (name.strip_prefix(&*family.name), family.kind) {
        (Some("_bucket" | "_sum" | "_count"), Kind::Histogram) | (Some(""), Kind::Gauge) => true,
        (Some("_total"), Kind::Counter) => format == Format::OpenMetrics,
        (Some(""), Kind::Counter) => format == Format::Text,
        _ => false,
    }
}

/// What Go's `%g` with a point makes of a bound; the same as Rust's `{:?}` in the range of ours.
/// Text takes any number, and OpenMetrics only that.
fn canonical_bound(le: &str, format: Format) -> Result<String> {
    if le == "+Inf" {
        return Ok(le.to_owned());
    }
    let number = number(le)?;
    let canonical = format!("{number:?}");
    let in_range = (1e-4..1e6).contains(&number);
    let good = format == Format::Text || (in_range && canonical == le);
    ensure!(good, "le={le} is not canonical");
    Ok(canonical)
}

fn check(family: &Family, format: Format) -> Result<()> {
    let ends = family.name.ends_with("_total");
    match (family.kind, format) {
        (Kind::Counter, Format::Text) => ensure!(ends, "a counter ends in _total"),
        (Kind::Counter, Format::OpenMetrics) => ensure!(!ends, "only its samples end in _total"),
        (Kind::Gauge | Kind::Histogram, _) => ensure!(!ends, "only counters end in _total"),
    }
    match family.kind {
        Kind::Counter => {
            let good = |sample: &Sample| sample.value >= 0.0;
            ensure!(family.samples.iter().all(good), "a counter is a number, and not below 0");
        }
        Kind::Gauge => {}
        Kind::Histogram => drop(family.histograms()?),
    }
    if let Some(unit) = &family.unit {
        let good = family.name.ends_with(&format!("_{unit}"));
        ensure!(good, "it does not end in its unit {unit}");
    }
    Ok(())
}

/// One line: `name{label="value",…} value`, and an exemplar after it.
fn sample(line: &str, format: Format) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at_checked(end).context("no value")?;
    check_name(name)?;
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        (labels, rest) = label_set(inside)?;
    }
    let rest = rest.strip_prefix(' ').context("no space before the value")?;
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) if format == Format::OpenMetrics => {
            (value, Some(self::exemplar(exemplar).context("exemplar")?))
        }
        _ => (rest, None),
    };
    Ok(Sample { name: name.to_owned(), labels, value: number(value)?, exemplar })
}

/// Labels up to their closing brace, and what follows.
fn label_set(mut inside: &str) -> Result<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        let (label, after) = inside.split_once("=\"").context("no label")?;
        check_name(label)?;
        let (value, after) = unescape(after)?;
        ensure!(labels.insert(label.to_owned(), value).is_none(), "{label} comes twice");
        match after.strip_prefix(',') {
            Some(more) => inside = more,
            None => return Ok((labels, after.strip_prefix('}').context("labels not closed")?)),
        }
    }
}

/// Most characters of an exemplar's labels, names and values together.
const EXEMPLAR_CHARS: usize = 128;

/// What follows the ` # ` behind a value: `{trace_id="…"} value timestamp`. The specification takes
/// one without labels or timestamp as well; without the first it leads nowhere, and without the
/// second Prometheus takes the scrape's.
fn exemplar(text: &str) -> Result<Exemplar> {
    let (labels, rest) = label_set(text.strip_prefix('{').context("no labels")?)?;
    let chars = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count());
    ensure!(chars.sum::<usize>() <= EXEMPLAR_CHARS, "labels of more than {EXEMPLAR_CHARS}");
    let id = labels.get("trace_id").context("no trace_id")?;
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let good = id.len() == 32 && id.chars().all(hex) && id.chars().any(|c| c != '0');
    ensure!(good, "{id:?} is no id of a trace");
    let rest = rest.strip_prefix(' ').context("no space before the value")?;
    let (value, time) = rest.split_once(' ').context("no timestamp")?;
    let unix_s = number(time)?;
    ensure!(unix_s.is_finite(), "{time} is no time");
    Ok(Exemplar { labels, value: number(value)?, unix_s })
}

fn check_name(name: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.chars().all(word) && name.starts_with(|c: char| !c.is_ascii_digit());
    ensure!(good, "bad name {name:?}");
    Ok(())
}

/// A label's value up to its closing quote, unescaped, and what follows.
fn unescape(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok((value, chars.as_str())),
            '\\' => match chars.next() {
                Some(c @ ('\\' | '"')) => value.push(c),
                Some('n') => value.push('\n'),
                _ => bail!("a bad escape"),
            },
            '\0' => bail!("Prometheus stops at NUL"),
            c => value.push(c),
        }
    }
    bail!("a label's value is not closed")
}
