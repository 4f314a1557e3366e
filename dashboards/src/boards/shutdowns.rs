//! *Shutdowns and restarts*: who stops in time, who does not, and how long it takes to be back.

use crate::board::{Board, Row};
use crate::link;
use crate::panel::{
    Cell, Field, Panel, Style, bar_gauge, counts, heatmap, ranking, stat, table, time_series,
};
use crate::query::{
    self, ALL_TIME, CONTAINER, IN_NAMESPACES, OF_WORKLOADS, ON_NODES, RATE, container, events,
    events_per_step, number_of, quantile, select, top, with_workload,
};
use crate::target::{heatmap as buckets, instant, range, table as rows};
use crate::unit::{BAD, GOOD, NOTABLE, PHASES, PLAIN, Thresholds, Unit, WORSE};
use crate::variable::Variable;

/// Board *Shutdowns and restarts*.
pub(crate) fn board() -> Board {
    Board {
        uid: "podvitals-shutdowns",
        title: "Podvitals / Shutdowns and restarts",
        description: "Who stops within the grace period, who is killed, and how long it takes to be back.",
        range: "6h",
        variables: Variable::down_to_workloads()
            .into_iter()
            .chain(Variable::trace_stores())
            .collect(),
        annotations: Vec::new(),
        rows: vec![at_a_glance(), time_to_exit(), not_in_time(), restarts(), starts(), over_time()],
    }
}

fn durations(more: &str) -> String {
    select("podvitals_shutdown_duration_seconds_bucket", OF_WORKLOADS, more)
}

/// The last value that each container had within the time range, with its workload.
fn last(family: &str) -> String {
    let series = select(family, IN_NAMESPACES, "");
    container(&format!("last_over_time({series}[{ALL_TIME}])"))
}

fn at_a_glance() -> Row {
    let ignored = select("podvitals_stop_signal_ignored_total", OF_WORKLOADS, "");
    let killed =
        select("podvitals_terminations_total", OF_WORKLOADS, r#"cause="killed_after_grace""#);
    let stuck = container(&select("podvitals_container_terminating_seconds", IN_NAMESPACES, ""));
    let stuck = with_workload(&format!("{stuck} > 60"), OF_WORKLOADS);

    let restarts = select("podvitals_restart_downtime_seconds_count", OF_WORKLOADS, "");
    let slowest = with_workload(&last("podvitals_container_last_shutdown_seconds"), OF_WORKLOADS);
    let used =
        with_workload(&last("podvitals_container_last_shutdown_grace_used_ratio"), OF_WORKLOADS);
    Row::top(vec![
        stat(
            "Stopping for over a minute",
            "Containers that got their stop signal more than a minute ago and still run, now. With a \
             long grace period that may be right; otherwise look at \"Stopping now\".",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(1.0, 5.0))
        .ask(instant(number_of(&stuck, ON_NODES), "Stopping")),
        stat(
            "Killed after grace",
            "Containers in the time range that did not end within their grace period and got \
             SIGKILL. 0 is good; each of them may have lost work.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(events("", &killed, "cause", ALL_TIME), "Killed after grace")),
        stat(
            "Ignored stop signals",
            "Stop signals in the time range that nobody handled: typically a shell as PID 1, or a \
             program without a handler. Such a container always waits for its whole grace period.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(0.5, 10.0))
        .ask(instant(events("", &ignored, "signal, sender", ALL_TIME), "Ignored")),
        stat(
            "Used over 90 % of grace",
            "Containers whose last shutdown in the time range used more than 90 % of its grace \
             period, the killed ones included. The next slow disk or busy node kills the others. Where \
             the API reports no grace period nothing is known.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds::rising(1.0, 10.0))
        .no_value("no stops")
        .ask(instant(format!("count({used} > 0.9) or 0 * count({used})"), "Over 90 %")),
        stat(
            "Slowest stop",
            "The longest time from a stop signal to the end of a container, among the last shutdowns \
             of all containers in the time range. Kubernetes' default grace period is 30 s.",
        )
        .unit(Unit::Seconds)
        .decimals(1)
        .thresholds(Thresholds::rising(25.0, 30.0))
        .no_value("no stops")
        .ask(instant(format!("max({slowest})"), "Slowest stop")),
        stat(
            "Restarts",
            "Containers that were started again in the time range. A few an hour are usual in a \
             large cluster; look at the same number yesterday.",
        )
        .unit(Unit::Count)
        .thresholds(Thresholds { base: GOOD, steps: vec![(1.0, NOTABLE), (20.0, BAD)] })
        .ask(instant(events("", &restarts, "", ALL_TIME), "Restarts")),
    ])
}

fn time_to_exit() -> Row {
    let quantiles = [(0.5, "half"), (0.9, "90 %"), (0.99, "99 %")];
    let quantiles_of = |title, description, series: String, own: &str, unit| {
        let panel = time_series(Style::Points, title, description).min_step("2m").unit(unit);
        quantiles.into_iter().fold(panel, |panel, (part, name)| {
            panel.ask(range(quantile(part, "", &series, own, RATE), name))
        })
    };
    Row::new(
        "How long stops take",
        vec![
            heatmap(
                "Time from the stop signal to the end",
                "Shutdowns in each step by how long they took; darker is more. Good is a dark line \
                 at the bottom. The line between 30 and 31 s is everything that is killed at the end of \
                 the default grace period; what is right below it is nearly killed. Points are shutdowns \
                 with a trace.",
            )
            .size(8, 9)
            .min_step("2m")
            .ask(buckets(events_per_step("le", &durations(""), "outcome, le"))),
            quantiles_of(
                "Time to stop by themselves",
                "The time in which half, 90 % and 99 % of the containers that stopped by themselves \
                 were gone; those that were killed used up their grace period. Values are estimated \
                 within the buckets 0.3, 1, 3, 10, 30, 31, 60 and 120 s. Points are where there was a \
                 shutdown.",
                durations(r#"outcome="exited""#),
                "outcome",
                Unit::Seconds,
            )
            .size(8, 9),
            quantiles_of(
                "Fraction of the grace period used",
                "The same as a fraction of the grace period that was left at the stop signal. At \
                 100 % containers are killed; over 90 % there is no reserve.",
                select("podvitals_shutdown_grace_used_ratio_bucket", OF_WORKLOADS, ""),
                "",
                Unit::Ratio,
            )
            .size(8, 9),
        ],
    )
}

fn not_in_time() -> Row {
    let slowest = with_workload(
        &format!("topk(50, {})", last("podvitals_container_last_shutdown_seconds")),
        OF_WORKLOADS,
    );
    let ignored = select("podvitals_stop_signal_ignored_total", OF_WORKLOADS, "");
    let killed =
        select("podvitals_terminations_total", OF_WORKLOADS, r#"cause="killed_after_grace""#);
    Row::new(
        "Who does not stop in time",
        vec![
            table(
                "Slowest shutdowns",
                "The 50 slowest last shutdowns of containers in the time range, also of Pods that \
                 are gone. \"Of grace\" above 90 % is close to being killed, 100 % is killed; empty is \
                 where the API reports no grace period. A click on a Pod shows its vitals, one on Took its \
                 traces.",
                &[
                    ("Value #A", "Took"),
                    ("Value #B", "Of grace"),
                    ("Value #C", "Grace"),
                    ("namespace", "Namespace"),
                    ("pod", "Pod"),
                    ("container", "Container"),
                    ("workload", "Workload"),
                    ("node", "Node"),
                ],
                "Took",
            )
            .size(14, 9)
            .field("Took", Field { decimals: Some(1), links: link::TRACES.to_vec(), ..Field::unit(Unit::Seconds) }.wide(90))
            .field(
                "Of grace",
                Field { max: Some(1.0), decimals: Some(0), ..Field::unit(Unit::Ratio) }
                    .cell(Thresholds::rising(0.9, 1.0), Cell::Text)
                    .wide(90),
            )
            .field("Grace", Field::unit(Unit::Seconds).wide(80))
            .field("Pod", Field::link(link::POD).wide(230)).field("Workload", Field::link(link::DEATHS))
            .field("Node", Field::link(link::NODE))
            .ask(rows(slowest.clone()))
            .ask(rows(beside("podvitals_container_last_shutdown_grace_used_ratio", &slowest)))
            .ask(rows(beside("podvitals_container_grace_seconds", &slowest))),
            stopping_now(),
            ranking("Killed after grace, by workload",
                "The workloads with most containers that got SIGKILL because they did not end in \
                 time. Empty is good.",
            )
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: BAD, steps: vec![(10.0, WORSE)] })
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(6, &events("namespace, workload, container", &killed, "cause", ALL_TIME)),
                "{{namespace}}/{{workload}} {{container}}",
            )),
            ranking("Ignored stop signals, by workload",
                "The workloads whose init ignored most stop signals, and who sent them. It is known \
                 when the signal is sent, a whole grace period before the kill. The cure is a handler \
                 for SIGTERM, exec in the entry script, or an init such as tini. Empty is good.",
            )
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: BAD, steps: vec![(10.0, WORSE)] })
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(6, &events(
                        "namespace, workload, container, signal, sender",
                        &ignored,
                        "signal, sender",
                        ALL_TIME,
                    ),
                ),
                "{{namespace}}/{{workload}} {{container}}: {{signal}} from {{sender}}",
            )),
            ranking(
                "preStop hooks, 90th percentile",
                "The time in which nine of ten preStop hooks of a workload were over, for workloads \
                 that have one. It is part of the grace period: what the hook takes, the program \
                 does not have.",
            )
            .size(8, 8)
            .unit(Unit::Seconds)
            .decimals(1)
            .thresholds(Thresholds::rising(10.0, 25.0))
            .ask(instant(
                top(6, &quantile(
                        0.9,
                        "namespace, workload, container, handler",
                        &select("podvitals_prestop_duration_seconds_bucket", OF_WORKLOADS, ""),
                        "handler",
                        ALL_TIME,
                    ),
                ),
                "{{namespace}}/{{workload}} {{container}}: {{handler}}",
            )),
        ],
    )
}

/// Another last value of the containers in `listed`, with the same labels, so that they are one row.
fn beside(family: &str, listed: &str) -> String {
    format!("0 * ({listed}) + on ({CONTAINER}) group_left () {}", last(family))
}

fn stopping_now() -> Panel {
    let series = select("podvitals_container_terminating_seconds", IN_NAMESPACES, "");
    let now = format!("max by ({CONTAINER}, killed) ({series})");
    table(
        "Stopping now",
        "Containers that got their stop signal and still run. \"SIGKILLed\" true for more than a few \
         seconds is a process that the kernel cannot end: a stuck disk or network file system. Empty \
         is usual.",
        &[
            ("Value", "For"),
            ("killed", "SIGKILLed"),
            ("namespace", "Namespace"),
            ("pod", "Pod"),
            ("container", "Container"),
            ("node", "Node"),
        ],
        "For",
    )
    .size(10, 9)
    .field(
        "For",
        Field { decimals: Some(0), ..Field::unit(Unit::Seconds) }
            .cell(Thresholds::rising(30.0, 60.0), Cell::Text)
            .wide(80),
    )
    .field("SIGKILLed", Field::mapped(KILLED, Cell::Text).wide(90))
    .field("Pod", Field::link(link::POD))
    .field("Node", Field::link(link::NODE))
    .ask(rows(format!("topk(50, {})", with_workload(&now, OF_WORKLOADS))))
}

const KILLED: &[crate::unit::Mapping] = &[("true", "yes", "red"), ("false", "no", "text")];

fn restarts() -> Row {
    let counted = select("podvitals_restart_downtime_seconds_count", OF_WORKLOADS, "");
    let downtime = select("podvitals_restart_downtime_seconds_bucket", OF_WORKLOADS, "");
    let most = query::restarts(IN_NAMESPACES, ALL_TIME);
    Row::new(
        "Restarts",
        vec![
            counts(
                "Restarts over time",
                "Container restarts in each step. A staircase of ever rarer bars is a crash loop \
                 whose back-off grows.",
            )
            .size(8, 8)
            .field("restarts", Field::color("orange"))
            .ask(range(events_per_step("", &counted, ""), "restarts")),
            ranking("Most restarts",
                "The containers that were restarted most in the time range. A click shows the Pod's \
                 vitals.",
            )
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: PLAIN, steps: vec![(3.0, BAD), (10.0, WORSE)] })
            .link(link::POD_OF_SERIES)
            .ask(instant(
                top(6, &format!("({})", with_workload(&most, OF_WORKLOADS))),
                "{{namespace}}/{{pod}} {{container}}",
            )),
            ranking("Downtime before a restart, 90th percentile",
                "From a container's end until it ran again, by workload: nine of ten restarts took \
                 less. Back-off doubles from 10 s to 5 minutes; a workload that is down for minutes \
                 each time is in a crash loop. Times are estimated within buckets.",
            )
            .size(8, 8)
            .unit(Unit::Seconds)
            .decimals(0)
            .thresholds(Thresholds::rising(60.0, 240.0))
            .link(link::DEATHS_OF_SERIES)
            .ask(instant(
                top(6,&quantile(0.9, "namespace, workload, container", &downtime, "", ALL_TIME),
                ),
                "{{namespace}}/{{workload}} {{container}}",
            )),
        ],
    )
}

fn starts() -> Row {
    let phases = select("podvitals_container_startup_seconds", IN_NAMESPACES, "");
    let by_phase = format!("max by ({CONTAINER}, phase) ({phases})");
    let failures = select("podvitals_start_failures_total", OF_WORKLOADS, "");
    let ready = select("podvitals_startup_duration_seconds_bucket", OF_WORKLOADS, "");
    Row::new(
        "Starts",
        vec![
            bar_gauge(
                "Phases of a start, 90th percentile",
                "Where starts spend their time: nine of ten containers that run now took less in each \
                 phase. Scheduled to sandbox is the kubelet and the network; sandbox to created mostly \
                 image pulls; created to running the runtime; the last two are the program itself, up to \
                 its probes.",
            )
            .size(8, 8)
            .unit(Unit::Seconds)
            .decimals(1)
            .thresholds(Thresholds::rising(10.0, 60.0))
            .names(PHASES)
            .ask(instant(
                format!("sort_desc(quantile by (phase) (0.9, {by_phase}))"),
                "{{phase}}",
            )),
            ranking("Time until ready, 90th percentile",
                "From the scheduling of the Pod until the container was first ready, by workload: nine \
                 of ten starts in the time range took less. This is how long a rollout or a lost node \
                 leaves you short.",
            )
            .size(8, 8)
            .unit(Unit::Seconds)
            .decimals(0)
            .thresholds(Thresholds::rising(60.0, 300.0))
            .ask(instant(
                top(6, &quantile(0.9, "namespace, workload, container", &ready, "", ALL_TIME)),
                "{{namespace}}/{{workload}} {{container}}",
            )),
            ranking("Failed starts, by workload",
                "Attempts in the time range that never ran the container's program: a wrong image or \
                 configuration, a missing volume, the runtime. Empty is good.",
            )
            .size(8, 8)
            .unit(Unit::Count)
            .decimals(0)
            .thresholds(Thresholds { base: BAD, steps: vec![(10.0, WORSE)] })
            .ask(instant(
                top(6, &events("namespace, workload, container", &failures, "", ALL_TIME)),
                "{{namespace}}/{{workload}} {{container}}",
            )),
        ],
    )
}

/// The histograms whose quantiles stand above, over time, so that their exemplars have a place.
fn over_time() -> Row {
    let histogram = |title, description, family: &str, own: &str| {
        let labels = if own.is_empty() { "le".to_owned() } else { format!("{own}, le") };
        heatmap(title, description).size(8, 8).min_step("2m").ask(buckets(events_per_step(
            "le",
            &select(family, OF_WORKLOADS, ""),
            &labels,
        )))
    };
    Row::new(
        "Restarts, starts and hooks over time",
        vec![
            histogram(
                "Downtime before restarts",
                "Restarts in each step by how long the container was down before; darker is more. A \
                 line that climbs is a crash loop whose back-off grows. Points are restarts with a \
                 trace.",
                "podvitals_restart_downtime_seconds_bucket",
                "",
            ),
            histogram(
                "Time until ready",
                "First starts in each step by how long it took from the scheduling of the Pod until the \
                 container was ready; darker is more. Points are starts with a trace.",
                "podvitals_startup_duration_seconds_bucket",
                "",
            ),
            histogram(
                "Duration of preStop hooks",
                "preStop hooks in each step by how long they took; darker is more. Points are shutdowns \
                 with a trace.",
                "podvitals_prestop_duration_seconds_bucket",
                "handler",
            ),
        ],
    )
}
