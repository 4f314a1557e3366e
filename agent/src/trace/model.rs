//! Traces as data, before anything is encoded. Pure.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, TraceId};

use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::Who;

/// Kind of a trace: which part of a Pod's life it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// From the scheduler's decision until every container was ready for the first time.
    Startup,
    /// From the request to delete the Pod, or the first stop signal, to the last container's end.
    Shutdown,
    /// From a container's death, or the request to stop it, until its next instance was ready.
    Restart,
}

impl Kind {
    /// All kinds, in the order of a Pod's life.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Restart, Self::Shutdown];

    /// Name of the root span, and value of the attribute `podvitals.trace`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "pod startup",
            Self::Shutdown => "pod shutdown",
            Self::Restart => "container restart",
        }
    }
}

/// A trace that is complete: all its spans, of one Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Kind of the trace.
    pub kind: Kind,
    /// Id of the trace; see [`super::id`].
    pub id: TraceId,
    /// The Pod, as the resource that the spans are about.
    pub resource: Arc<Resource>,
    /// Spans; the root, if it is among them, is the first.
    pub spans: Vec<Span>,
    /// Facts that the trace tells. What was observed of them in histograms gets the trace as its
    /// exemplar, once the trace is queued.
    pub facts: Vec<(Arc<Who>, Fact)>,
}

impl Trace {
    /// Whether something went wrong in it.
    #[must_use]
    pub fn is_abnormal(&self) -> bool {
        self.spans.iter().any(|span| span.error.is_some())
    }

    /// Time from the first span's start to the last one's end.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        let start = self.spans.iter().map(|span| span.start_boot_ns).min().unwrap_or(0);
        let end = self.spans.iter().map(|span| span.end_boot_ns).max().unwrap_or(0);
        end.saturating_sub(start)
    }
}

/// The Pod that spans are about.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Attributes by OpenTelemetry's conventions for resources.
    pub attributes: Vec<KeyValue>,
}

/// A span. Its kind is `INTERNAL`.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Id of the span.
    pub id: SpanId,
    /// Id of the span above it; `None` for the root.
    pub parent: Option<SpanId>,
    /// Name: one of a few.
    pub name: &'static str,
    /// Start, `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// End, `CLOCK_BOOTTIME`; not before the start.
    pub end_boot_ns: u64,
    /// Attributes of the span.
    pub attributes: Vec<KeyValue>,
    /// Events, in the order of their times.
    pub events: Vec<SpanEvent>,
    /// Links to other traces.
    pub links: Vec<Link>,
    /// What went wrong, in words; the span's status is then `ERROR`.
    pub error: Option<String>,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// Name: one of a few.
    pub name: &'static str,
    /// Time, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// Attributes of the event.
    pub attributes: Vec<KeyValue>,
}

/// Link to a span of another trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Id of that trace.
    pub trace: TraceId,
    /// Id of the span in it.
    pub span: SpanId,
    /// Attributes of the link, such as the kind of that trace.
    pub attributes: Vec<KeyValue>,
}
