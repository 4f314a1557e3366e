use testbed::otlp::Value;

use super::{
    metrics::{self, Kind, Metric, PointValue},
    rotel,
    scrape::Recorded,
};
use crate::monitoring;
use serde_json::json;

const EXPOSITION: &str = "\
# TYPE a_ratio gauge
# HELP a_ratio A \\\"ratio\\\".
a_ratio{pod=\"x\",none=\"\"} 0.5
# TYPE b_bytes counter
# UNIT b_bytes bytes
# HELP b_bytes Bytes.
b_bytes_total{pod=\"x\"} 3
b_bytes_total{pod=\"y\"} 0
# TYPE c_seconds histogram
# UNIT c_seconds seconds
# HELP c_seconds Seconds.
c_seconds_bucket{pod=\"x\",le=\"0.5\"} 1
c_seconds_bucket{pod=\"x\",le=\"+Inf\"} 3
c_seconds_sum{pod=\"x\"} 7.5
c_seconds_count{pod=\"x\"} 3
# EOF
";

/// As the Collector v0.165.0 wrote it, made shorter by hand.
const WRITTEN: &str = concat!(
    r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"podvitals"}}]},"#,
    r#""scopeMetrics":[{"scope":{"name":"prometheusreceiver"},"metrics":["#,
    r#"{"name":"up","gauge":{"dataPoints":[{"timeUnixNano":"5","asDouble":1}]}},"#,
    r#"{"name":"a_ratio","description":"A \"ratio\".","gauge":{"dataPoints":[{"attributes":["#,
    r#"{"key":"node","value":{"stringValue":"n"}},{"key":"pod","value":{"stringValue":"x"}}],"timeUnixNano":"5","asDouble":0.5}]}},"#,
    r#"{"name":"b_bytes_total","description":"Bytes.","unit":"By","sum":{"dataPoints":[{"attributes":["#,
    r#"{"key":"node","value":{"stringValue":"n"}},{"key":"pod","value":{"stringValue":"x"}}],"timeUnixNano":"5","asDouble":3},"#,
    r#"{"attributes":[{"key":"node","value":{"stringValue":"n"}},{"key":"pod","value":{"stringValue":"y"}}],"timeUnixNano":"5","asDouble":0}],"#,
    r#""aggregationTemporality":2,"isMonotonic":true}},"#,
    r#"{"name":"c_seconds","description":"Seconds.","unit":"s","histogram":{"dataPoints":[{"attributes":["#,
    r#"{"key":"node","value":{"stringValue":"n"}},{"key":"pod","value":{"stringValue":"x"}}],"timeUnixNano":"5","#,
    r#""count":"3","sum":7.5,"bucketCounts":["1","2"],"explicitBounds":[0.5],"exemplars":[{"timeUnixNano":"9250000000","#,
    r#""asDouble":0.5,"traceId":"00000000000000010000000000000001"}]}],"aggregationTemporality":2}}]}]}]}"#,
    "\n",
);

fn metrics_of(text: &str) -> Vec<Metric> {
    let [message] = metrics::messages(text).unwrap().try_into().unwrap();
    assert_eq!(message.resource["service.name"], Value::Text("podvitals".to_owned()));
    message.metrics
}

fn recorded() -> Recorded {
    Recorded::with_exemplars(EXPOSITION, 9).unwrap()
}

fn differences(written: &str) -> Vec<String> {
    recorded().differences(&metrics_of(written), &[("node", "n")])
}

#[test]
fn metrics_are_read_as_they_were_written() {
    let metrics = metrics_of(WRITTEN);
    assert!(metrics[0].is_about_the_scrape() && !metrics[1].is_about_the_scrape());
    assert_eq!(metrics[2].kind, Kind::Sum { monotonic: true, cumulative: true });
    assert_eq!((metrics[2].unit.as_str(), metrics[2].points.len()), ("By", 2));
    let ended = WRITTEN.replace(r#""asDouble":0.5}]}"#, r#""flags":1,"asDouble":0.5}]}"#);
    assert_eq!(metrics_of(&ended)[1].points[0].value, PointValue::Ended);
    assert!(metrics::messages(&WRITTEN.replace("\"histogram\"", "\"summary\"")).is_err());
    assert!(metrics::messages(&WRITTEN.replace("\"asDouble\":3", "\"x\":3")).is_err());
}

#[test]
fn exemplars_are_put_on_buckets_alone() {
    let recorded = recorded();
    let with: Vec<_> = recorded.text.lines().filter(|line| line.contains(" # {")).collect();
    let line = "c_seconds_bucket{pod=\"x\",le=\"0.5\"} 1 \
                # {trace_id=\"00000000000000010000000000000001\"} 0.5 9.25";
    assert_eq!(with, [line]);
    assert!(
        Recorded::with_exemplars("# EOF\n", 9).is_err(),
        "without a histogram nothing is shown"
    );
}

#[test]
fn every_loss_is_a_difference() {
    assert_eq!(differences(WRITTEN), [""; 0]);
    for (good, bad, said) in [
        ("b_bytes_total", "b_bytes", "is lost"),
        ("b_bytes_total", "b_bytes", "was never exported"),
        (r#""description":"Bytes.""#, r#""description":"""#, "help"),
        (r#""unit":"By""#, r#""unit":"1""#, "unit"),
        (r#""isMonotonic":true"#, r#""isMonotonic":false"#, "type"),
        (r#""aggregationTemporality":2}}]"#, r#""aggregationTemporality":1}}]"#, "type"),
        (r#""asDouble":3"#, r#""asDouble":4"#, "Number(4.0)"),
        (r#""asDouble":3"#, r#""flags":1,"asDouble":3"#, "Ended"),
        (r#""asDouble":3"#, r#""startTimeUnixNano":"4","asDouble":3"#, "start time"),
        (r#""stringValue":"y""#, r#""stringValue":"z""#, "is there"),
        (r#""stringValue":"y""#, r#""stringValue":"x""#, "series"),
        (r#""key":"node","value":{"stringValue":"n"}"#, r#""key":"node","value":{}"#, "is there"),
        (r#"["1","2"]"#, r#"["1","1"]"#, "counts: [1, 2]"),
        (r#""explicitBounds":[0.5]"#, r#""explicitBounds":[0.6]"#, "bounds: [0.5]"),
        (r#""sum":7.5"#, r#""sum":7"#, "sum: Some(7.5)"),
        (r#""count":"3""#, r#""count":"4""#, "count: 3"),
        ("9250000000", "9000000000", "exemplars"),
        (r#""asDouble":0.5,"traceId""#, r#""asDouble":0.6,"traceId""#, "exemplars"),
        ("00000000000000010000000000000001", "", "exemplars"),
    ] {
        let text = WRITTEN.replace(good, bad);
        assert_ne!(text, WRITTEN, "{good}");
        let differences = differences(&text);
        assert!(differences.iter().any(|it| it.contains(said)), "{bad}: {differences:?}");
    }
}

#[test]
fn every_loss_on_the_way_back_to_prometheus_is_a_difference() {
    const AGAIN: &str = "\
# HELP a_ratio A \"ratio\".
# TYPE a_ratio gauge
a_ratio{instance=\"i\",job=\"podvitals\",node=\"n\",otel_scope_name=\"s\",pod=\"x\"} 0.5
# HELP b_bytes_total Bytes.
# TYPE b_bytes_total counter
b_bytes_total{instance=\"i\",job=\"podvitals\",node=\"n\",pod=\"x\"} 3
b_bytes_total{instance=\"i\",job=\"podvitals\",node=\"n\",pod=\"y\"} 0
# HELP c_seconds Seconds.
# TYPE c_seconds histogram
c_seconds_bucket{instance=\"i\",job=\"podvitals\",node=\"n\",pod=\"x\",le=\"0.5\"} 1
c_seconds_bucket{instance=\"i\",job=\"podvitals\",node=\"n\",pod=\"x\",le=\"+Inf\"} 3
c_seconds_sum{instance=\"i\",job=\"podvitals\",node=\"n\",pod=\"x\"} 7.5
c_seconds_count{instance=\"i\",job=\"podvitals\",node=\"n\",pod=\"x\"} 3
# HELP up The scraping was successful
# TYPE up gauge
up{instance=\"i\",job=\"podvitals\",node=\"n\"} 1
";
    let differences = |text: &str| recorded().differences_again(text, &[("node", "n")]).unwrap();
    assert_eq!(differences(AGAIN), [""; 0]);
    for (good, bad) in [
        ("_bytes_total", "_bytes_bytes_total"),
        ("pod=\"y\"} 0", "pod=\"y\"} 1"),
        ("pod=\"y\"", "pod=\"y\",exported_pod=\"z\""),
        ("le=\"0.5\"", "le=\"0.6\""),
        ("node=\"n\",pod=\"y\"", "pod=\"y\""),
        ("} 7.5", "} 7"),
    ] {
        let text = AGAIN.replace(good, bad);
        assert_ne!(text, AGAIN, "{good}");
        assert!(!differences(&text).is_empty(), "{bad}");
    }
    recorded().differences_again("a 1\n", &[]).unwrap_err();
}

/// As rotel 0.0.1-alpha10 prints a batch.
const PRINTED: &str = "\
ResourceSpans #0
Resource attributes:
     -> service.name: Str(podvitals)
ScopeSpans #0
InstrumentationScope podvitals 0.1.0
Span #0
    Trace ID       : 0af7651916cd43dd8448eb211c80319c
    Parent ID      : 
    ID             : b7ad6b7169203331
    Name           : pod: shutdown
    Kind           : SPAN_KIND_INTERNAL
Start time: 1795979660000000001
End time: 1795979661000000000
    Status code    : STATUS_CODE_ERROR
    Status message : killed
Attributes:
     -> n: Int(3)
Events:
SpanEvent #0
     -> Name: signal
Links:
SpanLink #0
     -> Trace ID: 1af7651916cd43dd8448eb211c80319c
     -> ID: c7ad6b7169203331
";

#[test]
fn a_span_is_read_as_rotel_prints_it() {
    let [span] = rotel::spans(PRINTED).unwrap().try_into().unwrap();
    assert_eq!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((span.span_id.as_str(), span.parent_id.as_str()), ("b7ad6b7169203331", ""));
    assert_eq!(span.name, "pod: shutdown");
    assert_eq!(span.start_unix_ns, 1_795_979_660_000_000_001);
    assert_eq!(rotel::spans(&format!("{PRINTED}{PRINTED}")).unwrap().len(), 2);
    let unset = PRINTED
        .replace("    Status code    : STATUS_CODE_ERROR\n    Status message : killed\n", "");
    assert_eq!(rotel::spans(&unset).unwrap(), [span]);
    let cut = PRINTED.split("Attributes:\n     -> n").next().unwrap();
    assert!(rotel::spans(&format!("{PRINTED}{cut}")).unwrap().len() == 1, "still being printed");
    rotel::spans(&PRINTED.replace("Start time: 1", "Start time: x")).unwrap_err();
}

#[test]
fn the_example_scrapes_as_the_shipped_configuration_does() {
    let example = super::example::shipped().unwrap();
    let mut job = example["receivers"]["prometheus"]["config"]["scrape_configs"][0].clone();
    job.as_object_mut().unwrap().remove("scrape_interval").unwrap();
    let file = crate::paths::root().join("deploy/scrape-config.yaml");
    assert_eq!(job, monitoring::read_yaml(&file).unwrap()["scrape_configs"][0]);
    // The Collector would take a dollar for a variable.
    assert!(!example.to_string().contains('$'));
    let sources = &example["processors"][super::example::NOT_BUILT]["pod_association"];
    let by_uid = json!([{ "sources": [{ "from": "resource_attribute", "name": "k8s.pod.uid" }] }]);
    assert_eq!(sources, &by_uid, "the connection's address is the agent's");
}

#[test]
fn the_example_is_checked_as_it_is_but_for_what_is_not_built() {
    let (shipped, built) =
        (super::example::shipped().unwrap(), super::example::as_built().unwrap());
    assert_eq!(shipped["receivers"], built["receivers"]);
    assert_eq!(shipped["exporters"], built["exporters"]);
    let names = |config: &serde_json::Value| -> Vec<String> {
        config["processors"].as_object().unwrap().keys().cloned().collect()
    };
    let mut wanted = names(&shipped);
    wanted.retain(|name| name != super::example::NOT_BUILT);
    assert_eq!(names(&built), wanted);
}

#[test]
fn a_number_is_read_to_its_last_digit() {
    for number in ["1795982043.9122143", "1795982044.9157953"] {
        let text = WRITTEN.replace("\"asDouble\":3", &format!("\"asDouble\":{number}"));
        let value = &metrics_of(&text)[2].points[0].value;
        assert_eq!(value, &PointValue::Number(number.parse().unwrap()));
    }
}
