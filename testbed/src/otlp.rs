//! Traces as a receiver of OTLP has them: plain types, and readers of what receivers write.
//!
//! [`from_lines`] reads what the OpenTelemetry Collector's file exporter writes, [`from_answer`] what
//! Jaeger's query API answers. Both are OTLP in JSON
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>). The readers are strict: an
//! id of the wrong length, a time that is none, or a kind of value that is not known is an error.

pub mod json;
mod span;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub use self::json::{from_answer, from_lines};
pub use self::span::{Attributes, Event, Link, Scope, Span, SpanKind, Status, text};
pub use self::tree::{Node, Tree, trees};
pub use self::value::Value;
