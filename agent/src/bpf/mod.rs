//! The kernel programs: which to load, loading them, and what they say.
//!
//! [`subjects`] says what there is to observe, and which [`object`] has the programs. [`survey`] has
//! the facts, [`plan`] decides from them, [`load`] acts, [`start`] does all three. [`ring`] carries
//! bytes, [`decode`] makes typed events of them, [`programs`] has the operations on maps.

pub mod decode;
pub mod load;
pub mod object;
mod plain;
pub mod plan;
pub mod programs;
pub mod ring;
pub mod snapshot;
pub mod start;
pub mod subjects;
pub mod survey;
pub mod tasks;
