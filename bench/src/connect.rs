//! A process that connects as the kubelet does: a connection for each request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context as _, Error, Result};
use testbed::cgroup;

use crate::stats::Series;

const REQUEST: &[u8] =
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: kube-probe/1.37\r\n\
    Accept: */*\r\nConnection: close\r\n\r\n";
/// What the server answers.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a round of connections took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Median time of a connection.
    pub(crate) median_ns: f64,
}

impl FromStr for Round {
    type Err = Error;

    fn from_str(said: &str) -> Result<Self> {
        let median_ns = said.parse().with_context(|| format!("no time: {said:?}"))?;
        Ok(Self { median_ns })
    }
}

/// Enters the cgroup, connects so often, and prints the median time in nanoseconds.
pub(crate) fn run(server: SocketAddr, connections: u32, cgroup: &Path) -> Result<()> {
    cgroup::write(&cgroup.join("cgroup.procs"), "0")?;
    let mut times = Series::default();
    for _ in 0..connections {
        let start = Instant::now();
        let mut stream = TcpStream::connect(server).context("connect")?;
        stream.write_all(REQUEST).context("send")?;
        let mut head = [0; 512];
        let _ = stream.read(&mut head).context("receive")?;
        drop(stream);
        times.push(start.elapsed().as_secs_f64() * 1e9);
    }
    println!("{}", times.median());
    Ok(())
}
