//! Kernel programs: the decision which to load, the loader, and the decoder of their records.
//!
//! [`subjects`] lists the tracepoints and iterators to observe, and which [`object`] has their
//! programs. [`survey`] collects the facts, [`plan`] decides from them, [`load`] acts, [`start`]
//! calls all three. [`ring`] transports bytes out of [`ring_memory`], [`decode`] turns them into typed
//! events, [`programs`] has the operations on maps, [`kubelet`] attaches the programs of its connections,
//! if they can run [`beside`] those of others. [`call`] has the system call that aya does not have.

mod beside;
mod call;
pub mod decode;
mod kernel_log;
pub mod kubelet;
pub mod load;
mod mapping;
pub mod object;
mod plain;
pub mod plan;
pub mod programs;
pub mod ring;
pub mod ring_memory;
pub mod snapshot;
pub mod start;
pub mod subjects;
pub mod survey;
pub mod tasks;
pub mod tracked;
