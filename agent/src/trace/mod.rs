//! Traces: how a Pod started, how its containers were restarted and how it was shut down, as spans
//! with true times.
//!
//! The reader of facts makes complete traces of them ([`model`]); [`otlp`] sends them, as
//! [`settings`] say.

pub mod id;
pub mod model;
pub mod otlp;
pub mod settings;
mod variables;
