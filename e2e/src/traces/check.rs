//! The step after the scenarios.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    otlp::{Span, Tree},
    scrape::Scrape,
};
use xtask::{monitoring::prometheus::Api, paths, stop, waterfall};

use super::{
    compare,
    known::Known,
    receiver::{Traces, exported},
};
use crate::{cluster::Cluster, scenarios::kernel, steps::Steps};

/// How long until all is sent: an end is explained 30 s after it at most, and sent within 5 s.
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked for.
const POLL: Duration = Duration::from_secs(2);
/// Kinds of traces by the names of their roots, and the Pods that show each best.
const KINDS: [(&str, &str); 3] = [
    ("pod startup", "life-with-init-and-sidecar"),
    ("container restart", "kill-by-liveness"),
    ("pod shutdown", "stop-ignored"),
];

/// What is held against each other.
pub(crate) struct Check<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) traces: &'a Traces,
    /// Where the agent serves.
    pub(crate) agent: SocketAddr,
    /// The Prometheus that has scraped the agent.
    pub(crate) api: Api,
    /// When the first scenario began.
    pub(crate) since: SystemTime,
}

/// What was found as it should be.
struct Found {
    trees: Vec<Tree>,
    spans: usize,
    exemplars: usize,
}

impl Check<'_> {
    /// Waits until the Collector has all that the scenarios know of, and gives the report. With
    /// `update` one trace of each kind is redrawn for docs/pictures.
    pub(crate) fn run(&self, update: bool, steps: &mut Steps) -> Result<String> {
        steps.begin("traces: what the Collector has, and what the scenarios know");
        let known = self.traces.known().clone();
        let deadline = Instant::now() + LIMIT;
        let found = loop {
            match self.look(&known) {
                Ok(found) => break found,
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(format!("traces, after {} s", LIMIT.as_secs())));
                }
                Err(_) => {}
            }
            stop::check()?;
            self.cluster.check()?;
            thread::sleep(POLL);
        };
        if update {
            draw(&known, &found.trees, &paths::root().join("docs/pictures"))?;
        }
        steps.end();
        let report = report(&known, &found);
        print!("{report}");
        Ok(report)
    }

    fn look(&self, known: &Known) -> Result<Found> {
        let scrape = Scrape::parse(&self.cluster.fetch(self.agent, "/metrics")?)?;
        let spans = self.traces.spans()?;
        let trees = compare::all(known, &kernel::execs(self.cluster)?, &spans)?;
        let sent = known.earlier + exported(&scrape)?;
        ensure!(sent == spans.len(), "the agent has sent {sent} spans, {} came", spans.len());
        let dropped = scrape.sum("trace_spans_dropped_total", &[]);
        ensure!(dropped == Some(0.0), "the agent has dropped {dropped:?} spans");
        let omitted = scrape.sum("traces_omitted_total", &[]);
        ensure!(omitted == Some(0.0), "the agent has left out {omitted:?} traces");
        let exemplars = self.exemplars(&spans)?;
        ensure!(exemplars > 0 || known.told.is_empty(), "Prometheus has no exemplar");
        Ok(Found { trees, spans: spans.len(), exemplars })
    }

    /// The number of exemplars that Prometheus has, each of a trace that was received.
    fn exemplars(&self, spans: &[Span]) -> Result<usize> {
        let unix_s = |time: SystemTime| -> Result<u64> {
            Ok(time.duration_since(SystemTime::UNIX_EPOCH).context("the clock")?.as_secs())
        };
        let times = [unix_s(self.since)?, unix_s(SystemTime::now())? + 60];
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.trace_id.as_str()).collect();
        let mut count = 0;
        for series in self.api.exemplars(r#"{__name__=~"podvitals_.+"}"#, times)? {
            for exemplar in series.exemplars {
                let id = exemplar.labels.get("trace_id").context("an exemplar without a trace")?;
                ensure!(ids.contains(id.as_str()), "an exemplar of {id}, which did not come");
                count += 1;
            }
        }
        Ok(count)
    }
}

fn report(known: &Known, found: &Found) -> String {
    let counts = KINDS.map(|(kind, _)| {
        format!("{} {kind}", found.trees.iter().filter(|it| it.root.span.name == kind).count())
    });
    format!(
        "\nTraces: {} spans sent and received, none dropped; {}. {} ends and {} startups are as the \
         scenarios and the API know them; {} exemplars, each of a trace that came.\n",
        found.spans,
        counts.join(", "),
        known.told.len(),
        known.ran.len(),
        found.exemplars,
    )
}

/// Draws a trace of each kind.
fn draw(known: &Known, trees: &[Tree], dir: &Path) -> Result<()> {
    for (kind, pod) in KINDS {
        let of_kind = trees.iter().filter(|tree| {
            let root = &tree.root.span;
            root.name == kind
                && !root.attributes.contains_key("podvitals.incomplete")
                && !known.failed.contains(root.resource_text("k8s.pod.name"))
        });
        let best = of_kind.max_by_key(|tree| {
            let is_wanted = tree.root.span.resource_text("k8s.pod.name").starts_with(pod);
            (is_wanted, tree.nodes().len())
        });
        let best = best.with_context(|| format!("no trace of a {kind}"))?;
        let name = kind.rsplit(' ').next().unwrap_or(kind);
        waterfall::write(best, dir, &format!("trace-{name}.svg"))?;
    }
    Ok(())
}
