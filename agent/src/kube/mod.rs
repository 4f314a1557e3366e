//! Kubernetes: Pods of this node, from the API server or the kubelet, and names of containers.

pub mod client;
pub mod convert;
pub mod event;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod identity;
pub mod known_pod;
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
