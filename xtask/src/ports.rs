//! Ports of what is started: known ones, so that they can be told in a document, unless they are
//! taken.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use testbed::http;

/// The agent's usual port.
pub(crate) const AGENT: u16 = 9550;

/// A port of the loopback.
const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The address for a server: the port that was `asked` for, else its `usual` one, else any that is
/// free, which is said.
///
/// # Errors
/// The port that was asked for is taken.
pub(crate) fn choose(server: &str, asked: Option<u16>, usual: u16) -> Result<SocketAddr> {
    let bind = |port| TcpListener::bind(loopback(port)).map(drop);
    match asked {
        Some(port) => {
            bind(port).with_context(|| format!("port {port}, asked for {server}"))?;
            Ok(loopback(port))
        }
        None if bind(usual).is_ok() => Ok(loopback(usual)),
        None => {
            let free = http::free_address()?;
            println!("port {usual} is in use: {server} gets {}", free.port());
            Ok(free)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_an_error_only_if_it_was_asked_for() {
        let taken = TcpListener::bind(loopback(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = choose("x", Some(port), 1).unwrap_err();
        assert!(format!("{error:#}").contains(&port.to_string()), "{error:#}");
        assert_ne!(choose("x", None, port).unwrap().port(), port);
        drop(taken);
        assert_eq!(choose("x", Some(port), 1).unwrap().port(), port);
    }
}
