//! The agent's traces: a real OpenTelemetry Collector takes them, beside the control plane, and after
//! the scenarios what it has is held against what they know.

mod check;
mod compare;
mod known;
mod receiver;
mod time;

pub(crate) use self::check::Check;
pub(crate) use self::known::End;
pub(crate) use self::receiver::{GRPC, Traces};
