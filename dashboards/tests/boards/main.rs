//! What must hold of every board, read from its JSON as Grafana reads it.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails it")]

mod files;
mod links;
mod panels;
mod queries;
mod read;
