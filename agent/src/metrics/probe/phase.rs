//! Collector `probe_phases`: where the time of a probe goes. Off by default.

use super::super::collector::Collector;
use super::super::expose::StateFamily;
use super::super::family::{Family, Need, Scope};
use super::super::histogram::{Bound, Histogram};
use super::workload::SETS_MAX;
use crate::kube::pod::Handler;
use crate::lifecycle::fact::{Fact, FactKind, ProbeAttempt, ProbeKind, ProbeResult};

/// Durations of phases.
pub static DURATION: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "probe_phase_duration_seconds",
        Scope::Workload,
        BOUNDS.len(),
        "Duration of the phases of probe attempts. connect: until the connection is established; \
         first_byte: from then to the first byte of the answer; rest: from then to the end; spawn: \
         from entering the container to the command's exec; run: from then to its end. A phase that \
         did not end lasted as long as the attempt. Present from the first attempt on.",
    )
    .of(Collector::ProbePhases)
    .labels(&["probe", "handler", "phase"], SETS_MAX * OF_ATTEMPT_MAX)
    .needs(&[Need::Pods]),
    write: |block, state, to| {
        for probe in &mut state.probes {
            for (phase, histogram) in &mut probe.phases {
                let labels = [
                    ("probe", probe.kind.label()),
                    ("handler", probe.handler.label()),
                    ("phase", *phase),
                ];
                to.histogram(block, &labels.as_slice(), histogram);
            }
        }
    },
};

const BOUNDS: &[Bound] = &[
    Bound { ns: 1_000_000, le: "0.001" },
    Bound { ns: 10_000_000, le: "0.01" },
    Bound { ns: 100_000_000, le: "0.1" },
    Bound { ns: 300_000_000, le: "0.3" },
    Bound { ns: 1_000_000_000, le: "1.0" },
];

/// Most phases of an attempt.
const OF_ATTEMPT_MAX: usize = 3;

/// Phases of the probes of a workload's containers.
#[derive(Debug, Default)]
pub struct OfWorkload {
    /// The oldest first.
    probes: Vec<Probe>,
}

#[derive(Debug)]
struct Probe {
    kind: ProbeKind,
    handler: Handler,
    phases: Vec<(&'static str, Histogram)>,
}

impl OfWorkload {
    /// Takes in a fact. Returns the number of label sets that gave way.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        let FactKind::Probed(attempt) = &fact.kind else { return 0 };
        let is_its = |it: &Probe| it.kind == attempt.probe && it.handler == attempt.handler;
        let known = self.probes.iter().position(is_its);
        let full = known.is_none() && self.probes.len() >= SETS_MAX;
        if full {
            self.probes.remove(0);
        }
        let at = known.unwrap_or_else(|| {
            let (kind, handler) = (attempt.probe, attempt.handler);
            self.probes.push(Probe { kind, handler, phases: Vec::new() });
            self.probes.len() - 1
        });
        let Some(probe) = self.probes.get_mut(at) else { return full.into() };
        for (phase, duration_ns) in phases(attempt).into_iter().flatten() {
            match probe.phases.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, histogram)) => histogram.observe_ns(duration_ns),
                None => {
                    let mut histogram = Histogram::new(BOUNDS);
                    histogram.observe_ns(duration_ns);
                    probe.phases.push((phase, histogram));
                }
            }
        }
        full.into()
    }
}

/// The phases of an attempt, as far as they are known.
fn phases(attempt: &ProbeAttempt) -> [Option<(&'static str, u64)>; OF_ATTEMPT_MAX] {
    let end_boot_ns = attempt.end_boot_ns;
    let between = |phase, from_boot_ns: u64, to_boot_ns: u64| {
        Some((phase, to_boot_ns.saturating_sub(from_boot_ns)))
    };
    if let Some(run) = &attempt.exec {
        // Without the exec nobody knows where the one ended and the other began.
        let Some(exec_boot_ns) = run.exec_boot_ns else { return [None; OF_ATTEMPT_MAX] };
        return [
            between("spawn", attempt.start_boot_ns, exec_boot_ns),
            between("run", exec_boot_ns, end_boot_ns),
            None,
        ];
    }
    let Some(network) = attempt.network.filter(|_| attempt.result != ProbeResult::Refused) else {
        return [None; OF_ATTEMPT_MAX];
    };
    let Some(connected_boot_ns) = network.connected_boot_ns else {
        return [between("connect", attempt.start_boot_ns, end_boot_ns), None, None];
    };
    let connect = between("connect", attempt.start_boot_ns, connected_boot_ns);
    match network.first_byte_boot_ns {
        // A probe over TCP wants no answer; where the result is unknown none was looked for.
        None if attempt.handler == Handler::Tcp || attempt.result == ProbeResult::Unknown => {
            [connect, None, None]
        }
        None => [connect, between("first_byte", connected_boot_ns, end_boot_ns), None],
        Some(first_boot_ns) => [
            connect,
            between("first_byte", connected_boot_ns, first_boot_ns),
            between("rest", first_boot_ns, end_boot_ns),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::tests::{attempt, fact};
    use super::*;
    use crate::lifecycle::fact::{ExecRun, Network};

    const MS: u64 = 1_000_000;

    fn of(attempt: &ProbeAttempt) -> Vec<(&'static str, u64)> {
        phases(attempt).into_iter().flatten().map(|(name, ns)| (name, ns / MS)).collect()
    }

    #[test]
    fn phases_follow_one_another_and_one_without_an_end_lasts() {
        let plain = attempt(ProbeKind::Liveness, ProbeResult::Success);
        let start = plain.start_boot_ns;
        let over = |connected: Option<u64>, first: Option<u64>, result| ProbeAttempt {
            result,
            network: Some(Network {
                connected_boot_ns: connected.map(|ms| start + ms * MS),
                first_byte_boot_ns: first.map(|ms| start + ms * MS),
                connections: 1,
            }),
            ..plain
        };
        let whole = over(Some(5), Some(150), ProbeResult::Success);
        assert_eq!(of(&whole), [("connect", 5), ("first_byte", 145), ("rest", 50)]);
        let silent = over(Some(5), None, ProbeResult::Timeout);
        assert_eq!(of(&silent), [("connect", 5), ("first_byte", 195)]);
        assert_eq!(of(&over(None, None, ProbeResult::Timeout)), [("connect", 200)]);
        assert_eq!(of(&over(None, None, ProbeResult::Refused)), []);
        assert_eq!(of(&over(Some(5), None, ProbeResult::Unknown)), [("connect", 5)]);
        let tcp = ProbeAttempt { handler: Handler::Tcp, ..silent };
        assert_eq!(of(&tcp), [("connect", 5)]);
        assert_eq!(of(&plain), [], "nothing is known");
        let exec = |exec_boot_ns| ProbeAttempt {
            exec: Some(ExecRun { exec_boot_ns, ..ExecRun::default() }),
            ..plain
        };
        assert_eq!(of(&exec(Some(start + 30 * MS))), [("spawn", 30), ("run", 170)]);
        assert_eq!(of(&exec(None)), []);
    }

    #[test]
    fn each_phase_is_counted_under_its_probe() {
        let mut state = OfWorkload::default();
        let network = Network { connected_boot_ns: Some(5_010_000_000), ..Network::default() };
        for result in [ProbeResult::Timeout, ProbeResult::Refused] {
            let attempt = attempt(ProbeKind::Liveness, result);
            state.fact(&fact(ProbeAttempt { network: Some(network), ..attempt }));
        }
        let [probe] = &state.probes[..] else { panic!("{state:?}") };
        let counts: Vec<_> = probe.phases.iter().map(|(name, it)| (*name, it.count())).collect();
        assert_eq!(counts, [("connect", 1), ("first_byte", 1)]);
    }
}
