//! Metrics: facts and samples in, an exposition out.
//!
//! [`store::Store`] holds what is exported and has one owner, so there are no locks. The floors,
//! from the ground up, none of which imports a higher one:
//!
//! 1. words: [`collector`], [`family`], [`value`], [`variant`];
//! 2. writing: [`counter`], [`exemplar`], [`histogram`], [`text`], [`expose`], [`counters`], [`usage`];
//! 3. groups, one file a collector: each owns its state, the families over that state, and the
//!    `fact` by which the state changes; [`agent`], [`tracing`], [`series`] and [`process`] are about
//!    the agent itself;
//! 4. [`entity`]: a container, a workload, a Pod, the node, composed of the groups' states;
//! 5. [`catalog`]: the explicit list of all families, with the way from entity to state;
//! 6. [`store`], and [`scrapers`], which knows who has seen what.
//!
//! Only [`value`] converts units. A value that is not known makes no series, never 0. A value that
//! counts events is at 0 before its first event: see [`counter`].

pub mod agent;
pub mod catalog;
mod chunks;
pub mod collector;
pub mod counter;
pub mod counters;
pub mod cpu;
pub mod entity;
pub mod exemplar;
pub mod expose;
pub mod family;
pub mod grace;
mod header;
pub mod histogram;
pub mod info;
pub mod memory;
pub mod mismatch;
pub mod oom;
pub mod pressure;
pub mod prestop;
pub mod probe;
pub mod process;
pub mod requests;
pub mod restart;
pub mod scrapers;
pub mod series;
pub mod shutdown;
pub mod signals;
pub mod startup;
pub mod store;
pub mod table;
pub mod tasks;
pub mod terminations;
#[cfg(test)]
mod tests;
pub mod text;
pub mod tracing;
pub mod usage;
pub mod value;
pub mod variant;
