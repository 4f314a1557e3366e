//! Kubernetes: Pods of this node, from the API server or the kubelet, and names of containers.

pub mod client;
pub mod contact;
pub mod convert;
pub mod credentials;
pub mod event;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod identity;
mod json;
pub mod known_pod;
pub mod kubelet;
pub(crate) mod list;
pub mod log_names;
pub mod naming;
mod pace;
pub mod pod;
pub mod pods;
pub mod quantity;
pub mod read;
pub mod rejected;
pub(crate) mod secret_file;
pub mod source;
pub mod target;
#[cfg(test)]
mod test_server;
pub(crate) mod text;
mod unverified;
pub mod watch;
pub mod wire;
mod workload;
