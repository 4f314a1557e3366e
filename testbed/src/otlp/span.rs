//! Spans, with all that they have.

use std::collections::BTreeMap;

use super::value::Value;

/// Attributes by key. A key that came twice is an error of the reader.
pub type Attributes = BTreeMap<String, Value>;

/// A span, with the resource and the scope that it came with.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Id of the trace, 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// Id of the span, 16 lower-case hexadecimal digits.
    pub span_id: String,
    /// Id of the span above it; `None` for a root.
    pub parent_id: Option<String>,
    /// Name of the span.
    pub name: String,
    /// Kind.
    pub kind: SpanKind,
    /// Start, in nanoseconds of Unix time.
    pub start_unix_ns: u64,
    /// End, in nanoseconds of Unix time.
    pub end_unix_ns: u64,
    /// Attributes of the span.
    pub attributes: Attributes,
    /// Events, in the order in which they came.
    pub events: Vec<Event>,
    /// Links to other spans.
    pub links: Vec<Link>,
    /// Status.
    pub status: Status,
    /// Attributes of the resource that the span is about.
    pub resource: Attributes,
    /// What made the span.
    pub scope: Scope,
}

/// Kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SpanKind {
    /// None was said.
    #[default]
    Unspecified,
    /// Inside of an application.
    Internal,
    /// Handles a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Receives a message.
    Consumer,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name of the event.
    pub name: String,
    /// Time, in nanoseconds of Unix time.
    pub unix_ns: u64,
    /// Attributes of the event.
    pub attributes: Attributes,
}

/// Link to a span, mostly of another trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Id of its trace.
    pub trace_id: String,
    /// Id of the span.
    pub span_id: String,
    /// Attributes of the link.
    pub attributes: Attributes,
}

/// Status of a span.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// None was set.
    #[default]
    Unset,
    /// Set to "ok".
    Ok,
    /// Something went wrong, in words.
    Error(String),
}

/// What made a span: the instrumentation scope.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scope {
    /// Name of the scope.
    pub name: String,
    /// Version.
    pub version: String,
}

impl Span {
    /// Time from its start to its end; 0 if it ends before it starts.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// An attribute that is text; empty without it.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        text(&self.attributes, key)
    }

    /// An attribute of its resource that is text; empty without it.
    #[must_use]
    pub fn resource_text(&self, key: &str) -> &str {
        text(&self.resource, key)
    }

    /// The first event of this name.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.name == name)
    }
}

/// An attribute that is text; empty without it.
#[must_use]
pub fn text<'a>(attributes: &'a Attributes, key: &str) -> &'a str {
    match attributes.get(key) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}
