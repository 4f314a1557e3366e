//! A strict parser of the text format 0.0.4: what a good exposition must be, not what Prometheus
//! would let pass.

use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) lines: Vec<Line>,
}

/// Parses and checks a whole exposition.
pub(super) fn parse(text: &str) -> Result<Vec<Parsed>, String> {
    let mut families: Vec<Parsed> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut help: Option<(String, String)> = None;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line is not closed".into());
    }
    for line in text.split_terminator('\n') {
        let fail = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, text)) = rest.split_once(' ') else { return fail("empty help") };
            help = Some((name.into(), text.into()));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return fail("no type") };
            let Some((_, help)) = help.take().filter(|(of, _)| of == name) else {
                return fail("no help before");
            };
            if families.iter().any(|family| family.name == name) {
                return fail("the family comes twice");
            }
            families.push(Parsed { name: name.into(), help, kind: kind.into(), lines: vec![] });
        } else {
            let sample = parse_line(line).map_err(|why| format!("{why}: {line}"))?;
            if !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
                return fail("the series comes twice");
            }
            let Some(family) = families.last_mut().filter(|family| owns(family, &sample.name))
            else {
                return fail("not below its family");
            };
            family.lines.push(sample);
        }
    }
    for family in &families {
        check(family).map_err(|why| format!("{}: {why}", family.name))?;
    }
    Ok(families)
}

fn owns(family: &Parsed, name: &str) -> bool {
    match name.strip_prefix(&*family.name) {
        Some("") => family.kind != "histogram",
        Some("_bucket" | "_sum" | "_count") => family.kind == "histogram",
        _ => false,
    }
}

fn check(family: &Parsed) -> Result<(), String> {
    if family.lines.is_empty() {
        return Err("no samples".into());
    }
    match &*family.kind {
        "counter" => {
            if !family.name.ends_with("_total") {
                return Err("a counter ends in _total".into());
            }
            if family.lines.iter().any(|line| line.value.is_nan() || line.value < 0.0) {
                return Err("a counter is not below 0".into());
            }
        }
        "gauge" if family.name.ends_with("_total") => return Err("only counters end so".into()),
        "gauge" => {}
        "histogram" => check_histogram(family)?,
        _ => return Err("unknown type".into()),
    }
    Ok(())
}

fn check_histogram(family: &Parsed) -> Result<(), String> {
    let mut subjects: BTreeMap<LabelMap, Vec<&Line>> = BTreeMap::new();
    for line in &family.lines {
        let mut labels = line.labels.clone();
        if line.name.ends_with("_bucket") != labels.remove("le").is_some() {
            return Err("le is for buckets and only for them".into());
        }
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
