use super::*;

/// As the Collector v0.165.0 wrote it, made shorter by hand.
const LINES: &str = concat!(
    r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"k8s.pod.uid","value":{"stringValue":"u"}}]},"#,
    r#""scopeSpans":[{"scope":{"name":"podvitals","version":"0.1.0"},"spans":["#,
    r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"","#,
    r#""flags":256,"name":"pod shutdown","kind":1,"startTimeUnixNano":"1544712660000000001","#,
    r#""endTimeUnixNano":"1544712661000000000","attributes":["#,
    r#"{"key":"n","value":{"intValue":"-9007199254740993"}},{"key":"b","value":{"boolValue":true}},"#,
    r#"{"key":"d","value":{"doubleValue":0.5}},{"key":"e","value":{}},"#,
    r#"{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":"1"}]}}},"#,
    r#"{"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AA=="}}]}}}],"#,
    r#""events":[{"timeUnixNano":"1544712660500000000","name":"signal","attributes":[]}],"#,
    r#""links":[{"traceId":"1af7651916cd43dd8448eb211c80319c","spanId":"c7ad6b7169203331","flags":256}],"#,
    r#""status":{"message":"killed","code":2}},"#,
    r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","#,
    r#""parentSpanId":"b7ad6b7169203331","name":"container stop","startTimeUnixNano":"1544712660000000002","#,
    r#""endTimeUnixNano":"1544712660000000003","status":{}}]}]}]}"#,
    "\n\n",
    r#"{"resourceSpans":[]}"#,
    "\n",
);

fn read(text: &str) -> Vec<Span> {
    from_lines(text).unwrap()
}

fn error_of(text: &str) -> String {
    format!("{:#}", from_lines(text).unwrap_err())
}

#[test]
fn all_that_a_span_has_is_read() {
    let spans = read(LINES);
    assert_eq!(spans.len(), 2);
    let root = &spans[0];
    assert_eq!(root.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((root.span_id.as_str(), &root.parent_id), ("b7ad6b7169203331", &None));
    assert_eq!((root.name.as_str(), root.kind), ("pod shutdown", SpanKind::Internal));
    assert_eq!(root.start_unix_ns, 1_544_712_660_000_000_001, "not by way of a float");
    assert_eq!(root.duration_ns(), 999_999_999);
    assert_eq!(root.attributes["n"], Value::Int(-9_007_199_254_740_993), "not by way of a float");
    assert_eq!(root.attributes["b"], Value::Bool(true));
    assert_eq!(root.attributes["d"], Value::Double(0.5));
    assert_eq!(root.attributes["e"], Value::Empty);
    assert_eq!(root.attributes["l"].to_string(), "[x, 1]");
    assert_eq!(root.attributes["m"].to_string(), "{k: AA==}");
    assert_eq!(root.event("signal").unwrap().unix_ns, 1_544_712_660_500_000_000);
    assert_eq!(root.links[0].trace_id, "1af7651916cd43dd8448eb211c80319c");
    assert_eq!(root.status, Status::Error("killed".to_owned()));
    assert_eq!(root.resource_text("k8s.pod.uid"), "u");
    assert_eq!(root.scope, Scope { name: "podvitals".to_owned(), version: "0.1.0".to_owned() });
    let child = &spans[1];
    assert_eq!(child.parent_id.as_deref(), Some("b7ad6b7169203331"));
    assert_eq!((&child.status, child.kind), (&Status::Unset, SpanKind::Unspecified));
    assert_eq!(child.resource, root.resource);
}

#[test]
fn a_line_that_is_still_written_is_left_out() {
    let cut = format!("{LINES}{}", &LINES[..700]);
    assert_eq!(read(&cut), read(LINES));
    assert!(read(&LINES[..700]).is_empty());
    assert!(error_of(&format!("{LINES}{}\n", &LINES[..700])).contains("line 3: no JSON"));
}

#[test]
fn what_is_wrong_is_an_error_and_never_a_default() {
    for (good, bad, said) in [
        (r#""traceId":"0af7651916cd43dd8448eb211c80319c""#, r#""traceId":"0af7""#, "traceId"),
        ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000", "is no id"),
        ("0af7651916cd43dd8448eb211c80319c", "0AF7651916CD43DD8448EB211C80319C", "is no id"),
        (r#""spanId":"b7ad6b7169203331","#, "", "spanId"),
        (r#""parentSpanId":"b7ad6b7169203331""#, r#""parentSpanId":"b7""#, "parentSpanId"),
        (r#""endTimeUnixNano":"1544712661000000000","#, "", "no end"),
        ("1544712660000000001", "-1", "startTimeUnixNano"),
        ("stringValue", "newValue", "unknown kind of value"),
        (r#""code":2"#, r#""code":3"#, "status code 3"),
        (r#""kind":1"#, r#""kind":"SPAN_KIND_OTHER""#, "unknown name"),
        (r#""key":"n""#, r#""key":"b""#, "comes twice"),
        (r#""flags":256,"name""#, r#""droppedEventsCount":1,"name""#, "droppedEventsCount"),
        (r#""timeUnixNano":"1544712660500000000","#, "", "without a time"),
    ] {
        let text = LINES.replacen(good, bad, 1);
        assert_ne!(text, LINES, "{good}");
        let error = error_of(&text);
        assert!(error.contains(said) && error.contains("line 1"), "{bad}: {error}");
    }
}

#[test]
fn names_of_enums_are_read_as_their_numbers() {
    let named = LINES
        .replace(r#""kind":1"#, r#""kind":"SPAN_KIND_INTERNAL""#)
        .replace(r#""code":2"#, r#""code":"STATUS_CODE_ERROR""#);
    assert_eq!(read(&named), read(LINES));
}

#[test]
fn an_answer_of_jaeger_is_the_same_message() {
    let message = LINES.lines().next().unwrap();
    let answer = format!(r#"{{"result":{message}}}"#);
    assert_eq!(from_answer(&answer).unwrap(), read(LINES));
    let error = from_answer(r#"{"error":{"httpCode":404,"message":"trace not found"}}"#);
    assert!(error.unwrap_err().to_string().contains("no result"));
}

/// A span of trace `trace`.
fn span(trace: &str, id: &str, parent: Option<&str>, start_unix_ns: u64) -> Span {
    Span {
        trace_id: trace.to_owned(),
        span_id: id.to_owned(),
        parent_id: parent.map(str::to_owned),
        name: id.to_owned(),
        kind: SpanKind::Internal,
        start_unix_ns,
        end_unix_ns: start_unix_ns + 1,
        attributes: Attributes::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        resource: Attributes::new(),
        scope: Scope::default(),
    }
}

#[test]
fn spans_become_trees_in_the_order_of_their_starts() {
    let spans = [
        span("t", "late", Some("root"), 30),
        span("u", "other", None, 5),
        span("t", "deep", Some("early"), 21),
        span("t", "early", Some("root"), 20),
        span("t", "root", None, 10),
    ];
    let trees = trees(&spans).unwrap();
    assert_eq!(trees.iter().map(|tree| tree.trace_id.as_str()).collect::<Vec<_>>(), ["u", "t"]);
    assert_eq!(trees[1].outline(), "root\n  early\n    deep\n  late\n");
    assert_eq!(trees[1].named("deep").count(), 1);
    assert_eq!(trees[1].named("none").count(), 0);
}

#[test]
fn what_is_no_tree_is_refused() {
    let root = || span("t", "root", None, 1);
    for (spans, said) in [
        (vec![root(), root()], "came twice"),
        (vec![root(), span("t", "b", None, 1)], "2 roots"),
        (vec![span("t", "a", Some("b"), 1)], "0 roots"),
        (vec![root(), span("t", "a", Some("gone"), 1)], "not in the tree"),
        (
            vec![root(), span("t", "a", Some("b"), 1), span("t", "b", Some("a"), 1)],
            "not in the tree",
        ),
    ] {
        let error = trees(&spans).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
