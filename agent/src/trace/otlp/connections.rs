//! Connections to the receiver, which end with their owner: whatever a receiver does to one, nothing
//! of it is left once the next is made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioTimer;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::trace::endpoint::Protocol;

/// Limit of an answer's head, and of what is taken from a connection at once, in bytes.
const READ_MAX: usize = 16 << 10;
/// Bytes of answers that a receiver may send ahead of what is read, on HTTP/2.
const WINDOW: u32 = 64 << 10;
/// Time after which a connection that is not used is closed.
const IDLE: Duration = Duration::from_secs(90);

/// A client with its connections.
#[derive(Debug)]
pub(super) struct Connections<B> {
    /// The client.
    pub(super) client: Client<HttpsConnector<HttpConnector>, B>,
    tasks: Tasks,
}

impl<B> Connections<B>
where
    B: http_body::Body + Send + 'static + Unpin,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connection yet.
    pub(super) fn new(protocol: Protocol, tls: ClientConfig, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let is_grpc = protocol == Protocol::Grpc;
        let connector = if is_grpc {
            connector.enable_http2().wrap_connector(tcp)
        } else {
            connector.enable_http1().wrap_connector(tcp)
        };
        let tasks = Tasks::default();
        let client = Client::builder(tasks.clone())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(READ_MAX)
            .http2_only(is_grpc)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(WINDOW)
            .build(connector);
        Self { client, tasks }
    }
}

impl<B> Drop for Connections<B> {
    fn drop(&mut self) {
        self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Tasks that drive connections. They are not left to themselves: one whose receiver does not read
/// would wait, and keep its socket, without end.
#[derive(Clone, Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
