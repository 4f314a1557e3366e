//! The health of the workload, on which every answer to a probe depends.

use std::time::{Duration, Instant};

/// Health, and the delay of each answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Health {
    /// The moment from which on the workload is unhealthy; `None` if it never is.
    pub(super) fails_at: Option<Instant>,
    /// Delay of each answer.
    pub(super) delay: Duration,
}

impl Health {
    /// Whether the workload is unhealthy now.
    pub(super) fn fails(self) -> bool {
        self.fails_at.is_some_and(|at| Instant::now() >= at)
    }
}
