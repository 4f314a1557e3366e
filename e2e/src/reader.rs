//! Who only reads in the cluster: what servers there answer to a GET.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::http::{self, Answer};

use super::netns::Namespace;

/// Where `kubectl proxy` serves the API, to who only reads, in the cluster's namespace.
pub(crate) const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);
/// Status of an answer about something that is not there.
const NOT_FOUND: u16 = 404;
/// How long a server in the cluster may take to answer.
const HTTP: Duration = Duration::from_secs(30);

/// A reader, which needs no more of the cluster than its network.
pub(crate) struct Reader {
    names: Namespace,
}

impl Reader {
    pub(crate) const fn new(names: Namespace) -> Self {
        Self { names }
    }

    /// What the API has at `path`; `None` if there is nothing. Costs little: no process is started.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.answer(API, path)?;
        if answer.status == NOT_FOUND {
            return Ok(None);
        }
        let text = answer.text().with_context(|| path.to_owned())?;
        serde_json::from_str(&text).with_context(|| path.to_owned()).map(Some)
    }

    /// The body of a server's answer to a plain GET, if it is 200.
    pub(crate) fn fetch(&self, server: SocketAddr, path: &str) -> Result<String> {
        let answer = self.answer(server, path)?;
        answer.text().with_context(|| format!("GET http://{server}{path}"))
    }

    /// A connection to a server in the cluster: a Pod, the node, the API.
    pub(crate) fn connect(&self, server: SocketAddr) -> Result<TcpStream> {
        self.names.connect(server, HTTP)
    }

    /// A server's answer to a plain GET, whatever its status.
    fn answer(&self, server: SocketAddr, path: &str) -> Result<Answer> {
        let what = || format!("GET http://{server}{path}");
        let mut stream = self.connect(server).with_context(what)?;
        stream.set_read_timeout(Some(HTTP)).with_context(what)?;
        http::exchange(&mut stream, server, path).with_context(what)
    }
}
