//! HTTP server: `/metrics`, `/livez`, `/readyz` and a landing page that links to them.
//!
//! The server has no state of the node: a [`Handle`] sends requests to its owner over a bounded queue
//! and waits for the answers. Everything that a client can take is bounded ([`Limits`]): connections,
//! in all and for each peer, the time for a request and for taking an answer, the bytes of all answers
//! in memory, the wait for the owner. Whoever holds room without using it gives way to those who come.

mod answer;
mod body;
mod counters;
mod exposition;
mod guest;
mod house;
mod limits;
mod listen;
pub(crate) mod negotiate;
mod page;
mod requests;
mod server;
#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use exposition::{Exposition, Meter};
pub use limits::Limits;
pub use listen::{BindError, ListenAddress, Listeners, NoAddress, bind};
pub use page::Status;
pub use requests::{Handle, Inbox, Later, Request, Scrape, channel};
pub use server::{serve, serve_with};
