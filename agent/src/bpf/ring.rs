//! Ring buffers of the loaded objects: waiting for records, and draining them in batches.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::task::Poll;

use tokio::io::{Interest, unix::AsyncFd};

use super::decode::{self, DecodeError};
use super::load;
use super::object::ObjectId;
use super::ring_memory::RingMemory;
use crate::event::Connection;
use crate::event::{Event, EventKind};
use crate::kernel::host;

/// Reading end of a ring buffer.
struct Ring {
    object: ObjectId,
    /// Duplicate of the ring's descriptor, which the kernel makes readable to wake the agent.
    wakeup: AsyncFd<OwnedFd>,
    ring: RingMemory,
}

/// Reading ends of the ring buffers of all loaded objects. Without one, no record ever arrives.
pub struct Rings {
    rings: Vec<Ring>,
    page_bytes: u64,
    /// Flag: a ring could not be mapped, which was logged.
    unmapped: bool,
    /// Records received, by [`EventKind::index`].
    received: [u64; EventKind::NAMES.len()],
    /// Connections received.
    connections: u64,
    /// Records that could not be decoded, by [`DecodeError::index`].
    rejected: [u64; DecodeError::REASONS.len()],
}

impl Ring {
    fn new((object, ring): load::Ring) -> std::io::Result<Self> {
        let descriptor = ring.descriptor()?;
        // SAFETY: an `OwnedFd` stays open, and the same, for as long as it is owned here.
        let wakeup = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            .map_err(std::io::Error::from)?;
        Ok(Self { object, wakeup, ring })
    }
}

impl Rings {
    /// Registers the rings with the runtime.
    ///
    /// # Errors
    /// If a descriptor cannot be polled.
    pub fn new(rings: Vec<load::Ring>) -> std::io::Result<Self> {
        let rings = rings.into_iter().map(Ring::new).collect::<Result<_, _>>()?;
        let (received, rejected) = ([0; EventKind::NAMES.len()], [0; DecodeError::REASONS.len()]);
        let page_bytes = host::page_bytes();
        Ok(Self { rings, page_bytes, unmapped: false, received, connections: 0, rejected })
    }

    /// Waits until the kernel side asks for attention: an urgent record in a ring, or many that can
    /// wait. Only one task at a time may wait.
    pub async fn woken(&self) {
        poll_fn(|cx| {
            let mut woken = Poll::Pending;
            for ring in &self.rings {
                // An error is reported only if the runtime is shutting down.
                if let Poll::Ready(Ok(mut guard)) = ring.wakeup.poll_read_ready(cx) {
                    // All rings are drained after this, so a record that arrives meanwhile is
                    // either drained too or wakes the agent again.
                    guard.clear_ready();
                    woken = Poll::Ready(());
                }
            }
            woken
        })
        .await;
    }

    /// Takes all records, oldest first. Records of several CPUs arrive in the order in which their
    /// room was reserved, which is nearly that of their times; each batch is sorted.
    pub fn drain(&mut self, events: &mut Vec<Event>, connections: &mut Vec<Connection>) {
        let Self { rings, page_bytes, unmapped, received, connections: count, rejected } = self;
        for ring in rings {
            loop {
                let item = match ring.ring.next() {
                    Ok(Some(item)) => item,
                    Ok(None) => break,
                    Err(error) => {
                        // The next drain tries again; what finds the ring full meanwhile is counted.
                        if !std::mem::replace(unmapped, true) {
                            tracing::error!(%error, "the ring buffer cannot be mapped");
                        }
                        break;
                    }
                };
                let decoded = if ring.object == ObjectId::Probes {
                    decode::connection(item).map(|connection| {
                        *count += 1;
                        connections.push(connection);
                    })
                } else {
                    decode::event(item, *page_bytes).map(|event| {
                        if let Some(count) = received.get_mut(event.kind.index()) {
                            *count += 1;
                        }
                        events.push(event);
                    })
                };
                if let Err(error) = decoded
                    && let Some(count) = rejected.get_mut(error.index())
                {
                    *count += 1;
                    // Both sides are one build, so this is a defect; it is logged once.
                    if *count == 1 {
                        tracing::error!(%error, "a record was rejected");
                    }
                }
            }
        }
        events.sort_by_key(|event| event.time_boot_ns);
        connections.sort_by_key(|connection| connection.end_boot_ns);
    }

    /// Count of the kubelet's connections received.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// Counts of the records received, with the name of their kind.
    pub fn received(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        EventKind::NAMES.into_iter().zip(self.received)
    }

    /// Counts of the records rejected, with the reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DecodeError::REASONS.into_iter().zip(self.rejected)
    }
}
