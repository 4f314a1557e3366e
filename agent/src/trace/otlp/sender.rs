//! Sender of batches: one request at a time, over connections that are made again when they broke.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::connections::Connections;
use super::retry::Outcome;
use super::stats::Failure;
use super::{grpc, http, tls};
use crate::trace::endpoint::Protocol;
use crate::trace::settings::Settings;

/// Sender of batches.
#[derive(Debug)]
pub(super) struct Sender {
    /// The settings.
    pub(super) settings: Arc<Settings>,
    tls: ClientConfig,
    transport: Option<Transport>,
}

/// Connections by the protocol that they speak.
#[derive(Debug)]
enum Transport {
    Grpc(Connections<tonic::body::Body>),
    Http(Connections<Full<Bytes>>),
}

impl Sender {
    /// A sender without a connection.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub(super) fn new(settings: Settings) -> anyhow::Result<Self> {
        let tls = tls::config(&settings)?;
        Ok(Self { settings: Arc::new(settings), tls, transport: None })
    }

    /// Sends a request, and waits for the whole answer, within the timeout.
    pub(super) async fn send(&mut self, body: Bytes) -> Outcome {
        let settings = Arc::clone(&self.settings);
        let attempt = async {
            match self.transport() {
                Transport::Grpc(connections) => grpc::send(connections, &settings, body).await,
                Transport::Http(connections) => http::send(connections, &settings, body).await,
            }
        };
        let outcome = timeout(settings.timeout, attempt).await.unwrap_or_else(|_| Outcome::Retry {
            failure: Failure::Timeout,
            after: None,
            why: format!("no whole answer in {} ms", settings.timeout.as_millis()),
        });
        if let Outcome::Retry { failure: Failure::Unavailable | Failure::Timeout, .. } = outcome {
            self.disconnect();
        }
        outcome
    }

    fn transport(&mut self) -> &Transport {
        let Self { settings, tls, transport } = self;
        transport.get_or_insert_with(|| {
            let (tls, timeout) = (tls.clone(), settings.timeout);
            match settings.protocol {
                Protocol::Grpc => Transport::Grpc(Connections::new(Protocol::Grpc, tls, timeout)),
                protocol => Transport::Http(Connections::new(protocol, tls, timeout)),
            }
        })
    }

    /// Gives up all connections. The next are made with the certificates as they are then: they may
    /// have been renewed.
    fn disconnect(&mut self) {
        self.transport = None;
        match tls::config(&self.settings) {
            Ok(tls) => self.tls = tls,
            // The last ones stay in use.
            Err(error) => tracing::debug!(error = format!("{error:#}"), "certificates of traces"),
        }
    }
}
