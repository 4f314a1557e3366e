//! A process that connects as the kubelet does: a connection for each request.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::str::FromStr;

use agent::clock::boot_ns;
use anyhow::{Context as _, Error, Result, bail};
use testbed::cgroup;

use crate::stats::Series;

const REQUEST: &[u8] =
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: kube-probe/1.37\r\n\
    Accept: */*\r\nConnection: close\r\n\r\n";
/// What the server answers.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Clocks of a connection, by who asked for it (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Port of this side.
    pub(crate) port: u16,
    /// Before `connect`.
    pub(crate) start_ns: u64,
    /// After it.
    pub(crate) connected_ns: u64,
    /// After the answer was read.
    pub(crate) answered_ns: u64,
    /// After the close.
    pub(crate) closed_ns: u64,
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [port, start_ns, connected_ns, answered_ns, closed_ns] = *words else {
            bail!("not the clocks of a connection: {line:?}");
        };
        let port = u16::try_from(port).context("a port beyond 16 bits")?;
        Ok(Self { port, start_ns, connected_ns, answered_ns, closed_ns })
    }
}

/// What a round of connections took.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// All of its connections.
    pub(crate) asked: Vec<Asked>,
}

impl Round {
    /// Median time of a connection, seconds.
    pub(crate) fn median(&self) -> f64 {
        let took = |it: &Asked| (it.closed_ns.saturating_sub(it.start_ns)) as f64 / 1e9;
        self.asked.iter().map(took).collect::<Series>().median()
    }
}

impl FromStr for Round {
    type Err = Error;

    fn from_str(said: &str) -> Result<Self> {
        Ok(Self { asked: said.lines().map(str::parse).collect::<Result<_>>()? })
    }
}

/// Enters the cgroup, takes this short name, connects so often, and prints the clocks of each.
pub(crate) fn run(server: SocketAddr, connections: u32, cgroup: &Path, comm: &str) -> Result<()> {
    fs::write("/proc/self/comm", comm).context("take a short name")?;
    cgroup::write(&cgroup.join("cgroup.procs"), "0")?;
    let mut all = Vec::new();
    for _ in 0..connections {
        let start_ns = boot_ns();
        let mut stream = TcpStream::connect(server).context("connect")?;
        let connected_ns = boot_ns();
        stream.write_all(REQUEST).context("send")?;
        let mut head = [0; 512];
        let _ = stream.read(&mut head).context("receive")?;
        let answered_ns = boot_ns();
        let port = stream.local_addr().context("the address of this side")?.port();
        drop(stream);
        all.push([u64::from(port), start_ns, connected_ns, answered_ns, boot_ns()]);
    }
    for [port, start_ns, connected_ns, answered_ns, closed_ns] in all {
        println!("{port} {start_ns} {connected_ns} {answered_ns} {closed_ns}");
    }
    Ok(())
}
