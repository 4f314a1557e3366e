//! Collector `restart`: restarts of containers, and the downtime before them.

use opentelemetry::trace::TraceId;

use super::collector::Collector;
use super::exemplar::Exemplar;
use super::expose::{NONE, StateFamily, Value};
use super::family::{Family, Scope};
use super::histogram::{Bound, Histogram};
use super::variant::FirstShown;
use crate::lifecycle::fact::{Fact, FactKind};

/// Restarts of a container.
pub static RESTARTS: StateFamily<OfContainer> = StateFamily {
    family: Family::counter(
        "container_restarts_total",
        Scope::Container,
        "Container restarts: restartCount of the API where known, summed over Pods of the same \
         name, else restarts that the agent saw.",
    )
    .of(Collector::Restart),
    write: |block, restart, to| {
        let restarts = &mut restart.restarts;
        let values = [restarts.initial, restarts.count()];
        to.event_count(block, &NONE, values, &mut restarts.first_shown);
    },
};

/// Downtime before the last restart.
pub static LAST_DOWNTIME: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_last_restart_downtime_seconds",
        Scope::Container,
        "Time from the container's end until it ran again, at its last restart.",
    )
    .of(Collector::Restart),
    write: |block, restart, to| {
        if let Some(downtime_ns) = restart.last_downtime_ns {
            to.sample(block, &NONE, Value::Nanos(downtime_ns));
        }
    },
};

/// Downtime before restarts.
pub static DOWNTIME: StateFamily<OfWorkload> = StateFamily {
    family: Family::histogram(
        "restart_downtime_seconds",
        Scope::Workload,
        BOUNDS.len(),
        "Time from a container's end until it ran again.",
    )
    .of(Collector::Restart),
    write: |block, restart, to| to.histogram(block, &NONE, &mut restart.downtime),
};

/// From a restart at once to the longest back-off (5 min) and what an image pull adds.
const BOUNDS: &[Bound] = &[
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 120_000_000_000, le: "120.0" },
    Bound { ns: 300_000_000_000, le: "300.0" },
    Bound { ns: 600_000_000_000, le: "600.0" },
];

/// Restarts of a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    restarts: Restarts,
    last_downtime_ns: Option<u64>,
}

impl OfContainer {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Restarted(restart) = &fact.kind {
            self.restarts.add_one();
            self.last_downtime_ns = restart.downtime_ns().or(self.last_downtime_ns);
        }
    }

    /// Takes over `restartCount` of the container's status.
    pub fn report(&mut self, pod_uid: &str, restarts: Option<u64>) {
        if let Some(restarts) = restarts {
            self.restarts.report(pod_uid, restarts);
        }
    }
}

/// Restarts of a workload's containers.
#[derive(Debug)]
pub struct OfWorkload {
    downtime: Histogram,
}

impl OfWorkload {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let Some(time_ns) = observation(fact) {
            self.downtime.observe_ns(time_ns);
        }
    }

    /// Takes in the trace that tells of a fact.
    pub fn traced(&mut self, fact: &Fact, trace: TraceId) {
        if let Some(time_ns) = observation(fact) {
            let at_boot_ns = fact.time_boot_ns;
            self.downtime.exemplify(Exemplar { trace, time_ns, at_boot_ns });
        }
    }
}

/// What a fact counts as in [`DOWNTIME`].
fn observation(fact: &Fact) -> Option<u64> {
    let FactKind::Restarted(restart) = &fact.kind else { return None };
    restart.downtime_ns()
}

impl Default for OfWorkload {
    fn default() -> Self {
        Self { downtime: Histogram::new(BOUNDS) }
    }
}

/// Restarts of a container, by name. They never fall.
#[derive(Debug, Default)]
struct Restarts {
    seen: u64,
    api: Option<Api>,
    /// UID of the Pod of this name before.
    former_uid: Option<Box<str>>,
    /// Number to be added to the API's: restarts of former Pods of the same name, and those
    /// before the number was reset.
    base: u64,
    /// The value that a scraper sees first: restarts before the agent are no increase.
    initial: u64,
    first_shown: FirstShown,
}

/// The number that the API reports for one Pod.
#[derive(Debug)]
struct Api {
    pod_uid: Box<str>,
    restarts: u64,
    fallen: Option<Fallen>,
}

/// A fall of the API's number: the status was rebuilt, or an old one is reported for a moment.
#[derive(Debug)]
struct Fallen {
    /// The number, and the base, before the fall.
    from: u64,
    base: u64,
    /// The number after the fall.
    to: u64,
    /// Restarts that the agent had seen by then.
    seen: u64,
    /// Whether the number is known to have been reset.
    is_sure: bool,
}

impl Fallen {
    /// Restarts since the fall that the agent has seen and the API's number does not show: a status
    /// is rebuilt together with a restart.
    const fn unreported(&self, seen: u64, restarts: u64) -> u64 {
        let risen = restarts.saturating_sub(self.to);
        seen.saturating_sub(self.seen).saturating_sub(risen)
    }
}

impl Restarts {
    /// Counts a restart that the agent saw.
    const fn add_one(&mut self) {
        self.seen = self.seen.saturating_add(1);
    }

    /// Takes over the number that the API reports for that Pod.
    fn report(&mut self, pod_uid: &str, restarts: u64) {
        if self.former_uid.as_deref() == Some(pod_uid) {
            // Late, and counted already.
            return;
        }
        let before = self.count();
        let base = before.saturating_sub(restarts);
        let seen = self.seen;
        match &mut self.api {
            Some(api) if *api.pod_uid == *pod_uid && restarts < api.restarts => {
                let from = api.restarts;
                // The number may fall twice: what it was before the first fall counts.
                let first = api.fallen.take().filter(|first| !first.is_sure);
                let now = (from, before.saturating_sub(from));
                let (from, old) = first.map_or(now, |first| (first.from, first.base));
                let is_sure = false;
                api.fallen = Some(Fallen { from, base: old, to: restarts, seen, is_sure });
                api.restarts = restarts;
                self.base = base;
            }
            Some(api) if *api.pod_uid == *pod_uid => {
                api.restarts = restarts;
                let low = |fallen: &&mut Fallen| !fallen.is_sure && restarts >= fallen.from;
                let Some(fallen) = api.fallen.as_mut().filter(low) else { return };
                if seen.saturating_sub(fallen.seen) < restarts.saturating_sub(fallen.to) {
                    // It rose again by more than what happened: the low number was an old one.
                    self.base = fallen.base.max(base);
                    api.fallen = None;
                } else {
                    fallen.is_sure = true;
                }
            }
            Some(api) => {
                let new = Api { pod_uid: pod_uid.into(), restarts, fallen: None };
                self.former_uid = Some(std::mem::replace(api, new).pod_uid);
                self.base = before;
            }
            None => {
                self.api = Some(Api { pod_uid: pod_uid.into(), restarts, fallen: None });
                self.base = base;
                if !self.first_shown.is_shown() {
                    self.initial = restarts.saturating_sub(self.seen);
                }
            }
        }
    }

    fn count(&self) -> u64 {
        let Some(api) = &self.api else { return self.base.saturating_add(self.seen) };
        let fallen = api.fallen.as_ref();
        let unreported = fallen.map_or(0, |fallen| fallen.unreported(self.seen, api.restarts));
        self.base.saturating_add(api.restarts).saturating_add(unreported)
    }
}

#[cfg(test)]
mod tests {
    use super::Restarts;
    use crate::metrics::variant::Generation;

    /// The value that a scraper sees first, and the next one.
    fn shown(restarts: &mut Restarts) -> (u64, u64) {
        restarts.first_shown.at(Generation::FIRST);
        (restarts.initial, restarts.count())
    }

    #[test]
    fn without_the_api_those_that_were_seen() {
        let mut restarts = Restarts::default();
        restarts.add_one();
        assert_eq!(shown(&mut restarts), (0, 1));
    }

    #[test]
    fn those_before_the_agent_are_no_increase() {
        let mut restarts = Restarts::default();
        restarts.report("a", 5);
        assert_eq!(shown(&mut restarts), (5, 5));
        restarts.add_one();
        assert_eq!(shown(&mut restarts).1, 5, "the API will report it");
        restarts.report("a", 6);
        restarts.report("a", 6);
        assert_eq!(shown(&mut restarts).1, 6);
    }

    #[test]
    fn those_that_came_before_the_first_scrape_are_one() {
        let mut restarts = Restarts::default();
        restarts.report("a", 0);
        restarts.report("a", 2);
        assert_eq!(shown(&mut restarts), (0, 2));
        let mut restarts = Restarts::default();
        restarts.add_one();
        restarts.report("a", 3);
        assert_eq!(shown(&mut restarts), (2, 3));
    }

    #[test]
    fn they_never_fall() {
        let mut restarts = Restarts::default();
        shown(&mut restarts);
        for _ in 0..3 {
            restarts.add_one();
        }
        restarts.report("a", 1);
        assert_eq!(shown(&mut restarts).1, 3, "seen before the API reported");
        restarts.report("a", 2);
        assert_eq!(shown(&mut restarts).1, 4);
        restarts.report("a", 0);
        assert_eq!(shown(&mut restarts).1, 4, "an old report");
        restarts.report("a", 2);
        assert_eq!(shown(&mut restarts).1, 4, "nothing happened");
        restarts.report("b", 0);
        assert_eq!(shown(&mut restarts).1, 4, "a new Pod of the same name begins at 0");
        restarts.report("b", 1);
        assert_eq!(shown(&mut restarts).1, 5);
        restarts.report("a", 2);
        assert_eq!(shown(&mut restarts).1, 5, "a late report of the Pod before");
    }

    /// Counts shown after each of these reports, with a restart that the agent saw before each of
    /// the second list.
    fn after(reports: &[u64], with_restart: &[u64]) -> Vec<u64> {
        let mut restarts = Restarts::default();
        restarts.report("a", 10);
        shown(&mut restarts);
        let mut reported = Vec::new();
        for number in reports {
            restarts.report("a", *number);
            reported.push(shown(&mut restarts).1);
        }
        for number in with_restart {
            restarts.add_one();
            restarts.report("a", *number);
            reported.push(shown(&mut restarts).1);
        }
        reported
    }

    #[test]
    fn a_number_that_began_anew_goes_on_counting() {
        assert_eq!(after(&[0], &[1, 2, 3]), [10, 11, 12, 13]);
        // As far as it was before, and farther.
        let up: Vec<u64> = (1..=12).collect();
        assert_eq!(after(&[0], &up).last(), Some(&22));
        // Twice.
        assert_eq!(after(&[0, 1, 0], &[1, 2]), [10, 11, 11, 12, 13]);
        // Without events of the kernel the API's steps are all there is.
        assert_eq!(after(&[0, 1, 2], &[]), [10, 11, 12]);
    }

    #[test]
    fn a_number_that_falls_with_a_restart_counts_it() {
        // A container is there under its name once the API has reported it: its restart comes last.
        let mut restarts = Restarts::default();
        restarts.report("a", 10);
        for (number, count) in [(0, 11), (1, 12), (2, 13), (1, 14), (2, 15), (3, 16)] {
            restarts.report("a", number);
            restarts.add_one();
            assert_eq!(shown(&mut restarts).1, count, "{number}");
        }
        for number in 4..=12 {
            restarts.report("a", number);
            restarts.add_one();
            assert_eq!(shown(&mut restarts).1, 13 + number, "{number}");
        }
    }

    #[test]
    fn an_old_number_counts_nothing() {
        assert_eq!(after(&[9, 10, 10], &[11]), [10, 10, 10, 11]);
        assert_eq!(after(&[8, 9, 10], &[]), [10, 11, 11], "no more than it seemed to rise");
        assert_eq!(after(&[9], &[11]), [10, 11]);
    }
}
