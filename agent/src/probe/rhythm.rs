//! Rhythms: which connections are a container's own attempts where another Pod can make the same ones. Pure.
//!
//! The kubelet asks at each tick of a period. What comes at a tick of attempts that were the container's
//! own is its own. Ticks are learned while nobody else can ask; else from connections that repeat after a
//! period, if there are no more of them than the container's own probes make. The rest may be anybody's.

use super::schedule::{OFF_NS, TICKS_MAX, near};
use crate::clock::SECOND_NS;

/// Number of ticks that are known at a time.
const TICKS: usize = 8;
/// Number of connections that are remembered.
const RECENT: usize = 16;

/// What is known of the ticks at which a container is probed.
#[derive(Clone, Debug, Default)]
pub(super) struct Rhythm {
    /// The last own attempt at each tick, `CLOCK_BOOTTIME`; 0 for none.
    ticks_boot_ns: [u64; TICKS],
    /// The last connections, own or not, the newest first.
    recent_boot_ns: [u64; RECENT],
}

impl Rhythm {
    /// Takes in a connection that can be an attempt of probes with these periods; returns whether it is
    /// one. `has_rival`: it can be that of another Pod, too.
    pub(super) fn take(&mut self, periods_s: &[u64], start_boot_ns: u64, has_rival: bool) -> bool {
        let due = self.due(periods_s, start_boot_ns);
        let is_own = !has_rival || due.is_some() || self.is_alone(periods_s, start_boot_ns);
        if is_own {
            let oldest = || (0..TICKS).min_by_key(|at| self.ticks_boot_ns.get(*at).copied());
            // Nobody who comes close to a tick can move it.
            let (at, tick_boot_ns) = match due {
                Some((at, tick)) if has_rival => (Some(at), tick),
                Some((at, _)) => (Some(at), start_boot_ns),
                None => (oldest(), start_boot_ns),
            };
            if let Some(tick) = at.and_then(|at| self.ticks_boot_ns.get_mut(at)) {
                *tick = tick_boot_ns;
            }
        }
        self.recent_boot_ns.rotate_right(1);
        if let Some(newest) = self.recent_boot_ns.first_mut() {
            *newest = start_boot_ns;
        }
        is_own
    }

    /// The tick at that time, and which one it is.
    fn due(&self, periods_s: &[u64], time_boot_ns: u64) -> Option<(usize, u64)> {
        self.ticks_boot_ns.iter().enumerate().filter(|(_, last)| **last > 0).find_map(
            |(at, last)| {
                let after =
                    |period: u64, ticks: u64| last.saturating_add(period.saturating_mul(ticks));
                let mut all = periods_s.iter().flat_map(|period_s| {
                    (1..=TICKS_MAX)
                        .map(move |ticks| after(period_s.saturating_mul(SECOND_NS), ticks))
                });
                all.find(|tick| near(*tick, time_boot_ns)).map(|tick| (at, tick))
            },
        )
    }

    /// Whether a connection repeats one a period before, and nobody else has asked since.
    fn is_alone(&self, periods_s: &[u64], time_boot_ns: u64) -> bool {
        let repeats = periods_s.iter().any(|period_s| {
            let before = time_boot_ns.saturating_sub(period_s.saturating_mul(SECOND_NS));
            self.recent_boot_ns.iter().any(|at| near(*at, before))
        });
        let Some(longest_s) = periods_s.iter().max() else { return false };
        let own: u64 = periods_s.iter().map(|period_s| longest_s / (*period_s).max(1)).sum();
        let since = time_boot_ns.saturating_sub(longest_s.saturating_mul(SECOND_NS));
        let is_since = |at: &u64| *at > since.saturating_add(OFF_NS);
        // More than is remembered may have come since.
        let forgot = self.recent_boot_ns.iter().all(is_since);
        let came = self.recent_boot_ns.iter().filter(|at| is_since(at)).count();
        repeats && !forgot && u64::try_from(came).is_ok_and(|came| came < own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_000_000 * MS;

    /// Which of these connections are taken for own ones; each at so many ms, with a rival or without.
    fn taken(periods_s: &[u64], all: &[(u64, bool)]) -> Vec<bool> {
        let mut rhythm = Rhythm::default();
        all.iter().map(|(ms, rival)| rhythm.take(periods_s, START + ms * MS, *rival)).collect()
    }

    #[test]
    fn what_comes_at_a_tick_is_own() {
        let all = [
            (0, false),
            (10_003, false),
            // Another Pod asks each second from now on, and by chance close before a tick.
            (10_700, true),
            (19_960, true),
            (20_001, true),
            (20_700, true),
            (29_960, true),
            (30_001, true),
            (50_004, true),
        ];
        let own = [true, true, false, true, false, false, true, false, true];
        assert_eq!(taken(&[10], &all), own);
    }

    #[test]
    fn two_probes_keep_their_ticks() {
        let all = [
            (0, false),
            (2, false),
            (4_000, false),
            (5_000, true),
            (10_000, true),
            (10_002, true),
            (10_004, true),
            (14_000, true),
            (14_002, true),
        ];
        let own = [true, true, true, false, true, true, false, true, false];
        assert_eq!(taken(&[10, 10], &all), own);
    }

    #[test]
    fn ticks_are_learned_where_nobody_else_asks() {
        let own = taken(&[10], &[(0, true), (10_000, true), (20_000, true), (23_000, true)]);
        assert_eq!(own, [false, true, true, false]);
        let alike = [(0, true), (4_000, true), (10_000, true), (14_000, true), (20_000, true)];
        assert_eq!(taken(&[10, 10], &alike), [false, false, true, true, true]);
        // Here one of the two is another Pod's.
        assert_eq!(taken(&[10], &alike), [false; 5]);
        let often: Vec<_> = (0..60).map(|second| (second * 1_000, true)).collect();
        assert_eq!(taken(&[10], &often), [false; 60]);
    }
}
