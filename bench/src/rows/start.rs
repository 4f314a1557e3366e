//! From the start to the first good scrape.

use anyhow::Result;

use super::scrape;
use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::Server;
use crate::stats::{Series, mib};

pub(super) const HOW: &str = "Both are started in turn while 500 containers run; a scrape is good \
    when it shows the start of every container. The peak is the process' VmHWM after it.";

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(scrape::CONTAINERS)?;
    let (mut times, mut peaks) = ([Series::default(), Series::default()], [0, 0]);
    for _ in 0..args.pick(9, 2) {
        let ours = Server::agent(args, &node, &[])?;
        let theirs = scrape::node_exporter(args)?;
        let servers = [Some(ours), theirs];
        for ((time, peak), server) in times.iter_mut().zip(&mut peaks).zip(servers) {
            if let Some(server) = server {
                time.push(server.ready_after().as_secs_f64());
                *peak = server.peak_rss_bytes()?.max(*peak);
                server.stop()?;
            }
        }
    }
    let [ours, theirs] = &times;
    let [our_peak, their_peak] = peaks;
    let mut lines = vec![
        Line::new("first good scrape after", ours.ms())
            .goal("≤ 500 ms", Verdict::goal(ours.median() <= 0.5)),
        Line::new("peak RSS", mib(our_peak)).goal("≤ 32 MiB", Verdict::goal(our_peak <= 32 << 20)),
    ];
    if args.node_exporter.is_some() {
        let peers = [
            (theirs.ms(), ours.median() / theirs.median()),
            (mib(their_peak), our_peak as f64 / their_peak as f64),
        ];
        lines = lines
            .into_iter()
            .zip(peers)
            .map(|(line, (peer, ratio))| line.peer(peer).ratio(ratio))
            .collect();
    }
    Ok(lines)
}
