//! The boards, one file each.

pub(crate) mod node;
pub(crate) mod own;
pub(crate) mod pod;
pub(crate) mod probes;
pub(crate) mod shutdowns;
mod tables;
pub(crate) mod why;
