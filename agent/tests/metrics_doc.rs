//! Holds docs/METRICS.md against the catalogue; `UPDATE_GOLDEN=1` rewrites it.

use std::fmt::Write as _;
use std::path::Path;

use agent::metrics::{
    catalog::families,
    family::{Family, Scope, Unit},
};

const HEAD: &str = "\
# Metrics

Written from the catalogue in the code; a test holds it to that.

A value that is not known makes no series. What can be counted is at 0 before its first event: where
the label sets are few they are born with their container or workload; where they are many (signals
by sender) a series is born when it first happens. A Prometheus scraper sees a new series at 0 once
before its value, so that `increase()` sees the first event; a human with curl sees the value.

In OpenMetrics the name of a counter's family is without `_total`; the series are the same in both
formats.

Times are seconds, amounts of memory bytes. *Series* is how many series a family can have for one
subject, its buckets included.

Without a source of Pods (`--pods.source`) there are no requests, grace periods and shares of them,
preStop hooks, startup phases that the API ends, and mismatches: the kernel does not know of them.
`trigger` is then `none` without a stop signal, else `unknown`; `role` is `unknown` and `image` empty.

Triggers. `none`: nobody asked the container to stop. `pod_deletion`, `api_eviction`, `preemption`,
`taint`: the Pod was deleted before the stop signal, and its condition `DisruptionTarget` says by
whom. `node_pressure`, `node_shutdown`: the reason that the kubelet writes into the Pod's status once
nothing of it runs. `liveness`, `startup`, `restart_other`: the kubelet stopped the container and
started it anew; that a probe was the cause is inferred from the Pod having one, since the API does
not tell. `pod_completion`: a sidecar whose Pod's main containers were done, inferred likewise.
`unknown`: nothing said why within 30 seconds.

The share of the grace period: from the stop signal to the end, by what was left at the signal. That
is the grace period that counted (the deletion's, else the failed probe's own, else the Pod's), less
the whole seconds that a preStop hook and a sidecar's wait had taken, and 2 s at least, as the
kubelet does it. Ends by the node's pressure or shutdown have none: they have a grace period that the
API does not tell.
";

fn section(scope: Scope) -> (&'static str, &'static str) {
    match scope {
        Scope::Container => (
            "Per container",
            "Keyed by the container's name: a restart goes on counting. Gauges go with the cgroup; \
             counters, `_last_*` and `container_info` stay 5 minutes.",
        ),
        Scope::Pod => ("Per Pod", "From the Pod's own cgroup."),
        Scope::Workload => (
            "Per workload on this node",
            "Without a source of Pods the workload is the Pod. Kept an hour after the last container. \
             Of the series some are there from the first container on (49, and 8 with a preStop \
             hook); the rest are born at their first event. One that went through everything in the \
             usual ways has 77.",
        ),
        Scope::Node => ("Per node, and the agent about itself", ""),
        Scope::Process => ("The agent's process", "Under the names that all clients use."),
    }
}

fn row(family: &Family) -> String {
    let kind = family.kind.name();
    let unit = match family.unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::Cores => "cores",
    };
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    format!(
        "| `{}{}` | {kind} | {unit} | {} | {} | {} |",
        family.prefix(),
        family.name,
        labels.join(", "),
        family.series_max,
        family.help
    )
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    for scope in [Scope::Container, Scope::Pod, Scope::Workload, Scope::Node, Scope::Process] {
        let (title, words) = section(scope);
        let labels: Vec<_> = scope.labels().iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(out, "\n## {title}\n");
        if !words.is_empty() {
            let _ = writeln!(out, "{words}");
        }
        if !labels.is_empty() {
            let _ = writeln!(out, "Labels of each series: {}.", labels.join(", "));
        }
        if !words.is_empty() || !labels.is_empty() {
            out.push('\n');
        }
        out.push_str("| family | type | unit | labels | series | what it says |\n");
        out.push_str("|---|---|---|---|---|---|\n");
        for family in families().filter(|family| family.scope == scope) {
            let _ = writeln!(out, "{}", row(family));
        }
    }
    out
}

#[test]
fn the_reference_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let expected = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/METRICS.md is stale: UPDATE_GOLDEN=1 cargo test rewrites it");
}
