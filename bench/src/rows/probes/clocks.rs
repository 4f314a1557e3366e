//! The agent's times of a connection beside those of who asked and of the server.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use agent::bpf::ring::Rings;
use agent::clock::boot_ns;
use agent::event::Connection;
use anyhow::{Context as _, Result, ensure};

use super::asker::Asker;
use crate::connect::{ANSWER, Asked, Round};
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::{Series, three};

/// Connections of a round.
const ROUND: u32 = 100;
/// Why a difference may be long.
const LATE: &str = "who waits for a CPU on a busy machine reads the clock late";
/// Longest difference at p99, seconds.
const GOAL: f64 = 1e-3;

/// Clocks of a connection, by its server (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug)]
struct Served {
    /// After `accept`.
    accepted_ns: u64,
    /// Before the answer is written.
    answers_ns: u64,
}

/// A server that answers each connection, until this process ends, and remembers when.
pub(super) struct Server {
    address: SocketAddr,
    /// By the port of the other side.
    served: Arc<Mutex<HashMap<u16, Served>>>,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
        let address = listener.local_addr().context("the server's address")?;
        let served = Arc::new(Mutex::new(HashMap::new()));
        let notes = Arc::clone(&served);
        thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let accepted_ns = boot_ns();
                let mut head = [0; 512];
                let read = stream.read(&mut head);
                // Before the answer: who asked may have ended by the time the rest is done.
                if let Ok(mut notes) = notes.lock() {
                    notes.insert(peer.port(), Served { accepted_ns, answers_ns: boot_ns() });
                }
                // One that has gone is no one's fault.
                let _ = read.and_then(|_| stream.write_all(ANSWER));
                let _ = stream.read(&mut head);
            }
        });
        Ok(Self { address, served })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    fn take(&self) -> Result<HashMap<u16, Served>> {
        let mut served = self.served.lock().ok().context("the server has failed")?;
        Ok(std::mem::take(&mut *served))
    }
}

/// Differences of one span, connection by connection, seconds.
#[derive(Default)]
struct Apart(Series);

impl Apart {
    fn push(&mut self, own: (u64, u64), other: (u64, u64)) {
        let span = |(from, to): (u64, u64)| to.saturating_sub(from);
        self.0.push(span(own).abs_diff(span(other)) as f64 / 1e9);
    }

    fn us(&self) -> String {
        if self.0.max().is_nan() {
            "–".to_owned()
        } else {
            format!("{} µs", three(self.0.percentile(99) * 1e6))
        }
    }

    /// Whether nothing speaks against the goal.
    fn meets(&self) -> bool {
        self.0.max().is_nan() || self.0.percentile(99) <= GOAL
    }
}

/// Differences of the spans of an attempt: until it is connected, until the first byte, all of it.
#[derive(Default)]
struct Spans {
    connect: Apart,
    first_byte: Apart,
    whole: Apart,
}

impl Spans {
    fn line(&self, by: &str, whose: &str) -> Line {
        let Self { connect, first_byte, whole } = self;
        let met = connect.meets() && first_byte.meets() && whole.meets();
        let apart = format!("{} / {} / {}", connect.us(), first_byte.us(), whole.us());
        let what = format!(
            "by {by}: durations from {whose} clock at p99: connect / first byte / whole attempt"
        );
        Line::new(what, apart).goal("each ≤ 1 ms", Verdict::goal(met)).because(LATE)
    }
}

pub(super) fn measure(
    args: &Args,
    by: &str,
    server: &Server,
    asker: Asker<'_>,
    rings: &mut Rings,
) -> Result<Vec<Line>> {
    let (mut clients, mut servers) = (Spans::default(), Spans::default());
    for _ in 0..args.pick(20, 5) {
        let _ = server.take()?;
        let (Round { asked }, found) = asker.connect(server.address, ROUND, rings)?;
        let served = server.take()?;
        let told: HashMap<u16, &Connection> =
            found.iter().map(|connection| (connection.local.port(), connection)).collect();
        ensure!(told.len() == asked.len(), "{} of {} connections", told.len(), asked.len());
        for asked in &asked {
            let told = told.get(&asked.port).context("a connection was not told")?;
            let served = served.get(&asked.port).context("a connection was not served")?;
            compare(told, asked, *served, &mut clients, &mut servers)?;
        }
    }
    Ok(vec![clients.line(by, "the client's"), servers.line(by, "the server's")])
}

/// The server does not see when it was asked, nor the close: these are the client's.
fn compare(
    told: &Connection,
    asked: &Asked,
    served: Served,
    clients: &mut Spans,
    servers: &mut Spans,
) -> Result<()> {
    let start_ns = told.start_boot_ns;
    let connected_ns = told.connected_boot_ns.context("not connected")?;
    let connect = (start_ns, connected_ns);
    clients.connect.push(connect, (asked.start_ns, asked.connected_ns));
    servers.connect.push(connect, (asked.start_ns, served.accepted_ns));
    if let Some(first_byte_ns) = told.first_byte_boot_ns {
        clients.first_byte.push((start_ns, first_byte_ns), (asked.start_ns, asked.answered_ns));
        servers
            .first_byte
            .push((connected_ns, first_byte_ns), (served.accepted_ns, served.answers_ns));
    }
    let whole = (start_ns, told.end_boot_ns);
    clients.whole.push(whole, (asked.start_ns, asked.closed_ns));
    servers.whole.push((connected_ns, told.end_boot_ns), (served.accepted_ns, served.answers_ns));
    Ok(())
}
