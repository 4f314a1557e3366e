//! A scrape of 500 containers, and what it costs to be scraped.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::exposition::count_samples;

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::{Server, rest};
use crate::stats::{Series, mib, three};

pub(super) const HOW: &str = "500 containers, each with a process and a log link; a new connection \
    for each GET, identity encoding, Podvitals and Debian's prometheus-node-exporter (with its \
    default collectors) in turn. Steady: both are scraped every 10 s, and their processes' CPU time \
    is divided by the time that passed. RSS after it, of a program whose file was written in pieces of \
    32 KiB, as containerd unpacks an image: a file is mapped by the pieces in which the page cache \
    has it.";

pub(super) const CONTAINERS: usize = 500;
const INTERVAL: Duration = Duration::from_secs(10);

/// node_exporter as Debian starts it.
pub(super) fn node_exporter(args: &Args) -> Result<Option<Server>> {
    let Some(path) = &args.node_exporter else { return Ok(None) };
    Server::peer(&mut Command::new(path), "--web.listen-address").map(Some)
}

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(CONTAINERS)?;
    let ours = Server::agent(args, &node, &[])?;
    let theirs = node_exporter(args)?;
    let servers: Vec<&Server> = [Some(&ours), theirs.as_ref()].into_iter().flatten().collect();

    // What comes first at the first scrapes: files are opened, buffers grow.
    for server in &servers {
        server.scrape()?;
    }
    let (mut measured, mut answer) = (Vec::new(), Vec::new());
    for server in &servers {
        measured.push((Series::default(), Series::default(), server.scrape()?));
    }
    for _ in 0..args.pick(60, 5) {
        for (server, (wall, cpu, _)) in servers.iter().zip(&mut measured) {
            rest();
            let before = server.cpu()?;
            let took = server.time_scrape(&mut answer)?;
            wall.push(took.as_secs_f64());
            // The answer is with us before the server has cleaned up.
            std::thread::sleep(Duration::from_millis(2));
            cpu.push(server.cpu()?.saturating_sub(before).as_secs_f64());
        }
    }
    let steady = steady(&servers, args.pick(6, 1))?;
    let before = ours.cpu()?;
    let idle = args.pick(INTERVAL * 2, INTERVAL / 5);
    std::thread::sleep(idle);
    let idle = ours.cpu()?.saturating_sub(before).as_secs_f64() / idle.as_secs_f64();
    let rss = servers.iter().map(|it| it.rss_bytes()).collect::<Result<Vec<_>>>()?;

    let mut lines = Vec::new();
    let mut sizes = Vec::new();
    for (.., body) in &measured {
        sizes.push((count_samples(body), body.len()));
    }
    let size = |(series, bytes): &(usize, usize)| format!("{series}, {} KiB", bytes / 1024);
    if let ([(wall, cpu, _), (their_wall, their_cpu, _)], [a, b]) = (&*measured, &*sizes) {
        let percentiles = |it: &Series| {
            format!("{} / {} ms", three(it.median() * 1e3), three(it.percentile(99) * 1e3))
        };
        let ratio = wall.percentile(99) / their_wall.percentile(99);
        lines.push(
            Line::new("series, body", size(a))
                .peer(size(b))
                .ratio(a.0 as f64 / b.0 as f64)
                .goal("≥ 40 times the series", Verdict::goal(a.0 >= 40 * b.0)),
        );
        lines.push(
            Line::new("GET /metrics, p50 / p99", percentiles(wall))
                .peer(percentiles(their_wall))
                .ratio(ratio)
                .goal("p99 ≤ node_exporter's", Verdict::goal(ratio <= 1.0))
                .because(
                    "one thread reads the files, writes the text and sends it; with other work on \
                     two CPUs the p99 of both is mostly that",
                ),
        );
        lines.push(
            Line::new("CPU of a scrape", cpu.ms())
                .peer(their_cpu.ms())
                .ratio(cpu.median() / their_cpu.median()),
        );
    } else {
        lines.push(Line::skipped("beside node_exporter", "it is not here"));
        if let ([(wall, ..)], [a]) = (&*measured, &*sizes) {
            lines.push(Line::new("series, body", size(a)));
            lines.push(Line::new("GET /metrics", wall.ms()));
        }
    }
    let mcores = |share: f64| format!("{} mcores", three(share * 1e3));
    let mut line = Line::new("steady CPU, scraped every 10 s", String::new());
    if let [mine, rest @ ..] = &*steady {
        line = Line::new("steady CPU, scraped every 10 s", mcores(*mine))
            .goal("≤ 1 mcore", Verdict::goal(*mine <= 1e-3))
            .because(format!(
                "without any scrape it takes {}; the rest is one scrape in 10 s",
                mcores(idle)
            ));
        if let [their] = rest {
            line = line.peer(mcores(*their)).ratio(mine / their);
        }
    }
    lines.push(line);
    if let [mine, rest @ ..] = &*rss {
        let mut line = Line::new("RSS then", mib(*mine))
            .goal("≤ 8 MiB", Verdict::goal(*mine <= 8 << 20))
            .because(format!(
                "{} of it are pages of the program's file; the rest is the state of {CONTAINERS} \
                 containers and as many workloads",
                mib(ours.rss_file_bytes()?)
            ));
        if let [their] = rest {
            line = line.peer(mib(*their)).ratio(*mine as f64 / *their as f64);
        }
        lines.push(line);
    }
    drop(ours);
    Ok(lines)
}

/// Shares of a CPU, while both are scraped at the usual interval.
pub(super) fn steady(servers: &[&Server], rounds: u32) -> Result<Vec<f64>> {
    let start = Instant::now();
    let before = servers.iter().map(|it| it.cpu()).collect::<Result<Vec<_>>>()?;
    let mut answer = Vec::new();
    for _ in 0..rounds {
        for server in servers {
            server.time_scrape(&mut answer)?;
        }
        std::thread::sleep(INTERVAL);
    }
    let elapsed = start.elapsed();
    let shares = servers.iter().zip(before).map(|(server, before)| {
        let used = server.cpu()?.saturating_sub(before);
        Ok(used.as_secs_f64() / elapsed.as_secs_f64())
    });
    shares.collect()
}
