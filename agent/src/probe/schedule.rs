//! Schedules: which of a container's probes an attempt belongs to, by its time. Pure.
//!
//! The kubelet has one worker for each probe, with a fixed phase: an attempt at each tick of
//! `periodSeconds` (`pkg/kubelet/prober/worker.go`, `run`, Kubernetes 1.37). So attempts that are known
//! to be a probe's tell when its next ones are due. What is due for one probe alone is that probe's.

use crate::clock::SECOND_NS;

/// Number of probes of a container: startup, liveness, readiness.
pub(super) const PROBES: usize = 3;
/// Longest time by which an attempt may miss its tick on a busy node.
pub(super) const OFF_NS: u64 = 100_000_000;
/// Number of ticks after which a phase without attempts is given up: the kubelet may have been
/// started again, which chooses another.
pub(super) const TICKS_MAX: u64 = 4;
/// Number of uncertain attempts that are remembered.
const UNCERTAIN_MAX: usize = 4;
/// Number of attempts that must have come at their ticks, one at a time, before a phase decides.
const CONFIRMED: u32 = 2;

/// The phase of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    /// The last attempt that came at a tick, `CLOCK_BOOTTIME`.
    last_boot_ns: u64,
    period_ns: u64,
    /// Number of ticks that were met in a row.
    confirmed: u32,
}

impl Phase {
    /// Whether the phase has a tick at that time.
    fn has_tick(&self, time_boot_ns: u64) -> bool {
        let off_ns = OFF_NS.min(self.period_ns / 8);
        let since_ns = time_boot_ns.saturating_sub(self.last_boot_ns).saturating_add(off_ns);
        let (ticks, past_ns) = (since_ns / self.period_ns.max(1), since_ns % self.period_ns.max(1));
        (1..=TICKS_MAX).contains(&ticks) && past_ns <= 2 * off_ns
    }

    const fn is_lost(&self, time_boot_ns: u64) -> bool {
        let longest_ns = self.period_ns.saturating_mul(TICKS_MAX + 1);
        time_boot_ns.saturating_sub(self.last_boot_ns) > longest_ns
    }
}

/// The phases of a container's probes.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    phases: [Option<Phase>; PROBES],
    /// The last attempts that were not certain, the newest first.
    uncertain_boot_ns: [u64; UNCERTAIN_MAX],
    /// The last connection that may have been of no probe, by the probe that it may have been of.
    doubtful_boot_ns: [u64; PROBES],
}

/// A probe that an attempt may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Index of the probe.
    pub(super) probe: usize,
    /// Field `periodSeconds`.
    pub(super) period_s: u64,
}

impl Due {
    const fn period_ns(self) -> u64 {
        self.period_s.saturating_mul(SECOND_NS)
    }
}

impl Schedule {
    /// Notes an attempt that is a probe's: certainly, or as a guess that [`Self::place`] is to confirm
    /// before it counts.
    pub(super) fn note(&mut self, Due { probe, period_s }: Due, start_boot_ns: u64) {
        let Some(phase) = self.phases.get_mut(probe) else { return };
        if phase.is_some_and(|phase| phase.last_boot_ns > start_boot_ns) {
            // It is told late.
            return;
        }
        let period_ns = period_s.saturating_mul(SECOND_NS);
        let met =
            phase.filter(|phase| phase.period_ns == period_ns && phase.has_tick(start_boot_ns));
        let confirmed = met.map_or(0, |phase| phase.confirmed.saturating_add(1));
        *phase = Some(Phase { last_boot_ns: start_boot_ns, period_ns, confirmed });
    }

    /// Whether nothing is known of these candidates, and no attempt was uncertain before.
    pub(super) fn is_new(&self, candidates: &[Due]) -> bool {
        candidates.iter().all(|it| self.phase(it.probe).is_none())
            && self.uncertain_boot_ns.iter().all(|at| *at == 0)
    }

    /// Whether a probe is due at that time, by what is known of it.
    pub(super) fn is_due(&self, probe: usize, time_boot_ns: u64) -> bool {
        self.phase(probe).is_some_and(|phase| phase.has_tick(time_boot_ns))
    }

    /// Whether an attempt comes too early to be the next one of a probe.
    pub(super) fn is_between(&self, probe: usize, start_boot_ns: u64) -> bool {
        self.phase(probe).is_some_and(|phase| {
            let since_ns = start_boot_ns.saturating_sub(phase.last_boot_ns);
            (1..phase.period_ns / 2).contains(&since_ns)
        })
    }

    /// The candidate that an attempt belongs to, if that is certain: it is due for it alone, or due for
    /// none whose phase is known and only one is left.
    pub(super) fn place(&mut self, candidates: &[Due], start_boot_ns: u64) -> Option<usize> {
        for phase in &mut self.phases {
            *phase = phase.filter(|phase| !phase.is_lost(start_boot_ns));
        }
        let placed = self.placed(candidates, start_boot_ns);
        if placed.is_none() {
            self.learn(candidates, start_boot_ns);
            self.uncertain_boot_ns.rotate_right(1);
            if let Some(newest) = self.uncertain_boot_ns.first_mut() {
                *newest = start_boot_ns;
            }
        }
        placed
    }

    fn placed(&mut self, candidates: &[Due], start_boot_ns: u64) -> Option<usize> {
        let mut has_twin = false;
        for candidate in candidates {
            let phase = self.phases.get_mut(candidate.probe).and_then(Option::as_mut);
            if let Some(phase) = phase.filter(|phase| near(phase.last_boot_ns, start_boot_ns)) {
                // Two attempts at one tick: either may be that probe's.
                phase.confirmed = 0;
                has_twin = true;
            }
        }
        if has_twin {
            return None;
        }
        let is_due =
            |it: &&Due| self.phase(it.probe).is_some_and(|phase| phase.has_tick(start_boot_ns));
        let mut due = candidates.iter().filter(is_due);
        match (due.next().copied(), due.next()) {
            (Some(found), None) => self.due_for(found, candidates, start_boot_ns),
            (None, None) => {
                let found = self.remaining(candidates)?;
                self.note(found, start_boot_ns);
                Some(found.probe)
            }
            _ => None,
        }
    }

    /// The candidate, for which alone an attempt is due, if those whose phase is not known cannot have
    /// made it.
    fn due_for(&mut self, found: Due, candidates: &[Due], start_boot_ns: u64) -> Option<usize> {
        let others_known =
            candidates.iter().all(|it| it.probe == found.probe || self.phase(it.probe).is_some());
        let is_sure = others_known || self.is_sure(found.probe);
        self.note(found, start_boot_ns);
        is_sure.then_some(found.probe)
    }

    /// The candidate that a connection belongs to which may be of no probe: it is due for that alone.
    /// Where no phase is known and only one can be, its attempts come with its period, and none come
    /// in between.
    pub(super) fn place_doubtful(
        &mut self,
        candidates: &[Due],
        start_boot_ns: u64,
    ) -> Option<usize> {
        for phase in &mut self.phases {
            *phase = phase.filter(|phase| !phase.is_lost(start_boot_ns));
        }
        let mut before_boot_ns = 0;
        for candidate in candidates {
            if let Some(last) = self.doubtful_boot_ns.get_mut(candidate.probe) {
                before_boot_ns = std::mem::replace(last, start_boot_ns);
            }
        }
        let is_due =
            |it: &&Due| self.phase(it.probe).is_some_and(|phase| phase.has_tick(start_boot_ns));
        let mut due = candidates.iter().filter(is_due);
        if let (Some(found), None) = (due.next().copied(), due.next()) {
            return self.due_for(found, candidates, start_boot_ns);
        }
        let [only] = *candidates else { return None };
        let is_next = near(before_boot_ns.saturating_add(only.period_ns()), start_boot_ns);
        if self.phase(only.probe).is_some() || !is_next {
            return None;
        }
        self.note(only, before_boot_ns);
        self.note(only, start_boot_ns);
        Some(only.probe)
    }

    /// The one candidate whose phase is not known, if that of all others is, beyond doubt: what is due
    /// for none of them is its.
    fn remaining(&self, candidates: &[Due]) -> Option<Due> {
        let mut unknown = candidates.iter().filter(|it| self.phase(it.probe).is_none());
        let (found, None) = (*unknown.next()?, unknown.next()) else { return None };
        let mut others = candidates.iter().filter(|it| it.probe != found.probe);
        others.all(|it| self.is_sure(it.probe)).then_some(found)
    }

    /// Learns the phase of the candidate with the shortest period: only its attempts are so close, one
    /// at a time.
    fn learn(&mut self, candidates: &[Due], start_boot_ns: u64) {
        if candidates.iter().any(|it| self.phase(it.probe).is_some()) {
            return;
        }
        let Some(shortest) = candidates.iter().min_by_key(|it| it.period_s) else { return };
        let alone =
            |at: u64| self.uncertain_boot_ns.iter().filter(|other| near(**other, at)).count() <= 1;
        let shares = candidates.iter().filter(|it| it.period_s == shortest.period_s).count() > 1;
        let before_boot_ns = start_boot_ns.saturating_sub(shortest.period_ns());
        let found = self.uncertain_boot_ns.iter().copied().find(|at| near(*at, before_boot_ns));
        if let Some(before) = found.filter(|at| !shares && alone(*at) && alone(start_boot_ns)) {
            self.note(*shortest, before);
            self.note(*shortest, start_boot_ns);
        }
    }

    fn phase(&self, probe: usize) -> Option<Phase> {
        self.phases.get(probe).copied().flatten()
    }

    fn is_sure(&self, probe: usize) -> bool {
        self.phase(probe).is_some_and(|phase| phase.confirmed >= CONFIRMED)
    }
}

/// Whether two attempts may have come at one tick.
pub(super) const fn near(one_boot_ns: u64, other_boot_ns: u64) -> bool {
    one_boot_ns.abs_diff(other_boot_ns) <= OFF_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_000_000 * MS;
    const LIVENESS: usize = 1;
    const READINESS: usize = 2;

    fn both(liveness_s: u64, readiness_s: u64) -> [Due; 2] {
        [
            Due { probe: LIVENESS, period_s: liveness_s },
            Due { probe: READINESS, period_s: readiness_s },
        ]
    }

    /// The attempts of two probes with these phases and periods in ms, in order, and what each was
    /// taken for.
    fn placed(
        schedule: &mut Schedule,
        phases: [(u64, u64); 2],
        until_ms: u64,
    ) -> Vec<(usize, Option<usize>)> {
        let candidates = both(phases[0].1 / 1000, phases[1].1 / 1000);
        let of = |probe: usize, (phase, period): (u64, u64)| {
            (0..)
                .map(move |n| (phase + n * period, probe))
                .take_while(move |(at, _)| *at < until_ms)
        };
        let mut all: Vec<_> = of(LIVENESS, phases[0]).chain(of(READINESS, phases[1])).collect();
        all.sort_unstable();
        // Attempts are some ms late.
        let late = |n: usize| [0, 7, 3, 12, 1][n % 5] * MS;
        all.iter()
            .enumerate()
            .map(|(n, (at, probe))| {
                (*probe, schedule.place(&candidates, START + at * MS + late(n)))
            })
            .collect()
    }

    fn none_is_wrong(placed: &[(usize, Option<usize>)]) -> usize {
        for (n, (probe, taken_for)) in placed.iter().enumerate() {
            assert!(taken_for.is_none_or(|it| it == *probe), "attempt {n}: {placed:?}");
        }
        placed.iter().filter(|(_, taken_for)| taken_for.is_none()).count()
    }

    #[test]
    fn a_first_attempt_of_readiness_tells_two_of_one_period_apart() {
        let mut schedule = Schedule::default();
        schedule.note(Due { probe: READINESS, period_s: 10 }, START);
        let placed = placed(&mut schedule, [(4_000, 10_000), (10_000, 10_000)], 100_000);
        assert!(none_is_wrong(&placed) <= 4, "{placed:?}");
        assert!(placed.iter().rev().take(10).all(|(_, taken_for)| taken_for.is_some()));
    }

    #[test]
    fn without_a_hint_two_of_one_period_are_not_told_apart() {
        let placed = placed(&mut Schedule::default(), [(4_000, 10_000), (0, 10_000)], 60_000);
        assert_eq!(none_is_wrong(&placed), placed.len());
    }

    #[test]
    fn two_at_the_same_ticks_are_not_told_apart() {
        let mut schedule = Schedule::default();
        schedule.note(Due { probe: READINESS, period_s: 10 }, START);
        let placed = placed(&mut schedule, [(3_000, 10_000), (3_002, 10_000)], 200_000);
        assert_eq!(none_is_wrong(&placed), placed.len());
        // The first attempt came at a time of its own, as up to Kubernetes 1.30.
        let mut schedule = Schedule::default();
        schedule.note(Due { probe: READINESS, period_s: 10 }, START);
        let placed = self::placed(&mut schedule, [(10_000, 10_000), (10_001, 10_000)], 200_000);
        assert_eq!(none_is_wrong(&placed), placed.len());
    }

    #[test]
    fn two_periods_tell_themselves_apart() {
        for (liveness, readiness) in [((3_000, 20_000), (0, 10_000)), ((0, 5_000), (2_500, 30_000))]
        {
            let placed = placed(&mut Schedule::default(), [liveness, readiness], 120_000);
            let open = none_is_wrong(&placed);
            assert!(open <= 8 && open < placed.len() / 2, "{open} of {}: {placed:?}", placed.len());
        }
    }

    #[test]
    fn a_phase_without_attempts_is_given_up() {
        let mut schedule = Schedule::default();
        let candidates = both(10, 10);
        let at = |s: u64| START + s * 1000 * MS;
        for s in [0, 10, 20] {
            schedule.note(candidates[0], at(s));
            schedule.note(candidates[1], at(s + 4));
        }
        assert_eq!(schedule.place(&candidates, at(30)), Some(LIVENESS));
        assert_eq!(schedule.place(&candidates, at(34)), Some(READINESS));
        assert_eq!(schedule.place(&candidates, at(37)), None);
        assert_eq!(schedule.place(&candidates, at(50)), Some(LIVENESS), "one was missed");
        // The kubelet was away and begins elsewhere.
        for s in [150, 154, 160, 164] {
            assert_eq!(schedule.place(&candidates, at(s)), None, "{s}");
        }
    }
}
