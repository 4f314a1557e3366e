//! Addresses of a receiver.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::http;

/// Where a receiver of OTLP listens.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// For OTLP/gRPC.
    pub grpc: SocketAddr,
    /// For OTLP/HTTP.
    pub http: SocketAddr,
}

impl Listen {
    /// Two loopback addresses that are free now.
    ///
    /// # Errors
    /// No port can be had.
    pub fn free() -> Result<Self> {
        Ok(Self { grpc: http::free_address()?, http: http::free_address()? })
    }

    /// The receiver `otlp`, as the Collector and Jaeger are configured.
    pub(super) fn receiver(self) -> Value {
        json!({ "protocols": {
            "grpc": { "endpoint": self.grpc },
            "http": { "endpoint": self.http },
        } })
    }
}
