//! A strict parser of both formats: what a good exposition must be, not what Prometheus would let
//! pass.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::edition::Format;

/// Labels by name.
pub(super) type LabelMap = BTreeMap<String, String>;

/// A sample line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) labels: LabelMap,
    pub(super) value: f64,
}

/// A family with its samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: String,
    pub(super) unit: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// Parses and checks a whole exposition in the text format 0.0.4.
pub(super) fn parse(text: &str) -> Result<Vec<Parsed>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line is not closed".into());
    }
    let families = read(text, Format::Text)?;
    for family in &families {
        check(family, &family.name).map_err(|why| format!("{}: {why}", family.name))?;
    }
    Ok(families)
}

/// Parses and checks a whole exposition in OpenMetrics 1.0.0, as far as we use it: no timestamps,
/// no exemplars, no `_created`, three types.
pub(super) fn parse_open_metrics(text: &str) -> Result<Vec<Parsed>, String> {
    let Some(text) = text.strip_suffix("# EOF\n") else { return Err("no end".into()) };
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the end is not a line of its own".into());
    }
    let families = read(text, Format::OpenMetrics)?;
    for family in &families {
        let name = if family.kind == "counter" {
            if family.name.ends_with("_total") {
                return Err(format!("{}: only samples end so", family.name));
            }
            format!("{}_total", family.name)
        } else {
            family.name.clone()
        };
        check(family, &name)
            .and_then(|()| check_open_metrics(family))
            .map_err(|why| format!("{}: {why}", family.name))?;
    }
    Ok(families)
}

/// What is said of a family before its samples.
#[derive(Default)]
struct Head {
    name: String,
    /// By keyword, in the order of the text.
    said: Vec<(String, String)>,
}

impl Head {
    fn get(&self, keyword: &str) -> Option<String> {
        self.said.iter().find(|(of, _)| of == keyword).map(|(_, text)| text.clone())
    }
}

fn read(text: &str, format: Format) -> Result<Vec<Parsed>, String> {
    let keywords: &[&str] = match format {
        Format::Text => &["HELP", "TYPE"],
        Format::OpenMetrics => &["HELP", "TYPE", "UNIT"],
    };
    let mut families: Vec<Parsed> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut head: Option<Head> = None;
    for line in text.split_terminator('\n') {
        let fail = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (Some(keyword), Some(name), Some(said)) =
                (words.next(), words.next(), words.next())
            else {
                return fail("a comment or an empty word");
            };
            if !keywords.contains(&keyword) {
                return fail("a comment");
            }
            if keyword == "HELP" && !is_escaped(said, format) {
                return fail("bad escape");
            }
            let head = head.get_or_insert_with(|| Head { name: name.into(), said: vec![] });
            if head.name != name || head.get(keyword).is_some() {
                return fail("a family without samples, or a word that comes twice");
            }
            head.said.push((keyword.into(), said.into()));
            continue;
        }
        if let Some(head) = head.take() {
            let (Some(help), Some(kind)) = (head.get("HELP"), head.get("TYPE")) else {
                return fail("no help or no type before");
            };
            if families.iter().any(|family| family.name == head.name) {
                return fail("the family comes twice");
            }
            let unit = head.get("UNIT");
            families.push(Parsed { name: head.name, help, kind, unit, lines: vec![] });
        }
        let sample = parse_line(line).map_err(|why| format!("{why}: {line}"))?;
        if !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
            return fail("the series comes twice");
        }
        let Some(family) = families.last_mut().filter(|family| owns(family, &sample.name, format))
        else {
            return fail("not below its family");
        };
        family.lines.push(sample);
    }
    if head.is_some() {
        return Err("the last family has no samples".into());
    }
    Ok(families)
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

fn owns(family: &Parsed, name: &str, format: Format) -> bool {
    match (name.strip_prefix(&*family.name), &*family.kind) {
        (Some("_bucket" | "_sum" | "_count"), "histogram") => true,
        (Some("_total"), "counter") => format == Format::OpenMetrics,
        (Some(""), "counter") => format == Format::Text,
        (Some(""), "gauge") => true,
        _ => false,
    }
}

fn check_open_metrics(family: &Parsed) -> Result<(), String> {
    if let Some(unit) = &family.unit
        && !family.name.ends_with(&format!("_{unit}"))
    {
        return Err(format!("does not end in its unit {unit}"));
    }
    for le in family.lines.iter().filter_map(|line| line.labels.get("le")) {
        // What Go's %g with a point makes of it; the same as Rust's {:?} in this range.
        let canonical = le
            .parse::<f64>()
            .is_ok_and(|number| (1e-4..1e6).contains(&number) && format!("{number:?}") == *le);
        if !canonical && le != "+Inf" {
            return Err(format!("le={le} is not canonical"));
        }
    }
    Ok(())
}

/// `name` is that of the samples, but for a histogram's suffixes.
fn check(family: &Parsed, name: &str) -> Result<(), String> {
    match &*family.kind {
        "counter" => {
            if !name.ends_with("_total") {
                return Err("a counter ends in _total".into());
            }
            if family.lines.iter().any(|line| line.value.is_nan() || line.value < 0.0) {
                return Err("a counter is not below 0".into());
            }
        }
        "gauge" if name.ends_with("_total") => return Err("only counters end so".into()),
        "gauge" => {}
        "histogram" => check_histogram(family)?,
        _ => return Err("unknown type".into()),
    }
    Ok(())
}

fn check_histogram(family: &Parsed) -> Result<(), String> {
    let mut subjects: BTreeMap<LabelMap, Vec<&Line>> = BTreeMap::new();
    let mut last = None;
    for line in &family.lines {
        let mut labels = line.labels.clone();
        if line.name.ends_with("_bucket") != labels.remove("le").is_some() {
            return Err("le is for buckets and only for them".into());
        }
        if last.as_ref() != Some(&labels) && subjects.contains_key(&labels) {
            return Err("its metrics are interleaved".into());
        }
        last = Some(labels.clone());
        subjects.entry(labels).or_default().push(line);
    }
    for lines in subjects.values() {
        let of = |suffix| lines.iter().filter(move |line| line.name.ends_with(suffix));
        let bound = |line: &&&Line| match &*line.labels["le"] {
            "+Inf" => f64::INFINITY,
            le => le.parse().unwrap(),
        };
        let buckets: Vec<_> = of("_bucket").map(|line| (bound(&line), line.value)).collect();
        if !buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) {
            return Err("buckets are not cumulative".into());
        }
        let counts: Vec<_> = of("_count").map(|line| line.value).collect();
        let sums: Vec<_> = of("_sum").collect();
        let infinite = buckets.last().filter(|bucket| bucket.0 == f64::INFINITY);
        match (&*counts, infinite) {
            ([count], Some((_, all))) if count == all && sums.len() == 1 => {}
            _ => return Err("+Inf, _count and _sum do not agree".into()),
        }
    }
    Ok(())
}

fn parse_line(line: &str) -> Result<Line, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    check_name(name)?;
    let mut labels = LabelMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (name, value) = rest.split_once("=\"").ok_or("no label")?;
            check_name(name)?;
            let (value, after) = unescape(value)?;
            if labels.insert(name.into(), value).is_some() {
                return Err("the label comes twice".into());
            }
            rest = match after.strip_prefix(',') {
                Some(more) => more,
                None => after.strip_prefix('}').ok_or("labels are not closed")?,
            };
            if !after.starts_with(',') {
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.parse().map_err(|_| "no number")?;
    Ok(Line { name: name.into(), labels, value })
}

fn check_name(name: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ok = name.chars().all(word) && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit();
    if ok { Ok(()) } else { Err(format!("bad name {name:?}")) }
}

/// A label's value up to its closing quote, and what follows.
fn unescape(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, '\\')) => value.push('\\'),
                Some((_, '"')) => value.push('"'),
                Some((_, 'n')) => value.push('\n'),
                _ => return Err("bad escape".into()),
            },
            '\0' => return Err("Prometheus stops at NUL".into()),
            c => value.push(c),
        }
    }
    Err("the value is not closed".into())
}

#[test]
fn the_parser_is_strict() {
    let bad = [
        "a 1\n",
        "# HELP a x\n# TYPE a gauge\na 1",
        "# TYPE a gauge\na 1\n",
        "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a x\n# TYPE a counter\na 1\n",
        "# HELP a x\n# TYPE a gauge\na{b=\"\\x\"} 1\n",
        "# HELP a x\n# TYPE a gauge\na{b=\"1\",} 1\n",
        "# HELP a x\n# TYPE a gauge\n",
        "# HELP a x\n# TYPE a gauge\n# UNIT a b\na 1\n",
        "# HELP a x\n# TYPE a gauge\na 1\n# EOF\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
    ];
    for text in bad {
        parse(text).unwrap_err();
    }
    let good = "# HELP a x\n# TYPE a gauge\na{b=\"\\\\\\n\\\"\",c=\"\"} 1e3\na 2\n";
    let line = &parse(good).unwrap()[0].lines[0];
    assert_eq!((&*line.labels["b"], line.value), ("\\\n\"", 1000.0));
}

#[test]
fn the_parser_of_open_metrics_is_strict() {
    const GAUGE: &str = "# TYPE a_s gauge\n# UNIT a_s s\n# HELP a_s x\na_s 1\n";
    const COUNTER: &str = "# TYPE a counter\n# HELP a \\\"x\\\"\na_total{b=\"c\"} 1\n";
    const HISTOGRAM: &str = "# TYPE a histogram\n# HELP a x\na_bucket{le=\"1.0\"} 1\n\
        a_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n";
    let whole = |text: &str| parse_open_metrics(&format!("{text}# EOF\n"));
    for good in [GAUGE, COUNTER, HISTOGRAM, ""] {
        whole(good).unwrap();
        parse_open_metrics(good).unwrap_err();
        whole(&format!("{good}# EOF\n")).unwrap_err();
        whole(&format!("{good}\n")).unwrap_err();
    }
    for (good, from, to) in [
        (GAUGE, "# UNIT a_s s", "# UNIT a_s seconds"),
        (GAUGE, "# HELP", "# UNIT a_s s\n# HELP"),
        (GAUGE, "\na_s 1\n", "\na_s 1 \n"),
        (COUNTER, "\na_total", "\na"),
        (COUNTER, "\na_total", "\na_created"),
        (COUNTER, "\\\"x", "\"x"),
        (COUNTER, " a ", " a_total "),
        (HISTOGRAM, "1.0", "1"),
        (HISTOGRAM, "1.0", "1.00"),
        (HISTOGRAM, "a_count 1\n", ""),
        (HISTOGRAM, "a_sum", "a_bucket{b=\"c\",le=\"1.0\"} 0\na_sum"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(whole(&bad).is_err(), "{bad}");
    }
}
