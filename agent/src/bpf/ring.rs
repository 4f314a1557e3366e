//! The ring buffer: waiting for records and draining them in batches.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};

use super::decode::{self, DecodeError};
use crate::event::{Event, EventKind};

/// The reading end of the ring buffer.
pub struct Ring {
    /// A copy of the ring's descriptor, which the kernel makes readable to wake the agent.
    wakeup: AsyncFd<OwnedFd>,
    ring: RingBuf<MapData>,
    /// Records taken, by [`EventKind::index`].
    received: [u64; EventKind::NAMES.len()],
    /// Records that could not be decoded, by [`DecodeError::index`].
    rejected: [u64; DecodeError::REASONS.len()],
}

impl Ring {
    /// Registers the ring with the runtime.
    ///
    /// # Errors
    /// If the descriptor cannot be polled.
    pub fn new(ring: RingBuf<MapData>) -> std::io::Result<Self> {
        let descriptor = ring.as_fd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` stays open, and the same, for as long as it is owned here.
        let wakeup = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            .map_err(std::io::Error::from)?;
        let (received, rejected) = ([0; EventKind::NAMES.len()], [0; DecodeError::REASONS.len()]);
        Ok(Self { wakeup, ring, received, rejected })
    }

    /// Waits until the kernel side asks for attention: an urgent record, or many that can wait.
    pub async fn woken(&self) {
        match self.wakeup.readable().await {
            // What is in the ring is drained after this, so what comes meanwhile is either drained
            // too or wakes again.
            Ok(mut guard) => guard.clear_ready(),
            // Only if the runtime is going down.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes all records, oldest first. Records of several CPUs come in the order in which their
    /// room was reserved, which differs from their times by little; a batch is sorted.
    pub fn drain(&mut self, events: &mut Vec<Event>) {
        while let Some(item) = self.ring.next() {
            match decode::event(&item) {
                Ok(event) => {
                    if let Some(count) = self.received.get_mut(event.kind.index()) {
                        *count += 1;
                    }
                    events.push(event);
                }
                Err(error) => {
                    if let Some(count) = self.rejected.get_mut(error.index()) {
                        *count += 1;
                        // Both sides are one build: this is a defect, and one line tells of it.
                        if *count == 1 {
                            tracing::error!(%error, "a record was rejected");
                        }
                    }
                }
            }
        }
        events.sort_by_key(|event| event.time_boot_ns);
    }

    /// Records taken, with their kind's name.
    pub fn received(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        EventKind::NAMES.into_iter().zip(self.received)
    }

    /// Records rejected, with the reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DecodeError::REASONS.into_iter().zip(self.rejected)
    }
}
