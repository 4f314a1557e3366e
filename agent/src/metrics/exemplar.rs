//! Exemplars: observations with the trace that tells of them.

use opentelemetry::trace::TraceId;

use super::value::Value;
use crate::clock::WallOffset;

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

impl Exemplar {
    /// Appends what OpenMetrics has behind a bucket's value: ` # {trace_id="…"} value timestamp`.
    pub fn write(&self, out: &mut Vec<u8>, wall: WallOffset) {
        out.extend_from_slice(b" # {trace_id=\"");
        for byte in self.trace.to_bytes() {
            for digit in [byte >> 4, byte & 0xf] {
                out.push(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
            }
        }
        out.extend_from_slice(b"\"} ");
        Value::Nanos(self.time_ns).write(out, wall);
        out.push(b' ');
        Value::Moment(self.at_boot_ns).write(out, wall);
    }
}
