//! Connections of the kubelet, against the clocks of who asks and of who answers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use testbed::agent::Agent;
use testbed::cgroup::Cgroup;

use super::common::Case;
use super::kernel::tabulate;
use crate::agent::{Plan, Watch, row};
use crate::connect::Asked;
use crate::context::Context;
use crate::process::Spawn;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("kubelet-connections", |context| observed(context, true)).alone(),
    || Case::new("kubelet-connections-by-tracepoint", |context| observed(context, false)).alone(),
    || Case::new("kubelet-restarts", restarts).alone(),
];

/// The request of a probe.
const REQUEST: &str = "GET /healthz HTTP/1.1\r\nHost: probe\r\n\r\n";
/// The answer to it.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// How long a slow server takes.
const SLOW: Duration = Duration::from_millis(200);
/// Longest time between the agent's clock and the nearer one of who asks and who answers, at p99.
const P99_NS: u64 = 1_000_000;
/// How long who asks waits.
const TIMEOUT_MS: u64 = 400;

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    /// Answers at once; who asks closes first.
    Answers,
    /// Answers late; who asks closes first.
    Slow,
    /// Never answers.
    Hangs,
    /// Resets once it has read the request.
    Resets,
    /// Closes without an answer.
    Closes,
    /// Does not listen.
    Absent,
    /// Has no room for the connection, so that no answer comes at all.
    Full,
}

impl Server {
    const ALL: [Self; 7] = [
        Self::Answers,
        Self::Slow,
        Self::Hangs,
        Self::Resets,
        Self::Closes,
        Self::Absent,
        Self::Full,
    ];

    /// The ending of its connections, as the agent calls it.
    const fn ending(self) -> &'static str {
        match self {
            Self::Answers | Self::Slow | Self::Hangs => "closed",
            Self::Closes => "closed_by_peer",
            Self::Resets => "reset",
            Self::Absent => "refused",
            Self::Full => "timed_out",
        }
    }

    const fn connects(self) -> bool {
        !matches!(self, Self::Absent | Self::Full)
    }

    const fn answers(self) -> bool {
        matches!(self, Self::Answers | Self::Slow)
    }

    /// Connections to make: each of those that wait takes its time.
    const fn rounds(self) -> u32 {
        match self {
            Self::Answers | Self::Resets | Self::Closes | Self::Absent => 100,
            Self::Slow => 10,
            Self::Hangs | Self::Full => 3,
        }
    }
}

/// A server that listens, as long as this lives.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
    /// It holds the only place.
    _guest: Option<TcpStream>,
}

pub(super) fn listen(ip: IpAddr, server: Server) -> Result<Listening> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("listening on {ip}"))?;
    let address = listener.local_addr().context("the server's address")?;
    let mut guest = None;
    if server == Server::Absent {
        // Its port stays free for a moment.
        drop(listener);
        let listener = TcpListener::bind((ip, 0)).context("another port")?;
        return Ok(Listening { address, listener, _guest: None });
    }
    if server == Server::Full {
        // SAFETY: the descriptor is open; listening again changes the length of its queue. With 0
        // there is room for one connection that nobody accepts (net/ipv4/tcp_input.c,
        // `tcp_conn_request`, `sk_acceptq_is_full`).
        let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
        ensure!(result == 0, "listen(2): {}", std::io::Error::last_os_error());
        guest = Some(TcpStream::connect(address).context("taking the only place")?);
    } else {
        let listener = listener.try_clone().context("a second descriptor")?;
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let _ = serve(stream, server);
            }
        });
    }
    Ok(Listening { address, listener, _guest: guest })
}

pub(super) fn serve(mut stream: TcpStream, server: Server) -> Result<()> {
    let mut head = [0; 512];
    // Where what was sent is not read, the close is a reset.
    let _ = stream.read(&mut head)?;
    if server == Server::Resets {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option's value and its length; the close that follows sends a reset.
        unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        return Ok(());
    }
    if server == Server::Closes {
        return Ok(());
    }
    if server == Server::Slow {
        thread::sleep(SLOW);
    }
    if server.answers() {
        stream.write_all(ANSWER.as_bytes())?;
    }
    // Until who asks has closed.
    let _ = stream.read(&mut head)?;
    Ok(())
}

/// A connection as the agent has logged it.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) ending: String,
    pub(super) start_ns: u64,
    pub(super) connected_ns: u64,
    pub(super) first_byte_ns: u64,
    pub(super) end_ns: u64,
    pub(super) sent_bytes: u64,
    received_bytes: u64,
    /// The first line of each.
    sent: String,
    pub(super) received: String,
}

impl Logged {
    fn parse(line: &str) -> Option<Result<Self>> {
        let (_, fields) = line.split_once("a connection of the kubelet connection=")?;
        Some(Self::of(fields).with_context(|| format!("in the log: {line:?}")))
    }

    fn of(fields: &str) -> Result<Self> {
        let (fields, rest) = fields.split_once(" sent=\"").context("no field sent")?;
        let (sent, rest) = rest.split_once("\" received=\"").context("no field received")?;
        let received = rest.trim_end().strip_suffix('"').context("no end")?;
        let fields: BTreeMap<_, _> =
            fields.split(' ').filter_map(|field| field.split_once('=')).collect();
        let field = |name: &str| fields.get(name).with_context(|| format!("no field {name}"));
        let time = |name: &str| field(name)?.parse().with_context(|| format!("field {name}"));
        Ok(Self {
            local: field("local")?.parse().context("field local")?,
            remote: field("remote")?.parse().context("field remote")?,
            ending: (*field("ending")?).to_owned(),
            start_ns: time("start")?,
            connected_ns: time("connected")?,
            first_byte_ns: time("first_byte")?,
            end_ns: time("end")?,
            sent_bytes: time("sent_bytes")?,
            received_bytes: time("received_bytes")?,
            sent: sent.to_owned(),
            received: received.to_owned(),
        })
    }
}

/// The connections that an agent has logged, once there are so many of them.
pub(super) fn logged(context: &Context, agent: &Agent, wanted: usize) -> Result<Vec<Logged>> {
    let begin = Instant::now();
    loop {
        let log = agent.log()?;
        let found: Vec<Logged> = log.lines().filter_map(Logged::parse).collect::<Result<_>>()?;
        if found.len() >= wanted {
            return Ok(found);
        }
        ensure!(
            begin.elapsed() < context.timeout(),
            "{} of {wanted} connections in the log:\n{}",
            found.len(),
            agent.log_end()
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// How a process asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks<'a> {
    /// How long it waits.
    pub(super) timeout_ms: u64,
    /// Its short name, if that is another than the program's.
    pub(super) comm: Option<&'a str>,
    /// Text that it sends once it is connected.
    pub(super) send: &'a str,
}

impl Default for Asks<'_> {
    fn default() -> Self {
        Self { timeout_ms: TIMEOUT_MS, comm: None, send: REQUEST }
    }
}

/// Has a process in `kubelet` connect to a server, and returns what it says.
pub(super) fn ask(
    context: &Context,
    kubelet: &Path,
    to: SocketAddr,
    rounds: u32,
    asks: Asks<'_>,
) -> Result<Vec<Asked>> {
    let Asks { timeout_ms, comm, send } = asks;
    let (to_text, times) = (to.to_string(), [rounds.to_string(), timeout_ms.to_string()]);
    let [rounds_text, timeout_text] = &times;
    let mut args = vec!["connect", "--to", &to_text, "--rounds", rounds_text, "--send", send];
    args.extend(["--timeout-ms", timeout_text]);
    args.extend(comm.into_iter().flat_map(|comm| ["--comm", comm]));
    let mut process = Spawn::scenarios(args).cgroup(kubelet).start()?;
    let timeout = context.timeout() + Duration::from_millis(timeout_ms) * (rounds * 2);
    let mut asked = Vec::new();
    while let Some(line) = process.line(timeout)? {
        asked.push(line.parse()?);
    }
    process.end_ns(context.timeout())?;
    process.reap()?;
    ensure!(asked.len() == rounds as usize, "{} of {rounds} attempts to {to}", asked.len());
    Ok(asked)
}

/// The kubelet's cgroup, and an agent that observes it.
pub(super) struct Kubelet {
    pub(super) agent: Agent,
    pub(super) cgroup: Cgroup,
}

impl Kubelet {
    pub(super) fn start(context: &Context, name: &str, net_admin: bool) -> Result<Self> {
        let cgroup = Cgroup::make(context.node.root().join(name))?;
        Self::start_in(context, cgroup, Some(Path::new(name)), net_admin)
    }

    /// An agent whose kubelet has this cgroup. `given`: the path that the agent is given, if any is.
    pub(super) fn start_in(
        context: &Context,
        cgroup: Cgroup,
        given: Option<&Path>,
        net_admin: bool,
    ) -> Result<Self> {
        let plan = Plan { net_admin, ..context.plan.clone() };
        // Root has the capability, whatever is left out.
        let plan = Plan { user: if net_admin { plan.user } else { plan.user.max(1) }, ..plan };
        let watch = Watch { kubelet: given, ..Watch::from(&context.node) };
        let agent = plan.start(watch, context.timeout() * 2)?;
        Ok(Self { agent, cgroup })
    }

    pub(super) fn stop(mut self, context: &Context) -> Result<()> {
        let status = self.agent.stop(context.timeout())?;
        ensure!(status.success(), "SIGTERM ended the agent with {status}");
        Ok(())
    }
}

/// All connections are told, by either way.
fn observed(context: &Context, data: bool) -> Result<String> {
    let name = if data { "kubelet-by-cgroup" } else { "kubelet-by-tracepoint" };
    let kubelet = Kubelet::start(context, name, data)?;
    let told = all_are_told(context, &kubelet, data)?;
    kubelet.stop(context)?;
    let way = if data { "`sock_ops`, `cgroup_skb`" } else { "tracepoint" };
    tabulate(&format!("the kubelet's connections by {way}"), "yes");
    Ok(told)
}

/// Every kind of server, over IPv4 and IPv6: each connection is told once, with its ending, its bytes
/// and its times.
pub(super) fn all_are_told(context: &Context, kubelet: &Kubelet, data: bool) -> Result<String> {
    let ips = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut wanted = Vec::new();
    for ip in ips {
        for server in Server::ALL {
            let listening = listen(ip, server)?;
            // One of another cgroup is not the kubelet's.
            if server == Server::Answers {
                drop(TcpStream::connect(listening.address).context("a connection of another")?);
            }
            let rounds = server.rounds();
            let (dir, asks) = (kubelet.cgroup.dir(), Asks::default());
            for asked in ask(context, dir, listening.address, rounds, asks)? {
                wanted.push((server, listening.address, asked));
            }
        }
    }
    let mut found = logged(context, &kubelet.agent, wanted.len())?;
    // Should one be told twice, or another's, it comes within a second.
    context.pause(Duration::from_millis(1500));
    found.extend(logged(context, &kubelet.agent, wanted.len())?.into_iter().skip(found.len()));
    ensure!(found.len() == wanted.len(), "{} connections of {}", found.len(), wanted.len());
    found.sort_by_key(|logged| logged.start_ns);
    let mut apart = Apart::default();
    for ((server, to, asked), logged) in wanted.iter().zip(&found) {
        check(*server, *to, asked, logged, data, &mut apart)
            .with_context(|| format!("{server:?} at {to}: {asked:?}, {logged:?}"))?;
    }
    let lost = testbed::agent::scrape(kubelet.agent.address(), context.timeout())?;
    let lost = lost.sum("events_lost_total", &[]).context("no events_lost_total")?;
    ensure!(lost == 0.0, "{lost} events lost");
    // Under emulation clocks are far apart.
    ensure!(context.patience > 1 || apart.percentile_ns(99) <= P99_NS, "{}", apart.describe());
    Ok(format!("{} connections; {}", wanted.len(), apart.describe()))
}

/// How far the agent's times lie outside those between which they have to be, ns.
#[derive(Default)]
struct Apart(Vec<u64>);

impl Apart {
    fn between(&mut self, what: &str, from_ns: u64, at_ns: u64, to_ns: u64) -> Result<()> {
        ensure!(from_ns <= at_ns && at_ns <= to_ns, "{what} at {at_ns}");
        self.0.push((at_ns - from_ns).min(to_ns - at_ns));
        Ok(())
    }

    fn percentile_ns(&self, percent: usize) -> u64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank).copied().unwrap_or(0)
    }

    fn describe(&self) -> String {
        let at = |percent: usize| self.percentile_ns(percent) / 1000;
        format!("from the nearer clock: p50 {} µs, p99 {} µs, max {} µs", at(50), at(99), at(100))
    }
}

fn check(
    server: Server,
    to: SocketAddr,
    asked: &Asked,
    logged: &Logged,
    data: bool,
    apart: &mut Apart,
) -> Result<()> {
    ensure!(logged.ending == server.ending(), "ending {}", logged.ending);
    ensure!(logged.remote == to, "remote {}", logged.remote);
    ensure!(logged.local.ip() == to.ip(), "local {}", logged.local);
    ensure!((logged.connected_ns != 0) == server.connects(), "connected or not");
    if server.connects() {
        ensure!(logged.local.port() == asked.port, "local {}", logged.local);
        apart.between("connected", asked.start_ns, logged.connected_ns, asked.connected_ns)?;
    }
    let connected_ns = if server.connects() { logged.connected_ns } else { asked.end_ns };
    apart.between("started", asked.start_ns, logged.start_ns, connected_ns)?;
    // Who closes may have done so before this side has read it.
    let earliest = asked.connected_ns.max(asked.start_ns);
    apart.between("ended", earliest, logged.end_ns, asked.closed_ns)?;
    let (sent, received) = if data && server.connects() {
        (REQUEST, if server.answers() { ANSWER } else { "" })
    } else {
        ("", "")
    };
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    ensure!(logged.sent == first_line(sent), "sent {:?}", logged.sent);
    ensure!(logged.received == first_line(received), "got {:?}", logged.received);
    let lengths = (logged.sent_bytes, logged.received_bytes);
    ensure!(lengths == (sent.len() as u64, received.len() as u64), "bytes {lengths:?}");
    let first = data && server.answers();
    ensure!((logged.first_byte_ns != 0) == first, "first byte or not");
    if first {
        apart.between(
            "first byte",
            logged.connected_ns,
            logged.first_byte_ns,
            asked.first_byte_ns,
        )?;
    }
    if server == Server::Slow && data {
        let waited = Duration::from_nanos(logged.first_byte_ns - logged.connected_ns);
        ensure!(waited >= SLOW, "the answer came after {waited:?}");
    }
    Ok(())
}

/// The kubelet's cgroup is removed and made again, as by a restart of its service: its connections
/// are observed again, and no sooner than it is there.
fn restarts(context: &Context) -> Result<String> {
    const ROW: &str = "times that they were found";
    let mut kubelet = Kubelet::start(context, "kubelet-restarts", true)?;
    let listening = listen(IpAddr::V4(Ipv4Addr::LOCALHOST), Server::Answers)?;
    let address = kubelet.agent.address();
    ask(context, kubelet.cgroup.dir(), listening.address, 1, Asks::default())?;
    logged(context, &kubelet.agent, 1)?;
    let mut slowest = Duration::ZERO;
    for restart in 1..=3 {
        let path = kubelet.cgroup.dir().to_owned();
        drop(kubelet.cgroup);
        kubelet.cgroup = Cgroup::make(path)?;
        let begin = Instant::now();
        while row(address, ROW, context.timeout())? < restart + 1 {
            ensure!(begin.elapsed() < context.timeout(), "it was not found again");
            thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(begin.elapsed());
        ask(context, kubelet.cgroup.dir(), listening.address, 1, Asks::default())?;
        logged(context, &kubelet.agent, restart as usize + 1)?;
    }
    kubelet.stop(context)?;
    Ok(format!("found again within {:.1} ms", slowest.as_secs_f64() * 1e3))
}
