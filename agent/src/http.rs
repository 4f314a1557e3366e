//! HTTP server: `/metrics`, `/livez`, `/readyz` and a landing page that links to them.
//!
//! The server has no state of its own: a [`Handle`] sends requests to the owner of the state over a
//! bounded queue and waits for the answers. Everything that a client can take is bounded:
//! connections and their lifetime, the time for a request's head, answers in memory, the wait for
//! the owner. An exposition arrives and leaves in chunks, so a slow client only holds its own.

mod body;
mod listen;
pub(crate) mod negotiate;
mod page;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use listen::{BindError, ListenAddress, Listeners, bind};
pub use page::Status;

use crate::metrics::scrapers::Connection;
use crate::metrics::variant::Format;
use body::Body;
use negotiate::Coding;

/// A request of the server to the owner of the state. If its client has gone, the sender for the
/// answer is closed.
#[derive(Debug)]
pub enum Request {
    /// The exposition, in chunks.
    Scrape(Scrape, oneshot::Sender<Vec<Bytes>>),
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
}

/// The server's side of the queue to the owner.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Request>);

/// Limit of requests that wait for the owner.
const QUEUE: usize = 16;

/// A handle, and the end of the queue that the owner reads.
#[must_use]
pub fn channel() -> (Handle, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Handle(sender), receiver)
}

impl Handle {
    /// The owner's answer; `None` if it does not come in time, or not at all.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
        timeout_after: Duration,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let answer = async {
            self.0.send(request(sender)).await.ok()?;
            receiver.await.ok()
        };
        timeout(timeout_after, answer).await.ok().flatten()
    }
}

/// Limits of what clients can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit of concurrent connections; further ones get a 503 and are closed.
    pub connections: usize,
    /// Limit of expositions in memory; further scrapes wait.
    pub scrapes: usize,
    /// Timeout for the head of a request, and for an idle connection to send one.
    pub header_read: Duration,
    /// Age at which a connection is closed, once its answer is written.
    pub lifetime: Duration,
    /// Timeout for the owner's answer.
    pub owner: Duration,
    /// Time to finish answers, at shutdown and at the end of a connection's lifetime.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            scrapes: 8,
            header_read: Duration::from_secs(20),
            lifetime: Duration::from_secs(60),
            owner: Duration::from_secs(5),
            drain: Duration::from_secs(4),
        }
    }
}

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
    let slots = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopped) = watch::channel(false);
    let server =
        Server { handle, limits, scrapes: Arc::new(Semaphore::new(limits.scrapes)), stopped };
    let mut connections = JoinSet::new();
    let mut failing = false;
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listeners.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                failing = false;
                if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                    let peer = from.ip().to_canonical();
                    connections.spawn(server.clone().connection(stream, peer, slot));
                } else if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                    connections.spawn(refuse(stream, slot));
                }
            }
            Err(error) => {
                // Mostly because no descriptors are left. The client waits in the backlog.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                sleep(Duration::from_millis(100)).await;
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

/// Refuses a client when all connections are taken.
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
        Ok::<_, std::io::Error>(())
    };
    let _too_slow_or_gone = timeout(Duration::from_secs(1), talk).await;
}

/// State that each connection needs.
#[derive(Clone)]
struct Server {
    handle: Handle,
    limits: Limits,
    scrapes: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

type Answer = Response<Body>;

impl Server {
    async fn connection(self, stream: TcpStream, peer: IpAddr, _slot: OwnedSemaphorePermit) {
        let limits = self.limits;
        let from = Connection::new(peer);
        let mut stopped = self.stopped.clone();
        let _without_it_only_slower = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let (server, from) = (self.clone(), from.clone());
            async move { Ok::<_, Infallible>(server.answer(&request, from).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_buf_size(16 << 10)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            done = connection.as_mut() => return log_end(done),
            () = sleep(limits.lifetime) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(done) = timeout(limits.drain, connection).await {
            log_end(done);
        }
    }

    async fn answer(&self, request: &hyper::Request<Incoming>, from: Connection) -> Answer {
        let path = request.uri().path();
        if !matches!(path, "/" | "/metrics" | "/livez" | "/readyz") {
            return text(StatusCode::NOT_FOUND, "not found; see / for the endpoints\n");
        }
        let head = request.method() == Method::HEAD;
        if !head && request.method() != Method::GET {
            let mut answer =
                text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; use GET or HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            // A scrape has effects: a series that was exposed counts as seen. HEAD exposes none.
            "/metrics" if head => exposition(&Wanted::of(request), Body::new(Vec::new())),
            "/metrics" => {
                let scraper = Some(from).filter(|_| is_scraper(request));
                self.metrics(Wanted::of(request), scraper).await
            }
            "/livez" if self.handle.0.is_closed() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the agent's main task has ended\n")
            }
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.handle.ask(Request::Ready, self.limits.owner).await {
                Some(Ok(())) => text(StatusCode::OK, "ok\n"),
                Some(Err(why)) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
                None => unanswered(),
            },
            _ => match self.handle.ask(Request::Status, self.limits.owner).await {
                Some(status) => html(&page::render(&status)),
                None => unanswered(),
            },
        }
    }

    async fn metrics(&self, wanted: Wanted, scraper: Option<Connection>) -> Answer {
        let place = timeout(self.limits.owner, Arc::clone(&self.scrapes).acquire_owned()).await;
        let Ok(Ok(permit)) = place else { return unanswered() };
        let scrape = Scrape { format: wanted.format, scraper };
        let scrape = |reply| Request::Scrape(scrape, reply);
        match self.handle.ask(scrape, self.limits.owner).await {
            Some(chunks) => exposition(&wanted, Body::new(chunks).holding(permit)),
            None => unanswered(),
        }
    }
}

/// The format and coding that a request to `/metrics` gets.
struct Wanted {
    format: Format,
    coding: Coding,
}

impl Wanted {
    fn of(request: &hyper::Request<Incoming>) -> Self {
        let lines = |name: HeaderName| {
            request.headers().get_all(name).into_iter().map(HeaderValue::as_bytes)
        };
        let format = negotiate::format(lines(ACCEPT));
        let coding = negotiate::coding(lines(ACCEPT_ENCODING));
        Self { format, coding }
    }
}

/// Whether a request is a scraper's. Prometheus, and what is built from its scraper, sends its
/// timeout with each scrape (prometheus, `scrape/scrape.go`); vmagent does the same. Everyone else
/// counts as a human. A header can be forged: it changes what its own connection is shown, and
/// nobody else.
fn is_scraper(request: &hyper::Request<Incoming>) -> bool {
    request.headers().contains_key("x-prometheus-scrape-timeout-seconds")
}

fn exposition(wanted: &Wanted, chunks: Body) -> Answer {
    let content_type = wanted.format.content_type();
    let mut answer = match wanted.coding {
        Coding::Identity => body(StatusCode::OK, content_type, chunks),
        Coding::Gzip => {
            let mut answer = body(StatusCode::OK, content_type, chunks.gzip());
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        }
    };
    let by = HeaderValue::from_static("Accept, Accept-Encoding");
    answer.headers_mut().insert(VARY, by);
    answer
}

fn log_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "connection ended");
    }
}

fn body(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn text(status: StatusCode, message: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", whole(message))
}

fn whole(text: &str) -> Body {
    Body::new(vec![Bytes::copy_from_slice(text.as_bytes())])
}

fn html(page: &str) -> Answer {
    let mut answer = body(StatusCode::OK, "text/html; charset=utf-8", whole(page));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

fn unanswered() -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "the agent is busy\n");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}
