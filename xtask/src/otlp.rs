//! Real receivers of OTLP, for checks and for trying things: the OpenTelemetry Collector and Jaeger,
//! built from their Go modules, and rotel, a program of Rust, from a Python package.
//!
//! Nothing here starts a process: each receiver gives the command that starts it, so that the caller
//! can have it run where it wants, in a network of its own for one.

mod check;
pub mod collector;
mod example;
mod export;
pub mod jaeger;
mod listen;
pub mod metrics;
pub mod rotel;
mod scrape;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use self::check::{Args, check, command};
pub use self::export::sound;
pub use self::listen::Listen;
