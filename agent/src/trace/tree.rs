//! The tree of a trace's spans, as it is built. Pure.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry::{KeyValue, Value};

use super::id;
use super::model::{Kind, Link, Span, SpanEvent};
use super::names::{self, Name};

/// An attribute.
pub(super) fn attribute(name: Name, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(name.name, value)
}

/// A number as OTLP has it.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An event.
pub(super) fn event(name: Name, time_boot_ns: u64, attributes: Vec<KeyValue>) -> SpanEvent {
    SpanEvent { name: name.name, time_boot_ns, attributes }
}

/// Spans of one trace.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) id: TraceId,
    pub(super) spans: Vec<Span>,
    kind: Kind,
    pod_uid: String,
}

impl Tree {
    /// A tree without spans. `key` is what ids are made from: the UID in the cgroup's name.
    pub(super) fn new(kind: Kind, key: &str, attempt: &str, pod_uid: &str) -> Self {
        let id = id::trace(kind, key, attempt);
        Self { id, spans: Vec::new(), kind, pod_uid: pod_uid.to_owned() }
    }

    /// Id of the root span, whether or not it is in the tree.
    pub(super) fn root(&self) -> SpanId {
        id::span(self.id, &[])
    }

    /// Link to the root.
    pub(super) fn link(&self) -> Link {
        let attributes = vec![attribute(names::TRACE, self.kind.name())];
        Link { trace: self.id, span: self.root(), attributes }
    }

    /// Adds the root, filled in by `fill`, before all other spans.
    pub(super) fn add_root(
        &mut self,
        name: Name,
        times_boot_ns: (u64, u64),
        fill: impl FnOnce(&mut Span),
    ) {
        let mut root = self.span(self.root(), None, name, times_boot_ns);
        fill(&mut root);
        self.spans.insert(0, root);
    }

    /// Adds a span, filled in by `fill`. With its name, `parts` tell it apart from all others of the
    /// trace. Returns its id.
    pub(super) fn add(
        &mut self,
        parent: SpanId,
        name: Name,
        parts: &[&str],
        times_boot_ns: (u64, u64),
        fill: impl FnOnce(&mut Span),
    ) -> SpanId {
        let mut all = vec![name.name];
        all.extend(parts);
        let id = id::span(self.id, &all);
        let mut span = self.span(id, Some(parent), name, times_boot_ns);
        fill(&mut span);
        self.spans.push(span);
        id
    }

    fn span(
        &self,
        id: SpanId,
        parent: Option<SpanId>,
        name: Name,
        (start_boot_ns, end_boot_ns): (u64, u64),
    ) -> Span {
        Span {
            id,
            parent,
            name: name.name,
            start_boot_ns,
            // The API's times are whole seconds: a step may seem to end before it began.
            end_boot_ns: end_boot_ns.max(start_boot_ns),
            attributes: vec![
                attribute(names::TRACE, self.kind.name()),
                attribute(names::POD_UID, self.pod_uid.clone()),
            ],
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }
}
