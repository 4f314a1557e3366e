//! The kernel side, as it is loaded and attached.

use super::{load::Programs, ring::Ring};
use crate::cgroup::{figures::Covered, statistics::Elements};

/// The kernel side, where it could be loaded.
pub struct Kernel {
    /// Programs and maps.
    pub programs: Programs,
    /// Their records.
    pub ring: Ring,
    /// What an iterator run has, so that the files need not be read.
    pub covered: Covered,
    /// How `memory.stat` is read from it.
    pub elements: Elements,
}
