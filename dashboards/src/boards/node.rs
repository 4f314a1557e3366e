//! *Node*: all Pods of a node: who uses it, who waits, who dies.

use super::tables;
use crate::board::{Board, Row};
use crate::link;
use crate::panel::{Panel, Style, bar_gauge, counts, ranked_time_series, stat};
use crate::query::{
    ALL_TIME, CONTAINER, ON_NODE, RATE, container, gauge, node_events, node_events_per_step, rate,
    select, steady_top, top,
};
use crate::target::{instant, range};
use crate::unit::{NEUTRAL, PLAIN, TRIGGERS, Thresholds, Unit};
use crate::variable::Variable;

/// Labels of a Pod.
const POD: &str = "cluster, node, namespace, pod";

/// Board *Node*.
pub(crate) fn board() -> Board {
    Board {
        uid: "podvitals-node",
        title: "Podvitals / Node",
        description: "All Pods of one node: who uses it, who waits for it, who dies on it.",
        range: "1h",
        variables: [Variable::datasource(), Variable::cluster(), Variable::one_node()]
            .into_iter()
            .chain(Variable::trace_stores())
            .collect(),
        annotations: Vec::new(),
        rows: vec![at_a_glance(), uses(), waits(), dies()],
    }
}

fn ooms(scope: &str) -> String {
    let series = select("podvitals_node_oom_events_total", ON_NODE, scope);
    node_events("", &series, "scope", ALL_TIME)
}

fn deaths(more: &str) -> String {
    select("podvitals_terminations_by_trigger_total", ON_NODE, more)
}

fn at_a_glance() -> Row {
    let plain = || Thresholds { base: NEUTRAL, steps: Vec::new() };
    Row::top(vec![
        stat(
            "OOMs of the node",
            "OOMs in the time range because the node, or a group of Pods above their own limits, was \
             out of memory. Any is bad: Pods die that did nothing wrong.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(0.5))
        .ask(instant(ooms(r#"scope="node""#), "OOMs of the node")),
        stat(
            "OOMs at own limits",
            "OOMs in the time range at a container's or a Pod's own limit.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::bad_from(0.5))
        .ask(instant(ooms(r#"scope=~"container|pod""#), "OOMs at own limits")),
        stat(
            "Crashes",
            "Ends of containers in the time range by an exit code other than 0 or a signal, while \
             nobody had them stopped.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 20.0))
        .ask(instant(
            node_events(
                "",
                &deaths(r#"cause=~"error|signal", trigger="none""#),
                "cause, trigger",
                ALL_TIME,
            ),
            "Crashes",
        )),
        stat(
            "Stopped by the node",
            "Containers that were stopped in the time range because of the node: memory or disk \
             pressure, a shutdown, a taint.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(0.5))
        .ask(instant(
            node_events(
                "",
                &deaths(r#"trigger=~"node_pressure|node_shutdown|taint""#),
                "cause, trigger",
                ALL_TIME,
            ),
            "Stopped by the node",
        )),
        stat("CPU used", "Cores that all containers of the node use together.")
            .unit(Unit::Cores)
            .decimals(2)
            .thresholds(plain())
            .ask(instant(
                format!(
                    "sum({})",
                    rate("podvitals_container_cpu_usage_seconds_total", ON_NODE, "")
                ),
                "CPU used",
            )),
        stat(
            "Memory used",
            "The working sets of all containers of the node together. What the node has in all is a \
             matter for node_exporter.",
        )
        .unit(Unit::Bytes)
        .decimals(1)
        .thresholds(plain())
        .ask(instant(
            format!("sum({})", gauge("podvitals_container_memory_working_set_bytes", ON_NODE)),
            "Memory used",
        )),
    ])
}

/// The ten greatest Pods of a panel, the same ones over the whole time range.
fn greatest(panel: Panel, now: &str, whole_range: &str) -> Panel {
    let by_pod = |expr: &str| format!("sum by ({POD}) ({})", container(expr));
    panel.link(link::POD_OF_SERIES).ask(range(
        steady_top(10, POD, &by_pod(now), &by_pod(whole_range)),
        "{{namespace}}/{{pod}}",
    ))
}

fn uses() -> Row {
    let cpu = select("podvitals_container_cpu_usage_seconds_total", ON_NODE, "");
    let memory = select("podvitals_container_memory_working_set_bytes", ON_NODE, "");
    Row::new(
        "Who uses it",
        vec![
            greatest(
                ranked_time_series(
                    Style::Stacked,
                    "CPU by Pod",
                    "The ten Pods that used most CPU over the time range. A click shows the Pod's \
                     vitals.",
                )
                .unit(Unit::Cores),
                &format!("rate({cpu}[{RATE}])"),
                &format!("rate({cpu}[{ALL_TIME}] @ end())"),
            ),
            greatest(
                ranked_time_series(
                    Style::Stacked,
                    "Memory by Pod",
                    "The ten Pods with the greatest working sets on average over the time range. The \
                     one that grows while the others do not is the one to look at.",
                )
                .unit(Unit::Bytes),
                &memory,
                &format!("avg_over_time({memory}[{ALL_TIME}] @ end())"),
            ),
        ],
    )
}

/// The ten containers that wait most for a resource.
fn waiting(panel: Panel, resource: &str) -> Panel {
    let series = select("podvitals_container_pressure_seconds_total", ON_NODE, resource);
    let now = container(&format!("rate({series}[{RATE}])"));
    let whole = container(&format!("rate({series}[{ALL_TIME}] @ end())"));
    panel
        .unit(Unit::Ratio)
        .link(link::POD_OF_SERIES)
        .ask(range(steady_top(10, CONTAINER, &now, &whole), "{{namespace}}/{{pod}} {{container}}"))
}

fn waits() -> Row {
    let throttled = select("podvitals_container_cpu_throttled_periods_total", ON_NODE, "");
    let periods = select("podvitals_container_cpu_periods_total", ON_NODE, "");
    let share = |range: &str| {
        let throttled = container(&format!("rate({throttled}[{range})"));
        let periods = container(&format!("rate({periods}[{range})"));
        format!("({throttled} / ({periods} > 0))")
    };
    Row::new(
        "Who waits",
        vec![
            waiting(
                ranked_time_series(
                    Style::Lines,
                    "Waiting for CPU",
                    "The share of time in which at least one task of a container waits for CPU: the \
                     ten that wait most. If many wait at once the node is too busy; if one does, look \
                     at its limit in the panel beside.",
                ),
                r#"resource="cpu", kind="some""#,
            ),
            ranked_time_series(
                Style::Lines,
                "Throttled by their own CPU limit",
                "The share of scheduling periods in which a container had used up its limit: the ten \
                 that are throttled most. They are slow by their limit, not by the node.",
            )
            .unit(Unit::Ratio)
            .max(1.0)
            .link(link::POD_OF_SERIES)
            .ask(range(
                steady_top(
                    10,
                    CONTAINER,
                    &share(&format!("{RATE}]")),
                    &share(&format!("{ALL_TIME}] @ end()")),
                ),
                "{{namespace}}/{{pod}} {{container}}",
            )),
            waiting(
                ranked_time_series(
                    Style::Lines,
                    "Standing still for memory",
                    "The share of time in which all tasks of a container wait for memory: the ten that \
                     wait most. Above a few percent it is thrashing. One alone is at its own limit; many \
                     at once, and the node is out of memory.",
                ),
                r#"resource="memory", kind="full""#,
            ),
            waiting(
                ranked_time_series(
                    Style::Lines,
                    "Standing still for IO",
                    "The share of time in which all tasks of a container wait for a disk: the ten that \
                     wait most. Many at once is the node's disk.",
                ),
                r#"resource="io", kind="full""#,
            ),
        ],
    )
}

fn dies() -> Row {
    Row::new(
        "Who dies",
        vec![
            counts(
                "Deaths by cause",
                "Ends of containers in each step, ordinary ones (completed) included.",
            )
            .causes()
            .ask(range(
                node_events_per_step("cause", &deaths(""), "cause, trigger"),
                "{{cause}}",
            )),
            bar_gauge(
                "What had containers stopped",
                "Stops in the time range by who or what requested them: node pressure and node shutdown \
                 are this node's own doing; the probes are those that failed.",
            )
            .names(TRIGGERS)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: PLAIN, steps: Vec::new() })
            .ask(instant(
                top(12, &node_events("trigger", &deaths(r#"trigger!="none""#), "cause, trigger", ALL_TIME)),
                "{{trigger}}",
            )),
            tables::deaths(
                "Last deaths on this node",
                "The newest deaths of the node's containers in the time range, ordinary ends left out. \
                 One row for each container and way to die. A click on a Pod shows its vitals, one on When \
                 the Pod's traces, if the agents export them to a Tempo or a Jaeger that Grafana has.",
                (ON_NODE, ON_NODE, r#"cause!="completed""#),

                &["node"],
            ),
        ],
    )
}
