//! *Pod vitals*: one Pod, what it uses, what it waits for, and how its containers end.

use super::tables;
use crate::board::{Annotation, Board, Row};
use crate::panel::{Cell, Field, Style, bar_gauge, counts, stat, table, time_series, words};
use crate::query::{ALL_TIME, CONTAINER, OF_POD, RATE, container, gauge, rate, restarts, select};
use crate::target::{instant, range, table as rows};
use crate::unit::{BAD, GOOD, NEUTRAL, NOTABLE, Thresholds, Unit, WORSE};
use crate::variable::Variable;

/// The Pod as a whole: families that have no container.
const THE_POD: &str = r#"cluster=~"$cluster", node=~"$node", namespace="$namespace", pod="$pod""#;

/// Board *Pod vitals*.
pub(crate) fn board() -> Board {
    Board {
        uid: "podvitals-pod",
        title: "Podvitals / Pod vitals",
        description: "One Pod: what its containers use, what they wait for, and how they end.",
        range: "1h",
        variables: [
            Variable::datasource(),
            Variable::cluster(),
            Variable::nodes(),
            Variable::one_namespace(),
            Variable::workloads(),
            Variable::one_pod(),
            Variable::containers(),
        ]
        .into_iter()
        .chain(Variable::trace_stores())
        .collect(),
        annotations: annotations(),
        rows: vec![at_a_glance(), cpu(), memory(), waiting(), ends()],
    }
}

fn annotations() -> Vec<Annotation> {
    let info = |more| select("podvitals_container_last_termination_info", OF_POD, more);
    let took = gauge("podvitals_container_last_shutdown_seconds", OF_POD);
    let oom_kills = rate("podvitals_container_memory_events_total", OF_POD, r#"event="oom_kill""#);
    vec![
        Annotation {
            name: "Deaths",
            color: "red",
            expr: format!(
                "1000 * max by (container, cause, trigger, exit_code, signal, sender) ({})",
                info("")
            ),
            time_is_value: true,
            text: "{{container}}: {{cause}} {{signal}} {{exit_code}} (stop requested by: {{trigger}})",
        },
        Annotation {
            name: "Stop signals",
            color: "blue",
            expr: format!(
                "1000 * (max by ({CONTAINER}) ({}) - {took})",
                info(r#"trigger!="none""#)
            ),
            time_is_value: true,
            text: "{{container}}: stop signal",
        },
        Annotation {
            name: "OOM kills",
            color: "purple",
            expr: format!("{oom_kills} > 0"),
            time_is_value: false,
            text: "{{container}}: the OOM killer took a process",
        },
    ]
}

fn at_a_glance() -> Row {
    let death = format!(
        "topk(1, max by (container, cause) (last_over_time({}[{ALL_TIME}])))",
        select("podvitals_container_last_termination_info", OF_POD, "")
    );
    let used = gauge("podvitals_container_memory_working_set_bytes", OF_POD);
    let limit = gauge("podvitals_container_memory_limit_bytes", OF_POD);
    let some = format!(
        "max by (container, resource) (rate({}[{RATE}]))",
        select("podvitals_container_pressure_seconds_total", OF_POD, r#"kind="some""#)
    );
    Row::top(vec![
        words(
            "Last death",
            "Which container of the Pod ended last, of what, and how long ago. The table at the end \
             of the board has the details.",
        )
        .unit(Unit::Ago)
        .thresholds(Thresholds { base: NEUTRAL, steps: Vec::new() })
        .no_value("none")
        .ask(instant(format!("1000 * {death}"), "{{container}}: {{cause}}")),
        stat(
            "Restarts",
            "Restarts of the Pod's containers in the time range. From three on it is in a crash loop, \
             unless the range is long.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds { base: GOOD, steps: vec![(0.5, NOTABLE), (3.0, WORSE)] })
        .ask(instant(format!("sum({})", restarts(OF_POD, ALL_TIME)), "Restarts")),
        stat(
            "Newest start",
            "How long ago the container that was started last began to run.",
        )
        .unit(Unit::Ago)
        .thresholds(Thresholds { base: NEUTRAL, steps: Vec::new() })
        .no_value("not running")
        .ask(instant(
            format!("1000 * max({})", gauge("podvitals_container_start_time_seconds", OF_POD)),
            "Newest start",
        )),
        stat(
            "Memory of limit",
            "The working set of the container that is nearest to its memory limit, as a fraction of \
             it. Above 90 % an OOM is near. Without a limit it is bounded by the node alone.",
        )
        .unit(Unit::Ratio)
        .thresholds(Thresholds::rising(0.8, 0.9))
        .no_value("no limit known")
        .ask(instant(format!("max({used} / {limit})"), "Memory of limit")),
        stat(
            "CPU throttled",
            "The share of scheduling periods in which the worst container was stopped because it had \
             used up its CPU limit. Above 25 % it is slow by its limit, whatever its mean usage.",
        )
        .unit(Unit::Ratio)
        .thresholds(Thresholds::rising(0.25, 0.5))
        .no_value("no limit known")
        .ask(instant(format!("max({})", throttled()), "CPU throttled")),
        words(
            "Waits most for",
            "The resource for which a container waits most, and the share of time in which at least \
             one of its tasks waits for it (pressure, \"some\").",
        )
        .unit(Unit::Ratio)
        .decimals(0)
        .thresholds(Thresholds::rising(0.1, 0.4))
        .ask(instant(format!("topk(1, {some})"), "{{container}}: {{resource}}")),
    ])
}

/// Share of periods with throttling, where there is a limit.
fn throttled() -> String {
    let throttled = rate("podvitals_container_cpu_throttled_periods_total", OF_POD, "");
    let periods = rate("podvitals_container_cpu_periods_total", OF_POD, "");
    format!("{throttled} / ({periods} > 0)")
}

fn cpu() -> Row {
    Row::new(
        "CPU",
        vec![
            time_series(
                Style::Lines,
                "CPU used, with request and limit",
                "Cores that each container uses. Dashed red is the limit that the kernel enforces, \
                 dashed blue the request. Usage at the limit is throttled; usage above the request is \
                 what is lost first on a busy node.",
            )
            .unit(Unit::Cores)
            .fields("/ limit$/", Field::limit("red"))
            .fields("/ request$/", Field::limit("blue"))
            .ask(range(
                rate("podvitals_container_cpu_usage_seconds_total", OF_POD, ""),
                "{{container}}",
            ))
            .ask(range(gauge("podvitals_container_cpu_limit_cores", OF_POD), "{{container}} limit"))
            .ask(range(
                format!(
                    "max by (cluster, node, pod) ({})",
                    select("podvitals_pod_cpu_limit_cores", THE_POD, "")
                ),
                "whole Pod limit",
            ))
            .ask(range(
                gauge("podvitals_container_cpu_request_cores", OF_POD),
                "{{container}} request",
            )),
            time_series(
                Style::Lines,
                "Throttled by the CPU limit",
                "The share of scheduling periods (100 ms each) in which a container had used up its \
                 CPU limit and stood still. Above 25 % requests get slow: raise the limit, or use fewer \
                 threads. Nothing is shown for containers without a limit.",
            )
            .unit(Unit::Ratio)
            .max(1.0)
            .ask(range(throttled(), "{{container}}")),
        ],
    )
}

fn memory() -> Row {
    let all = |family| format!("sum({})", gauge(family, OF_POD));
    Row::new(
        "Memory",
        vec![
            time_series(
                Style::Lines,
                "Memory used, with request and limit",
                "The working set of each container: what the kernel cannot simply drop. Dashed red is \
                 the limit at which the OOM killer comes, dashed blue the request, dashed yellow the \
                 highest usage since the container was created, page cache included. A saw tooth that \
                 ends at the limit is a leak.",
            )
            .unit(Unit::Bytes)
            .fields("/ limit$/", Field::limit("red"))
            .fields("/ request$/", Field::limit("blue"))
            .fields("/ peak$/", Field::limit("yellow"))
            .ask(range(
                gauge("podvitals_container_memory_working_set_bytes", OF_POD),
                "{{container}}",
            ))
            .ask(range(
                gauge("podvitals_container_memory_limit_bytes", OF_POD),
                "{{container}} limit",
            ))
            .ask(range(
                format!(
                    "max by (cluster, node, pod) ({})",
                    select("podvitals_pod_memory_limit_bytes", THE_POD, "")
                ),
                "whole Pod limit",
            ))
            .ask(range(
                gauge("podvitals_container_memory_request_bytes", OF_POD),
                "{{container}} request",
            ))
            .ask(range(gauge("podvitals_container_memory_peak_bytes", OF_POD), "{{container}} peak")),
            time_series(
                Style::Stacked,
                "Memory by kind",
                "All chosen containers together. Heap and stacks (anonymous) and tmpfs count until \
                 they are freed; file cache goes when memory gets short. Kernel memory that grows \
                 without end is often sockets or too many small files.",
            )
            .unit(Unit::Bytes)
            .ask(range(all("podvitals_container_memory_anon_bytes"), "heap and stacks"))
            .ask(range(all("podvitals_container_memory_shmem_bytes"), "tmpfs and shared memory"))
            .ask(range(
                format!(
                    "{} - {}",
                    all("podvitals_container_memory_file_bytes"),
                    all("podvitals_container_memory_shmem_bytes")
                ),
                "file cache",
            ))
            .ask(range(all("podvitals_container_memory_kernel_bytes"), "kernel"))
            .ask(range(all("podvitals_container_memory_swap_bytes"), "swap (not in RAM)")),
        ],
    )
}

fn waiting() -> Row {
    let pressure = format!(
        "max by (container, resource, kind) (rate({}[{RATE}]))",
        select("podvitals_container_pressure_seconds_total", OF_POD, "")
    );
    let events = |more| {
        let series = select("podvitals_container_memory_events_total", OF_POD, more);
        format!(
            "clamp_min(max by (container, event) ({series}) \
             - max by (container, event) ({series} offset $__interval), 0)"
        )
    };

    let tasks = gauge("podvitals_container_tasks", OF_POD);
    let limit = gauge("podvitals_container_tasks_limit", OF_POD);
    let faults = format!(
        "max by (container) (rate({}[{RATE}]))",
        select("podvitals_container_memory_page_faults_total", OF_POD, r#"kind="major""#)
    );
    Row::new(
        "Waiting",
        vec![
            time_series(
                Style::Lines,
                "Pressure",
                "The share of time in which tasks of a container wait for CPU, memory or IO. some: at \
                 least one waits; full: all of them do, so nothing is done at all. Memory above a few \
                 percent is thrashing, the sign before an OOM; CPU \"some\" above 40 % is a limit or a \
                 node that is too small.",
            )
            .size(12, 7)
            .unit(Unit::Ratio)
            .ask(range(pressure, "{{container}} {{resource}} {{kind}}")),
            counts(
                "Memory events",
                "Times in each step that a container ran into its limit. max: memory had to be \
                 reclaimed first, which is slow; oom: nothing could be reclaimed; oom_kill: a process \
                 was killed. No bars is good.",
            )
            .size(12, 7)
            .fields("/oom/", Field::color("red"))
            .fields("/ max$/", Field::color("yellow"))
            .ask(range(events(r#"event=~"max|oom|oom_kill""#), "{{container}} {{event}}")),
            time_series(
                Style::Lines,
                "Pages read from disk",
                "Major page faults a second: memory that had to be read from disk before the program \
                 could go on. Many of them under memory pressure mean that its own code is evicted and \
                 read again.",
            )
            .size(12, 7)
            .unit(Unit::PerSecond)
            .ask(range(faults, "{{container}}")),
            time_series(
                Style::Lines,
                "Tasks",
                "Processes and threads of each container. A line that only rises is a leak of threads \
                 or of zombies. Dashed red is the limit, at which fork fails; it is shown where half of \
                 it is used.",
            )
            .size(12, 7)
            .unit(Unit::Count)
            .decimals(0)
            .fields("/ limit$/", Field::limit("red"))
            .ask(range(tasks.clone(), "{{container}}"))
            .ask(range(
                format!("{limit} and {limit} < 2 * {tasks}"),
                "{{container}} limit",
            )),
        ],
    )
}

fn ends() -> Row {
    let last = |family| {
        let series = select(family, OF_POD, "");
        rows(container(&format!("last_over_time({series}[{ALL_TIME}])")))
    };
    let phases = select("podvitals_container_startup_seconds", OF_POD, "");
    Row::new(
        "Ends and starts",
        vec![
            tables::deaths(
                "Deaths of this Pod",
                "Deaths of the Pod's containers in the time range, the newest first; one row for each \
                 container and way to die, and how often it died so. \"Sent by\" is who sent the signal that ended it; \"Stop \
                 requested by\" is who or what had it stopped. A click on When shows the Pod's traces, if the \
                 agents export them to a Tempo or a Jaeger that Grafana has.",
                (OF_POD, OF_POD, ""),

                &["pod"],
            )
            .size(24, 6),
            table(
                "Last shutdown and restart",
                "How long each container took from its stop signal to its end when it was stopped \
                 last, which part of its grace period that was (100 % is killed), and how long it was \
                 down before it ran again.",
                &[
                    ("container", "Container"),
                    ("Value #A", "Shutdown took"),
                    ("Value #B", "Of grace"),
                    ("Value #C", "Grace"),
                    ("Value #D", "Down before restart"),
                ],
                "Shutdown took",
            )
            .size(12, 7)
            .unit(Unit::Seconds)
            .decimals(1)
            .field(
                "Of grace",
                Field { decimals: Some(0), ..Field::unit(Unit::Ratio) }
                    .cell(Thresholds::rising(0.9, 1.0), Cell::Text),
            )
            .ask(last("podvitals_container_last_shutdown_seconds"))
            .ask(last("podvitals_container_last_shutdown_grace_used_ratio"))
            .ask(last("podvitals_container_grace_seconds"))
            .ask(last("podvitals_container_last_restart_downtime_seconds")),
            bar_gauge(
                "Phases of the last start",
                "Where the last start of each container spent its time, from scheduling to ready. Long \
                 sandbox_to_created is mostly an image pull; long running_to_ready is the program and \
                 its readiness probe.",
            )
            .size(12, 7)
            .unit(Unit::Seconds)
            .decimals(1)
            .thresholds(Thresholds { base: GOOD, steps: vec![(10.0, NOTABLE), (60.0, BAD)] })
            .ask(instant(
                format!("sort_desc(max by (container, phase) ({phases}))"),
                "{{container}}: {{phase}}",
            )),
        ],
    )
}
