//! *Probes*: how close to their timeouts the kubelet's probes are, which fail, and what they cost.

use crate::board::{Board, Row};
use crate::link;
use crate::panel::{
    Cell, Field, Panel, Style, bar_gauge, counts, heatmap, ranking, stat, table, time_series,
};
use crate::query::{
    ALL_TIME, CONTAINER, IN_NAMESPACES, OF_WORKLOADS, ON_NODES, RATE, events, events_per_step,
    node_events_per_step, number_of, quantile, rates, select, top, with_workload,
};
use crate::target::{heatmap as buckets, instant, range, table as rows};
use crate::unit::{BAD, GOOD, NOTABLE, PLAIN, RESULTS, Thresholds, Unit, WORSE};
use crate::variable::Variable;

/// Labels of a probe beside its container's, or its workload's.
const PROBE: &str = "probe, handler";
/// What decides over traffic.
const OF_READINESS: &str = r#"probe="readiness""#;
/// What has a container killed.
const OF_KILLS: &str = r#"probe=~"liveness|startup""#;
/// All results that are none.
const FAILED: &str = r#"result=~"failure|timeout|refused""#;

/// Board *Probes*.
pub(crate) fn board() -> Board {
    Board {
        uid: "podvitals-probes",
        title: "Podvitals / Probes",
        description: "How close to their timeouts probes are, which of them fail, and what they cost.",
        range: "6h",
        variables: Variable::down_to_workloads()
            .into_iter()
            .chain(Variable::trace_stores())
            .collect(),
        annotations: Vec::new(),
        rows: vec![at_a_glance(), near_timeout(), slowest(), failing(), commands(), observed()],
    }
}

/// A gauge of each probe of a container.
fn gauge(family: &str) -> String {
    format!("max by ({CONTAINER}, {PROBE}) ({})", select(family, IN_NAMESPACES, ""))
}

/// The fraction of its timeout that each probe's last attempt used.
fn used_last() -> String {
    format!(
        "{} / {}",
        gauge("podvitals_probe_last_duration_seconds"),
        gauge("podvitals_probe_timeout_seconds")
    )
}

/// Events of probes of containers in the time range, with the workload.
fn counted(family: &str, more: &str, own: &str) -> String {
    let labels = [CONTAINER, PROBE, own].join(", ");
    let labels = labels.trim_end_matches(", ");
    let series = select(family, IN_NAMESPACES, more);
    let by_run = format!("max by ({labels}, instance) (increase({series}[{ALL_TIME}]))");
    with_workload(&format!("sum by ({labels}) ({by_run})"), OF_WORKLOADS)
}

fn at_a_glance() -> Row {
    let thresholds = "podvitals_probe_failure_threshold_reached_total";
    let used = with_workload(&used_last(), OF_WORKLOADS);
    let near = with_workload(&format!("{} > 0.75", used_last()), OF_WORKLOADS);
    let left = gauge("podvitals_probe_failures_left");
    let down = with_workload(&format!("{left} == 0"), OF_WORKLOADS);
    let timeouts = counted("podvitals_probe_results_total", r#"result="timeout""#, "");
    let total = |expr: String| format!("sum({expr}) or 0 * group({})", agents());
    Row::top(vec![
        stat(
            "Closest to its timeout",
            "The greatest fraction of its timeout that the last attempt of any probe used. Over 75 % \
             the next slow disk or busy node makes it fail; 100 % is a timeout.",
        )
        .unit(Unit::Ratio)
        .thresholds(Thresholds::rising(0.75, 1.0))
        .no_value("no probes")
        .ask(instant(format!("max({used})"), "Closest")),
        stat(
            "Over 75 % of the timeout",
            "Probes whose last attempt used more than 75 % of its timeout, those that timed out \
             included, now.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(1.0, 10.0))
        .ask(instant(number_of(&near, ON_NODES), "Near the timeout")),
        stat(
            "Timeouts",
            "Attempts in the time range that had no whole answer in time. The kubelet counts each as \
             a failure.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 50.0))
        .ask(instant(total(timeouts), "Timeouts")),
        stat(
            "At their threshold",
            "Probes that failed as often in a row as they may, now: the container is not ready, or is \
             being killed.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(1.0, 5.0))
        .ask(instant(number_of(&down, ON_NODES), "At the threshold")),
        stat(
            "Readiness lost",
            "Times in the time range that a container which was ready was taken out of its Services, \
             since its readiness probe failed as often as it may.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(total(counted(thresholds, OF_READINESS, "")), "Readiness lost")),
        stat(
            "Killed for a probe",
            "Times in the time range that a liveness or startup probe failed as often as it may, so \
             that the kubelet kills the container.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(total(counted(thresholds, OF_KILLS, "")), "Killed")),
    ])
}

/// Agents, for numbers that are 0 rather than absent.
fn agents() -> String {
    select("podvitals_build_info", ON_NODES, "")
}

fn near_timeout() -> Row {
    let series = select("podvitals_probe_timeout_used_ratio_bucket", OF_WORKLOADS, "");
    let quantiles = [(0.5, "half"), (0.9, "90 %"), (0.99, "99 %")];
    let over_time = time_series(
        Style::Lines,
        "Fraction of the timeout used, over time",
        "The fraction of the timeout within which half, 90 % and 99 % of all attempts had their end. \
         Values are estimated within the buckets 10, 25, 50, 75, 90 and 100 %.",
    )
    .min_step("2m")
    .unit(Unit::Ratio)
    .size(8, 9);
    Row::new(
        "How close to the timeout",
        vec![
            heatmap(
                "Fraction of the timeout used",
                "Attempts in each step by the fraction of their timeout that they used; darker is \
                 more. Good is a dark line at the bottom. What is above 1 timed out.",
            )
            .size(8, 9)
            .min_step("2m")
            .ask(buckets(events_per_step("le", &series, &format!("{PROBE}, le")))),
            quantiles.into_iter().fold(over_time, |panel, (part, name)| {
                panel.ask(range(quantile(part, "", &series, PROBE, RATE), name))
            }),
            ranking(
                "Closest to the timeout, by workload",
                "The fraction of the timeout within which 99 % of a probe's attempts in the time range \
                 had their end. Over 75 % there is no reserve: make the answer quicker, or the timeout \
                 longer.",
            )
            .size(8, 9)
            .unit(Unit::Ratio)
            .decimals(0)
            .thresholds(Thresholds::rising(0.75, 0.95))
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(6, &quantile(0.99, &of_workload(), &series, PROBE, ALL_TIME)),
                "{{namespace}}/{{workload}} {{container}}: {{probe}}, {{handler}}",
            )),
        ],
    )
}

/// Labels of a probe of a workload in a list.
fn of_workload() -> String {
    format!("namespace, workload, container, {PROBE}")
}

fn slowest() -> Row {
    let series = select("podvitals_probe_duration_seconds_bucket", OF_WORKLOADS, "");
    let listed = with_workload(
        &format!("topk(50, {})", gauge("podvitals_probe_last_duration_seconds")),
        OF_WORKLOADS,
    );
    // Another value of the probes that are listed, with the same labels, so that they are one row.
    let beside = |expr: &str| {
        rows(format!("0 * ({listed}) + on ({CONTAINER}, {PROBE}) group_left () ({expr})"))
    };
    Row::new(
        "The slowest",
        vec![
            table(
                "Slowest last attempts",
                "The 50 probes whose last attempt took longest. \"Of timeout\" from 100 % on timed \
                 out; \"Left\" are the failures in a row that are left until the kubelet acts. A click \
                 on a Pod shows its vitals, one on Took its traces.",
                &[
                    ("Value #A", "Took"),
                    ("Value #B", "Of timeout"),
                    ("Value #C", "Timeout"),
                    ("Value #D", "Left"),
                    ("probe", "Probe"),
                    ("handler", "Handler"),
                    ("namespace", "Namespace"),
                    ("pod", "Pod"),
                    ("container", "Container"),
                    ("workload", "Workload"),
                    ("node", "Node"),
                ],
                "Took",
            )
            .size(16, 9)
            .field(
                "Took",
                Field {
                    decimals: Some(3),
                    links: link::TRACES.to_vec(),
                    ..Field::unit(Unit::Seconds)
                }
                .wide(90),
            )
            .field(
                "Of timeout",
                Field { decimals: Some(0), ..Field::unit(Unit::Ratio) }
                    .cell(Thresholds::rising(0.75, 1.0), Cell::Text)
                    .wide(90),
            )
            .field("Timeout", Field::unit(Unit::Seconds).wide(75))
            .field("Left", Field::count().wide(60))
            .field("Probe", Field::default().wide(90))
            .field("Handler", Field::default().wide(75))
            .field("Pod", Field::link(link::POD).wide(200))
            .field("Workload", Field::link(link::DEATHS))
            .field("Node", Field::link(link::NODE))
            .ask(rows(listed.clone()))
            .ask(beside(&used_last()))
            .ask(beside(&gauge("podvitals_probe_timeout_seconds")))
            .ask(beside(&gauge("podvitals_probe_failures_left"))),
            ranking(
                "Slowest, by workload",
                "The time within which 99 % of a probe's attempts in the time range had their end, \
                 estimated within buckets. Refused connections are not included.",
            )
            .size(8, 9)
            .unit(Unit::Seconds)
            .decimals(2)
            .thresholds(Thresholds::rising(0.75, 1.0))
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(6, &quantile(0.99, &of_workload(), &series, PROBE, ALL_TIME)),
                "{{namespace}}/{{workload}} {{container}}: {{probe}}, {{handler}}",
            )),
            heatmap(
                "Duration of attempts",
                "Attempts in each step by how long they took; darker is more. A second line far above \
                 the first is what waits for something now and then.",
            )
            .size(12, 8)
            .min_step("2m")
            .ask(buckets(events_per_step("le", &series, &format!("{PROBE}, le")))),
            time_series(
                Style::Lines,
                "Duration by handler, 90 %",
                "The time within which 90 % of the attempts of each handler had their end. Commands are \
                 slow by nature: a process is started in the container for each.",
            )
            .size(12, 8)
            .min_step("2m")
            .unit(Unit::Seconds)
            .ask(range(quantile(0.9, "handler", &series, PROBE, RATE), "{{handler}}")),
        ],
    )
}

fn failing() -> Row {
    let series = select("podvitals_probe_results_total", IN_NAMESPACES, FAILED);
    let info = select("podvitals_container_info", OF_WORKLOADS, "");
    let by_run = format!(
        "max by ({CONTAINER}, {PROBE}, result, instance) (rate({series}[{RATE}])) \
         * on ({CONTAINER}) group_left () max by ({CONTAINER}) ({info})"
    );
    let per_step = format!("sum by (result) ({by_run}) * $__interval_ms / 1000");
    let rank = |title, description, expr: String, legend| {
        ranking(title, description)
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: BAD, steps: vec![(50.0, WORSE)] })
            .link(link::POD_OF_SERIES)
            .ask(instant(top(6, &format!("({expr})")), legend))
    };
    let thresholds = "podvitals_probe_failure_threshold_reached_total";
    Row::new(
        "What fails",
        vec![
            counts(
                "Failed attempts over time",
                "Attempts in each step that failed, by result. Failures while a container starts are \
                 usual. Timeouts on many nodes at once point to something that all of them wait for.",
            )
            .size(8, 8)
            .mapped(RESULTS)
            .ask(range(per_step, "{{result}}")),
            rank(
                "Most failed attempts",
                "The probes that failed most in the time range. Refused: nothing listens on the port. \
                 Failure: a bad answer, or none before the connection closed.",
                counted("podvitals_probe_results_total", FAILED, "result"),
                "{{namespace}}/{{pod}} {{container}}: {{probe}} {{result}}",
            ),
            rank(
                "Thresholds reached",
                "The probes that failed most often as many times in a row as they may: a container \
                 that was killed, or was not ready any more. Empty is good.",
                counted(thresholds, "", ""),
                "{{namespace}}/{{pod}} {{container}}: {{probe}}",
            ),
        ],
    )
}

fn commands() -> Row {
    let cost = |title, description, family: &str| -> Panel {
        let series = select(family, OF_WORKLOADS, "");
        ranking(title, description)
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: BAD, steps: vec![(10.0, WORSE)] })
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(
                    6,
                    &events("namespace, workload, container, probe", &series, "probe", ALL_TIME),
                ),
                "{{namespace}}/{{workload}} {{container}}: {{probe}}",
            ))
    };
    let cpu = select("podvitals_probe_exec_cpu_seconds_total", OF_WORKLOADS, "");
    Row::new(
        "What commands cost",
        vec![
            ranking(
                "CPU of exec probes, by workload",
                "What the commands of exec probes took of the CPU in the time range, all containers of \
                 a workload together. Each attempt starts a process.",
            )
            .size(8, 8)
            .unit(Unit::Cores)
            .decimals(3)
            .thresholds(Thresholds { base: PLAIN, steps: vec![(0.1, NOTABLE), (1.0, BAD)] })
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(6, &rates("namespace, workload, container, probe", &cpu, "probe", ALL_TIME)),
                "{{namespace}}/{{workload}} {{container}}: {{probe}}",
            )),
            cost(
                "Processes left behind",
                "Processes that commands of exec probes left in the container in the time range. They \
                 stay until the container ends, and take its memory and its tasks. Empty is good.",
                "podvitals_probe_exec_leaked_processes_total",
            ),
            cost(
                "Commands that went on after the timeout",
                "Commands in the time range that still ran when the probe had timed out, so that the \
                 next ones came on top. Empty is good.",
                "podvitals_probe_exec_overruns_total",
            ),
        ],
    )
}

fn observed() -> Row {
    let source = select("podvitals_probe_source_info", ON_NODES, "");
    let connections = select("podvitals_probe_connections_total", ON_NODES, "");
    let sessions = select("podvitals_probe_exec_sessions_total", ON_NODES, "");
    Row::new(
        "How probes are observed",
        vec![
            bar_gauge(
                "Nodes by how they observe",
                "Nodes by how their agent observes the kubelet's connections. sock_ops sees answers; \
                 tracepoint sees times alone, so results of HTTP and gRPC are unknown; none sees \
                 commands alone. The word behind it is the reason.",
            )
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: GOOD, steps: Vec::new() })
            .ask(instant(
                format!(
                    "count by (source, reason) (max by (cluster, node, source, reason) ({source}))"
                ),
                "{{source}} {{reason}}",
            )),
            counts(
                "Connections of the kubelet",
                "Connections of the kubelet in each step by what became of them. Only those of probes \
                 are attempts; ambiguous are those that may be of several containers.",
            )
            .size(8, 8)
            .ask(range(node_events_per_step("outcome", &connections, "outcome"), "{{outcome}}")),
            counts(
                "Commands in containers",
                "Commands that were run in containers in each step by what became of them: probes, \
                 hooks, or others such as kubectl exec.",
            )
            .size(8, 8)
            .ask(range(node_events_per_step("outcome", &sessions, "outcome"), "{{outcome}}")),
        ],
    )
}
