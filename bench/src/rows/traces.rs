//! What traces cost: 100 deaths a second, with a receiver that is well, slow, or away.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use testbed::http;

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::Server;
use crate::stats::{mib, three};
use crate::work::NOTHING;

pub(super) const HOW: &str = "500 containers, and beside them 100 a second that run /bin/true and are \
    removed, each death a trace over OTLP/HTTP (--trace.max-per-minute 0), batches each second. The \
    receiver answers at once, after 2 s, or refuses connections. CPU time is all that the agent takes \
    meanwhile, its scrapes included. RSS when the last answer is gone.";

const CONTAINERS: usize = 500;
/// Deaths a second.
const RATE: u32 = 100;
/// How long a slow receiver takes.
const SLOW: Duration = Duration::from_secs(2);
/// Time for what is on its way at the end.
const SETTLED: Duration = Duration::from_secs(4);
/// Most memory with traces.
const RSS_MAX: u64 = 12 << 20;

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(args.pick(CONTAINERS, 50))?;
    let well = receiver(Duration::ZERO)?;
    let slow = receiver(SLOW)?;
    let away = http::free_address()?;
    let mut lines = Vec::new();
    let mut without = None;
    let all = [
        ("without traces", None),
        ("receiver well", Some(well)),
        ("receiver away", Some(away)),
        ("receiver slow", Some(slow)),
    ];
    for (name, receiver) in all.into_iter().take(args.pick(4, 3)) {
        let run = run(args, &mut node, receiver)?;
        let base = *without.get_or_insert(run.mcores);
        let sent = match run.spans {
            Some((exported, waiting)) => format!("; {exported} spans sent, {} wait", mib(waiting)),
            None => String::new(),
        };
        let what = format!("{name}: CPU; RSS before and after");
        let figures = format!(
            "{} mcores; {}, {}{sent}",
            three(run.mcores),
            mib(run.rest_bytes),
            mib(run.after_bytes)
        );
        lines.push(
            Line::new(what, figures)
                .ratio(run.mcores / base)
                .goal("≤ 12 MiB", Verdict::goal(run.rest_bytes <= RSS_MAX))
                .because("the state of containers or the program has grown"),
        );
        lines.push(
            Line::new(
                format!("{name}: deaths counted; traces accounted for"),
                format!("{}; {}", run.deaths, run.accounted),
            )
            .goal(
                format!("{}; all", run.wanted),
                Verdict::count(run.deaths == run.wanted && run.accounted),
            )
            .because("a death was lost, or a span is neither sent nor dropped nor waiting"),
        );
    }
    Ok(lines)
}

struct Run {
    mcores: f64,
    rest_bytes: u64,
    after_bytes: u64,
    deaths: u64,
    wanted: u64,
    /// Spans that were sent, and bytes that wait.
    spans: Option<(u64, u64)>,
    /// Whether each span was sent or dropped, or waits.
    accounted: bool,
}

fn run(args: &Args, node: &mut Node, receiver: Option<SocketAddr>) -> Result<Run> {
    let endpoint = receiver.map(|at| format!("http://{at}"));
    let mut flags = vec!["--metrics.max-series", "1000000", "--metrics.retention", "1"];
    if let Some(endpoint) = &endpoint {
        flags.extend(["--trace.endpoint", endpoint, "--trace.schedule-delay", "1000"]);
        flags.extend(["--trace.max-per-minute", "0"]);
    }
    let server = Server::agent(args, node, &flags)?;
    for _ in 0..3 {
        server.scrape()?;
    }
    let rest_bytes = server.rss_at_rest_bytes()?;
    let deaths = || -> Result<u64> {
        let sum = server.read()?.sum("terminations_total", &[("container", "job")]);
        Ok(sum.unwrap_or_default() as u64)
    };
    let before = deaths()?;
    let wanted = u64::from(RATE) * args.pick(20, 3);
    let (cpu, start) = (server.cpu()?, Instant::now());
    let mut gone = Vec::new();
    for n in 0..wanted {
        let due = start + Duration::from_secs(1) * u32::try_from(n)? / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let container = node.container(usize::MAX >> 32, "job")?;
        container.run(NOTHING)?;
        container.remove()?;
        gone.push(container);
    }
    let took = start.elapsed();
    let mcores = (server.cpu()?.saturating_sub(cpu)).as_secs_f64() / took.as_secs_f64() * 1000.0;
    thread::sleep(SETTLED);
    // What is new to a scraper is at 0 the first time.
    server.scrape()?;
    let deaths = deaths()? - before;
    let scrape = server.read()?;
    let (mut spans, mut accounted) = (None, true);
    if receiver.is_some() {
        let exported = scrape.value("trace_spans_exported_total", &[])? as u64;
        let dropped = scrape.sum("trace_spans_dropped_total", &[]).unwrap_or_default() as u64;
        let waiting = scrape.value("trace_queue_bytes", &[])? as u64;
        // Each death has at least a root and its termination; the last waits for its next instance.
        accounted = waiting > 0 || exported + dropped >= 2 * (deaths - 1);
        spans = Some((exported, waiting));
    }
    let after_bytes = server.rss_at_rest_bytes()?;
    server.stop()?;
    Ok(Run { mcores, rest_bytes, after_bytes, deaths, wanted, spans, accounted })
}

/// A receiver of OTLP/HTTP that takes all, each request after that time.
fn receiver(takes: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let address = listener.local_addr().context("the receiver's address")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever asks may go away.
            thread::spawn(move || answer(stream, takes));
        }
    });
    Ok(address)
}

fn answer(stream: TcpStream, takes: Duration) -> std::io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut from.by_ref().take(length), &mut std::io::sink())?;
        thread::sleep(takes);
        to.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )?;
    }
}
