//! The exporter of traces against receivers that speak OTLP, over real connections.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of a test: what fails here fails it"
)]

mod outages;
mod protocol;
mod receiver;
mod rotel;
mod tls;
mod wire;
