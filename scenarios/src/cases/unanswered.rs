//! Connections of the kubelet to a server without room for them: no SYN is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::common::Case;
use super::probes::{Asks, Kubelet, Logged, Server, ask, listen, logged, serve};
use crate::context::Context;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("kubelet-is-not-answered", |context| not_answered(context, true)).alone(),
    || {
        Case::new("kubelet-is-not-answered-by-tracepoint", |context| not_answered(context, false))
            .alone()
    },
    || Case::new("kubelet-is-answered-late", answered_late).alone(),
    || Case::new("kubelet-begins-tls", begins_tls).alone(),
];

/// Time after which the kernel sends a SYN again (include/net/tcp.h, `TCP_TIMEOUT_INIT`), but for a tick.
const AGAIN: Duration = Duration::from_millis(990);
/// How long who asks waits.
const TIMEOUT_MS: u64 = 2500;

/// A connection without an answer is told when the kernel sends its SYN again, long before its end. By the
/// tracepoint it is not.
fn not_answered(context: &Context, by_cgroup: bool) -> Result<String> {
    let name = if by_cgroup { "kubelet-unanswered" } else { "kubelet-unanswered-by-tracepoint" };
    let kubelet = Kubelet::start(context, name, by_cgroup)?;
    let mut slowest = Duration::ZERO;
    let mut wanted = 0;
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let listening = listen(ip, Server::Full)?;
        let asks = Asks { timeout_ms: TIMEOUT_MS, ..Asks::default() };
        ask(context, kubelet.cgroup.dir(), listening.address, 1, asks)?;
        let before = wanted;
        wanted += if by_cgroup { 2 } else { 1 };
        let all = logged(context, &kubelet.agent, wanted)?;
        ensure!(all.len() == wanted, "{} connections of {wanted}", all.len());
        let of_this = all.get(before..).unwrap_or_default();
        let end = of_this.last().context("no end")?;
        ensure!((&*end.ending, end.connected_ns) == ("timed_out", 0), "{end:?}");
        if let [open, end] = of_this {
            ensure!((&*open.ending, open.connected_ns) == ("open", 0), "{open:?}");
            let key = |it: &Logged| (it.start_ns, it.local, it.remote);
            ensure!(key(open) == key(end), "{open:?}, {end:?}");
            let after = Duration::from_nanos(open.end_ns - open.start_ns);
            ensure!(after >= AGAIN && open.end_ns < end.end_ns, "told after {after:?}");
            slowest = slowest.max(after);
        }
    }
    kubelet.stop(context)?;
    Ok(if by_cgroup {
        format!("told after {} ms at most", slowest.as_millis())
    } else {
        "told at its end".to_owned()
    })
}

/// The second SYN finds room: that is told as well, and the end as ever.
fn answered_late(context: &Context) -> Result<String> {
    let kubelet = Kubelet::start(context, "kubelet-answered-late", true)?;
    let listening = listen(IpAddr::V4(Ipv4Addr::LOCALHOST), Server::Full)?;
    let listener = listening.listener.try_clone().context("a second descriptor")?;
    let server = thread::spawn(move || -> Result<()> {
        thread::sleep(AGAIN / 2);
        let _guest = listener.accept().context("the guest")?;
        let (stream, _) = listener.accept().context("who asks")?;
        serve(stream, Server::Answers)
    });
    let asks = Asks { timeout_ms: TIMEOUT_MS * 4, ..Asks::default() };
    let asked = ask(context, kubelet.cgroup.dir(), listening.address, 1, asks)?;
    let all = logged(context, &kubelet.agent, 3)?;
    let [first, again, end] = &*all else { bail!("{all:?}") };
    let endings = [first, again, end].map(|it| (&*it.ending, it.connected_ns != 0));
    ensure!(endings == [("open", false), ("open", true), ("closed", true)], "{all:?}");
    let starts = [again, end].map(|it| it.start_ns);
    ensure!(starts == [first.start_ns; 2], "{all:?}");
    ensure!(end.received == "HTTP/1.1 200 OK", "{all:?}");
    let took = asked.first().map(|it| it.connected_ns - it.start_ns).context("nobody asked")?;
    ensure!(Duration::from_nanos(took) >= AGAIN, "connected after {took} ns");
    server.join().ok().context("the server has failed")??;
    kubelet.stop(context)?;
    Ok(format!("connected after {} ms", took / 1_000_000))
}

/// A connection on which a TLS handshake begins is told at once, whatever comes of it; and again when it
/// is answered.
fn begins_tls(context: &Context) -> Result<String> {
    let kubelet = Kubelet::start(context, "kubelet-begins-tls", true)?;
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let before = logged(context, &kubelet.agent, 0)?.len();
        let listening = listen(ip, Server::Hangs)?;
        let asks = Asks { send: "\u{16}\u{3}\u{1}\u{2}", ..Asks::default() };
        let asked = ask(context, kubelet.cgroup.dir(), listening.address, 1, asks)?;
        let all = logged(context, &kubelet.agent, before + 2)?;
        let [begin, end] = all.get(before..).unwrap_or_default() else { bail!("{all:?}") };
        let endings = [begin, end].map(|it| (&*it.ending, it.sent_bytes));
        ensure!(endings == [("open", 4), ("closed", 4)], "{all:?}");
        ensure!(begin.start_ns == end.start_ns && begin.local == end.local, "{all:?}");
        let asked_ns = asked.first().map(|it| it.end_ns).context("nobody asked")?;
        ensure!(begin.end_ns < asked_ns, "told at {}, after {asked_ns}", begin.end_ns);
        let listening = listen(ip, Server::Answers)?;
        ask(context, kubelet.cgroup.dir(), listening.address, 1, asks)?;
        let all = logged(context, &kubelet.agent, before + 5)?;
        let [begin, answered, end] = all.get(before + 2..).unwrap_or_default() else {
            bail!("{all:?}")
        };
        let endings = [begin, answered, end].map(|it| (&*it.ending, it.first_byte_ns != 0));
        ensure!(endings == [("open", false), ("open", true), ("closed", true)], "{all:?}");
    }
    kubelet.stop(context)?;
    Ok("told before its end".to_owned())
}
