//! Collector `grace`: grace periods, and the fraction of them that a shutdown used.

use opentelemetry::trace::TraceId;

use super::collector::Collector;
use super::exemplar::Exemplar;
use super::expose::{NONE, StateFamily, Value};
use super::family::{Family, Need, Scope};
use super::histogram::{Histogram, RATIO_BOUNDS, ratio_ns};
use crate::lifecycle::fact::{Fact, FactKind};

/// Fraction of the grace period used by the last shutdown.
pub static LAST_RATIO: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_last_shutdown_grace_used_ratio",
        Scope::Container,
        "Fraction of the grace period remaining at the stop signal that the container used, at its \
         last shutdown; can exceed 1. Absent if the grace period is unknown.",
    )
    .of(Collector::Grace)
    .needs(&[Need::Pods]),
    write: |block, grace, to| {
        if let Some((used_ns, budget_ns)) = grace.last_used_ns {
            to.sample(block, &NONE, Value::Ratio(used_ns, budget_ns));
        }
    },
};

/// Grace period of the last shutdown.
pub static PERIOD: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_grace_seconds",
        Scope::Container,
        "Grace period in effect when the container was last stopped: from the deletion, the failed \
         probe, or the Pod.",
    )
    .of(Collector::Grace)
    .needs(&[Need::Pods]),
    write: |block, grace, to| {
        if let Some(grace_s) = grace.last_grace_s {
            to.sample(block, &NONE, Value::Count(grace_s));
        }
    },
};

/// Fractions of the grace period used by shutdowns.
pub static RATIO: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "shutdown_grace_used_ratio",
        Scope::Workload,
        RATIO_BOUNDS.len(),
        "Fraction of the grace period remaining at the stop signal that containers used. Evictions \
         by node pressure and node shutdowns are not included: the API does not report their grace \
         period. Present from the first such shutdown on.",
    )
    .of(Collector::Grace)
    .needs(&[Need::Pods]),
    write: |block, grace, to| {
        if let Some(ratio) = &mut grace.ratio {
            to.histogram(block, &NONE, ratio);
        }
    },
};

/// Grace periods of a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    /// Time used, and time remaining at the stop signal.
    last_used_ns: Option<(u64, u64)>,
    last_grace_s: Option<u64>,
}

impl OfContainer {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Explained(death) = &fact.kind {
            self.last_used_ns = death.grace_used_ns().or(self.last_used_ns);
            self.last_grace_s = death.grace_s.or(self.last_grace_s);
        }
    }
}

/// Grace periods of a workload's containers.
#[derive(Debug, Default)]
pub struct OfWorkload {
    ratio: Option<Histogram>,
}

impl OfWorkload {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let Some(time_ns) = observation(fact) {
            let histogram = self.ratio.get_or_insert_with(|| Histogram::new(RATIO_BOUNDS));
            histogram.observe_ns(time_ns);
        }
    }

    /// Takes in the trace that tells of a fact.
    pub fn traced(&mut self, fact: &Fact, trace: TraceId) {
        if let Some(histogram) = &mut self.ratio
            && let Some(time_ns) = observation(fact)
        {
            histogram.exemplify(Exemplar { trace, time_ns, at_boot_ns: fact.time_boot_ns });
        }
    }
}

/// What a fact counts as in [`RATIO`].
fn observation(fact: &Fact) -> Option<u64> {
    let FactKind::Explained(death) = &fact.kind else { return None };
    let (used_ns, budget_ns) = death.grace_used_ns()?;
    ratio_ns(used_ns, budget_ns.into())
}
