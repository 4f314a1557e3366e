//! What a source of Pods tells the owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pod::Pod;
use crate::clock;

/// News of Pods that wait for the owner. A source that is faster waits; nothing is dropped.
pub const EVENTS_WAITING_MAX: usize = 64;

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// When it arrived, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// What.
    pub kind: PodEventKind,
}

/// The kinds of [`PodEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEventKind {
    /// All Pods of this node: who is not among them is gone.
    Listed(Vec<Pod>),
    /// A Pod is new, or not what it was.
    Applied(Box<Pod>),
    /// A Pod is gone from the API; this was the last of it.
    Deleted(Box<Pod>),
    /// The source does not answer, or not as it should; it is asked again.
    Failed(String),
}

impl PodEvent {
    /// News of this moment.
    #[must_use]
    pub fn now(kind: PodEventKind) -> Self {
        Self { time_boot_ns: clock::boot_ns(), kind }
    }
}

/// When a source was last heard of, `CLOCK_BOOTTIME`; shared with what hears it.
#[derive(Clone, Debug, Default)]
pub struct LastContact(Arc<AtomicU64>);

impl LastContact {
    /// It was heard just now.
    pub fn touch(&self) {
        self.0.store(clock::boot_ns(), Ordering::Relaxed);
    }

    /// `None` if it was never heard.
    #[must_use]
    pub fn last_boot_ns(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }
}
