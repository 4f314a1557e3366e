//! Podvitals: the node agent that shows how every Pod on its node lives and dies.
//!
//! ARCHITECTURE.md has the bird's eye view. Each module has one task; only [`run`] knows them all.

pub mod bpf;
pub mod catalogue;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod clock;
pub mod demo;
pub mod escape;
pub mod event;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod kernel;
pub mod kube;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod node;
pub mod output;
pub mod probe;
pub mod rate;
pub mod reader;
pub mod run;
mod settings;
pub mod signal;
pub mod trace;
