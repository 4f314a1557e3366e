//! Ports of what is started: known ones, so that they can be told in a document, unless they are
//! taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

/// The agent's usual port.
pub(crate) const AGENT: u16 = 9550;

/// A port that is kept for a server.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl Port {
    fn bind(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        Ok(Self { address, listener })
    }

    /// The address, for the server to take it now.
    pub(crate) fn release(self) -> SocketAddr {
        drop(self.listener);
        self.address
    }
}

/// A port for `server`: the one that was `asked` for (0 is any), else its `usual` one, else any that
/// is free, which is said. Until it is released no other server gets it, of another stack neither.
///
/// # Errors
/// The port that was asked for is taken.
pub(crate) fn choose(server: &str, asked: Option<u16>, usual: u16) -> Result<Port> {
    if let Some(port) = asked {
        return Port::bind(port).with_context(|| {
            format!("port {port} for {server}: ask for another, or for none and get a free one")
        });
    }
    Port::bind(usual).or_else(|_| {
        let free = Port::bind(0).context("find a free port")?;
        println!("port {usual} is in use: {server} gets {}", free.address.port());
        Ok(free)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_an_error_only_if_it_was_asked_for() {
        let taken = choose("x", Some(0), 1).unwrap();
        let port = taken.address.port();
        assert_ne!(port, 0);
        let error = choose("x", Some(port), 1).unwrap_err();
        assert!(format!("{error:#}").contains(&port.to_string()), "{error:#}");
        assert_ne!(choose("x", None, port).unwrap().address.port(), port);
        taken.release();
        assert_eq!(choose("x", Some(port), 1).unwrap().address.port(), port);
        assert_eq!(choose("x", None, port).unwrap().address.port(), port);
    }
}
