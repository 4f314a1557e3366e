//! Restarts: how often, and how long nothing ran.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::edition::{FirstShown, Reader, Round};
use super::expose::{NONE, Value};
use super::histogram::Bound;
use super::subject::{Container, Workload};
use crate::lifecycle::fact::Restart;

/// Restarts seen.
pub static RESTARTS: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_restarts_total",
        kind: Type::Counter,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Restarts of the container: the API's restartCount where it is known, added up over \
               Pods of the same name, else those that the agent saw.",
    },
    write: |block, container, to| {
        let (reader, round) = to.for_whom();
        let restarts = container.restarts.show(reader, round);
        to.sample(block, &NONE, Value::Count(restarts));
    },
};

/// The last outage.
pub static LAST_OUTAGE: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_last_restart_outage_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "From the end before the last restart until the container ran again.",
    },
    write: |block, container, to| {
        if let Some(outage_ns) = container.last_outage_ns {
            to.sample(block, &NONE, Value::Nanos(outage_ns));
        }
    },
};

/// Outages.
pub static OUTAGE: StateFamily<Workload> = StateFamily {
    family: Family {
        name: "restart_outage_seconds",
        kind: Type::Histogram,
        unit: Unit::Seconds,
        scope: Scope::Workload,
        labels: &[],
        series_max: 11,
        help: "From a container's end until its restart runs.",
    },
    write: |block, workload, to| to.histogram(block, &NONE, &mut workload.outage),
};

/// From a restart at once to the longest back-off (5 min) and what an image pull adds.
pub static BOUNDS: &[Bound] = &[
    Bound { ns: 1_000_000_000, le: "1.0" },
    Bound { ns: 3_000_000_000, le: "3.0" },
    Bound { ns: 10_000_000_000, le: "10.0" },
    Bound { ns: 30_000_000_000, le: "30.0" },
    Bound { ns: 60_000_000_000, le: "60.0" },
    Bound { ns: 120_000_000_000, le: "120.0" },
    Bound { ns: 300_000_000_000, le: "300.0" },
    Bound { ns: 600_000_000_000, le: "600.0" },
];

/// Restarts of a container, by name. They never fall.
#[derive(Debug, Default)]
pub struct Restarts {
    seen: u64,
    api: Option<Api>,
    /// Those of former Pods of the same name.
    base: u64,
    /// What a scraper is shown first: those of before the agent are no increase.
    born: u64,
    first_shown: FirstShown,
}

#[derive(Debug)]
struct Api {
    pod_uid: Box<str>,
    restarts: u64,
}

impl Restarts {
    /// The agent saw one.
    pub const fn add_one(&mut self) {
        self.seen = self.seen.saturating_add(1);
    }

    /// The API says how many it were in that Pod.
    pub fn known(&mut self, pod_uid: &str, restarts: u64) {
        let before = self.count();
        match &mut self.api {
            Some(api) if *api.pod_uid == *pod_uid => api.restarts = api.restarts.max(restarts),
            Some(api) => {
                self.base = before;
                *api = Api { pod_uid: pod_uid.into(), restarts };
            }
            None => {
                self.api = Some(Api { pod_uid: pod_uid.into(), restarts });
                self.base = before.saturating_sub(restarts);
                if !self.first_shown.is_shown() {
                    self.born = restarts.saturating_sub(self.seen);
                }
            }
        }
    }

    fn count(&self) -> u64 {
        self.base.saturating_add(self.api.as_ref().map_or(self.seen, |api| api.restarts))
    }

    /// The value to write now.
    pub fn show(&mut self, reader: Reader, round: Round) -> u64 {
        if self.first_shown.is_new(reader, round) { self.born } else { self.count() }
    }
}

/// A container runs again.
pub(super) fn restarted(
    container: &mut Container,
    workload: Option<&mut Workload>,
    restart: Restart,
) {
    container.restarts.add_one();
    if let Some(downtime_ns) = restart.downtime_ns() {
        container.last_outage_ns = Some(downtime_ns);
        if let Some(workload) = workload {
            workload.outage.observe_ns(downtime_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Restarts, Round};

    fn shown(restarts: &mut Restarts) -> u64 {
        restarts.show(Reader::Scraper, Round::FIRST.next())
    }

    fn first(restarts: &mut Restarts) -> u64 {
        restarts.show(Reader::Scraper, Round::FIRST)
    }

    #[test]
    fn without_the_api_those_that_were_seen() {
        let mut restarts = Restarts::default();
        restarts.add_one();
        assert_eq!((first(&mut restarts), shown(&mut restarts)), (0, 1));
    }

    #[test]
    fn those_before_the_agent_are_no_increase() {
        let mut restarts = Restarts::default();
        restarts.known("a", 5);
        assert_eq!((first(&mut restarts), shown(&mut restarts)), (5, 5));
        restarts.add_one();
        assert_eq!(shown(&mut restarts), 5, "the API will tell");
        restarts.known("a", 6);
        restarts.known("a", 6);
        assert_eq!(shown(&mut restarts), 6);
    }

    #[test]
    fn those_that_came_before_the_first_scrape_are_one() {
        let mut restarts = Restarts::default();
        restarts.known("a", 0);
        restarts.known("a", 2);
        assert_eq!((first(&mut restarts), shown(&mut restarts)), (0, 2));
        let mut restarts = Restarts::default();
        restarts.add_one();
        restarts.known("a", 3);
        assert_eq!((first(&mut restarts), shown(&mut restarts)), (2, 3));
    }

    #[test]
    fn they_never_fall() {
        let mut restarts = Restarts::default();
        first(&mut restarts);
        for _ in 0..3 {
            restarts.add_one();
        }
        restarts.known("a", 1);
        assert_eq!(shown(&mut restarts), 3, "seen before the API told");
        restarts.known("a", 2);
        assert_eq!(shown(&mut restarts), 4);
        restarts.known("a", 0);
        assert_eq!(shown(&mut restarts), 4, "old news");
        restarts.known("b", 0);
        assert_eq!(shown(&mut restarts), 4, "a new Pod of the same name begins at 0");
        restarts.known("b", 1);
        assert_eq!(shown(&mut restarts), 5);
    }
}
