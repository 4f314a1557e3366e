//! Traces as bytes of OTLP. Pure.

use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue as ProtoKeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as ProtoSpan, Status, span, status,
};
use opentelemetry_semantic_conventions::SCHEMA_URL;
use prost::Message as _;

use crate::clock::WallOffset;
use crate::trace::model::{Link, Span, SpanEvent, Trace};

/// Name of the instrumentation scope of all spans.
const SCOPE: &str = "podvitals";

/// Flags of a span (`opentelemetry.proto.trace.v1.SpanFlags`): it is sampled and its trace id is
/// spread as random ones are (W3C Trace Context, level 2), and the span above it is not remote.
const FLAGS: u32 = 0x1 | 0x2 | 0x100;

/// A trace as the bytes of one `opentelemetry.proto.trace.v1.ResourceSpans`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Spans in them.
    pub spans: u32,
}

/// Encodes a trace, whose boot times become Unix times under this offset.
#[must_use]
pub fn encode(trace: &Trace, wall: WallOffset) -> Encoded {
    let scope = InstrumentationScope {
        name: SCOPE.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let trace_id = trace.id.to_bytes();
    let spans: Vec<_> = trace.spans.iter().map(|span| proto_span(span, &trace_id, wall)).collect();
    let resource_spans = ResourceSpans {
        resource: Some(ProtoResource {
            attributes: proto_attributes(&trace.resource.attributes),
            ..ProtoResource::default()
        }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA_URL.into() }],
        schema_url: SCHEMA_URL.into(),
    };
    let spans = u32::try_from(trace.spans.len()).unwrap_or(u32::MAX);
    Encoded { bytes: resource_spans.encode_to_vec(), spans }
}

fn proto_span(span: &Span, trace_id: &[u8; 16], wall: WallOffset) -> ProtoSpan {
    let status = span
        .error
        .as_ref()
        .map(|error| Status { message: error.clone(), code: status::StatusCode::Error.into() });
    ProtoSpan {
        trace_id: trace_id.to_vec(),
        span_id: span.id.to_bytes().to_vec(),
        parent_span_id: span.parent.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
        flags: FLAGS,
        name: span.name.into(),
        kind: span::SpanKind::Internal.into(),
        start_time_unix_nano: wall.unix_ns(span.start_boot_ns),
        end_time_unix_nano: wall.unix_ns(span.end_boot_ns.max(span.start_boot_ns)),
        attributes: proto_attributes(&span.attributes),
        events: span.events.iter().map(|event| proto_event(event, wall)).collect(),
        links: span.links.iter().map(proto_link).collect(),
        status,
        ..ProtoSpan::default()
    }
}

fn proto_event(event: &SpanEvent, wall: WallOffset) -> span::Event {
    span::Event {
        time_unix_nano: wall.unix_ns(event.time_boot_ns),
        name: event.name.into(),
        attributes: proto_attributes(&event.attributes),
        ..span::Event::default()
    }
}

fn proto_link(link: &Link) -> span::Link {
    span::Link {
        trace_id: link.trace.to_bytes().to_vec(),
        span_id: link.span.to_bytes().to_vec(),
        attributes: proto_attributes(&link.attributes),
        ..span::Link::default()
    }
}

fn proto_attributes(attributes: &[KeyValue]) -> Vec<ProtoKeyValue> {
    let one = |attribute: &KeyValue| ProtoKeyValue {
        key: attribute.key.as_str().into(),
        value: Some(any(proto_value(&attribute.value))),
        ..ProtoKeyValue::default()
    };
    attributes.iter().map(one).collect()
}

const fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn proto_value(value: &Value) -> any_value::Value {
    use any_value::Value::{ArrayValue as List, BoolValue, DoubleValue, IntValue, StringValue};
    let list = |values: Vec<any_value::Value>| {
        List(ArrayValue { values: values.into_iter().map(any).collect() })
    };
    match value {
        Value::Bool(value) => BoolValue(*value),
        Value::I64(value) => IntValue(*value),
        Value::F64(value) => DoubleValue(*value),
        Value::String(value) => StringValue(value.as_str().into()),
        Value::Array(Array::Bool(values)) => list(values.iter().copied().map(BoolValue).collect()),
        Value::Array(Array::I64(values)) => list(values.iter().copied().map(IntValue).collect()),
        Value::Array(Array::F64(values)) => list(values.iter().copied().map(DoubleValue).collect()),
        Value::Array(Array::String(values)) => {
            list(values.iter().map(|value| StringValue(value.as_str().into())).collect())
        }
        // The types may grow; all of them can be shown.
        other => StringValue(other.to_string()),
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
