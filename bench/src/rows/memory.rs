//! Nothing is left behind: by scrapes, and by containers that come and go.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::Server;
use crate::stats::mib;
use crate::work::NOTHING;

pub(super) const HOW: &str = "RSS of the agent at 100 containers. Scrapes in a row; then, with \
    --metrics.retention 1, containers of one Pod name that are made, run /bin/true and are removed, \
    the same number twice: the first fills what is kept for a minute, the second must not add to \
    it. Every death must be counted.";

const CONTAINERS: usize = 100;
/// What the allocator may differ by.
const SLACK_BYTES: u64 = 1 << 20;
/// Facts may come for a minute after a removal; then the store forgets, every 5 s.
const HELD: Duration = Duration::from_secs(67);
/// Deaths are published when they have settled.
const SETTLED: Duration = Duration::from_secs(10);

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(CONTAINERS)?;
    let server = Server::agent(args, &node, &["--metrics.retention", "1"])?;
    let mut lines = vec![scrapes(args, &server)?];

    let count = args.pick(5000, 200);
    let first = churn(&mut node, &server, count)?;
    // A quick run has no time to wait for what is held on purpose.
    let (before, second) = if args.quick {
        (server.rss_bytes()?, None)
    } else {
        std::thread::sleep(HELD);
        server.scrape()?;
        let before = server.rss_bytes()?;
        let second = churn(&mut node, &server, count)?;
        std::thread::sleep(HELD);
        server.scrape()?;
        (before, Some(second))
    };
    let deaths = first + second.unwrap_or_default();
    let wanted = if second.is_some() { 2 * count } else { count } as u64;
    lines.push(
        Line::new(format!("{wanted} containers came and went: deaths counted"), deaths.to_string())
            .goal(wanted.to_string(), Verdict::count(deaths == wanted))
            .because("a death was not counted, or counted twice"),
    );
    if second.is_some() {
        lines.push(unchanged(format!("RSS over the second {count}"), before, server.rss_bytes()?));
    }
    server.stop()?;
    Ok(lines)
}

fn scrapes(args: &Args, server: &Server) -> Result<Line> {
    // Each takes a second: scrapes within one share a look.
    let count = args.pick(120, 10);
    for _ in 0..args.pick(20, 5) {
        server.scrape()?;
    }
    let before = server.rss_bytes()?;
    for _ in 0..count {
        server.scrape()?;
    }
    Ok(unchanged(format!("RSS over {count} scrapes"), before, server.rss_bytes()?))
}

fn unchanged(what: String, before: u64, after: u64) -> Line {
    Line::new(what, format!("{} → {}", mib(before), mib(after)))
        .goal("≤ 1 MiB more", Verdict::count(after <= before + SLACK_BYTES))
        .because("memory is left behind")
}

/// Containers that live a moment; how many deaths the agent tells of them.
fn churn(node: &mut Node, server: &Server, count: usize) -> Result<u64> {
    let deaths = || -> Result<u64> {
        let scrape = server.read()?;
        Ok(scrape.sum("terminations_total", &[("container", "job")]).unwrap_or_default() as u64)
    };
    let before = deaths()?;
    let mut gone = Vec::new();
    for _ in 0..count {
        let container = node.container(usize::MAX >> 32, "job")?;
        container.run(NOTHING)?;
        container.remove()?;
        gone.push(container);
    }
    let start = Instant::now();
    let mut told = 0;
    while told < count as u64 && start.elapsed() < SETTLED {
        std::thread::sleep(Duration::from_millis(250));
        told = deaths()? - before;
    }
    // With them their links.
    drop(gone);
    Ok(told)
}
