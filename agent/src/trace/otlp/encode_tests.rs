use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::*;
use crate::trace::model::{Kind, Resource};

const WALL: WallOffset = WallOffset { unix_less_boot_ns: 1_700_000_000_000_000_000 };

fn span(id: u64, parent: Option<u64>, start_boot_ns: u64, end_boot_ns: u64) -> Span {
    Span {
        id: SpanId::from(id),
        parent: parent.map(SpanId::from),
        name: "container",
        start_boot_ns,
        end_boot_ns,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        error: None,
    }
}

fn trace() -> Trace {
    let mut child = span(2, Some(1), 1_500, 2_000);
    child.attributes = vec![
        KeyValue::new("text", "a\u{202e}\n"),
        KeyValue::new("integer", -7),
        KeyValue::new("real", 0.5),
        KeyValue::new("yes", true),
        KeyValue::new("list", Value::Array(Array::String(vec!["x".into(), "y".into()]))),
        KeyValue::new("integers", Value::Array(Array::I64(vec![1, 2]))),
    ];
    child.events = vec![SpanEvent {
        name: "signal",
        time_boot_ns: 1_600,
        attributes: vec![KeyValue::new("signal", "SIGTERM")],
    }];
    child.links = vec![Link {
        trace: TraceId::from(9),
        span: SpanId::from(8),
        attributes: vec![KeyValue::new("why", "annotation")],
    }];
    child.error = Some("OOM".into());
    Trace {
        kind: Kind::Restart,
        id: TraceId::from(0xabcd),
        resource: Arc::new(Resource { attributes: vec![KeyValue::new("k8s.pod.name", "web-0")] }),
        spans: vec![span(1, None, 1_000, 3_000), child],
        facts: Vec::new(),
    }
}

/// The bytes read back by the types that receivers are generated from.
fn decoded(trace: &Trace) -> ResourceSpans {
    let encoded = encode(trace, WALL);
    assert_eq!(encoded.spans as usize, trace.spans.len());
    ResourceSpans::decode(&*encoded.bytes).unwrap()
}

#[test]
fn a_trace_is_what_a_receiver_decodes() {
    let resource_spans = decoded(&trace());
    let resource = resource_spans.resource.unwrap();
    assert_eq!(resource.attributes.len(), 1);
    assert_eq!(resource.attributes[0].key, "k8s.pod.name");
    assert!(resource_spans.schema_url.starts_with("https://opentelemetry.io/schemas/1."));
    let [scope_spans] = &resource_spans.scope_spans[..] else { panic!("one scope") };
    assert_eq!(scope_spans.scope.as_ref().unwrap().name, "podvitals");
    let [root, child] = &scope_spans.spans[..] else { panic!("two spans") };
    for span in [root, child] {
        assert_eq!(span.trace_id, 0xabcd_u128.to_be_bytes());
        assert_eq!((span.kind(), span.flags), (span::SpanKind::Internal, 0x103));
    }
    assert_eq!((root.span_id.as_slice(), root.parent_span_id.len()), (&1_u64.to_be_bytes()[..], 0));
    assert_eq!(root.status, None);
    assert_eq!(root.start_time_unix_nano, 1_700_000_000_000_001_000);
    assert_eq!(root.end_time_unix_nano, 1_700_000_000_000_003_000);
    assert_eq!(child.parent_span_id, root.span_id);
    let status = child.status.as_ref().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (status::StatusCode::Error, "OOM"));
    let [event] = &child.events[..] else { panic!("one event") };
    assert_eq!((event.name.as_str(), event.time_unix_nano), ("signal", 1_700_000_000_000_001_600));
    let [link] = &child.links[..] else { panic!("one link") };
    assert_eq!(link.trace_id, 9_u128.to_be_bytes());
    assert_eq!(link.span_id, 8_u64.to_be_bytes());
    let shown: Vec<_> = child
        .attributes
        .iter()
        .map(|it| format!("{} {:?}", it.key, it.value.as_ref().unwrap().value.as_ref().unwrap()))
        .collect();
    assert_eq!(shown[0], "text StringValue(\"a\\u{202e}\\n\")");
    assert_eq!(shown[1], "integer IntValue(-7)");
    assert_eq!(shown[2], "real DoubleValue(0.5)");
    assert_eq!(shown[3], "yes BoolValue(true)");
    assert!(shown[4].starts_with("list ArrayValue(") && shown[4].contains("StringValue(\"y\")"));
    assert!(shown[5].starts_with("integers ArrayValue(") && shown[5].contains("IntValue(2)"));
}

#[test]
fn no_span_ends_before_it_starts_or_before_1970() {
    let mut trace = trace();
    trace.spans = vec![span(1, None, 5_000, 1_000)];
    let [scope_spans] = &decoded(&trace).scope_spans[..] else { panic!("one scope") };
    let [only] = &scope_spans.spans[..] else { panic!("one span") };
    assert_eq!(only.start_time_unix_nano, only.end_time_unix_nano);
    let before = WallOffset { unix_less_boot_ns: -10_000 };
    let bytes = encode(&trace, before).bytes;
    let spans = &ResourceSpans::decode(&*bytes).unwrap().scope_spans[0].spans;
    assert_eq!(spans[0].start_time_unix_nano, 0);
}

#[test]
fn encoded_traces_in_a_row_are_a_request() {
    let encoded = encode(&trace(), WALL);
    let body = super::super::batch::body(&[encoded.clone(), encoded.clone()]);
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let expected = ResourceSpans::decode(&*encoded.bytes).unwrap();
    assert_eq!(request.resource_spans, [expected.clone(), expected]);
    let empty = ExportTraceServiceRequest::decode(super::super::batch::body(&[])).unwrap();
    assert_eq!(empty.resource_spans, []);
}
