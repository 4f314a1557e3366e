//! The listening socket, and what to do when there is none.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why the agent cannot listen, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// `EADDRINUSE`.
    #[error(
        "cannot listen on {address}: another process listens on port {port}; stop it, or choose \
         another port with --web.listen-address",
        port = address.port()
    )]
    InUse {
        /// Where.
        address: SocketAddr,
        /// The call's error.
        source: io::Error,
    },
    /// `EACCES`.
    #[error(
        "cannot listen on {address}: port {port} needs the capability NET_BIND_SERVICE; choose \
         one from 1024 on with --web.listen-address",
        port = address.port()
    )]
    Denied {
        /// Where.
        address: SocketAddr,
        /// The call's error.
        source: io::Error,
    },
    /// `EADDRNOTAVAIL`.
    #[error(
        "cannot listen on {address}: this host (or Pod) does not have the address {ip}; choose \
         one that it has, or 0.0.0.0 or [::] for all, with --web.listen-address",
        ip = address.ip()
    )]
    NotHere {
        /// Where.
        address: SocketAddr,
        /// The call's error.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}; choose another with --web.listen-address")]
    Other {
        /// Where.
        address: SocketAddr,
        /// The call's error.
        source: io::Error,
    },
}

/// Listens on an address.
///
/// # Errors
/// If the kernel does not let it; the message names the address and the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address, source },
        io::ErrorKind::PermissionDenied => BindError::Denied { address, source },
        io::ErrorKind::AddrNotAvailable => BindError::NotHere { address, source },
        _ => BindError::Other { address, source },
    })
}
