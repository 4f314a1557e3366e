//! Listening sockets, and errors that name the remedy.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::task::Poll;

use nix::errno::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// Size of a connection's send buffer, which the kernel doubles for its own bookkeeping. The memory
/// is charged to the agent's cgroup: a client that reads nothing holds this much beside its chunks.
const SEND_BYTES: u32 = 64 << 10;
/// Size of a connection's receive buffer: a request's head, and no more of what follows it.
const RECEIVE_BYTES: u32 = 16 << 10;

/// Address to serve on, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `:port`: all addresses of this host, of whichever family it has.
    All(u16),
    /// An IP address with its port.
    Ip(SocketAddr),
    /// A host name with a port.
    Name(String, u16),
}

/// Error of a text that is no address to serve on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}; expected host:port or :port, such as :9550, 127.0.0.1:9550, [::1]:9550 or localhost:9550"
)]
pub struct NoAddress(String);

impl FromStr for ListenAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(NoAddress(
                if text.is_empty() { "it is empty" } else { "the port is missing" }.into(),
            ));
        };
        if host.contains(':') && text.parse::<Ipv6Addr>().is_ok() {
            return Err(NoAddress(
                "an IPv6 address is written in brackets and needs a port".into(),
            ));
        }
        let port = match port.parse() {
            Ok(port) if port_digits(text) => port,
            _ => return Err(NoAddress(format!("{port:?} is no port number (0 to 65535)"))),
        };
        match host {
            "" => Ok(Self::All(port)),
            host if is_name(host) => Ok(Self::Name(host.to_owned(), port)),
            _ => Err(NoAddress(format!("{host:?} is neither an IP address nor a host name"))),
        }
    }
}

/// Whether the port is digits alone: Rust's numbers may have a sign.
fn port_digits(text: &str) -> bool {
    text.rsplit(':').next().is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a text can be a host name (RFC 1123, and `_`, which resolvers take). What looks like an
/// IPv4 address was one, or is none.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.len() <= 253
        && host.trim_end_matches('.').split('.').all(is_label)
        && !host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(port) => write!(f, ":{port}"),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

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
         one that it has, or :{port} for all, with --web.listen-address",
        ip = address.ip(),
        port = address.port()
    )]
    NotHere {
        /// The address to listen on.
        address: SocketAddr,
        /// The system call's error.
        source: io::Error,
    },
    /// The kernel has no such family of addresses (`EAFNOSUPPORT`).
    #[error(
        "cannot listen on {address}: this kernel has no {family}; choose an address of the other \
         family, or :{port} for all that there is, with --web.listen-address",
        family = if address.is_ipv6() { "IPv6" } else { "IPv4" },
        port = address.port()
    )]
    NoFamily {
        /// The address to listen on.
        address: SocketAddr,
        /// The system call's error.
        source: io::Error,
    },
    /// The host name has no address.
    #[error(
        "cannot listen on {name}: the name has no address here; give an IP address, or :port for \
         all, with --web.listen-address"
    )]
    Unresolved {
        /// The name and port.
        name: String,
        /// The resolver's error.
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

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, source },
            io::ErrorKind::PermissionDenied => Self::Denied { address, source },
            io::ErrorKind::AddrNotAvailable => Self::NotHere { address, source },
            _ if source.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
                Self::NoFamily { address, source }
            }
            _ => Self::Other { address, source },
        }
    }

    /// Whether the host lacks the address, so that another of the same name will do.
    const fn is_lack(&self) -> bool {
        matches!(self, Self::NotHere { .. } | Self::NoFamily { .. })
    }
}

/// Listening sockets of one address to serve on.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// The addresses that are listened on.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The next connection to any of them.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let ready = self.0.iter().find_map(|listener| match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Some(accepted),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Listens on an address: on all that a name stands for and this host has.
///
/// # Errors
/// The kernel or the resolver refuses; the message names the address and the remedy.
pub async fn bind(address: &ListenAddress) -> Result<Listeners, BindError> {
    let addresses = match address {
        ListenAddress::All(port) => {
            let all = |ip: IpAddr| SocketAddr::new(ip, *port);
            // With IPv6 one socket takes both families.
            return match listen(all(Ipv6Addr::UNSPECIFIED.into())) {
                Err(error) if error.is_lack() => listen(all(Ipv4Addr::UNSPECIFIED.into())),
                other => other,
            }
            .map(|listener| Listeners(vec![listener]));
        }
        ListenAddress::Ip(address) => vec![*address],
        ListenAddress::Name(host, port) => resolve(host, *port).await?,
    };
    let (mut listeners, mut lacking, mut port) = (Vec::new(), None, None);
    for mut address in addresses {
        if address.port() == 0 {
            // One port for all of them.
            address.set_port(port.unwrap_or_default());
        }
        match listen(address) {
            Ok(listener) => {
                port = port.or_else(|| Some(listener.local_addr().ok()?.port()));
                listeners.push(listener);
            }
            Err(error) if error.is_lack() => lacking = Some(error),
            Err(error) => return Err(error),
        }
    }
    match lacking {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(Listeners(listeners)),
    }
}

/// The addresses of a host name, one at least.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let at = |ip: IpAddr| SocketAddr::new(ip, port);
    // It is this host everywhere, whatever a hosts file lacks (RFC 6761, 6.3).
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
    }
    let name = || format!("{host}:{port}");
    let found = lookup_host((host, port)).await;
    let mut found: Vec<_> =
        found.map_err(|source| BindError::Unresolved { name: name(), source })?.collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        let source = io::Error::other("no address");
        return Err(BindError::Unresolved { name: name(), source });
    }
    Ok(found)
}

fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        if let IpAddr::V6(ip) = address.ip() {
            // Whatever net.ipv6.bindv6only says: `[::]` is all addresses, of both families.
            SockRef::from(&socket).set_only_v6(!ip.is_unspecified())?;
        }
        socket.set_reuseaddr(true)?;
        // Each connection has the sizes of the socket that it came to.
        socket.set_send_buffer_size(SEND_BYTES)?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| BindError::new(address, source))
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
