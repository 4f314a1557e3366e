//! Escaping and numbers, against a parser and against the crate `prometheus`.

use std::collections::BTreeMap;

use prometheus::{
    CounterVec, Encoder as _, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};
use proptest::prelude::*;

use super::parse::{LabelMap, Line, parse};
use crate::metrics::catalog::{Family, Scope, Type, Unit};
use crate::metrics::expose::Reader;
use crate::metrics::expose::{Block, Exposition, NONE, Value};
use crate::metrics::histogram::{Bound, Histogram};

const fn family(name: &'static str, kind: Type) -> Family {
    let (unit, scope) = (Unit::None, Scope::Process);
    Family { name, kind, unit, scope, labels: &[], series_max: 1, help: "a \\ and\na line" }
}

static GAUGE: Family = family("test_gauge", Type::Gauge);
static COUNTER: Family = family("test_total", Type::Counter);
static HISTOGRAM: Family = family("test_seconds", Type::Histogram);
static BOUNDS: [Bound; 2] =
    [Bound { ns: 100_000_000, le: "0.1" }, Bound { ns: 30_000_000_000, le: "30" }];

fn one(labels: &[(&str, &str)], value: Value) -> String {
    let mut out = Vec::new();
    let mut to = Exposition::new(&mut out, Reader::Scraper);
    to.family(&GAUGE);
    to.sample(Block::new(labels).bytes(), &NONE, value);
    String::from_utf8(out).unwrap()
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
    let labels = &parse(&text).unwrap()[0].lines[0].labels;
    assert_eq!(labels["a"], "b\u{fffd}c");
    assert_eq!(labels["long"], long);
}

proptest! {
    #[test]
    fn escaping_round_trips(values in prop::collection::vec("[\\x00-\\x7f\\PC\\\\\"\n]{0,20}", 3)) {
        let labels = [("a", &*values[0]), ("b", &*values[1]), ("c", &*values[2])];
        let text = one(&labels, Value::Count(1));
        let line = &parse(&text).map_err(TestCaseError::fail)?[0].lines[0];
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

    /// The same samples from the crate `prometheus` and from us are the same after parsing.
    #[test]
    fn the_crate_prometheus_writes_the_same(
        subjects in prop::collection::btree_map(
            ("[^\\x00]{0,8}", "[\\\\\"\n a]{0,8}"),
            (0..1_u64 << 50, prop::collection::vec(0..100_000_000_000_u64, 0..5)),
            1..5,
        )
    ) {
        let oracle = by_oracle(&subjects);
        let ours = by_us(&subjects);
        let lines = |text: &str| -> Result<_, TestCaseError> {
            let families = parse(text).map_err(TestCaseError::fail)?;
            let mut all = BTreeMap::new();
            for family in families {
                prop_assert_eq!(&family.help, "a \\\\ and\\na line");
                for Line { name, labels, value } in family.lines {
                    all.insert((name, labels), value);
                }
            }
            Ok(all)
        };
        let (oracle, ours) = (lines(&oracle)?, lines(&ours)?);
        prop_assert_eq!(oracle.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
        for (key, value) in oracle {
            // The oracle adds up floats; ours are exact.
            let near = (value - ours[&key]).abs() <= value.abs() * 1e-12;
            prop_assert!(near, "{key:?}: {value} and {}", ours[&key]);
        }
    }
}

type Subjects = BTreeMap<(String, String), (u64, Vec<u64>)>;

fn by_us(subjects: &Subjects) -> String {
    let mut out = Vec::new();
    let mut to = Exposition::new(&mut out, Reader::Scraper);
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
        histogram.write(b"", &NONE, &mut Exposition::new(&mut Vec::new(), Reader::Scraper));
        for time_ns in times {
            histogram.observe_ns(*time_ns);
        }
        histogram.write(block(key).bytes(), &NONE, &mut to);
    }
    String::from_utf8(out).unwrap()
}

fn by_oracle(subjects: &Subjects) -> String {
    let registry = Registry::new();
    let opts = |name| Opts::new(name, "a \\ and\na line");
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

/// Labels of a line, for other tests.
pub(super) fn labels(of: &[(&str, &str)]) -> LabelMap {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
