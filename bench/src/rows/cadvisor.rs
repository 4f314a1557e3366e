//! cAdvisor over the same cgroups.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent::kernel::cgroup_mount;
use anyhow::{Context as _, Result};
use testbed::exposition::count_samples;

use super::scrape;
use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::{Server, rest};
use crate::stats::{Series, mib, three};

pub(super) const HOW: &str = "cAdvisor's library as the kubelet has it built in (its intervals; \
    CPU, memory, pressure and OOM metrics), over the same 500 containers, in a mount namespace where \
    /sys/fs/cgroup is the v2 hierarchy; scraped in turn with Podvitals.";

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let Some(binary) = &args.cadvisor else {
        return Ok(vec![Line::skipped("cAdvisor", args.no_cadvisor.clone())]);
    };
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(scrape::CONTAINERS)?;
    let theirs = start(binary, &node)?;
    let ours = Server::agent(args, &node, &[])?;
    let servers = [&ours, &theirs];
    let mut answer = Vec::new();
    let mut measured = [(); 2].map(|()| (Series::default(), Series::default(), 0));
    for _ in 0..args.pick(30, 3) {
        for (server, (wall, cpu, _)) in servers.iter().zip(&mut measured) {
            rest();
            let before = server.cpu()?;
            let took = server.time_scrape(&mut answer)?;
            wall.push(took.as_secs_f64());
            // The answer is with us before the server has cleaned up.
            std::thread::sleep(Duration::from_millis(5));
            cpu.push(server.cpu()?.saturating_sub(before).as_secs_f64());
        }
    }
    for (server, (.., series)) in servers.iter().zip(&mut measured) {
        *series = count_samples(&server.scrape()?);
    }
    let steady = scrape::steady(&servers, args.pick(6, 1))?;
    let [mine, other] = &measured;
    let [my_share, other_share] = &*steady else { anyhow::bail!("two servers were measured") };
    let times = |it: &Series| {
        format!("{} / {} ms", three(it.median() * 1e3), three(it.percentile(99) * 1e3))
    };
    let mcores = |share: f64| format!("{} mcores", three(share * 1e3));
    let (my_rss, other_rss) = (ours.rss_bytes()?, theirs.rss_bytes()?);
    Ok(vec![
        Line::new("series", mine.2.to_string())
            .peer(other.2.to_string())
            .ratio(mine.2 as f64 / other.2 as f64),
        Line::new("GET /metrics, p50 / p99", times(&mine.0))
            .peer(times(&other.0))
            .ratio(mine.0.median() / other.0.median()),
        Line::new("CPU of a scrape", mine.1.ms())
            .peer(other.1.ms())
            .ratio(mine.1.median() / other.1.median()),
        Line::new("steady CPU, scraped every 10 s", mcores(*my_share))
            .peer(mcores(*other_share))
            .ratio(my_share / other_share)
            .goal("less", Verdict::goal(my_share < other_share)),
        Line::new("RSS then", mib(my_rss))
            .peer(mib(other_rss))
            .ratio(my_rss as f64 / other_rss as f64)
            .goal("less", Verdict::goal(my_rss < other_rss)),
    ])
}

/// It wants v2 at the usual place, which a hybrid host has elsewhere; only it sees the difference.
fn start(binary: &Path, node: &Node) -> Result<Server> {
    let mount = cgroup_mount::find().context("find the cgroup mounts")?.unified;
    let mount = mount.context("no cgroup v2 hierarchy is mounted")?;
    let below = node.root().strip_prefix(&mount).context("a root outside the hierarchy")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    // `exec`: the process stays the same.
    command.arg(r#"mount --bind "$0" /sys/fs/cgroup && exec "$@""#);
    command.arg(&mount).arg(binary).arg("-cgroup").arg(Path::new("/").join(below));
    let mut server = Server::spawn(&mut command, "-listen-address")?;
    server.wait(|body| {
        let shown = |line: &&str| {
            line.starts_with("container_cpu_user_seconds_total{") && line.contains(".scope")
        };
        body.lines().filter(shown).count() >= node.containers.len()
    })?;
    Ok(server)
}
