//! The kernel programs: which to load, loading them, and what they say.
//!
//! [`plan`] decides from facts, [`load`] acts, [`ring`] carries bytes, [`decode`] makes typed
//! events of them.

pub mod decode;
pub mod load;
pub mod plan;
pub mod ring;
pub mod snapshot;
pub mod start;
pub mod tasks;
