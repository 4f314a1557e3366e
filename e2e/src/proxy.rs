//! A port on the machine's loopback that leads into the cluster's network.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::netns::Namespace;

const CONNECT: Duration = Duration::from_secs(5);

/// An open port; its threads end with this tool.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Listens at `listen` and leads each connection to `server`.
    pub(crate) fn start(listen: SocketAddr, server: SocketAddr, names: Namespace) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("listen at {listen}"))?;
        let address = listener.local_addr().context("the proxy's own address")?;
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                match names.connect(server, CONNECT) {
                    Ok(upstream) => join(client, upstream),
                    // The client sees its connection closed.
                    Err(error) => eprintln!("{address}: {error:#}"),
                }
            }
        });
        Ok(Self { address })
    }
}

fn join(client: TcpStream, upstream: TcpStream) {
    let (Ok(client_too), Ok(upstream_too)) = (client.try_clone(), upstream.try_clone()) else {
        return;
    };
    thread::spawn(move || copy(client, upstream));
    thread::spawn(move || copy(upstream_too, client_too));
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
