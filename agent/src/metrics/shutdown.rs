//! Collector `shutdown`: the time from the stop signal to the end.

use opentelemetry::trace::TraceId;

use super::collector::Collector;
use super::exemplar::Exemplar;
use super::expose::{NONE, StateFamily, Value};
use super::family::{Family, Scope};
use super::histogram::{Bound, Histogram};
use super::usage::{Terminating, Usage};
use crate::lifecycle::fact::{Fact, FactKind, Outcome};

/// Last shutdown.
pub static LAST: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_last_shutdown_seconds",
        Scope::Container,
        "Time from the stop signal to the container's end, at its last shutdown.",
    )
    .of(Collector::Shutdown),
    write: |block, shutdown, to| {
        if let Some((_, shutdown_ns)) = shutdown.last {
            to.sample(block, &NONE, Value::Nanos(shutdown_ns));
        }
    },
};

/// Shutdown under way.
pub static TERMINATING: StateFamily<Usage> = StateFamily {
    family: Family::gauge(
        "container_terminating_seconds",
        Scope::Container,
        "Time since the stop signal of a container that has not ended. killed: SIGKILL was sent \
         and has not ended it yet.",
    )
    .of(Collector::Shutdown)
    .labels(&["killed"], 1),
    write: |block, usage, to| {
        let terminating = usage.live().find_map(|instance| instance.terminating);
        if let Some(Terminating { for_ns, killed }) = terminating {
            let killed = if killed { "true" } else { "false" };
            to.sample(block, &[("killed", killed)].as_slice(), Value::Nanos(for_ns));
        }
    },
};

/// Shutdowns.
pub static DURATION: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "shutdown_duration_seconds",
        Scope::Workload,
        BOUNDS.len(),
        "Time from the stop signal to the container's end, by outcome: exited by itself or killed. \
         Kills without a stop signal are not included.",
    )
    .of(Collector::Shutdown)
    .labels(&["outcome"], 2),
    write: |block, shutdown, to| {
        to.histogram(block, &[("outcome", "exited")].as_slice(), &mut shutdown.exited);
        to.histogram(block, &[("outcome", "killed")].as_slice(), &mut shutdown.killed);
    },
};

/// Around the default grace period of 30 s. Who ends within it is below 30; who is killed at its end is
/// gone a few hundredths of a second later, in the bucket from 30 to 31 that has hardly anything else:
/// a line of its own in a heatmap, and a quantile that says 31 s at most, where a bucket up to 60 made it
/// up to 60. (31 in place of 30 would mix those that are killed with those that stop after 10 to 30 s.) It
/// has the place of 0.1, so that there is no further series: whether a stop took 50 ms or 200 ms is no
/// matter.
const BOUNDS: &[Bound] = &[
    Bound { ns: 300_000_000, le: "0.3" },
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
    Bound { ns: 31_000_000_000, le: "31.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 120_000_000_000, le: "120.0" },
];

/// Shutdowns of a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    /// End of the last shutdown, `CLOCK_BOOTTIME`, and its duration.
    last: Option<(u64, u64)>,
}

impl OfContainer {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Explained(death) = &fact.kind
            && let Some(shutdown_ns) = death.end.shutdown_ns()
        {
            let end_boot_ns = death.end.end_boot_ns;
            // Two instances may overlap: the last is the one that ended last.
            if self.last.is_none_or(|(last_boot_ns, _)| last_boot_ns <= end_boot_ns) {
                self.last = Some((end_boot_ns, shutdown_ns));
            }
        }
    }
}

/// Shutdowns of a workload's containers.
#[derive(Debug)]
pub struct OfWorkload {
    exited: Histogram,
    killed: Histogram,
}

impl OfWorkload {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let Some((outcome, time_ns)) = observation(fact) {
            self.histogram(outcome).observe_ns(time_ns);
        }
    }

    /// Takes in the trace that tells of a fact.
    pub fn traced(&mut self, fact: &Fact, trace: TraceId) {
        if let Some((outcome, time_ns)) = observation(fact) {
            let at_boot_ns = fact.time_boot_ns;
            self.histogram(outcome).exemplify(Exemplar { trace, time_ns, at_boot_ns });
        }
    }

    const fn histogram(&mut self, outcome: Outcome) -> &mut Histogram {
        match outcome {
            Outcome::Killed => &mut self.killed,
            Outcome::Exited => &mut self.exited,
        }
    }
}

/// What a fact counts as in [`DURATION`].
fn observation(fact: &Fact) -> Option<(Outcome, u64)> {
    let FactKind::Explained(death) = &fact.kind else { return None };
    Some((death.end.outcome, death.end.shutdown_ns()?))
}

impl Default for OfWorkload {
    fn default() -> Self {
        Self { exited: Histogram::new(BOUNDS), killed: Histogram::new(BOUNDS) }
    }
}
