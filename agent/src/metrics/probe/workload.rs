//! Collector `probes`: latency of a workload's probes, and what its commands cost.

use super::super::collector::Collector;
use super::super::counter::Counter;
use super::super::expose::{StateFamily, Value};
use super::super::family::{Family, Need, Scope};
use super::super::histogram::{Bound, Histogram, RATIO_BOUNDS, ratio_ns};
use super::{declared, latency_ns};
use crate::clock::SECOND_NS;
use crate::kube::pod::{self, Handler};
use crate::lifecycle::fact::{Fact, FactKind, ProbeAttempt, ProbeKind, ProbeResult};

/// Durations of attempts.
pub static DURATION: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "probe_duration_seconds",
        Scope::Workload,
        BOUNDS.len(),
        "Duration of the kubelet's probe attempts, failures and timeouts included; refused \
         connections are not. From the connect call, or the command's process in the container, to \
         the answer or the end.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler"], SETS_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &mut state.probes {
            to.histogram(block, &probe.labels().as_slice(), &mut probe.duration);
        }
    },
};

/// Fractions of the timeout.
pub static TIMEOUT_USED: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "probe_timeout_used_ratio",
        Scope::Workload,
        RATIO_BOUNDS.len(),
        "Fraction of its timeout that a probe attempt used, for the same attempts as \
         probe_duration_seconds. What is above 1 timed out.",
    )
    .of(Collector::Probes)
    .labels(&["probe", "handler"], SETS_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &mut state.probes {
            to.histogram(block, &probe.labels().as_slice(), &mut probe.ratio);
        }
    },
};

/// CPU time of commands.
pub static EXEC_CPU: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "probe_exec_cpu_seconds_total",
        Scope::Workload,
        "CPU time of the commands of exec probes, and of the children that they waited for, as far \
         as it was seen.",
    )
    .of(Collector::Probes)
    .labels(&["probe"], EXEC_SETS_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        state.each_exec(|labels, exec| to.amount(block, &labels, Value::Nanos, &mut exec.cpu));
    },
};

/// Processes that commands left behind.
pub static EXEC_LEAKED: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "probe_exec_leaked_processes_total",
        Scope::Workload,
        "Children that commands of exec probes left to the container when they ended: they run on, or \
         nobody has waited for them.",
    )
    .of(Collector::Probes)
    .labels(&["probe"], EXEC_SETS_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        state.each_exec(|labels, exec| to.counter(block, &labels, &mut exec.leaked));
    },
};

/// Commands that went on after the timeout.
pub static EXEC_OVERRUNS: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "probe_exec_overruns_total",
        Scope::Workload,
        "Commands of exec probes that went on after the probe's timeout.",
    )
    .of(Collector::Probes)
    .labels(&["probe"], EXEC_SETS_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        state.each_exec(|labels, exec| to.counter(block, &labels, &mut exec.overruns));
    },
};

/// From an answer on the node itself to the longest timeouts that make sense; 1 s is the default.
const BOUNDS: &[Bound] = &[
    Bound { ns: 1_000_000, le: "0.001" },
    Bound { ns: 5_000_000, le: "0.005" },
    Bound { ns: 20_000_000, le: "0.02" },
    Bound { ns: 100_000_000, le: "0.1" },
    Bound { ns: 300_000_000, le: "0.3" },
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 2_000_000_000, le: "2.0" },
    Bound { ns: 5_000_000_000, le: "5.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
];

/// Most pairs of a probe and a handler that a workload container has at a time: three probes, and
/// twice as many while a rollout changes all handlers. Another one takes the place of the oldest,
/// which no container has any more.
pub(super) const SETS_MAX: usize = 6;
/// Most probes that have a command: one of each kind.
const EXEC_SETS_MAX: usize = ProbeKind::ALL.len();

/// Probes of a workload's containers.
#[derive(Debug, Default)]
pub struct OfWorkload {
    /// The oldest first.
    probes: Vec<Probe>,
}

impl OfWorkload {
    /// Initialises the series of a container's probes at 0, before they run. Returns the number of
    /// label sets that gave way.
    pub fn declare(&mut self, container: &pod::Container) -> u64 {
        declared(container).map(|(kind, spec)| self.probe(kind, spec.handler).1).sum()
    }

    /// Takes in a fact. Returns the number of label sets that gave way.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        let FactKind::Probed(attempt) = &fact.kind else { return 0 };
        let (probe, gave_way) = self.probe(attempt.probe, attempt.handler);
        if let Some(probe) = probe {
            probe.attempt(attempt);
        }
        gave_way
    }

    fn probe(&mut self, kind: ProbeKind, handler: Handler) -> (Option<&mut Probe>, u64) {
        let is_its = |probe: &Probe| probe.kind == kind && probe.handler == handler;
        let known = self.probes.iter().position(is_its);
        let full = known.is_none() && self.probes.len() >= SETS_MAX;
        if full {
            self.probes.remove(0);
        }
        let at = known.unwrap_or_else(|| {
            self.probes.reserve_exact(1);
            self.probes.push(Probe::new(kind, handler));
            self.probes.len() - 1
        });
        (self.probes.get_mut(at), full.into())
    }

    /// Calls `each` for what commands cost, with its labels.
    fn each_exec(&mut self, mut each: impl FnMut(&[(&str, &str)], &mut Exec)) {
        for probe in &mut self.probes {
            if let Some(exec) = &mut probe.exec {
                each(&[("probe", probe.kind.label())], exec);
            }
        }
    }
}

/// A probe of a workload's containers.
#[derive(Debug)]
struct Probe {
    kind: ProbeKind,
    handler: Handler,
    duration: Histogram,
    ratio: Histogram,
    exec: Option<Exec>,
}

/// What commands cost.
#[derive(Debug, Default)]
struct Exec {
    /// In nanoseconds.
    cpu: Counter,
    leaked: Counter,
    overruns: Counter,
}

impl Probe {
    fn new(kind: ProbeKind, handler: Handler) -> Self {
        Self {
            kind,
            handler,
            duration: Histogram::new(BOUNDS),
            ratio: Histogram::new(RATIO_BOUNDS),
            exec: (handler == Handler::Exec).then(Exec::default),
        }
    }

    const fn labels(&self) -> [(&'static str, &'static str); 2] {
        [("probe", self.kind.label()), ("handler", self.handler.label())]
    }

    fn attempt(&mut self, attempt: &ProbeAttempt) {
        if let Some(duration_ns) = latency_ns(attempt) {
            self.duration.observe_ns(duration_ns);
            if let Some(ratio) = ratio_of_second(duration_ns, attempt.timeout_s) {
                // The kubelet's timer starts a moment before the connection, or the command, does.
                let timed_out = attempt.result == ProbeResult::Timeout;
                self.ratio.observe_ns(if timed_out { ratio.max(SECOND_NS + 1) } else { ratio });
            }
        }
        if let (Some(counted), Some(run)) = (&mut self.exec, &attempt.exec) {
            counted.cpu.add(run.cpu_ns.unwrap_or(0));
            counted.leaked.add(run.left_behind.into());
            counted.overruns.add(run.overran.into());
        }
    }
}

/// The fraction of the timeout as a time of which 1 is a second; `None` without a timeout.
fn ratio_of_second(duration_ns: u64, timeout_s: u64) -> Option<u64> {
    let timeout_ns = u128::from(timeout_s) * u128::from(SECOND_NS);
    ratio_ns(duration_ns, timeout_ns)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::lifecycle::fact::ExecRun;

    /// An attempt over HTTP that took 200 ms of 1 s.
    pub(in super::super) fn attempt(probe: ProbeKind, result: ProbeResult) -> ProbeAttempt {
        ProbeAttempt {
            probe,
            handler: Handler::Http,
            result,
            start_boot_ns: 5_000_000_000,
            end_boot_ns: 5_200_000_000,
            timeout_s: 1,
            failures_left: None,
            status: None,
            network: None,
            exec: None,
        }
    }

    pub(in super::super) fn fact(attempt: ProbeAttempt) -> Fact {
        Fact { time_boot_ns: attempt.end_boot_ns, kind: FactKind::Probed(attempt) }
    }

    #[test]
    fn what_was_refused_has_no_latency() {
        let mut state = OfWorkload::default();
        for result in ProbeResult::ALL {
            state.fact(&fact(attempt(ProbeKind::Liveness, result)));
        }
        let [probe] = &state.probes[..] else { panic!("{:?}", state.probes) };
        let expected = ProbeResult::ALL.len() as u64 - 1;
        assert_eq!((probe.duration.count(), probe.ratio.count()), (expected, expected));
        // A timeout used the whole of it, and a little more.
        assert_eq!(probe.ratio.sum_ns(), (expected - 1) * 200_000_000 + SECOND_NS + 1);
        let above: Vec<_> = probe.ratio.cumulative().map(|(_, count, _)| count).collect();
        assert_eq!(above.last_chunk::<2>(), Some(&[expected - 1, expected]));
    }

    #[test]
    fn no_timeout_is_no_ratio_and_a_long_one_no_overflow() {
        assert_eq!(ratio_of_second(1, 0), None);
        assert_eq!(ratio_of_second(u64::MAX, 1), Some(u64::MAX));
        assert_eq!(ratio_of_second(1_500_000_000, 3), Some(500_000_000));
        assert_eq!(ratio_of_second(u64::MAX, u64::MAX), Some(1));
    }

    #[test]
    fn commands_are_added_up() {
        let mut state = OfWorkload::default();
        let run = ExecRun { cpu_ns: Some(7), left_behind: 2, overran: true, ..ExecRun::default() };
        for run in [run, ExecRun { cpu_ns: None, left_behind: 1, overran: false, ..run }] {
            let attempt = attempt(ProbeKind::Readiness, ProbeResult::Success);
            let exec = ProbeAttempt { handler: Handler::Exec, exec: Some(run), ..attempt };
            state.fact(&fact(exec));
        }
        let mut seen = Vec::new();
        state.each_exec(|labels, exec| {
            let counts = [exec.cpu.count(), exec.leaked.count(), exec.overruns.count()];
            seen.push((labels[0].1.to_owned(), counts));
        });
        assert_eq!(seen, [("readiness".to_owned(), [7, 3, 1])]);
    }

    #[test]
    fn the_newest_handlers_are_kept() {
        let mut state = OfWorkload::default();
        let handlers = [Handler::Http, Handler::Https, Handler::Tcp, Handler::Exec, Handler::Grpc];
        let mut gave_way = 0;
        for kind in [ProbeKind::Liveness, ProbeKind::Readiness] {
            for handler in handlers {
                let attempt = ProbeAttempt { handler, ..attempt(kind, ProbeResult::Success) };
                gave_way += state.fact(&fact(attempt));
            }
        }
        assert_eq!((gave_way, state.probes.len()), (4, SETS_MAX));
        assert_eq!(state.probes[0].handler, Handler::Grpc);
    }
}
