//! Names: who a container is to the people who run it, and what the API says of its Pod.

pub mod client;
pub mod convert;
pub mod event;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod identity;
pub mod kubelet;
pub mod log_names;
pub mod naming;
pub mod pod;
pub mod pods;
pub mod quantity;
pub mod source;
mod unverified;
pub mod watch;
pub mod wire;
