//! Metrics: facts and samples in, an exposition out.
//!
//! [`store::Store`] holds what is shown and has one owner, so there are no locks. [`catalog`] is
//! the explicit list of all families; each family is declared in the file of its group, with the
//! function that writes its samples. Only [`expose`] converts units.
//!
//! A value that is not known gives no series, never 0. A value that counts events is at 0 before
//! its first event: see [`cell`].

pub mod catalog;
pub mod cell;
pub mod cpu;
pub mod edition;
pub mod ending;
pub mod expose;
pub mod histogram;
pub mod info;
pub mod memory;
pub mod node;
pub mod oom;
mod pieces;
pub mod pod;
pub mod pressure;
pub mod process;
pub mod requests;
pub mod restart;
pub mod shutdown;
pub mod signals;
pub mod startup;
pub mod store;
pub mod subject;
mod table;
pub mod tasks;
pub mod terminations;
#[cfg(test)]
mod tests;
pub mod usage;
