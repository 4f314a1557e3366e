//! Where the time of a scrape goes, and what each format and coding costs.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::scrape::Scrape;

use super::scrape::CONTAINERS;
use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::{Headers, SCRAPER, Server, TEXT};
use crate::stats::{Series, three};

pub(super) const HOW: &str = "500 containers, the agent's CPU time for each GET. The parts of a \
    scrape as text: the pass and the rest of the collection are the agent's own collector_duration_seconds \
    (wall time of one thread), what is left is writing the text, HTTP and the socket. Formats and \
    codings are asked for in turn. The peer of gzip is Python's zlib, level 1, over the same body in \
    one go.";

const OPEN_METRICS: (&str, &str) = ("Accept", "application/openmetrics-text;version=1.0.0");
const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

/// What can be asked for.
const VARIANTS: [(&str, Headers); 4] = [
    ("text", TEXT),
    ("OpenMetrics", &[OPEN_METRICS, SCRAPER]),
    ("text, gzip", &[("Accept", "text/plain;version=0.0.4"), GZIP, SCRAPER]),
    ("OpenMetrics, gzip", &[OPEN_METRICS, GZIP, SCRAPER]),
];

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(CONTAINERS)?;
    let server = Server::agent(args, &node, &[])?;
    for _ in 0..3 {
        server.scrape()?;
    }
    let (mut pass, mut rest) = (Series::default(), Series::default());
    let mut variants = VARIANTS.map(|_| (Series::default(), 0));
    let (mut answer, mut body) = (Vec::new(), String::new());
    for _ in 0..args.pick(20, 3) {
        for ((_, headers), (cpu, bytes)) in VARIANTS.iter().zip(&mut variants) {
            crate::server::rest();
            let before = server.cpu()?;
            server.get_into(headers, &mut answer)?;
            // The answer is with us before the server has cleaned up.
            std::thread::sleep(Duration::from_millis(2));
            cpu.push(server.cpu()?.saturating_sub(before).as_secs_f64());
            *bytes = answer.len();
        }
        body = server.scrape()?;
        let scrape = Scrape::parse(&body)?;
        let took = |collector| {
            let labels = [("collector", collector)];
            scrape.sum("collector_duration_seconds", &labels).unwrap_or_default()
        };
        pass.push(took("cgroup_iterator"));
        rest.push(took("cgroup_files"));
    }
    server.stop()?;

    let [(text, _), _, (gzip, _), _] = &variants;
    let part = |what: &str, seconds: f64| {
        let share = format!("{} % of a scrape", three(seconds / text.median() * 100.0));
        Line::new(what, format!("{} ms, {share}", three(seconds * 1e3)))
    };
    let written = text.median() - pass.median() - rest.median();
    let mut lines = vec![
        part("one pass of the cgroup iterator", pass.median()),
        part("stats to the store", rest.median()),
        part("text, HTTP and the socket", written),
    ];
    for ((name, _), (cpu, bytes)) in VARIANTS.iter().zip(&variants) {
        let line = Line::new(format!("{name}, {} KiB", bytes / 1024), cpu.ms());
        lines.push(if *name == "text" { line } else { line.ratio(cpu.median() / text.median()) });
    }
    // What gzip itself takes cannot be had by subtraction: a small body spares the socket more.
    let what = "all of a scrape with gzip, against zlib level 1 alone";
    lines.push(match zlib(&body) {
        Err(why) => Line::skipped(what, format!("{why:#}")),
        Ok(zlib) => {
            let ratio = gzip.median() / zlib;
            Line::new(what, format!("{} ms", three(gzip.median() * 1e3)))
                .peer(format!("{} ms", three(zlib * 1e3)))
                .ratio(ratio)
                .goal("≤ 1.2", Verdict::goal(ratio <= 1.2))
        }
    });
    Ok(lines)
}

/// CPU time that zlib takes for a body, the median of some, seconds.
fn zlib(body: &str) -> Result<f64> {
    const PROGRAM: &str = "import sys, time, zlib\n\
        body = sys.stdin.buffer.read()\n\
        times = []\n\
        for _ in range(9):\n \
            start = time.process_time()\n \
            zlib.compress(body, 1)\n \
            times.append(time.process_time() - start)\n\
        print(sorted(times)[4])\n";
    let mut python = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("no python3")?;
    python.stdin.take().context("no stdin")?.write_all(body.as_bytes()).context("python3")?;
    let output = python.wait_with_output().context("python3")?;
    ensure!(output.status.success(), "python3: {}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().parse().context("python3's answer")
}
