//! What must be refused is refused, and what is read is what was written.

use super::*;

const GAUGE: &str = "# HELP a_s x\n# TYPE a_s gauge\na_s{b=\"c\"} 1\n";
const COUNTER: &str = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\"} 1\n";
const HISTOGRAM: &str = "# HELP a x\n# TYPE a histogram\na_bucket{b=\"c\",le=\"0.5\"} 1\n\
    a_bucket{b=\"c\",le=\"+Inf\"} 2\na_sum{b=\"c\"} 3.5\na_count{b=\"c\"} 2\n";

fn text(text: &str) -> Result<Exposition> {
    Exposition::parse(text, Format::Text)
}

fn open_metrics(text: &str) -> Result<Exposition> {
    Exposition::parse(text, Format::OpenMetrics)
}

/// Each change of a good text must be refused, for the reason given.
fn refused(parse: fn(&str) -> Result<Exposition>, changes: &[(&str, &str, &str, &str)]) {
    for &(good, from, to, why) in changes {
        parse(good).unwrap();
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?} is not in it");
        let error = format!("{:#}", parse(&bad).expect_err(&bad));
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn text_that_is_not_good_is_refused() {
    refused(
        text,
        &[
            // The frame.
            (GAUGE, "} 1\n", "} 1", "not closed"),
            (GAUGE, "# HELP a_s x\n", "", "no HELP"),
            (GAUGE, "# TYPE a_s gauge\n", "", "no TYPE"),
            (GAUGE, "# HELP a_s x\n# TYPE a_s gauge\n", "", "no family"),
            (GAUGE, "# HELP a_s x", "# HELP a_s", "without a text"),
            (GAUGE, "a_s{b=\"c\"} 1\n", "", "no samples"),
            (GAUGE, "# TYPE", "# HELP a_s x\n# TYPE", "HELP comes twice"),
            (GAUGE, "# HELP", "# HELP b x\n# HELP", "family b has no samples"),
            (GAUGE, "# TYPE a_s", "# TYPE b", "no samples"),
            (GAUGE, "# TYPE", "# UNIT a_s s\n# TYPE", "a comment"),
            (GAUGE, "# HELP", "# a comment\n# HELP", "a comment"),
            (GAUGE, "# HELP", "#HELP", "a comment"),
            (GAUGE, "} 1\n", "} 1\n# EOF\n", "a comment"),
            (GAUGE, "} 1\n", "} 1\n\n", "no value"),
            (GAUGE, "HELP a_s x", "HELP a_s \\x", "escape"),
            (GAUGE, "HELP a_s x", "HELP a_s \\\"", "escape"),
            (GAUGE, "gauge", "summary", "unknown type"),
            (GAUGE, "gauge", "untyped", "unknown type"),
            (GAUGE, "gauge", "Gauge", "unknown type"),
            // A line.
            (GAUGE, " 1", "", "no space"),
            (GAUGE, "{b=\"c\"} 1", "", "no value"),
            (GAUGE, " 1", "  1", "no number"),
            (GAUGE, " 1", " 1 ", "no number"),
            (GAUGE, " 1", " one", "no number"),
            (GAUGE, " 1", " inf", "no number"),
            (GAUGE, " 1", " nan", "no number"),
            (GAUGE, " 1", " 0x1", "no number"),
            (GAUGE, " 1", " 1\r", "no number"),
            (GAUGE, " 1", " 1 1700000000000", "no number"),
            (GAUGE, " 1", " 1 # {trace_id=\"x\"} 1", "no number"),
            (GAUGE, "{b=\"c\"}", "{}", "no label"),
            (GAUGE, "\"}", "\",}", "no label"),
            (GAUGE, "\"}", "\"", "not closed"),
            (GAUGE, "c\"}", "c}", "not closed"),
            (GAUGE, "\"}", "\"d=\"e\"}", "not closed"),
            (GAUGE, "\"}", "\", d=\"e\"}", "bad name"),
            (GAUGE, "\"}", "\",b=\"d\"}", "b comes twice"),
            (GAUGE, "b=", "b-d=", "bad name"),
            (GAUGE, "b=", "2b=", "bad name"),
            (GAUGE, "b=", "=", "bad name"),
            (GAUGE, "\"c\"", "\"\\x\"", "escape"),
            (GAUGE, "\"c\"", "\"\\t\"", "escape"),
            (GAUGE, "\"c\"", "\"c\0\"", "NUL"),
            (GAUGE, "\"c\"", "\"c\n\"", "not closed"),
            (GAUGE, "a_s{", "a_s:x{", "bad name"),
            // A family.
            (GAUGE, "a_s{", "b{", "not below"),
            (GAUGE, "a_s{", "a_s_sum{", "not below"),
            (GAUGE, "} 1\n", "} 1\na_s{b=\"c\"} 2\n", "the series comes twice"),
            (GAUGE, "} 1\n", "} 1\n# HELP a_s x\n# TYPE a_s gauge\na_s 1\n", "family comes twice"),
            (COUNTER, "counter", "gauge", "only counters"),
            (COUNTER, " 1", " -1", "below 0"),
            (COUNTER, " 1", " NaN", "below 0"),
            ("# HELP a x\n# TYPE a gauge\na 1\n", "gauge", "counter", "_total"),
        ],
    );
}

#[test]
fn histograms_that_do_not_add_up_are_refused() {
    refused(
        text,
        &[
            (HISTOGRAM, "a_bucket{b=\"c\",le=\"+Inf\"} 2\n", "", "agree"),
            (HISTOGRAM, "a_sum{b=\"c\"} 3.5\n", "", "agree"),
            (HISTOGRAM, "a_count{b=\"c\"} 2\n", "", "agree"),
            (HISTOGRAM, "a_count{b=\"c\"} 2", "a_count{b=\"c\"} 3", "agree"),
            (HISTOGRAM, "le=\"0.5\"} 1", "le=\"0.5\"} 3", "not cumulative"),
            (HISTOGRAM, "a_sum", "a_bucket{b=\"c\",le=\"0.25\"} 1\na_sum", "out of order"),
            (HISTOGRAM, "a_sum", "a_bucket{b=\"c\",le=\"5e-1\"} 1\na_sum", "comes twice"),
            (HISTOGRAM, "a_sum", "a_count{b=\"d\"} 0\na_sum", "interleaved"),
            (HISTOGRAM, ",le=\"0.5\"", "", "le is for buckets"),
            (HISTOGRAM, "a_sum{", "a_sum{le=\"0.5\",", "le is for buckets"),
            (HISTOGRAM, "0.5", "half", "no number"),
            (HISTOGRAM, "a_sum{", "a{", "not below"),
        ],
    );
}

#[test]
fn open_metrics_that_is_not_good_is_refused() {
    const GAUGE: &str = "# TYPE a_s gauge\n# UNIT a_s s\n# HELP a_s x\na_s 1\n# EOF\n";
    const COUNTER: &str = "# TYPE a counter\n# HELP a \\\"x\\\"\na_total{b=\"c\"} 1\n# EOF\n";
    const HISTOGRAM: &str = "# TYPE a histogram\n# HELP a x\na_bucket{le=\"1.0\"} 1\n\
        a_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n# EOF\n";
    refused(
        open_metrics,
        &[
            (GAUGE, "# EOF\n", "", "no # EOF"),
            (GAUGE, "# EOF\n", "# EOF", "no # EOF"),
            (GAUGE, "# EOF\n", "# EOF\n# EOF\n", "a comment"),
            (GAUGE, "# EOF\n", "\n# EOF\n", "no value"),
            (GAUGE, "1\n# EOF", "1# EOF", "not closed"),
            (GAUGE, "# UNIT a_s s", "# UNIT a_s seconds", "its unit"),
            (GAUGE, "# HELP", "# UNIT a_s s\n# HELP", "UNIT comes twice"),
            (GAUGE, "\na_s 1\n", "\na_s 1 \n", "no number"),
            (COUNTER, "\na_total", "\na", "not below"),
            (COUNTER, "\na_total", "\na_created", "not below"),
            (COUNTER, "\\\"x", "\"x", "escape"),
            (HISTOGRAM, "1.0", "1", "not canonical"),
            (HISTOGRAM, "1.0", "1.00", "not canonical"),
            (HISTOGRAM, "1.0", "1e0", "not canonical"),
            (HISTOGRAM, "a_count 1\n", "", "agree"),
            (HISTOGRAM, "a_sum", "a_bucket{b=\"c\",le=\"1.0\"} 0\na_sum", "interleaved"),
        ],
    );
    let named = COUNTER.replace(" a ", " a_total ").replace("\na_total{", "\na_total_total{");
    assert!(open_metrics(&named).is_err(), "the family's name is without _total");
    assert!(open_metrics("# EOF\n").unwrap().families.is_empty());
    assert!(text("").unwrap().families.is_empty());
}

const TRACED: &str = "# TYPE a histogram\n# HELP a x\na_bucket{le=\"1.0\"} 1\n\
    a_bucket{le=\"2.0\"} 1\n\
    a_bucket{le=\"+Inf\"} 2 # {trace_id=\"0123456789abcdef0123456789abcdef\"} 3.5 1700000000.25\n\
    a_sum 4\na_count 2\n# EOF\n";

#[test]
fn exemplars_that_are_not_good_are_refused() {
    const COUNTER: &str = "# TYPE a counter\n# HELP a x\na_total 1\n# EOF\n";
    const GAUGE: &str = "# TYPE a gauge\n# HELP a x\na 1\n# EOF\n";
    let exemplar = "# {trace_id=\"0123456789abcdef0123456789abcdef\"} 1 1";
    let with = |value: &str| format!("{value} {exemplar}");
    refused(
        open_metrics,
        &[
            (COUNTER, "total 1", &with("total 1"), "no bucket"),
            (GAUGE, "a 1", &with("a 1"), "no bucket"),
            (TRACED, "sum 4", &with("sum 4"), "no bucket"),
            (TRACED, "count 2", &with("count 2"), "no bucket"),
            (TRACED, "\"2.0\"} 1", &with("\"2.0\"} 1"), "another bucket"),
            (
                TRACED,
                "\"2.0\"} 1",
                &with("\"2.0\"} 1").replace(" 1 1", " 1.5 1"),
                "an empty bucket",
            ),
            (TRACED, "} 3.5", "} 2", "another bucket"),
            (TRACED, " # ", " #", "no number"),
            (TRACED, " # ", " ", "no number"),
            (TRACED, " # ", " # # ", "no labels"),
            (TRACED, " # ", " 1700000000 # ", "no number"),
            (TRACED, "} 3.5", "}", "no timestamp"),
            (TRACED, "} 3.5", "}3.5", "no space"),
            (TRACED, " 1700000000.25", "", "no timestamp"),
            (TRACED, "1700000000.25", "1700000000.25 ", "no number"),
            (TRACED, "1700000000.25", "+Inf", "no time"),
            (TRACED, "} 3.5", "} x", "no number"),
            (TRACED, "cdef\"} 3", "cdef\" 3", "not closed"),
            (TRACED, "{trace_id=\"0123456789abcdef0123456789abcdef\"}", "{}", "no label"),
            (TRACED, "trace_id", "traceID", "no trace_id"),
            (TRACED, "0123456789abcdef0123456789abcdef", "0123456789abcdef", "no id"),
            (
                TRACED,
                "0123456789abcdef0123456789abcdef",
                "0123456789ABCDEF0123456789abcdef",
                "no id",
            ),
            (TRACED, "0123456789abcdef0123456789abcdef", &"0".repeat(32), "no id"),
            (TRACED, "trace_id", &format!("b=\"{}\",trace_id", "x".repeat(88)), "more than 128"),
        ],
    );
    let most = TRACED.replace("trace_id", &format!("b=\"{}\",trace_id", "ö".repeat(87)));
    open_metrics(&most).unwrap();
    let text = TRACED.replace("# EOF\n", "");
    let error = format!("{:#}", Exposition::parse(&text, Format::Text).unwrap_err());
    assert!(error.contains("no number"), "text 0.0.4 has none: {error}");
}

#[test]
fn an_exemplar_is_read_with_its_bucket() {
    let read = open_metrics(TRACED).unwrap();
    let exemplars: Vec<_> = read.samples().map(|sample| sample.exemplar.clone()).collect();
    let id = "0123456789abcdef0123456789abcdef".to_owned();
    let labels = Labels::from([("trace_id".to_owned(), id)]);
    let expected = Exemplar { labels, value: 3.5, unix_s: 1_700_000_000.25 };
    assert_eq!(exemplars, [None, None, Some(expected), None, None]);
    // A label may look like one.
    let gauge = GAUGE.replace("\"c\"", "\"c\\\"} 1 # {trace_id=\\\"\"");
    let read = text(&gauge).unwrap();
    assert_eq!(read.families[0].samples[0].label("b"), "c\"} 1 # {trace_id=\"");
}

#[test]
fn what_is_read_is_what_was_written() {
    let read = text(
        "# HELP a \"x\" \\\\ \\n\n# TYPE a gauge\n\
         a{b=\"\\\\\\n\\\"}\",c=\"\"} 1e3\na -2.5\na{b=\"1\"} +Inf\na{b=\"2\"} NaN\n",
    )
    .unwrap();
    let [family] = &*read.families else { panic!("{read:?}") };
    assert_eq!((&*family.help, family.kind), ("\"x\" \\\\ \\n", Kind::Gauge));
    let values: Vec<_> = read.samples().map(|sample| sample.value).collect();
    assert_eq!(values[..3], [1000.0, -2.5, f64::INFINITY]);
    assert!(values[3].is_nan());
    assert_eq!(family.samples[0].label("b"), "\\\n\"}");
    assert_eq!(read.all("a", &[("b", "")]).map(|it| it.value).collect::<Vec<_>>(), [-2.5]);
    assert_eq!(read.all("a", &[("b", "1"), ("d", "")]).count(), 1);
    assert_eq!(read.all("a", &[("b", "1"), ("d", "x")]).count(), 0);
    assert!(family.histograms().is_err());
}

#[test]
fn a_histogram_is_put_together() {
    let read = text(&HISTOGRAM.replace("0.5", "5e-1")).unwrap();
    let family = &read.families[0];
    assert_eq!(family.samples[0].label("le"), "0.5");
    let labels = Labels::from([("b".to_owned(), "c".to_owned())]);
    let buckets = vec![(0.5, 1.0), (f64::INFINITY, 2.0)];
    let expected = Histogram { labels, buckets, sum: 3.5, count: 2.0 };
    assert_eq!(family.histograms().unwrap(), [expected]);
}

#[test]
fn samples_of_any_exporter_are_counted() {
    let text = "# HELP a x\n# TYPE a summary\na{quantile=\"0\"} 1\na_sum 1\n\na_count 1 123\n";
    assert_eq!(count_samples(text), 3);
}
