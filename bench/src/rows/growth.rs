//! 10 to 2000 containers: what grows, and how.

use std::collections::BTreeMap;

use agent::metrics::catalog::series_max;
use agent::metrics::collector::{Collector, Collectors};
use agent::metrics::family::Scope;
use anyhow::Result;
use testbed::scrape::Scrape;

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::{Server, rest};
use crate::stats::{Series, mib, three};

pub(super) const HOW: &str = "A new agent at each size, 20 scrapes. Every container counts as a \
    workload of its own here, as without the API, so --metrics.max-series is raised. The budget \
    is what the catalogue allows, and what is counted in the scrape.";

/// Series that a container and a workload's container may have.
const BUDGET: [(Scope, &str, u32); 2] =
    [(Scope::Container, "container", 48), (Scope::Workload, "workload container", 80)];

struct Size {
    containers: usize,
    rss_bytes: u64,
    line: Line,
}

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let sizes: &[usize] = args.pick(&[10, 100, 500, 1000, 2000], &[10, 100, 300]);
    let mut node = Node::make(&args.cgroup_root)?;
    let (mut measured, mut answer) = (Vec::new(), Vec::new());
    let mut last = Scrape::default();
    for size in sizes {
        node.grow(*size)?;
        let server = Server::agent(args, &node, &["--metrics.max-series", "1000000"])?;
        let mut times = Series::default();
        for _ in 0..args.pick(20, 5) {
            rest();
            times.push(server.time_scrape(&mut answer)?.as_secs_f64());
        }
        last = server.read()?;
        let dropped =
            last.value("series_dropped_total", &[])? + last.value("events_lost_total", &[])?;
        let rss_bytes = server.rss_bytes()?;
        let line = Line::new(
            format!("{size} containers: RSS, series, scrape, cgroups"),
            format!(
                "{}, {}, {}, {}",
                mib(rss_bytes),
                last.len(),
                times.ms(),
                last.value("cgroups_tracked", &[])?
            ),
        )
        .goal("nothing dropped", Verdict::count(dropped == 0.0))
        .because(format!("{dropped} series or records were dropped"));
        server.stop()?;
        measured.push(Size { containers: *size, rss_bytes, line });
    }
    let mut lines: Vec<Line> = measured.iter().map(|size| size.line.clone()).collect();
    lines.push(bend(&measured)?);
    lines.extend(budget(&last));
    Ok(lines)
}

/// Whether memory grows faster than the number of containers. Memory that was freed at the end of
/// the start is used before more is taken, so small sizes look as if they took none.
fn bend(sizes: &[Size]) -> Result<Line> {
    let [.., before, last] = sizes else { anyhow::bail!("too few sizes") };
    let rss_bytes = [before, last].map(|size| size.rss_bytes as f64);
    let containers = [before, last].map(|size| size.containers as f64);
    let [rss_before, rss_last] = rss_bytes;
    let [few, many] = containers;
    let (grown, wanted) = (rss_last / rss_before, many / few);
    let further = (rss_last - rss_before) / (many - few) / 1024.0;
    Ok(Line::new(
        format!("RSS from {few} to {many}"),
        format!("{} times, {} KiB a container", three(grown), three(further)),
    )
    .goal(format!("≤ {wanted} times"), Verdict::count(grown <= wanted))
    .because("memory grows faster than the number of containers"))
}

fn budget(scrape: &Scrape) -> Vec<Line> {
    BUDGET
        .into_iter()
        .map(|(scope, what, most)| {
            // What probes cost is a budget of its own, for each probe.
            let collectors =
                Collectors::ALL.without(Collector::Probes).without(Collector::ProbePhases);
            let allowed = series_max(scope, collectors);
            let seen = most_of(scrape, scope).unwrap_or_default();
            let verdict =
                if seen > most { Verdict::count(false) } else { Verdict::goal(allowed <= most) };
            Line::new(format!("series of a {what}"), format!("{seen} seen, {allowed} at most"))
                .goal(format!("≤ {most}"), verdict)
                .because(
                    "a workload that meets every signal from every sender, every OOM and every \
                     mismatch has more than the budget; what is usual has not",
                )
        })
        .collect()
}

/// Series of the subject that has the most. Labels of a scope are those that all its series have,
/// and those of a wider scope do not.
fn most_of(scrape: &Scrape, scope: Scope) -> Option<u32> {
    let labels = scope.labels();
    let other = match scope {
        Scope::Workload => "pod",
        _ => "workload",
    };
    let mut counts: BTreeMap<Vec<&str>, u32> = BTreeMap::new();
    for sample in scrape.exposition().samples() {
        let info = sample.name == "podvitals_container_info";
        if sample.labels.contains_key(other) && !(info && scope == Scope::Container) {
            continue;
        }
        let values = labels.iter().map(|label| sample.labels.get(*label).map(String::as_str));
        if let Some(key) = values.collect::<Option<Vec<&str>>>() {
            *counts.entry(key).or_default() += 1;
        }
    }
    counts.into_values().max()
}
