//! Requests of the server to the owner of the state, over a bounded queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::counters::Counters;
use super::exposition::{Exposition, Meter};
use super::page::Status;
use crate::metrics::scrapers::Connection;
use crate::metrics::variant::Format;

/// A request of the server to the owner of the state. If its client has gone, the sender for the
/// answer is closed.
#[derive(Debug)]
pub enum Request {
    /// The exposition.
    Scrape(Scrape, oneshot::Sender<Result<Arc<Exposition>, Later>>),
    /// Readiness of the agent, else the reason why it is not ready.
    Ready(oneshot::Sender<Result<(), String>>),
    /// Contents of the landing page.
    Status(oneshot::Sender<Status>),
}

/// A scrape: what is wanted, and by whom.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The format that is wanted.
    pub format: Format,
    /// The connection of a scraper, which compares samples over time and must see what is new at 0
    /// once; `None` for a human, who looks once and sees the values as they are.
    pub scraper: Option<Connection>,
    /// Time before which the look may not have been taken, where the client asks for a fresh one.
    pub since: Option<Instant>,
}

/// Reason to ask for an exposition again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// The next look may be taken after this time.
    Look(Duration),
    /// Lack of room for another exposition in memory.
    Room,
}

/// The server's side of the queue to the owner.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    pub(super) counters: Arc<Counters>,
}

/// The owner's side of the queue.
#[derive(Debug)]
pub struct Inbox {
    /// Requests, in the order in which they came.
    pub requests: mpsc::Receiver<Request>,
    /// Counters of the server.
    pub counters: Arc<Counters>,
    /// Bytes of the expositions that are on their way.
    pub meter: Meter,
}

/// Limit of requests that wait for the owner.
pub(super) const QUEUE: usize = 16;

/// Both sides of a queue.
#[must_use]
pub fn channel() -> (Handle, Inbox) {
    let (sender, requests) = mpsc::channel(QUEUE);
    let counters = Arc::<Counters>::default();
    let handle = Handle { requests: sender, counters: Arc::clone(&counters) };
    (handle, Inbox { requests, counters, meter: Meter::default() })
}

impl Handle {
    /// The owner's answer; `None` if it does not come in time, or not at all.
    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
        timeout_after: Duration,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let answer = async {
            self.requests.send(request(sender)).await.ok()?;
            receiver.await.ok()
        };
        timeout(timeout_after, answer).await.ok().flatten()
    }

    /// Whether there is no owner any more.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}
