//! The agent about the traces that it exports. Without an exporter there are no such families.

use super::agent::{count, counts};
use super::expose::{NONE, StateFamily, Value};
use super::family::{Family, Need, Scope};
use crate::trace::otlp::TraceStats;

/// Exported spans.
pub static SPANS_EXPORTED: StateFamily<TraceStats> = StateFamily {
    family: Family::counter(
        "trace_spans_exported_total",
        Scope::Node,
        "Spans that the OTLP receiver has taken.",
    )
    .needs(&[Need::Traces]),
    write: |_, traces, to| count(traces.spans_exported, to),
};

/// Dropped spans.
pub static SPANS_DROPPED: StateFamily<TraceStats> = StateFamily {
    family: Family::counter(
        "trace_spans_dropped_total",
        Scope::Node,
        "Spans that were dropped. queue_full: newer ones needed their room in the queue; rejected: \
         the receiver took the rest of their batch; failed: the receiver refused their batch for \
         good; shutdown: the agent stopped before they were sent.",
    )
    .labels(&["reason"], 4)
    .needs(&[Need::Traces]),
    write: |_, traces, to| counts("reason", &traces.spans_dropped, to),
};

/// Failed exports.
pub static EXPORT_FAILURES: StateFamily<TraceStats> = StateFamily {
    family: Family::counter(
        "trace_export_failures_total",
        Scope::Node,
        "Requests to the OTLP receiver that failed. unavailable: no connection, or the receiver says \
         that it cannot now; timeout: no whole answer in time; throttled: the receiver asks for \
         fewer; rejected: refused for good; partial: some spans were not taken; malformed: the \
         answer is none of OTLP.",
    )
    .labels(&["reason"], 6)
    .needs(&[Need::Traces]),
    write: |_, traces, to| counts("reason", &traces.export_failures, to),
};

/// Last export.
pub static LAST_EXPORT: StateFamily<TraceStats> = StateFamily {
    family: Family::gauge(
        "trace_last_export_timestamp_seconds",
        Scope::Node,
        "Time of the last request that the OTLP receiver has taken, since unix epoch.",
    )
    .needs(&[Need::Traces]),
    write: |_, traces, to| {
        if let Some(unix_ns) = traces.last_export_unix_ns {
            to.sample(b"", &NONE, Value::Nanos(unix_ns));
        }
    },
};

/// Fill of the queue.
pub static QUEUE: StateFamily<TraceStats> = StateFamily {
    family: Family::gauge(
        "trace_queue_bytes",
        Scope::Node,
        "Encoded spans that wait to be sent, or are being sent.",
    )
    .needs(&[Need::Traces]),
    write: |_, traces, to| count(traces.queue_bytes, to),
};

/// Limit of the queue.
pub static QUEUE_LIMIT: StateFamily<TraceStats> = StateFamily {
    family: Family::gauge(
        "trace_queue_limit_bytes",
        Scope::Node,
        "Limit of the queue of spans (--trace.queue-max-bytes).",
    )
    .needs(&[Need::Traces]),
    write: |_, traces, to| count(traces.queue_limit_bytes, to),
};

/// Traces that were left out.
pub static OMITTED: StateFamily<TraceStats> = StateFamily {
    family: Family::counter(
        "traces_omitted_total",
        Scope::Node,
        "Traces that were left out. min_duration: shorter than --trace.min-duration; normal: nothing \
         went wrong, and --trace.only-abnormal is set; rate: more of one workload than \
         --trace.max-per-minute; no_room: begun while too many others were.",
    )
    .labels(&["reason"], 4)
    .needs(&[Need::Traces]),
    write: |_, traces, to| counts("reason", &traces.omitted, to),
};

/// Links that could not be read.
pub static LINKS_REJECTED: StateFamily<TraceStats> = StateFamily {
    family: Family::counter(
        "trace_links_rejected_total",
        Scope::Node,
        "Pods whose annotation that links to another trace holds no W3C traceparent.",
    )
    .needs(&[Need::Traces]),
    write: |_, traces, to| count(traces.links_rejected, to),
};
