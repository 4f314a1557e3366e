//! The lifecycle: kernel events in, facts out. Pure: no I/O, no clock, no locks.

pub mod fact;
