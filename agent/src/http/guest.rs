//! A connection's side of the house: it tells what it does, and hears when it has to leave.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::Counters;
use super::house::{Admitted, House, Id};
use super::limits::Limits;

/// The house, shared by the tasks of all connections. Its lock is held for a decision and never
/// while anything is waited for.
#[derive(Clone, Debug)]
pub(super) struct Door(Arc<Mutex<House>>);

impl Door {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Mutex::new(House::new(limits, counters))))
    }

    fn house(&self) -> MutexGuard<'_, House> {
        // No decision can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection; `None` if there is no room.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<Guest> {
        let Admitted { id, bell } = self.house().enter(peer, Instant::now())?;
        let place = Place { door: self.clone(), id };
        Some(Guest { place: Arc::new(place), peer, bell, cut: Arc::default() })
    }

    /// Closes a connection that is missed least, if there is one.
    pub(super) fn close_one(&self) -> bool {
        self.house().close_one(None, Instant::now())
    }
}

/// A place in the house, which is left with the last who knows it.
#[derive(Debug)]
struct Place {
    door: Door,
    id: Id,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.house().leave(self.id);
    }
}

/// A connection, as the house knows it.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    place: Arc<Place>,
    /// Address of the client.
    pub(super) peer: IpAddr,
    bell: Arc<Notify>,
    /// Whether what is not written yet is to be thrown away.
    cut: Arc<AtomicBool>,
}

impl Guest {
    fn tell<T>(&self, change: impl FnOnce(&mut House, Id, Instant) -> T) -> T {
        change(&mut self.place.door.house(), self.place.id, Instant::now())
    }

    /// The stream of the connection, which tells what is read and written.
    pub(super) const fn watch(self, stream: TcpStream) -> Watched {
        Watched { stream, guest: self }
    }

    /// Tells of a request; the answer's body tells when all of it was given.
    pub(super) fn has_request(&self) -> Given {
        self.tell(House::has_request);
        Given(Some(Arc::clone(&self.place)))
    }

    /// Waits for a place among the expositions, `limit` at most.
    pub(super) async fn takes_place(&self, limit: Duration) -> bool {
        /// Pause between two attempts: a place is free when a connection has ended.
        const PAUSE: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + limit;
        if !self.tell(House::waits) {
            return false;
        }
        while !self.tell(House::takes_place) {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }

    /// Cuts the exposition of a slow client; whether there was one.
    pub(super) fn cuts_another(&self) -> bool {
        self.tell(|house, _, now| house.cut_one(None, now))
    }

    /// Tells that the exposition is there.
    pub(super) fn takes(&self) {
        self.tell(House::takes);
    }

    /// Tells that the scrape goes without an exposition.
    pub(super) fn gives_up(&self) {
        self.tell(House::gives_up);
    }

    /// Time at which the connection is closed unless something happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.tell(|house, id, _| house.due(id))
    }

    /// Whether the connection's time is over.
    pub(super) fn expires(&self) -> bool {
        self.tell(House::expires)
    }

    /// Completes when the connection has to leave.
    pub(super) async fn has_to_leave(&self) {
        self.bell.notified().await;
    }

    /// Throws away what is not written when the stream is dropped: the client sees that its answer
    /// is not whole, and the kernel frees its buffer.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

/// Part of an answer's body that tells, when it is dropped, that all was given.
#[derive(Debug, Default)]
pub(super) struct Given(Option<Arc<Place>>);

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            place.door.house().has_given(place.id);
        }
    }
}

/// The stream of a connection.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    guest: Guest,
}

impl Watched {
    fn wrote(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if written.as_ref().is_ok_and(|written| *written > 0) {
            self.guest.tell(House::has_written);
        }
        Poll::Ready(written)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.guest.cut.load(Ordering::Relaxed) {
            let _closed_all_the_same = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.guest.tell(House::has_read);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts));
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all that was given is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.guest.tell(House::has_flushed);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
