//! Exemplars: observations with the trace that tells of them.

use opentelemetry::trace::TraceId;

/// Trace of an observation, and when that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// Id of a trace that was queued for export.
    pub trace: TraceId,
    /// The time that was observed.
    pub time_ns: u64,
    /// The moment of the fact that it follows from, `CLOCK_BOOTTIME`.
    pub at_boot_ns: u64,
}
