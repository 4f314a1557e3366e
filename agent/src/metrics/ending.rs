//! What is known of an end beside what the kernel saw: why, and how the grace period was used.

use super::catalog::{Family, NodeFamily, Scope, StateFamily, Type, Unit};
use super::cell::Cells;
use super::expose::{Labels, NONE, Value};
use super::histogram::{Bound, Histogram};
use super::subject::{Container, Workload};
use crate::kube::pod::PreStop;
use crate::lifecycle::fact::{Cause, Death, Misreport};
use crate::lifecycle::trigger::Trigger;

/// A share of a time. It can be more than 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Stop signal to end.
    pub used_ns: u64,
    /// What was left at the stop signal.
    pub budget_ns: u64,
}

/// The last share.
pub static LAST_RATIO: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_last_shutdown_grace_used_ratio",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Share of the time left at the stop signal that the container used to stop, the last \
               time; more than 1 is possible. Absent if nobody tells the grace period.",
    },
    write: |block, container, to| {
        if let Some(Ratio { used_ns, budget_ns }) = container.last_ratio {
            to.sample(block, &NONE, Value::Ratio(used_ns, budget_ns));
        }
    },
};

/// The last grace period.
pub static GRACE: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_grace_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Grace period that counted when the container was stopped the last time: the \
               deletion's, the failed probe's own, or the Pod's.",
    },
    write: |block, container, to| {
        if let Some(grace_s) = container.last_grace_s {
            to.sample(block, &NONE, Value::Count(grace_s));
        }
    },
};

/// All shares.
pub static RATIO: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "shutdown_grace_used_ratio",
        kind: Type::Histogram,
        unit: Unit::None,
        scope: Scope::Workload,
        labels: &[],
        series_max: 9,
        help: "Share of the time left at the stop signal that containers used to stop. Ends by the \
               node's pressure or shutdown are not in it: their grace period is not told. There \
               from the first on.",
    },
    write: |block, workload, to| {
        if let Some(ratio) = &mut workload.ratio {
            to.histogram(block, &NONE, ratio);
        }
    },
};

/// Ratios are counted as times of which 1 is a second.
pub static RATIO_BOUNDS: &[Bound] = &[
    Bound { ns: 100_000_000, le: "0.1" },
    Bound { ns: 250_000_000, le: "0.25" },
    Bound { ns: 500_000_000, le: "0.5" },
    Bound { ns: 750_000_000, le: "0.75" },
    Bound { ns: 900_000_000, le: "0.9" },
    Bound { ns: 1_000_000_000, le: "1.0" },
];

/// preStop hooks.
pub static PRE_STOP: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "prestop_duration_seconds",
        kind: Type::Histogram,
        unit: Unit::Seconds,
        scope: Scope::Workload,
        labels: &["handler"],
        series_max: PRE_STOP_SERIES,
        help: "How long preStop hooks took; there for workloads that have one. handler: exec \
               (measured), sleep (as the Pod says), http (from the news of the deletion to the \
               stop signal).",
    },
    write: |block, workload, to| {
        for (handler, histogram) in &mut workload.pre_stop {
            to.histogram(block, &[("handler", *handler)].as_slice(), histogram);
        }
    },
};

/// Most hooks take a second or two; the longest that make sense are half a minute.
pub static PRE_STOP_BOUNDS: &[Bound] = &[
    Bound { ns: 300_000_000, le: "0.3" },
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
];

/// A container has one hook. Two kinds are there while a rollout changes it; a third is passed
/// over.
const HANDLERS_MAX: usize = 2;
const PRE_STOP_SERIES: u32 = 8 * HANDLERS_MAX as u32;

/// Ends by cause and trigger.
pub static BY_TRIGGER: NodeFamily = NodeFamily {
    family: Family {
        name: "terminations_by_trigger_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Node,
        labels: &["cause", "trigger"],
        series_max: (Cause::ALL.len() * Trigger::ALL.len()) as u32,
        help: "Ends of containers on this node by cause and by who or what had them stopped; \
               liveness, startup, pod_completion and restart_other are inferred.",
    },
    write: |node, to| node.by_trigger.write(b"", to),
};

/// The labels `cause` and `trigger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CauseAndTrigger(pub Cause, pub Trigger);

impl Labels for CauseAndTrigger {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        self.0.each(label);
        label("trigger", self.1.label());
    }
}

/// There is one node, so all of them are born.
pub(super) fn born_by_trigger() -> Cells<CauseAndTrigger> {
    Cells::born(
        Cause::ALL
            .into_iter()
            .flat_map(|cause| Trigger::ALL.map(|trigger| CauseAndTrigger(cause, trigger))),
    )
}

/// What runtimes report otherwise than the kernel saw.
pub static MISMATCH: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "termination_reason_mismatch_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Workload,
        labels: &["reported", "observed"],
        series_max: MISMATCHES_MAX as u32,
        help: "Ends for which the reason in the Pod's status is not what the kernel saw.",
    },
    write: |block, workload, to| workload.mismatches.write(block, to),
};

/// Label sets of a workload; more than these are counted as the last one was.
const MISMATCHES_MAX: usize = 4;

/// The labels `reported` and `observed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mismatch {
    reported: &'static str,
    observed: Cause,
}

impl Labels for Mismatch {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("reported", self.reported);
        label("observed", self.observed.label());
    }
}

/// The reasons that containerd and CRI-O report, and the kubelet for containers that were lost.
fn reported(reason: &str) -> &'static str {
    const KNOWN: [&str; 6] = [
        "OOMKilled",
        "Error",
        "Completed",
        "ContainerCannotRun",
        "StartError",
        "ContainerStatusUnknown",
    ];
    KNOWN.into_iter().find(|known| *known == reason).unwrap_or("other")
}

/// The runtime has reported another reason.
pub(super) fn misreported(workload: &mut Workload, report: &Misreport) {
    let mismatch = Mismatch { reported: reported(&report.reported), observed: report.observed };
    if workload.mismatches.len() < MISMATCHES_MAX || workload.mismatches.contains(&mismatch) {
        workload.mismatches.add_one(mismatch);
    }
}

/// A container of the workload has a preStop hook: its series are there before it runs.
pub(super) fn has_pre_stop(workload: &mut Workload, handler: PreStop) {
    let handler = handler.label();
    let known = workload.pre_stop.iter().any(|(known, _)| *known == handler);
    if !known && workload.pre_stop.len() < HANDLERS_MAX {
        workload.pre_stop.push((handler, Histogram::new(PRE_STOP_BOUNDS)));
    }
}

/// A container ended.
pub(super) fn ended(container: &mut Container, workload: Option<&mut Workload>, death: &Death) {
    let ratio = death.grace_used_ns().map(|(used_ns, budget_ns)| Ratio { used_ns, budget_ns });
    container.last_grace_s = death.grace_s.or(container.last_grace_s);
    container.last_ratio = ratio.or(container.last_ratio);
    let Some(workload) = workload else { return };
    if let Some(Ratio { used_ns, budget_ns }) = ratio
        && budget_ns != 0
    {
        let ratio = u128::from(used_ns) * 1_000_000_000 / u128::from(budget_ns);
        let shares = workload.ratio.get_or_insert_with(|| Histogram::new(RATIO_BOUNDS));
        shares.observe_ns(u64::try_from(ratio).unwrap_or(u64::MAX));
    }
    if let Some(run) = death.pre_stop
        && let Some(duration_ns) = run.duration_ns()
    {
        has_pre_stop(workload, run.handler);
        let label = run.handler.label();
        if let Some((_, histogram)) =
            workload.pre_stop.iter_mut().find(|(known, _)| *known == label)
        {
            histogram.observe_ns(duration_ns);
        }
    }
}
