//! *Why did it die*: the entry. The last deaths, and what is behind them.

use super::tables;
use crate::board::{Board, Row};
use crate::link;
use crate::panel::{Cell, Field, bar_gauge, counts, ranking, stat, table};
use crate::query::{
    ALL_TIME, CONTAINER, IN_NAMESPACES, OF_WORKLOADS, ON_NODES, deaths, events, events_per_step,
    gauge, node_events, number_of, restarts, select, top, with_workload,
};
use crate::target::{instant, range, table as rows};
use crate::unit::{PLAIN, TRIGGERS, Thresholds, Unit};
use crate::variable::Variable;

/// Board *Why did it die*.
pub(crate) fn board() -> Board {
    Board {
        uid: "podvitals-why",
        title: "Podvitals / Why did it die",
        description: "Which containers died, of what, and who or what had them stopped.",
        range: "3h",
        variables: Variable::down_to_workloads()
            .into_iter()
            .chain([Variable::causes()])
            .chain(Variable::trace_stores())
            .collect(),
        annotations: Vec::new(),
        rows: vec![at_a_glance(), last_deaths(), how_many(), out_of_memory(), by_whom()],
    }
}

fn terminations(cause: &str) -> String {
    let series =
        select("podvitals_terminations_total", OF_WORKLOADS, &format!("cause=~\"{cause}\""));
    events("", &series, "cause", ALL_TIME)
}

fn at_a_glance() -> Row {
    let crashed = with_workload(
        &deaths(IN_NAMESPACES, r#"cause=~"error|signal", trigger="none""#),
        OF_WORKLOADS,
    );
    let crashed = format!("count by ({CONTAINER}) ({crashed})");
    let loops = format!("{} > 2.5", restarts(IN_NAMESPACES, "30m"));
    let loops = with_workload(&loops, OF_WORKLOADS);
    Row::top(vec![
        stat(
            "OOM kills",
            "Containers that the OOM killer ended in the time range. 0 is good. The table below \
             tells whose limit was reached: the container's, the Pod's, or the node's memory.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(0.5))
        .ask(instant(terminations("oom"), "OOM kills")),
        stat(
            "Crashed containers",
            "Containers whose last end in the time range was an exit code other than 0 or a fatal \
             signal, while nobody had them stopped. 0 is good. A container that crashed often counts \
             once here; \"In a crash loop\" counts those.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 5.0))
        .ask(instant(number_of(&crashed, ON_NODES), "Crashed")),
        stat(
            "In a crash loop",
            "Containers with three restarts or more in the last 30 minutes, whatever the time range \
             begins with. Anything but 0 needs somebody.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::worse_from(1.0))
        .ask(instant(number_of(&loops, ON_NODES), "In a crash loop")),
        stat(
            "Killed after grace",
            "Containers that did not stop within their grace period and got SIGKILL. Each of them \
             may have lost work. More on the board \"Shutdowns and restarts\".",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(terminations("killed_after_grace"), "Killed after grace")),
        stat(
            "Killed without a stop signal",
            "Containers that got SIGKILL though no stop signal was sent before it: by a human, a \
             process of the host or one of their own. They had no chance to stop in order.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(terminations("killed_without_stop_signal"), "Killed without a stop signal")),
        stat(
            "Failed starts",
            "Attempts that never ran the container's program: its image, its configuration or the \
             runtime failed. 0 is good.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(
            events("", &select("podvitals_start_failures_total", OF_WORKLOADS, ""), "", ALL_TIME),
            "Failed starts",
        )),
    ])
}

fn last_deaths() -> Row {
    Row::untitled(vec![tables::deaths(
        "Last deaths",
        "The newest 100 deaths in the time range, also of Pods that are gone. One row for each \
             container and way to die; Times is how often it died so. Cause is \
             what the kernel saw; \"Sent by\" is who sent the signal that ended it; \"Stop requested \
             by\" is who or what had it stopped; nobody means that it died by itself. An error that a Pod deletion requested is usually a program that answers SIGTERM \
             with an exit code such as 143. Ordinary ends are left out unless the variable Cause has \
             them. A click on a Pod shows its vitals around its death, one on \
             When the Pod's traces, if the agents export them to a Tempo or a Jaeger that Grafana has.",
        (IN_NAMESPACES, OF_WORKLOADS, r#"cause=~"$cause""#),
        &[],
    )])
}

fn how_many() -> Row {
    let series = select("podvitals_terminations_total", OF_WORKLOADS, r#"cause=~"$cause""#);
    Row::new(
        "How many, and whose",
        vec![
            counts(
                "Deaths by cause",
                "Deaths in each step, by cause. A single bar of many causes is often a node; a \
                 regular pattern is a crash loop; a wall of \"killed after grace\" is a rollout of \
                 something that ignores its stop signal.",
            )
            .causes()
            .ask(range(events_per_step("cause", &series, "cause"), "{{cause}}")),
            ranking(
                "Deaths by workload",
                "The workloads with most deaths in the time range, by container and cause. A click \
                 on a bar keeps that workload's deaths alone.",
            )
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: PLAIN, steps: vec![(3.0, "orange"), (20.0, "red")] })
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(
                    6,
                    &events("namespace, workload, container, cause", &series, "cause", ALL_TIME),
                ),
                "{{namespace}}/{{workload}} {{container}}: {{cause}}",
            )),
        ],
    )
}

fn out_of_memory() -> Row {
    let ooms = select("podvitals_oom_events_total", OF_WORKLOADS, "");
    let limit = gauge("podvitals_container_memory_limit_bytes", IN_NAMESPACES);
    let used = gauge("podvitals_container_memory_working_set_bytes", IN_NAMESPACES);
    let filled = with_workload(&format!("{used} / {limit}"), OF_WORKLOADS);
    Row::new(
        "Out of memory",
        vec![
            table(
                "OOMs by scope and victim",
                "OOMs in the time range. Scope is the limit that was reached: container (raise it, or \
                 find the leak), pod, or node (the node itself was full: look at its other Pods). \
                 Victim \"init\" ended the container; \"child\" killed a worker inside it, and \
                 \"exec\" a probe or a shell, which nothing else in Kubernetes reports.",
                &[
                    ("namespace", "Namespace"),
                    ("workload", "Workload"),
                    ("container", "Container"),
                    ("scope", "Scope"),
                    ("victim", "Victim"),
                    ("Value", "OOMs"),
                ],
                "OOMs",
            )
            .field("OOMs", Field::count().cell(Thresholds::rising(0.5, 3.0), Cell::Text).wide(80))
            .field("Workload", Field::link(link::SHUTDOWNS))
            .ask(rows(top(
                30,
                &events(
                    "cluster, namespace, workload, container, scope, victim",
                    &ooms,
                    "scope, victim",
                    ALL_TIME,
                ),
            ))),
            ranking("Nearest to their memory limit",
                "The containers that use most of their memory limit now, by their working set: who \
                 is next. Above 90 % an OOM is near, unless the pressure of the container is 0.",
            )
            .unit(Unit::Ratio)
            .max(1.0)
            .thresholds(Thresholds::rising(0.8, 0.9))
            .link(link::POD_OF_SERIES)
            .ask(instant(
                format!("topk(6, {filled})"),
                "{{namespace}}/{{pod}} {{container}}",
            )),
        ],
    )
}

fn by_whom() -> Row {
    let triggers =
        select("podvitals_terminations_by_trigger_total", ON_NODES, r#"trigger!="none""#);
    let signals = select("podvitals_fatal_signals_total", OF_WORKLOADS, "");

    Row::new(
        "By whom",
        vec![
            bar_gauge(
                "What had containers stopped",
                "Stops in the time range by who or what requested them. The probes are those that \
                 failed; node pressure, taint, preemption and API eviction took the Pod away; \
                 deadline is activeDeadlineSeconds. Counted by node, so the variables Namespace and \
                 Workload do not matter here.",
            )
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: PLAIN, steps: Vec::new() })
            .names(TRIGGERS)
            .ask(instant(
                top(12, &node_events("trigger", &triggers, "cause, trigger", ALL_TIME)),
                "{{trigger}}",
            )),
            table(
                "Who sent the fatal signal",
                "Signals that ended containers in the time range, by sender. runtime is the kubelet's \
                 or a human's request; kernel is the OOM killer or a fault such as SIGSEGV; self, \
                 same_container and other_container are processes of workloads; host is another \
                 process of the node, which should not kill containers.",
                &[
                    ("namespace", "Namespace"),
                    ("workload", "Workload"),
                    ("container", "Container"),
                    ("signal", "Signal"),
                    ("sender", "Sender"),
                    ("Value", "Deaths"),
                ],
                "Deaths",
            )
            .size(16, 8)
            .field("Deaths", Field::count().wide(82))
            .field("Workload", Field::link(link::SHUTDOWNS))
            .ask(rows(top(
                30,
                &events(
                    "cluster, namespace, workload, container, signal, sender",
                    &signals,
                    "signal, sender",
                    ALL_TIME,
                ),
            ))),
        ],
    )
}
