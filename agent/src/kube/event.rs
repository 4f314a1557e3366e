//! Watch events: what a Pod source reports to the owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pod::Pod;
use super::rejected::Rejected;
use crate::clock;

/// Watch events that may wait for the owner. A source that is faster waits; nothing is dropped.
pub const EVENTS_WAITING_MAX: usize = 64;

/// A watch event: what a Pod source reports to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// Time of arrival, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// The change itself.
    pub kind: PodEventKind,
}

/// The kinds of [`PodEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEventKind {
    /// A complete list of this node's Pods: a Pod that is missing from it is gone.
    Listed(Vec<Pod>),
    /// A Pod that is new or has changed.
    Applied(Box<Pod>),
    /// A Pod that is gone from the API, in its last state.
    Deleted(Box<Pod>),
    /// Items that were not taken in: those of a list come before it.
    Rejected(Box<Rejected>),
    /// An error of the source: it does not answer, or not as it should. It is retried.
    Failed(String),
}

impl PodEvent {
    /// An event that arrives at this moment.
    #[must_use]
    pub fn now(kind: PodEventKind) -> Self {
        Self { time_boot_ns: clock::boot_ns(), kind }
    }
}

/// The last contact with a Pod source, shared between its client and the owner.
#[derive(Clone, Debug, Default)]
pub struct LastContact(Arc<AtomicU64>);

impl LastContact {
    /// Records a contact at this moment.
    pub fn touch(&self) {
        self.0.store(clock::boot_ns(), Ordering::Relaxed);
    }

    /// The time of the last contact, `CLOCK_BOOTTIME`; `None` before the first.
    #[must_use]
    pub fn last_boot_ns(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }
}
