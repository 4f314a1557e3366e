//! Server: accepts connections, and answers their requests.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::answer::{self, Answer};
use super::exposition::Exposition;
use super::guest::{Door, Given, Guest};
use super::limits::Limits;
use super::listen::Listeners;
use super::negotiate::{self, Coding};
use super::page;
use super::requests::{Handle, Later, Request, Scrape};
use crate::metrics::scrapers::Connection;
use crate::metrics::variant::Format;

/// Limit of clients that get an answer that there is no room.
const REFUSALS: usize = 16;
/// Limit of expositions that are compressed at once. A compressor has some 300 KB of state.
const COMPRESSORS: usize = 2;
/// Pause before the next connection is accepted, where the kernel has no means for it.
const WITHOUT_MEANS: Duration = Duration::from_millis(100);
/// The same when a connection was closed for it.
const MEANS_SOON: Duration = Duration::from_millis(1);
/// Time between two warnings that connections cannot be accepted.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Serves until `shutdown` completes. Then the server accepts no more connections, finishes the
/// answers in progress, and returns after [`Limits::drain`] at the latest.
pub async fn serve(listeners: Listeners, handle: Handle, shutdown: impl Future<Output = ()>) {
    serve_with(listeners, handle, Limits::default(), shutdown).await;
}

/// Serves as [`serve`] does, with limits of the caller's.
pub async fn serve_with(
    listeners: Listeners,
    handle: Handle,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let door = Door::new(limits, Arc::clone(&handle.counters));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let (stop, stopped) = watch::channel(false);
    let compressors = Arc::new(Semaphore::new(COMPRESSORS));
    let server = Server { handle, limits, compressors, stopped };
    let mut connections = JoinSet::new();
    let mut warned: Option<Instant> = None;
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listeners.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                if let Some(guest) = door.enter(from.ip().to_canonical()) {
                    connections.spawn(server.clone().connection(stream, guest));
                } else if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                    connections.spawn(refuse(stream, slot));
                }
                // Who had to leave for it closes its descriptor before the next one comes.
                tokio::task::yield_now().await;
            }
            Err(error) if lacks_means(&error) => {
                let now = Instant::now();
                if warned.is_none_or(|warned| now.duration_since(warned) >= WARN_AGAIN) {
                    tracing::warn!(%error, "cannot accept connections");
                    warned = Some(now);
                }
                // The client waits in the backlog. A connection that does nothing gives way to it.
                sleep(if door.close_one() { MEANS_SOON } else { WITHOUT_MEANS }).await;
            }
            // An error of the connection, which was closed before it was accepted (accept(2)).
            Err(error) => {
                tracing::debug!(%error, "a connection failed before it was accepted");
                tokio::task::yield_now().await;
            }
        }
    }
    drop(listeners);
    stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, all).await.is_err() {
        tracing::debug!(
            open = connections.len(),
            "connections closed at shutdown before their end"
        );
    }
    connections.shutdown().await;
}

/// Whether there will be no connection until something is freed. Errors of the listening socket
/// itself are among them: it is not asked in a loop.
fn lacks_means(error: &io::Error) -> bool {
    const OF_CONNECTIONS: [Errno; 9] = [
        Errno::ECONNABORTED,
        Errno::ENETDOWN,
        Errno::EPROTO,
        Errno::ENOPROTOOPT,
        Errno::EHOSTDOWN,
        Errno::ENONET,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::EPERM,
    ];
    !error.raw_os_error().is_some_and(|raw| OF_CONNECTIONS.contains(&Errno::from_raw(raw)))
}

/// Refuses a client for whom there is no room.
async fn refuse(mut stream: TcpStream, _slot: OwnedSemaphorePermit) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
        Retry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\n\
        too many connections\n";
    let talk = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // Closing with unread bytes would reset the connection and lose the answer.
        let mut request = [0; 1024];
        while stream.read(&mut request).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let _too_slow_or_gone = timeout(Duration::from_secs(1), talk).await;
}

/// State that each connection needs.
#[derive(Clone)]
struct Server {
    handle: Handle,
    limits: Limits,
    compressors: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Server {
    async fn connection(self, stream: TcpStream, guest: Guest) {
        let mut stopped = self.stopped.clone();
        let drain = self.limits.drain;
        let _without_it_only_slower = stream.set_nodelay(true);
        let io = TokioIo::new(guest.clone().watch(stream));
        let from = Connection::new(guest.peer);
        let service = service_fn(|request| {
            let (server, guest, from) = (self.clone(), guest.clone(), from.clone());
            async move { Ok::<_, Infallible>(server.answer(&request, &guest, from).await) }
        });
        let connection = http1::Builder::new()
            // The house has the times.
            .header_read_timeout(None)
            // A client may say that it asks no more before it has its answer.
            .half_close(true)
            .max_buf_size(16 << 10)
            .serve_connection(io, service);
        let mut connection = pin!(connection);
        let mut clock = pin!(sleep_until(guest.due().unwrap_or_else(Instant::now)));
        let in_time = poll_fn(|cx| {
            if let done @ std::task::Poll::Ready(_) = connection.as_mut().poll(cx) {
                return done.map(Some);
            }
            // What it does now has a time of its own.
            let due = guest.due().unwrap_or_else(Instant::now);
            if clock.deadline() != due {
                clock.as_mut().reset(due);
            }
            clock.as_mut().poll(cx).map(|()| None)
        });
        let stopping = async { drop(stopped.wait_for(|stopped| *stopped).await) };
        tokio::select! {
            done = in_time => return match done {
                Some(done) => log_end(done),
                None if guest.expires() => guest.cut(),
                None => {}
            },
            () = guest.has_to_leave() => return guest.cut(),
            () = stopping => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(done) = timeout(drain, connection).await {
            log_end(done);
        }
    }

    async fn answer(
        &self,
        request: &hyper::Request<Incoming>,
        guest: &Guest,
        from: Connection,
    ) -> Answer {
        let given = guest.has_request();
        let path = request.uri().path();
        if !matches!(path, "/" | "/metrics" | "/livez" | "/readyz") {
            let message = "not found; see / for the endpoints\n";
            return answer::text(StatusCode::NOT_FOUND, message, given);
        }
        let head = request.method() == Method::HEAD;
        if !head && request.method() != Method::GET {
            return answer::not_allowed(given);
        }
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match path {
            // A scrape has effects: a series that was exposed counts as seen. HEAD exposes none.
            "/metrics" if head => {
                let Wanted { format, coding, .. } = Wanted::of(request);
                answer::exposition(format, coding, Vec::new(), given)
            }
            "/metrics" => {
                let scraper = Some(from).filter(|_| is_scraper(request));
                self.metrics(&Wanted::of(request), guest, scraper, given).await
            }
            "/livez" if self.handle.is_closed() => {
                answer::text(unavailable, "the agent's main task has ended\n", given)
            }
            "/livez" => answer::text(StatusCode::OK, "ok\n", given),
            "/readyz" => match self.handle.ask(Request::Ready, self.limits.owner).await {
                Some(Ok(())) => answer::text(StatusCode::OK, "ok\n", given),
                Some(Err(why)) => answer::text(unavailable, &format!("{why}\n"), given),
                None => answer::busy(given),
            },
            _ => match self.handle.ask(Request::Status, self.limits.owner).await {
                Some(status) => answer::html(&page::render(&status), given),
                None => answer::busy(given),
            },
        }
    }

    async fn metrics(
        &self,
        wanted: &Wanted,
        guest: &Guest,
        scraper: Option<Connection>,
        given: Given,
    ) -> Answer {
        let Some(exposition) = self.exposition(wanted, guest, scraper).await else {
            guest.gives_up();
            return answer::busy(given);
        };
        let chunks = match wanted.coding {
            Coding::Identity => Some(exposition.plain()),
            Coding::Gzip => exposition.gzip(&self.compressors).await,
        };
        let Some(chunks) = chunks else {
            guest.gives_up();
            return answer::busy(given);
        };
        guest.takes();
        answer::exposition(wanted.format, wanted.coding, chunks, given)
    }

    /// The exposition, if there is a place and room for it in time.
    async fn exposition(
        &self,
        wanted: &Wanted,
        guest: &Guest,
        scraper: Option<Connection>,
    ) -> Option<Arc<Exposition>> {
        /// Pause before the owner is asked again, for room that is not there yet.
        const PAUSE: Duration = Duration::from_millis(50);
        /// The same after a slow client was cut, whose task has yet to end.
        const SOON: Duration = Duration::from_millis(1);
        let deadline = Instant::now() + self.limits.owner;
        let scrape = Scrape {
            format: wanted.format,
            scraper,
            since: wanted.fresh.then(|| Instant::now().into_std()),
        };
        if !guest.takes_place(self.limits.owner).await {
            return None;
        }
        let answer = async {
            loop {
                let ask = |reply| Request::Scrape(scrape.clone(), reply);
                match self.handle.ask(ask, self.limits.owner).await? {
                    Ok(exposition) => return Some(exposition),
                    Err(Later::Look(rest)) => sleep(rest).await,
                    Err(Later::Room) if guest.cuts_another() => sleep(SOON).await,
                    Err(Later::Room) => sleep(PAUSE).await,
                }
            }
        };
        timeout_at(deadline, answer).await.ok().flatten()
    }
}

/// Demands of a request to `/metrics`.
struct Wanted {
    format: Format,
    coding: Coding,
    /// Whether a look of before the request does not do.
    fresh: bool,
}

impl Wanted {
    fn of(request: &hyper::Request<Incoming>) -> Self {
        let lines = |name: HeaderName| {
            request.headers().get_all(name).into_iter().map(HeaderValue::as_bytes)
        };
        let format = negotiate::format(lines(ACCEPT));
        let coding = negotiate::coding(lines(ACCEPT_ENCODING));
        let fresh = negotiate::no_cache(lines(CACHE_CONTROL));
        Self { format, coding, fresh }
    }
}

/// Whether a request is a scraper's. Prometheus, and what is built from its scraper, sends its
/// timeout with each scrape (prometheus, `scrape/scrape.go`); vmagent does the same. Everyone else
/// counts as a human. A header can be forged: it changes what its own connection is shown, and
/// nobody else.
fn is_scraper(request: &hyper::Request<Incoming>) -> bool {
    request.headers().contains_key("x-prometheus-scrape-timeout-seconds")
}

fn log_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_one_connection_keeps_no_other_waiting() {
        let of = |errno: Errno| lacks_means(&io::Error::from_raw_os_error(errno as i32));
        for errno in [Errno::ECONNABORTED, Errno::EPROTO, Errno::EHOSTUNREACH, Errno::EPERM] {
            assert!(!of(errno), "{errno}");
        }
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EINVAL] {
            assert!(of(errno), "{errno}: it would be asked in a loop");
        }
    }
}
