//! First bytes of a connection as a whole, for the fuzz target.

use super::answer::{self, Answer};
use super::request::{self, Request};

/// What the first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FirstBytes {
    /// Request target of a GET.
    pub(crate) uri: Option<Vec<u8>>,
    /// Status of HTTP.
    pub(crate) status: Option<u16>,
    /// Whether the gRPC health service says that it is serving.
    pub(crate) is_healthy: Option<bool>,
}

/// Reads the first bytes of both sides.
pub(crate) fn read(sent: &[u8], received: &[u8]) -> FirstBytes {
    let request = request::read(sent);
    let status = match answer::read(&request, false, received) {
        Answer::Status(status) => Some(status),
        _ => None,
    };
    let is_healthy = match answer::read(&request, true, received) {
        Answer::Health { serving } => Some(serving),
        _ => None,
    };
    let uri = match request {
        Request::Get(get) => Some(get.uri),
        _ => None,
    };
    FirstBytes { uri, status, is_healthy }
}
