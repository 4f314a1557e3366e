//! Processes that connect as the kubelet does, in a cgroup and under a name.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use agent::bpf::ring::Rings;
use agent::event::Connection;
use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::cgroup::Cgroup;

use crate::connect::Round;

/// Time between two drains of the rings: some twenty connections, which wake nobody.
const DRAIN: Duration = Duration::from_millis(1);

/// Processes that ask.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) cgroup: &'a Cgroup,
    /// Short name of the processes that connect.
    pub(super) comm: &'static str,
}

impl Asker<'_> {
    /// Has a process connect so often, and reads what is told meanwhile, as the agent does: into a full
    /// ring nothing is written, which costs less.
    pub(super) fn connect(
        self,
        server: SocketAddr,
        connections: u32,
        rings: &mut Rings,
    ) -> Result<(Round, Vec<Connection>)> {
        let exe = std::env::current_exe().context("this program")?;
        let child = Command::new(exe)
            .args(["connect", &server.to_string(), &connections.to_string()])
            .arg(self.cgroup.dir())
            .arg(self.comm)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start a process that connects")?;
        let reader = thread::spawn(move || child.wait_with_output());
        let (mut events, mut told) = (Vec::new(), Vec::new());
        while !reader.is_finished() {
            thread::sleep(DRAIN);
            rings.drain(&mut events, &mut told);
            events.clear();
        }
        rings.drain(&mut events, &mut told);
        let output = reader.join().map_err(|_| anyhow!("the reader has failed"))?;
        let output = output.context("read what a process says")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {error}", output.status);
        Ok((said.parse()?, told))
    }
}
