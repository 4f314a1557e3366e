//! *Podvitals itself*: whether it sees everything, and what it costs.

use crate::board::{Board, Row};
use crate::link;
use crate::panel::{
    Cell, Field, Panel, Style, bar_gauge, counts, ranked_time_series, stat, table, time_series,
};
use crate::query::{
    ALL_TIME, ON_NODES, RATE, events, node_events, node_events_per_step, number_of, select,
    steady_top, top,
};
use crate::target::{instant, range, table as rows};
use crate::unit::{BAD, GOOD, NOTABLE, PLAIN, Thresholds, Unit, WORSE};
use crate::variable::Variable;

/// Labels of an agent, whichever address it has.
const AGENT: &str = "cluster, node";

/// Board *Podvitals itself*.
pub(crate) fn board() -> Board {
    Board {
        uid: "podvitals-self",
        title: "Podvitals / Podvitals itself",
        description: "Whether the agents see everything, what they lost, and what they cost.",
        range: "6h",
        variables: vec![Variable::datasource(), Variable::cluster(), Variable::nodes()],
        annotations: Vec::new(),
        rows: vec![at_a_glance(), coverage(), losses(), traces(), cost()],
    }
}

/// A gauge of each agent.
fn of_agents(family: &str) -> String {
    format!("max by ({AGENT}) ({})", select(family, ON_NODES, ""))
}

/// `up` of all targets of jobs that have, or had in the time range, an agent.
fn up() -> String {
    let up = select("up", ON_NODES, "");
    let agents = select("podvitals_build_info", ON_NODES, "");
    format!(
        "max by (cluster, node, instance) ({up} and on (job) last_over_time({agents}[{ALL_TIME}]))"
    )
}

/// A value of the agents' own processes; all other programs use these names too.
fn of_processes(expr: &str) -> String {
    let agents = select("podvitals_build_info", ON_NODES, "");
    format!("max by ({AGENT}) ({expr} and on (cluster, node, instance) {agents})")
}

fn at_a_glance() -> Row {
    let missing = select("podvitals_program_attached", ON_NODES, r#"program!="cgroup_iter""#);
    let missing = format!("max by ({AGENT}, program) ({missing}) == 0");
    let lost = select("podvitals_events_lost_total", ON_NODES, "");
    Row::top(vec![
        stat(
            "Agents down",
            "Targets of the agents' job that Prometheus cannot scrape now. 0 is good: from a node whose \
             agent is down nothing is seen.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(1.0))
        .ask(instant(format!("count({0} == 0) or 0 * count({0})", up()), "Agents down")),
        stat(
            "Lost events",
            "Events in the time range that the kernel side could not hand over, because the agent was \
             too slow for a burst. A lost event can be a death that is not shown. 0 is good.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 100.0))
        .ask(instant(node_events("", &lost, "reason", ALL_TIME), "Lost events")),
        stat(
            "Programs not attached",
            "BPF programs that are not attached on some node: refused by its kernel, switched off, or \
             for want of capabilities. What is lost then is in the agent's log and on its landing page. \
             cgroup_iter is left out: without it all is seen, at a higher cost.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(1.0))
        .ask(instant(number_of(&missing, ON_NODES), "Not attached")),
        stat(
            "Hidden containers",
            "Containers that are not exported, because there is no room for their series \
             (--metrics.max-series). 0 is good.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(1.0))
        .ask(instant(format!("sum({})", of_agents("podvitals_containers_hidden")), "Hidden")),
        stat(
            "Without a name",
            "Container cgroups that no source names: they are shown under their ids. A few for a moment \
             are usual; many, or for long, is a Pod source that does not answer.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds { base: GOOD, steps: vec![(3.0, NOTABLE), (20.0, BAD)] })
        .ask(instant(format!("sum({})", of_agents("podvitals_cgroups_unresolved")), "Without a name")),
        stat(
            "Oldest Pod metadata",
            "Time since the agent that is worst off last heard from its Pod source. A healthy watch is \
             heard of once a minute; after five minutes new Pods have no names and deaths no triggers.",
        )
        .unit(Unit::Seconds)
        .thresholds(Thresholds::rising(120.0, 300.0))
        .no_value("no Pod source")
        .ask(instant(
            format!("max({})", of_agents("podvitals_pod_metadata_age_seconds")),
            "Oldest Pod metadata",
        )),
    ])
}

fn coverage() -> Row {
    let version = select("podvitals_build_info", ON_NODES, "");
    let detached = select("podvitals_program_attached", ON_NODES, "");
    let lost = select("podvitals_events_lost_total", ON_NODES, "");
    let memory = select("process_resident_memory_bytes", ON_NODES, "");
    Row::new(
        "Coverage",
        vec![table(
            "Agents",
            "A row for each node with an agent; two rows for a node whose agent was replaced by another \
             version. A node of the cluster that is not listed has no agent, or Prometheus does not find \
             it. Nothing but 0 in the columns Not attached, Lost, Hidden and Unnamed is good. A click on a \
             node shows its Pods.",
            &[
                ("node", "Node"),
                ("version", "Version"),
                ("Value #B", "Not attached"),
                ("Value #C", "Lost"),
                ("Value #D", "Hidden"),
                ("Value #E", "Unnamed"),
                ("Value #F", "Metadata age"),
                ("Value #G", "Cgroups"),
                ("Value #H", "Series"),
                ("Value #I", "Memory"),
                ("cluster", "Cluster"),
            ],
            "Lost",
        )
        .size(24, 8)
        .unit(Unit::Count)
        .decimals(0)
        .field("Node", Field::link(link::NODE))
        .field("Not attached", Field::count().cell(Thresholds::worse_from(1.0), Cell::Text))
        .field("Lost", Field::count().cell(Thresholds::rising(0.5, 100.0), Cell::Text))
        .field("Hidden", Field::count().cell(Thresholds::worse_from(1.0), Cell::Text))
        .field("Unnamed", Field::count().cell(Thresholds::rising(3.0, 20.0), Cell::Text))
        .field("Metadata age", Field { decimals: Some(0), ..Field::unit(Unit::Seconds) }
            .cell(Thresholds::rising(120.0, 300.0), Cell::Text))
        .field("Cgroups", Field::unit(Unit::Whole))
        .field("Series", Field::unit(Unit::Whole))
        .field("Memory", Field { decimals: Some(1), ..Field::unit(Unit::Bytes) })
        .ask(rows(format!("max by ({AGENT}, version) ({version})")))
        .ask(rows(format!("sum by ({AGENT}) (1 - max by ({AGENT}, program) ({detached}))")))
        .ask(rows(node_events(AGENT, &lost, "reason", ALL_TIME)))
        .ask(rows(of_agents("podvitals_containers_hidden")))
        .ask(rows(of_agents("podvitals_cgroups_unresolved")))
        .ask(rows(of_agents("podvitals_pod_metadata_age_seconds")))
        .ask(rows(of_agents("podvitals_cgroups_tracked")))
        .ask(rows(of_agents("podvitals_series")))
        .ask(rows(of_processes(&memory)))],
    )
}

/// A counter of agents in each step.
fn counted(panel: Panel, family: &str, own: &str, more: &str, legend: &'static str) -> Panel {
    let series = select(family, ON_NODES, more);
    panel.ask(range(node_events_per_step("", &series, own), legend))
}

/// Counters of what was lost: family, its own label, what else is chosen, and what it is.
const LOSSES: &[(&str, &str, &str, &str)] = &[
    ("podvitals_events_lost_total", "reason", "", "events lost"),
    ("podvitals_events_rejected_total", "reason", "", "events rejected"),
    ("podvitals_events_dropped_total", "reason", r#"reason!="unmatched""#, "events dropped"),
    ("podvitals_pod_items_dropped_total", "reason", "", "Pod items dropped"),
    ("podvitals_log_lines_dropped_total", "reason", "", "log lines dropped"),
    ("podvitals_http_connections_closed_total", "reason", "", "connections closed"),
    (
        "podvitals_cgroup_read_errors_total",
        "reason",
        r#"reason!="vanished""#,
        "cgroup reads failed",
    ),
    ("podvitals_events_unseen_total", "kind", "", "events unseen"),
    ("podvitals_evidence_dropped_total", "kind", "", "evidence dropped"),
    ("podvitals_trace_spans_dropped_total", "reason", "", "spans dropped"),
];

/// What was lost on which node, in one list.
fn lost_where() -> String {
    let lists = LOSSES.iter().map(|(family, own, more, what)| {
        let by = format!("{AGENT}, {own}");
        let list = node_events(&by, &select(family, ON_NODES, more), own, ALL_TIME);
        // A constant has no label to be taken from.
        let named = format!(r#"label_replace({list} > 0, "what", "{what}", "{own}", ".*")"#);
        match *own {
            "reason" => named,
            own => format!(r#"label_join({named}, "reason", "", "{own}")"#),
        }
    });
    let lists: Vec<_> = lists.collect();
    format!("topk(50, sum by ({AGENT}, what, reason) ({}))", lists.join(" or "))
}

fn losses() -> Row {
    let events = counts(
        "Events lost or dropped",
        "lost: the ring was full. rejected: a record could not be decoded. dropped: left out on \
         purpose, because a container causes more than its share, has no known name, or is no longer \
         exported. unseen: happened while the agent was not running. evidence: forgotten before it was \
         used. No bars is good; lost and rejected are the bad ones.",
    )
    .size(8, 7)
    .field("lost", Field::color("red"))
    .field("rejected", Field::color("orange"));
    let events = counted(events, "podvitals_events_lost_total", "reason", "", "lost");
    let events = counted(events, "podvitals_events_rejected_total", "reason", "", "rejected");
    let events = counted(
        events,
        "podvitals_events_dropped_total",
        "reason",
        r#"reason!="unmatched""#,
        "dropped",
    );
    let events = counted(events, "podvitals_events_unseen_total", "kind", "", "unseen");
    let events = counted(events, "podvitals_evidence_dropped_total", "kind", "", "evidence");
    let room = counts(
        "Left out for want of room",
        "Series over --metrics.max-series, containers that were forgotten before the end of their \
         retention, label sets that were folded, Pods that found no room, and items of the Pod source \
         that were not taken in. No bars is good.",
    )
    .size(8, 7);
    let room = counted(room, "podvitals_series_dropped_total", "", "", "series");
    let room = counted(room, "podvitals_retention_evictions_total", "", "", "retained entities");
    let room = counted(room, "podvitals_label_sets_dropped_total", "", "", "label sets");
    let room = counted(room, "podvitals_pods_dropped_total", "", "", "Pods");
    let room = counted(room, "podvitals_pod_items_dropped_total", "reason", "", "Pod items");
    let service = counts(
        "Refused or cut short",
        "Scrapes that were answered 503, connections that the agent closed before their client did, \
         lines of the log that found no room, and cgroup files that could not be read. A scraper that is \
         refused loses a whole scrape. A few connections are usual.",
    )
    .size(8, 7);
    let service = counted(service, "podvitals_http_scrapes_refused_total", "", "", "scrapes");
    let service =
        counted(service, "podvitals_http_connections_closed_total", "reason", "", "connections");
    let service = counted(service, "podvitals_log_lines_dropped_total", "reason", "", "log lines");
    let service = counted(
        service,
        "podvitals_cgroup_read_errors_total",
        "reason",
        r#"reason!="vanished""#,
        "cgroup files",
    );
    let lost = table(
        "What was lost, where and why",
        "The losses above in the time range, by node and reason. docs/METRICS.md tells what each reason \
         means. Empty is good.",
        &[
            ("what", "What"),
            ("reason", "Reason"),
            ("node", "Node"),
            ("Value", "Times"),
            ("cluster", "Cluster"),
        ],
        "Times",
    )
    .field("Times", Field::count().wide(80))
    .field("Node", Field::link(link::NODE))
    .ask(rows(lost_where()));
    Row::new("Losses and doubts", vec![events, room, service, lost, mismatches()])
}

/// The exporter of traces; empty where it is off.
fn traces() -> Row {
    let spans = counts(
        "Spans by what became of them",
        "Spans in each step that the OTLP receiver took (exported) and that were lost (dropped), and whole \
         traces that were left out on purpose, by --trace.min-duration, --trace.only-abnormal, \
         --trace.max-per-minute or for want of room. Empty where no OTLP endpoint is set. No dropped ones \
         is good.",
    )
    .size(8, 7)
    .field("exported", Field::color("green"))
    .field("dropped", Field::color("red"))
    .field("traces left out", Field::color("blue"));
    let spans = counted(spans, "podvitals_trace_spans_exported_total", "", "", "exported");
    let spans = counted(spans, "podvitals_trace_spans_dropped_total", "reason", "", "dropped");
    let spans = counted(spans, "podvitals_traces_omitted_total", "reason", "", "traces left out");
    let failures = select("podvitals_trace_export_failures_total", ON_NODES, "");
    let queue = of_agents("podvitals_trace_queue_bytes");
    let limit = of_agents("podvitals_trace_queue_limit_bytes");
    let whole = select("podvitals_trace_queue_bytes", ON_NODES, "");
    let whole = format!("max by ({AGENT}) (max_over_time({whole}[{ALL_TIME}] @ end()))");
    Row::new(
        "Traces",
        vec![
            spans,
            counts(
                "Why exports failed",
                "Requests to the OTLP receiver that failed, in each step. What is unavailable, timed out \
                 or throttled is tried again and lost only when the queue is full; what is rejected is \
                 lost. A few while the receiver restarts are usual. Empty where no OTLP endpoint is set.",
            )
            .size(8, 7)
            .ask(range(node_events_per_step("reason", &failures, "reason"), "{{reason}}")),
            ranked_time_series(
                Style::Lines,
                "Fill of the queue of spans",
                "How full the queues of the ten agents are that had most waiting. It rises while the \
                 receiver is away; at 100 % the oldest spans are dropped. Empty where no OTLP endpoint \
                 is set.",
            )
            .size(8, 7)
            .unit(Unit::Ratio)
            .thresholds(Thresholds::rising(0.5, 0.9))
            .link(link::NODE_OF_SERIES)
            .ask(range(steady_top(10, AGENT, &format!("{queue} / {limit}"), &whole), "{{node}}")),
        ],
    )
}

/// Where kernel and runtime differ.
fn mismatches() -> Panel {
    let series = select("podvitals_termination_reason_mismatch_total", ON_NODES, "");
    table(
        "Where the runtime reports otherwise",
        "Deaths in the time range whose reason in the Pod's status, and so in kubectl describe, is not \
         what the kernel saw. Trust the kernel; a runtime that is wrong is wrong again. Empty is good.",
        &[
            ("namespace", "Namespace"),
            ("workload", "Workload"),
            ("container", "Container"),
            ("reported", "Pod status says"),
            ("observed", "Kernel saw"),
            ("Value", "Deaths"),
        ],
        "Deaths",
    )
    .field("Deaths", Field::count().wide(75))
    .field("Workload", Field::link(link::DEATHS))
    .ask(rows(top(
        30,
        &events(
            "cluster, namespace, workload, container, reported, observed",
            &series,
            "reported, observed",
            ALL_TIME,
        ),
    )))
}

/// The ten greatest agents of a panel.
fn greatest(panel: Panel, now: &str, whole_range: &str) -> Panel {
    panel
        .size(8, 8)
        .link(link::NODE_OF_SERIES)
        .ask(range(steady_top(10, AGENT, now, whole_range), "{{node}}"))
}

fn cost() -> Row {
    let cpu = select("process_cpu_seconds_total", ON_NODES, "");
    let memory = select("process_resident_memory_bytes", ON_NODES, "");
    let series = select("podvitals_series", ON_NODES, "");
    let duration = select("podvitals_collector_duration_seconds", ON_NODES, "");
    let failed = select("podvitals_collector_success", ON_NODES, "");
    let received = select("podvitals_events_received_total", ON_NODES, "");
    Row::new(
        "Cost",
        vec![
            greatest(
                ranked_time_series(
                    Style::Lines,
                    "CPU of agents",
                    "Cores that the ten most expensive agents use. Some thousandths of a core are \
                     usual; scrapes cost most of it.",
                )
                .unit(Unit::Cores),
                &of_processes(&format!("rate({cpu}[{RATE}])")),
                &of_processes(&format!("rate({cpu}[{ALL_TIME}] @ end())")),
            ),
            greatest(
                ranked_time_series(
                    Style::Lines,
                    "Memory of agents",
                    "Resident memory of the ten greatest agents. It grows with containers, and is \
                     bounded by --metrics.max-series; deploy/daemonset.yaml allows 96 MiB.",
                )
                .unit(Unit::Bytes)
                .thresholds(Thresholds { base: PLAIN, steps: vec![(88.0 * 1_048_576.0, WORSE)] }),
                &of_processes(&memory),
                &of_processes(&format!("avg_over_time({memory}[{ALL_TIME}] @ end())")),
            ),
            greatest(
                ranked_time_series(
                    Style::Lines,
                    "Series of agents",
                    "Series that each agent exports: the ten greatest. What Prometheus stores is the sum \
                     of all nodes; some 100 a container are usual, and 29 more for a probe over HTTP.",
                )
                .unit(Unit::Count),
                &format!("max by ({AGENT}) ({series})"),
                &format!("max by ({AGENT}) (avg_over_time({series}[{ALL_TIME}] @ end()))"),
            ),
            time_series(
                Style::Lines,
                "Events from the kernel",
                "Events a second that the agents received, by kind, all nodes together. It follows what \
                 containers do: starts, ends, signals. A flood of one kind is one container that sends \
                 signals or makes cgroups.",
            )
            .size(8, 8)
            .unit(Unit::PerSecond)
            .ask(range(
                format!(
                    "sum by (kind) (max by ({AGENT}, instance, kind) (rate({received}[{RATE}])))"
                ),
                "{{kind}}",
            )),
            bar_gauge(
                "Slowest collectors",
                "How long each collector's last run took on the node where it took longest. A scrape waits \
                 for the sum of them.",
            )
            .size(8, 8)
            .unit(Unit::Seconds)
            .decimals(1)
            .thresholds(Thresholds::rising(0.1, 1.0))
            .ask(instant(top(10, &format!("max by (collector) ({duration})")), "{{collector}}")),
            table(
                "Collectors that fail",
                "Collectors whose last run did not succeed, by node; what they collect is missing there. \
                 The agent's log has the reason. Empty is good.",
                &[("node", "Node"), ("collector", "Collector"), ("cluster", "Cluster")],
                "Node",
            )
            .size(8, 8)
            .field("Node", Field::link(link::NODE))
            .ask(rows(format!("max by ({AGENT}, collector) ({failed}) == 0"))),
        ],
    )
}
