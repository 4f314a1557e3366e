//! Collector `startup`: the phases of a start, from the scheduler's decision until ready.

use opentelemetry::trace::TraceId;

use super::collector::Collector;
use super::counter::Counter;
use super::exemplar::Exemplar;
use super::expose::{NONE, StateFamily, Value};
use super::family::{Family, Need, Scope};
use super::histogram::{Bound, Histogram};
use crate::lifecycle::fact::{Fact, FactKind};
use crate::lifecycle::phase::Phase;

/// Phases of the last start.
pub static PHASES: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_startup_seconds",
        Scope::Container,
        "Duration of each phase of the container's last start, if the agent saw it. Phases bounded \
         by an API time (scheduled, init) have a resolution of one second.",
    )
    .of(Collector::Startup)
    .labels(&["phase"], Phase::ALL.len()),
    write: |block, startup, to| {
        for (phase, time_ns) in Phase::ALL.into_iter().zip(startup.phases_ns) {
            if let Some(time_ns) = time_ns {
                to.sample(block, &[("phase", phase.label())].as_slice(), Value::Nanos(time_ns));
            }
        }
    },
};

/// First starts.
pub static DURATION: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "startup_duration_seconds",
        Scope::Workload,
        BOUNDS.len(),
        "Time from the scheduling of the Pod until the container was first ready. Present from the \
         first such start on.",
    )
    .of(Collector::Startup)
    .needs(&[Need::Pods]),
    write: |block, startup, to| {
        if let Some(duration) = &mut startup.duration {
            to.histogram(block, &NONE, duration);
        }
    },
};

/// Failed starts.
pub static FAILURES: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "start_failures_total",
        Scope::Workload,
        "Failed attempts to start a container: its own program never ran. From the kernel's record of \
         a cgroup without a program, and from the Pod's status (image, configuration, runtime); each \
         attempt counts once.",
    )
    .of(Collector::Startup),
    write: |block, startup, to| to.counter(block, &NONE, &mut startup.failures),
};

/// From an image that is there to one that is pulled and warms up.
const BOUNDS: &[Bound] = &[
    Bound { ns: 2_000_000_000, le: "2.0" },
    Bound { ns: 5_000_000_000, le: "5.0" },
    Bound { ns: 15_000_000_000, le: "15.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 300_000_000_000, le: "300.0" },
];

/// Startup of a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    phases_ns: [Option<u64>; Phase::ALL.len()],
}

impl OfContainer {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Progressed(start) = &fact.kind {
            self.phases_ns = Phase::ALL.map(|phase| start.phase_ns(phase));
        }
    }
}

/// Startup of a workload's containers.
#[derive(Debug, Default)]
pub struct OfWorkload {
    duration: Option<Histogram>,
    failures: Counter,
}

impl OfWorkload {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if fact.kind == FactKind::StartFailed {
            self.failures.add_one();
        }
        if let Some(time_ns) = observation(fact) {
            let duration = self.duration.get_or_insert_with(|| Histogram::new(BOUNDS));
            duration.observe_ns(time_ns);
        }
    }

    /// Takes in the trace that tells of a fact.
    pub fn traced(&mut self, fact: &Fact, trace: TraceId) {
        if let Some(duration) = &mut self.duration
            && let Some(time_ns) = observation(fact)
        {
            duration.exemplify(Exemplar { trace, time_ns, at_boot_ns: fact.time_boot_ns });
        }
    }
}

/// What a fact counts as in [`DURATION`].
fn observation(fact: &Fact) -> Option<u64> {
    let FactKind::Progressed(start) = &fact.kind else { return None };
    start.whole_ns().filter(|_| start.just_ready)
}
