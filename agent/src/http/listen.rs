//! Listening socket, and errors that name the remedy.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Failure to listen, with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is in use (`EADDRINUSE`).
    #[error(
        "cannot listen on {address}: another process listens on port {port}; stop it, or choose \
         another port with --web.listen-address",
        port = address.port()
    )]
    InUse {
        /// The address to listen on.
        address: SocketAddr,
        /// The system call's error.
        source: io::Error,
    },
    /// The port needs a privilege (`EACCES`).
    #[error(
        "cannot listen on {address}: port {port} needs the capability NET_BIND_SERVICE; choose \
         one from 1024 on with --web.listen-address",
        port = address.port()
    )]
    Denied {
        /// The address to listen on.
        address: SocketAddr,
        /// The system call's error.
        source: io::Error,
    },
    /// The host does not have the address (`EADDRNOTAVAIL`).
    #[error(
        "cannot listen on {address}: this host (or Pod) does not have the address {ip}; choose \
         one that it has, or 0.0.0.0 or [::] for all, with --web.listen-address",
        ip = address.ip()
    )]
    NotHere {
        /// The address to listen on.
        address: SocketAddr,
        /// The system call's error.
        source: io::Error,
    },
    /// Another error.
    #[error("cannot listen on {address}; choose another with --web.listen-address")]
    Other {
        /// The address to listen on.
        address: SocketAddr,
        /// The system call's error.
        source: io::Error,
    },
}

/// Listens on an address.
///
/// # Errors
/// The kernel refuses; the message names the address and the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address, source },
        io::ErrorKind::PermissionDenied => BindError::Denied { address, source },
        io::ErrorKind::AddrNotAvailable => BindError::NotHere { address, source },
        _ => BindError::Other { address, source },
    })
}
