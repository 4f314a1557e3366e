//! Escaping and numbers, against parsers and against the crates `prometheus` and
//! `prometheus-client`.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::{
    CounterVec, Encoder as _, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};
use proptest::prelude::*;
use testbed::exposition::{self, Labels, Sample};

use super::fixture::{parse, text};
use crate::metrics::expose::{Block, Exposition, NONE, Value};
use crate::metrics::family::{Family, Scope};
use crate::metrics::histogram::{Bound, Histogram};
use crate::metrics::variant::{Format, Generation, Seen};

const HELP: &str = "a \\ and\na \"line";
static GAUGE: Family = Family::gauge("test_gauge", Scope::Process, HELP);
static COUNTER: Family = Family::counter("test_total", Scope::Process, HELP);
static HISTOGRAM: Family = Family::histogram("test_seconds", Scope::Process, BOUNDS.len(), HELP);
const BOUNDS: [Bound; 2] =
    [Bound { ns: 100_000_000, le: "0.1" }, Bound { ns: 30_000_000_000, le: "30.0" }];

fn exposition(format: Format) -> Exposition {
    Exposition::new(format, Generation::FIRST)
}

fn one(labels: &[(&str, &str)], value: Value) -> String {
    let mut to = exposition(Format::Text);
    to.family(&GAUGE);
    to.sample(Block::new(labels).bytes(), &NONE, value);
    text(&to.finish().for_reader(Seen::ALL, |chunk| chunk))
}

fn number(value: Value) -> String {
    let text = one(&[], value);
    text.lines().last().unwrap().strip_prefix("test_gauge ").unwrap().to_owned()
}

#[test]
fn units_become_seconds_without_noise() {
    assert_eq!(number(Value::Micros(1500)), "0.0015");
    assert_eq!(number(Value::Micros(100_000)), "0.1");
    assert_eq!(number(Value::Micros(7)), "0.000007");
    assert_eq!(number(Value::Micros(0)), "0");
    assert_eq!(number(Value::Micros(3_000_000)), "3");
    assert_eq!(number(Value::Nanos(1)), "0.000000001");
    assert_eq!(number(Value::Nanos(1_700_000_000_123_456_789)), "1700000000.123456789");
    assert_eq!(number(Value::Nanos(u64::MAX)), "18446744073.709551615");
    assert_eq!(number(Value::Count(u64::MAX)), "18446744073709551615");
    assert_eq!(number(Value::Ratio(50_000, 100_000)), "0.5");
    assert_eq!(number(Value::Ratio(200_000, 100_000)), "2");
    assert_eq!(number(Value::Ratio(1, 3)), "0.3333333333333333");
    assert_eq!(number(Value::Ratio(1, 1_000_000_000)), "0.000000001");
}

#[test]
fn nul_is_replaced_and_long_values_are_whole() {
    let long = "x\"".repeat(100_000);
    let text = one(&[("a", "b\0c"), ("long", &long)], Value::Count(1));
    let labels = &parse(&text, Format::Text)[0].samples[0].labels;
    assert_eq!(labels["a"], "b\u{fffd}c");
    assert_eq!(labels["long"], long);
}

proptest! {
    #[test]
    fn escaping_round_trips(values in prop::collection::vec("[\\x00-\\x7f\\PC\\\\\"\n]{0,20}", 3)) {
        let labels = [("a", &*values[0]), ("b", &*values[1]), ("c", &*values[2])];
        let text = one(&labels, Value::Count(1));
        let line = &parse(&text, Format::Text)[0].samples[0];
        for (name, value) in labels {
            prop_assert_eq!(&line.labels[name], &value.replace('\0', "\u{fffd}"));
        }
    }

    #[test]
    fn decimals_are_exact(value: u64) {
        let text = number(Value::Nanos(value));
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        prop_assert!(!part.ends_with('0'));
        let back = format!("{whole}{part:0<9}").parse::<u64>();
        prop_assert_eq!(back, Ok(value));
    }

    /// The same samples from the crates and from us are the same after parsing.
    #[test]
    fn the_crates_write_the_same(
        subjects in prop::collection::btree_map(
            ("[^\\x00]{0,8}", "[\\\\\"\n a]{0,8}"),
            (0..1_u64 << 50, prop::collection::vec(0..100_000_000_000_u64, 0..5)),
            1..5,
        ).prop_map(told_apart)
    ) {
        let ours = parse(&by_us(&subjects, Format::Text), Format::Text);
        let theirs = parse(&by_prometheus(&subjects), Format::Text);
        for family in ours.iter().chain(&theirs) {
            prop_assert_eq!(&family.help, "a \\\\ and\\na \"line");
        }
        same(&ours, &theirs)?;
        let ours = parse(&by_us(&subjects, Format::OpenMetrics), Format::OpenMetrics);
        for family in &ours {
            prop_assert_eq!(&family.help, "a \\\\ and\\na \\\"line");
        }
        let theirs = parse(&by_prometheus_client(&subjects), Format::OpenMetrics);
        same(&ours, &theirs)?;
    }
}

fn same(ours: &[exposition::Family], theirs: &[exposition::Family]) -> Result<(), TestCaseError> {
    let heads = |families: &[exposition::Family]| {
        let head =
            |family: &exposition::Family| (family.name.clone(), family.kind, family.unit.clone());
        families.iter().map(head).collect::<BTreeSet<_>>()
    };
    prop_assert_eq!(heads(ours), heads(theirs));
    let lines = |families: &[exposition::Family]| {
        let samples = families.iter().flat_map(|family| family.samples.clone());
        samples
            .map(|Sample { name, labels, value, .. }| ((name, labels), value))
            .collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (lines(ours), lines(theirs));
    prop_assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (key, value) in theirs {
        // The oracle adds up floats; ours are exact.
        let near = (value - ours[&key]).abs() <= value.abs() * 1e-12;
        prop_assert!(near, "{key:?}: {value} and {}", ours[&key]);
    }
    Ok(())
}

#[test]
fn open_metrics_is_written_in_its_order() {
    let subjects = [(("a".into(), "b".into()), (1, vec![50_000_000]))].into();
    let expected = "\
# TYPE test_gauge gauge
# HELP test_gauge a \\\\ and\\na \\\"line
test_gauge{a=\"a\",b=\"b\",kind=\"x\"} 1
# TYPE test counter
# HELP test a \\\\ and\\na \\\"line
test_total{a=\"a\",b=\"b\"} 0.000001
# TYPE test_seconds histogram
# UNIT test_seconds seconds
# HELP test_seconds a \\\\ and\\na \\\"line
test_seconds_bucket{a=\"a\",b=\"b\",le=\"0.1\"} 1
test_seconds_bucket{a=\"a\",b=\"b\",le=\"30.0\"} 1
test_seconds_bucket{a=\"a\",b=\"b\",le=\"+Inf\"} 1
test_seconds_sum{a=\"a\",b=\"b\"} 0.05
test_seconds_count{a=\"a\",b=\"b\"} 1
# EOF
";
    assert_eq!(by_us(&subjects, Format::OpenMetrics), expected);
    assert_eq!(
        text(&exposition(Format::OpenMetrics).finish().for_reader(Seen::ALL, |chunk| chunk)),
        "# EOF\n"
    );
    assert_eq!(text(&exposition(Format::Text).finish().for_reader(Seen::ALL, |chunk| chunk)), "");
}

type Subjects = BTreeMap<(String, String), (u64, Vec<u64>)>;

/// Subjects that the crate `prometheus` tells apart: it knows them by a hash of their values with
/// nothing between those.
fn told_apart(mut subjects: Subjects) -> Subjects {
    let mut joined = BTreeSet::new();
    subjects.retain(|(a, b), _| joined.insert(format!("{a}{b}")));
    subjects
}

#[test]
fn labels_that_are_the_same_when_joined_are_two() {
    let subject = |a: &str, b: &str| ((a.to_owned(), b.to_owned()), (0, Vec::new()));
    let subjects = Subjects::from([subject("", "a"), subject("a", "")]);
    let ours = parse(&by_us(&subjects, Format::Text), Format::Text);
    assert_eq!(ours[0].samples.len(), 2);
    let theirs = parse(&by_prometheus(&subjects), Format::Text);
    assert_eq!(theirs[0].samples.len(), 1, "told_apart is still needed");
}

fn by_us(subjects: &Subjects, format: Format) -> String {
    let mut to = exposition(format);
    let block = |(a, b): &(String, String)| Block::new(&[("a", a), ("b", b)]);
    to.family(&GAUGE);
    for (key, (value, _)) in subjects {
        to.sample(block(key).bytes(), &[("kind", "x")].as_slice(), Value::Count(*value));
    }
    to.family(&COUNTER);
    for (key, (value, _)) in subjects {
        to.sample(block(key).bytes(), &NONE, Value::Micros(*value));
    }
    to.family(&HISTOGRAM);
    for (key, (_, times)) in subjects {
        let mut histogram = Histogram::new(&BOUNDS);
        for time_ns in times {
            histogram.observe_ns(*time_ns);
        }
        to.histogram(block(key).bytes(), &NONE, &mut histogram);
    }
    text(&to.finish().for_reader(Seen::ALL, |chunk| chunk))
}

fn by_prometheus(subjects: &Subjects) -> String {
    let registry = Registry::new();
    let opts = |name| Opts::new(name, "a \\ and\na \"line");
    let gauge = GaugeVec::new(opts("test_gauge"), &["a", "b", "kind"]).unwrap();
    let counter = CounterVec::new(opts("test_total"), &["a", "b"]).unwrap();
    let buckets = HistogramOpts::from(opts("test_seconds")).buckets(vec![0.1, 30.0]);
    let histogram = HistogramVec::new(buckets, &["a", "b"]).unwrap();
    registry.register(Box::new(gauge.clone())).unwrap();
    registry.register(Box::new(counter.clone())).unwrap();
    registry.register(Box::new(histogram.clone())).unwrap();
    for ((a, b), (value, times)) in subjects {
        gauge.with_label_values(&[a, b, "x"]).set(*value as f64);
        counter.with_label_values(&[a, b]).inc_by(*value as f64 / 1e6);
        let histogram = histogram.with_label_values(&[a, b]);
        for time_ns in times {
            histogram.observe(*time_ns as f64 / 1e9);
        }
    }
    let mut out = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn by_prometheus_client(subjects: &Subjects) -> String {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::{
        counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
    };
    use prometheus_client::registry::{Registry, Unit};
    use std::sync::atomic::AtomicU64;

    type Key = Vec<(&'static str, String)>;
    let gauge = Family::<Key, Gauge<f64, AtomicU64>>::default();
    let counter = Family::<Key, Counter<f64, AtomicU64>>::default();
    let histogram = Family::<Key, Histogram>::new_with_constructor(|| Histogram::new([0.1, 30.0]));
    for ((a, b), (value, times)) in subjects {
        let key = vec![("a", a.clone()), ("b", b.clone())];
        let mut of_gauge = key.clone();
        of_gauge.push(("kind", "x".to_owned()));
        gauge.get_or_create(&of_gauge).set(*value as f64);
        counter.get_or_create(&key).inc_by(*value as f64 / 1e6);
        let histogram = histogram.get_or_create(&key);
        for time_ns in times {
            histogram.observe(*time_ns as f64 / 1e9);
        }
    }
    let mut registry = Registry::default();
    registry.register("test_gauge", "x", gauge);
    registry.register("test", "x", counter);
    registry.register_with_unit("test", "x", Unit::Seconds, histogram);
    let mut out = String::new();
    encode(&mut out, &registry).unwrap();
    out
}

/// Labels of a line, for other tests.
pub(super) fn labels(of: &[(&str, &str)]) -> Labels {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
