//! Collector `prestop`: the duration of preStop hooks.

use opentelemetry::trace::TraceId;

use super::collector::Collector;
use super::exemplar::Exemplar;
use super::expose::StateFamily;
use super::family::{Family, Need, Scope};
use super::histogram::{Bound, Histogram};
use crate::kube::pod::PreStop;
use crate::lifecycle::fact::{Fact, FactKind};

/// Duration of preStop hooks.
pub static DURATION: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "prestop_duration_seconds",
        Scope::Workload,
        BOUNDS.len(),
        "Duration of preStop hooks, for workloads that have one. handler: exec (measured), sleep \
         (from the Pod's spec), http (from the observed deletion to the stop signal).",
    )
    .of(Collector::Prestop)
    .labels(&["handler"], HANDLERS_MAX)
    .needs(&[Need::Pods]),
    write: |block, prestop, to| {
        for (handler, histogram) in &mut prestop.by_handler {
            to.histogram(block, &[("handler", *handler)].as_slice(), histogram);
        }
    },
};

/// Most hooks take a second or two; the longest that make sense are half a minute.
const BOUNDS: &[Bound] = &[
    Bound { ns: 300_000_000, le: "0.3" },
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
];

/// Most handlers of a workload at a time. A container has one; two are there while a rollout
/// changes it. A third replaces the oldest, which no container has any more.
const HANDLERS_MAX: usize = 2;

/// preStop hooks of a workload's containers.
#[derive(Debug, Default)]
pub struct OfWorkload {
    /// The oldest first.
    by_handler: Vec<(&'static str, Histogram)>,
}

impl OfWorkload {
    /// Initialises the series of a container's hook at 0, before it runs. Returns the number of
    /// handlers that gave way: 0 or 1.
    pub fn has(&mut self, handler: PreStop) -> u64 {
        self.histogram(handler).1
    }

    /// Takes in a fact. Returns the number of handlers that gave way.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        if let Some((handler, time_ns)) = observation(fact)
            && let (Some(histogram), gave_way) = self.histogram(handler)
        {
            histogram.observe_ns(time_ns);
            return gave_way;
        }
        0
    }

    /// Takes in the trace that tells of a fact. A handler that gave way stays away.
    pub fn traced(&mut self, fact: &Fact, trace: TraceId) {
        if let Some((handler, time_ns)) = observation(fact)
            && let Some(at) = self.position(handler)
            && let Some((_, histogram)) = self.by_handler.get_mut(at)
        {
            histogram.exemplify(Exemplar { trace, time_ns, at_boot_ns: fact.time_boot_ns });
        }
    }

    fn position(&self, handler: PreStop) -> Option<usize> {
        self.by_handler.iter().position(|(known, _)| *known == handler.label())
    }

    fn histogram(&mut self, handler: PreStop) -> (Option<&mut Histogram>, u64) {
        let known = self.position(handler);
        let full = known.is_none() && self.by_handler.len() >= HANDLERS_MAX;
        if full {
            self.by_handler.remove(0);
        }
        let at = known.unwrap_or_else(|| {
            self.by_handler.push((handler.label(), Histogram::new(BOUNDS)));
            self.by_handler.len() - 1
        });
        (self.by_handler.get_mut(at).map(|(_, histogram)| histogram), full.into())
    }
}

/// What a fact counts as in [`DURATION`].
fn observation(fact: &Fact) -> Option<(PreStop, u64)> {
    let FactKind::Explained(death) = &fact.kind else { return None };
    let run = death.pre_stop?;
    Some((run.handler, run.duration_ns()?))
}

#[cfg(test)]
mod tests {
    use super::{OfWorkload, PreStop};

    #[test]
    fn the_newest_handlers_are_kept() {
        let mut prestop = OfWorkload::default();
        let handlers = [PreStop::Exec, PreStop::Sleep { seconds: 1 }, PreStop::Exec, PreStop::Http];
        assert_eq!(handlers.map(|handler| prestop.has(handler)), [0, 0, 0, 1]);
        let handlers: Vec<_> = prestop.by_handler.iter().map(|(handler, _)| *handler).collect();
        assert_eq!(handlers, ["sleep", "http"]);
    }
}
