//! Collector `probes`: results of a container's probes, and its last attempts.

use super::super::collector::Collector;
use super::super::counter::Counter;
use super::super::expose::{StateFamily, Value};
use super::super::family::{Family, Need, Scope};
use super::{declared, latency_ns};
use crate::kube::pod::{self, Handler};
use crate::lifecycle::fact::{Fact, FactKind, ProbeAttempt, ProbeKind, ProbeResult};

/// Results of attempts.
pub static RESULTS: StateFamily<OfContainer> = StateFamily {
    family: Family::counter(
        "probe_results_total",
        Scope::Container,
        "Attempts of the kubelet's probes by result. At 0 from the start on for the probes of the \
         Pod's spec.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler", "result"], PROBES_MAX * ProbeResult::ALL.len())
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &mut state.probes {
            let [kind, handler] = probe.labels();
            for (result, counter) in ProbeResult::ALL.into_iter().zip(&mut probe.results) {
                if let Some(counter) = counter {
                    let labels = [kind, handler, ("result", result.label())];
                    to.counter(block, &labels.as_slice(), counter);
                }
            }
        }
    },
};

/// Series of failures that reached the threshold.
pub static THRESHOLDS: StateFamily<OfContainer> = StateFamily {
    family: Family::counter(
        "probe_failure_threshold_reached_total",
        Scope::Container,
        "Times that failures in a row reached the probe's failureThreshold: the container is killed, \
         or is not ready any more. Failures before it was ready for the first time are not included.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler"], PROBES_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        // Failures of what may be of either probe are counted for neither.
        let known = |probe: &&mut Probe| probe.kind != ProbeKind::LivenessOrReadiness;
        for probe in state.probes.iter_mut().filter(known) {
            to.counter(block, &probe.labels().as_slice(), &mut probe.thresholds);
        }
    },
};

/// Duration of the last attempt.
pub static LAST_DURATION: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "probe_last_duration_seconds",
        Scope::Container,
        "Duration of the probe's last attempt that was not refused, whatever its result.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler"], PROBES_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &state.probes {
            if let Some(duration_ns) = probe.last_ns {
                to.sample(block, &probe.labels().as_slice(), Value::Nanos(duration_ns));
            }
        }
    },
};

/// Timeout.
pub static TIMEOUT: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "probe_timeout_seconds",
        Scope::Container,
        "Timeout of the probe: timeoutSeconds of the Pod's spec.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler"], PROBES_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &state.probes {
            if let Some(timeout_s) = probe.timeout_s {
                to.sample(block, &probe.labels().as_slice(), Value::Count(timeout_s));
            }
        }
    },
};

/// Failures left.
pub static FAILURES_LEFT: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "probe_failures_left",
        Scope::Container,
        "Failures in a row that are left until the probe's failureThreshold is reached. Absent where \
         they cannot be counted, and while no attempt was seen for more than two periods.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler"], PROBES_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &state.probes {
            if let Some(left) = probe.failures_left {
                to.sample(block, &probe.labels().as_slice(), Value::Count(left));
            }
        }
    },
};

/// Most probes of a container: one of each kind.
const PROBES_MAX: usize = ProbeKind::ALL.len();

/// Probes of a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    /// At most one of each kind, in their order.
    probes: Vec<Probe>,
}

impl OfContainer {
    /// Takes in the container's spec: its probes are at 0 before their first attempt. Returns the
    /// number of label sets that gave way to one of another handler, as of a Pod that was made again
    /// under its name. `is_there`: the container has a cgroup.
    pub fn declare(&mut self, container: &pod::Container, is_there: bool) -> u64 {
        let mut dropped = 0;
        for probe in &mut self.probes {
            probe.timeout_s = None;
        }
        for (kind, spec) in declared(container) {
            let (probe, gave_way) = self.probe(kind, spec.handler);
            if let Some(probe) = probe {
                probe.timeout_s = is_there.then_some(spec.timeout_s);
                probe.initialise();
            }
            dropped += gave_way;
        }
        dropped
    }

    /// Takes in a fact. Returns the number of label sets that gave way.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        match &fact.kind {
            FactKind::Started(_) => {
                for probe in &mut self.probes {
                    probe.restart();
                }
                0
            }
            FactKind::Probed(attempt) => {
                let (probe, gave_way) = self.probe(attempt.probe, attempt.handler);
                if let Some(probe) = probe {
                    probe.attempt(attempt);
                }
                gave_way
            }
            FactKind::ProbeOverdue(kind) => {
                for probe in self.probes.iter_mut().filter(|probe| probe.kind == *kind) {
                    probe.failures_left = None;
                }
                0
            }
            _ => 0,
        }
    }

    /// Gives up what is only true of a container that is there, like the other gauges.
    pub fn gone(&mut self) {
        for probe in &mut self.probes {
            (probe.timeout_s, probe.failures_left) = (None, None);
        }
    }

    fn probe(&mut self, kind: ProbeKind, handler: Handler) -> (Option<&mut Probe>, u64) {
        let mut gave_way = 0;
        let at = match self.probes.binary_search_by_key(&kind, |probe| probe.kind) {
            Ok(at) => {
                if let Some(known) = self.probes.get_mut(at)
                    && known.handler != handler
                {
                    *known = Probe::new(kind, handler);
                    gave_way = 1;
                }
                at
            }
            Err(at) => {
                self.probes.reserve_exact(1);
                self.probes.insert(at, Probe::new(kind, handler));
                at
            }
        };
        (self.probes.get_mut(at), gave_way)
    }
}

/// A probe of a container.
#[derive(Debug)]
struct Probe {
    kind: ProbeKind,
    handler: Handler,
    /// By [`ProbeResult::ALL`]; `None` for a result that is unusual and was not seen.
    results: [Option<Counter>; ProbeResult::ALL.len()],
    thresholds: Counter,
    last_ns: Option<u64>,
    timeout_s: Option<u64>,
    failures_left: Option<u64>,
    /// Whether a threshold that is reached is news: it was not reached since the last success, and
    /// for readiness, which begins as not ready, there was a success.
    armed: bool,
}

impl Probe {
    const fn new(kind: ProbeKind, handler: Handler) -> Self {
        Self {
            kind,
            handler,
            results: [None; ProbeResult::ALL.len()],
            thresholds: Counter::new(),
            last_ns: None,
            timeout_s: None,
            failures_left: None,
            armed: Self::is_armed_at_first(kind),
        }
    }

    const fn is_armed_at_first(kind: ProbeKind) -> bool {
        matches!(kind, ProbeKind::Startup | ProbeKind::Liveness)
    }

    const fn labels(&self) -> [(&'static str, &'static str); 2] {
        [("probe", self.kind.label()), ("handler", self.handler.label())]
    }

    /// Makes the results that are usual.
    fn initialise(&mut self) {
        for (result, counter) in ProbeResult::ALL.into_iter().zip(&mut self.results) {
            let is_usual = match result {
                ProbeResult::Success | ProbeResult::Failure | ProbeResult::Timeout => true,
                ProbeResult::Refused => self.handler != Handler::Exec,
                ProbeResult::Unknown => self.handler == Handler::Https,
            };
            if is_usual {
                counter.get_or_insert_default();
            }
        }
    }

    /// Another instance of the container begins.
    const fn restart(&mut self) {
        self.failures_left = None;
        self.armed = Self::is_armed_at_first(self.kind);
    }

    fn attempt(&mut self, attempt: &ProbeAttempt) {
        self.initialise();
        for (result, counter) in ProbeResult::ALL.into_iter().zip(&mut self.results) {
            if result == attempt.result {
                counter.get_or_insert_default().add_one();
            }
        }
        self.last_ns = latency_ns(attempt).or(self.last_ns);
        self.failures_left = attempt.failures_left;
        self.timeout_s = Some(attempt.timeout_s);
        match attempt.result.is_failure() {
            Some(false) => self.armed = true,
            Some(true) if self.armed && attempt.failures_left == Some(0) => {
                self.thresholds.add_one();
                self.armed = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::tests::{attempt, fact};
    use super::*;
    use crate::event::TaskKey;
    use crate::lifecycle::fact::ProbeResult::{Failure, Success, Unknown};
    use crate::lifecycle::fact::Started;

    fn told(state: &mut OfContainer, kind: ProbeKind, attempts: &[(ProbeResult, Option<u64>)]) {
        for (result, failures_left) in attempts {
            let attempt = ProbeAttempt { failures_left: *failures_left, ..attempt(kind, *result) };
            assert_eq!(state.fact(&fact(attempt)), 0);
        }
    }

    fn started() -> FactKind {
        let init = TaskKey { tgid: 1, start_boot_ns: 1 };
        FactKind::Started(Started { init, before_agent: false, is_pause: false })
    }

    fn thresholds(state: &OfContainer, kind: ProbeKind) -> u64 {
        let probe = state.probes.iter().find(|probe| probe.kind == kind).unwrap();
        probe.thresholds.count()
    }

    #[test]
    fn readiness_that_was_never_there_is_not_lost() {
        let mut state = OfContainer::default();
        let down = [(Failure, Some(1)), (Failure, Some(0)), (Failure, Some(0))];
        told(&mut state, ProbeKind::Readiness, &down);
        assert_eq!(thresholds(&state, ProbeKind::Readiness), 0);
        for n in 1..=3 {
            told(&mut state, ProbeKind::Readiness, &[(Success, Some(2))]);
            told(&mut state, ProbeKind::Readiness, &down);
            assert_eq!(thresholds(&state, ProbeKind::Readiness), n);
        }
        // The next instance begins as not ready.
        told(&mut state, ProbeKind::Readiness, &[(Success, Some(2))]);
        state.fact(&Fact { time_boot_ns: 1, kind: started() });
        told(&mut state, ProbeKind::Readiness, &down);
        assert_eq!(thresholds(&state, ProbeKind::Readiness), 3);
    }

    #[test]
    fn each_instance_that_liveness_kills_counts() {
        let mut state = OfContainer::default();
        for n in 1..=2 {
            told(&mut state, ProbeKind::Liveness, &[(Failure, Some(1)), (Failure, Some(0))]);
            assert_eq!(thresholds(&state, ProbeKind::Liveness), n);
            state.fact(&Fact { time_boot_ns: 1, kind: started() });
        }
        told(&mut state, ProbeKind::Liveness, &[(Unknown, None), (Failure, None)]);
        assert_eq!(thresholds(&state, ProbeKind::Liveness), 2, "what cannot be counted is not");
    }

    #[test]
    fn what_is_left_is_not_known_while_attempts_are_overdue() {
        let mut state = OfContainer::default();
        for kind in [ProbeKind::Liveness, ProbeKind::Readiness] {
            told(&mut state, kind, &[(Success, Some(3))]);
        }
        let overdue = FactKind::ProbeOverdue(ProbeKind::Liveness);
        state.fact(&Fact { time_boot_ns: 1, kind: overdue });
        let left: Vec<_> = state.probes.iter().map(|probe| probe.failures_left).collect();
        assert_eq!(left, [None, Some(3)]);
        told(&mut state, ProbeKind::Liveness, &[(Failure, Some(2))]);
        assert_eq!(state.probes[0].failures_left, Some(2));
    }

    #[test]
    fn gauges_go_with_the_container_and_its_spec() {
        let mut state = OfContainer::default();
        let liveness = pod::Probe { handler: Handler::Http, timeout_s: 3, ..Default::default() };
        let spec = pod::Container { liveness: Some(Box::new(liveness)), ..Default::default() };
        assert_eq!(state.declare(&spec, true), 0);
        assert_eq!(state.probes[0].timeout_s, Some(3));
        told(&mut state, ProbeKind::Liveness, &[(Success, Some(3))]);
        state.gone();
        let probe = &state.probes[0];
        assert_eq!((probe.timeout_s, probe.failures_left), (None, None));
        assert!(probe.last_ns.is_some());
        assert_eq!(state.declare(&spec, false), 0);
        assert_eq!(state.probes[0].timeout_s, None, "it waits to run again");
    }

    #[test]
    fn another_handler_takes_the_place() {
        let mut state = OfContainer::default();
        told(&mut state, ProbeKind::Liveness, &[(Success, Some(3))]);
        let other = ProbeAttempt { handler: Handler::Tcp, ..attempt(ProbeKind::Liveness, Failure) };
        assert_eq!(state.fact(&fact(other)), 1);
        let [probe] = &state.probes[..] else { panic!("{:?}", state.probes) };
        let counts = probe.results.map(|counter| counter.map(|counter| counter.count()));
        assert_eq!(counts, [Some(0), Some(1), Some(0), Some(0), None]);
    }
}
