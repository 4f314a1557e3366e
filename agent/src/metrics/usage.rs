//! What the cgroups of one subject used: counters that go on over restarts, gauges of the newest.

use super::catalog::Family;
use super::expose::{Exposition, NONE, Value};
use crate::cgroup::CgroupId;
use crate::cgroup::sample::Sample;

/// A family that is written from samples.
#[derive(Debug)]
pub struct UsageFamily {
    /// The family.
    pub family: Family,
    /// Where its values are in a sample.
    pub source: Source,
}

/// Where a family's values are in a [`Sample`].
#[derive(Debug)]
pub enum Source {
    /// Totals since the cgroup was made.
    Counter(fn(u64) -> Value, &'static [Counter]),
    /// The state at the moment of the sample.
    Gauge(fn(&Sample) -> Option<Value>),
}

/// One series of a counter family.
#[derive(Debug)]
pub struct Counter {
    /// Its labels beside those of the subject.
    pub labels: &'static [(&'static str, &'static str)],
    /// Its value.
    pub get: fn(&Sample) -> Option<u64>,
}

impl UsageFamily {
    /// The series, if it is a counter family.
    #[must_use]
    pub const fn counters(&self) -> &'static [Counter] {
        match self.source {
            Source::Counter(_, counters) => counters,
            Source::Gauge(_) => &[],
        }
    }
}

/// Values of all counters of a list of families, in its order.
#[derive(Clone, Debug)]
struct Totals(Box<[Option<u64>]>);

impl Totals {
    fn new(families: &[&UsageFamily]) -> Self {
        Self(vec![None; families.iter().map(|family| family.counters().len()).sum()].into())
    }

    /// Takes over what a sample has. What it lacks, or says less of, stays: a counter never falls.
    fn raise(&mut self, families: &[&UsageFamily], sample: &Sample) {
        let counters = families.iter().flat_map(|family| family.counters());
        for (total, counter) in self.0.iter_mut().zip(counters) {
            *total = (*total).max((counter.get)(sample));
        }
    }

    fn add(&mut self, other: &Self) {
        for (total, more) in self.0.iter_mut().zip(&other.0) {
            *total = sum(*total, *more);
        }
    }

    fn get(&self, at: usize) -> Option<u64> {
        self.0.get(at).copied().flatten()
    }
}

/// `None` only if both are.
fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a.saturating_add(b)).or(a).or(b)
}

/// A container that got its stop signal and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminating {
    /// The time since the stop signal.
    pub for_ns: u64,
    /// SIGKILL was sent as well.
    pub killed: bool,
}

/// One cgroup under a key: a container is one instance, its restart another.
#[derive(Debug)]
pub struct Instance {
    cgroup: CgroupId,
    since_boot_ns: u64,
    gone_boot_ns: Option<u64>,
    totals: Totals,
    /// The newest; taken away when the cgroup is gone.
    sample: Option<Sample>,
    /// When its init started.
    pub start_unix_ns: Option<u64>,
    /// Its shutdown, while it has not ended.
    pub terminating: Option<Terminating>,
}

/// Instances of a key that are held. More than one lives only while one replaces another.
const INSTANCES_MAX: usize = 8;

/// The instances of one key, and the sum of those that were forgotten.
#[derive(Debug)]
pub struct Usage {
    families: &'static [&'static UsageFamily],
    base: Totals,
    /// By age, the newest last.
    instances: Vec<Instance>,
    gone_boot_ns: u64,
}

impl Usage {
    /// Without an instance.
    #[must_use]
    pub fn new(families: &'static [&'static UsageFamily]) -> Self {
        let base = Totals::new(families);
        Self { families, base, instances: Vec::new(), gone_boot_ns: 0 }
    }

    /// A cgroup comes under this key; returns whether it is the newest, and a cgroup that was
    /// forgotten for it.
    pub fn appear(&mut self, cgroup: CgroupId, since_boot_ns: u64) -> (bool, Option<CgroupId>) {
        let at = self.instances.partition_point(|old| old.since_boot_ns <= since_boot_ns);
        let newest = at == self.instances.len();
        let totals = Totals::new(self.families);
        self.instances.insert(
            at,
            Instance {
                cgroup,
                since_boot_ns,
                gone_boot_ns: None,
                totals,
                sample: None,
                start_unix_ns: None,
                terminating: None,
            },
        );
        let oldest = self.instances.iter().position(|instance| instance.gone_boot_ns.is_some());
        let forgotten = oldest
            .filter(|_| self.instances.len() > INSTANCES_MAX)
            .map(|oldest| self.instances.remove(oldest));
        (newest, forgotten.map(|instance| self.forget(&instance)))
    }

    /// The instance that a cgroup is.
    pub fn instance_mut(&mut self, cgroup: CgroupId) -> Option<&mut Instance> {
        self.instances.iter_mut().rev().find(|instance| instance.cgroup == cgroup)
    }

    /// New figures of a cgroup.
    pub fn sample(&mut self, cgroup: CgroupId, sample: Sample) {
        self.last_sample(cgroup, &sample);
        if let Some(instance) = self.instance_mut(cgroup)
            && instance.gone_boot_ns.is_none()
        {
            instance.sample = Some(sample);
        }
    }

    /// Counters of a cgroup, read at its end; only they are taken over.
    pub fn last_sample(&mut self, cgroup: CgroupId, sample: &Sample) {
        let families = self.families;
        if let Some(instance) = self.instance_mut(cgroup) {
            instance.totals.raise(families, sample);
        }
    }

    /// The cgroup was removed: its gauges go. Its last counters may still come.
    pub fn gone(&mut self, cgroup: CgroupId, now_boot_ns: u64) {
        if let Some(instance) = self.instance_mut(cgroup) {
            instance.gone_boot_ns.get_or_insert(now_boot_ns);
            instance.sample = None;
            instance.terminating = None;
            self.gone_boot_ns = self.gone_boot_ns.max(now_boot_ns);
        }
    }

    /// Adds the counters of those that are gone since then to the base, and gives up the rest of
    /// them.
    pub fn forget_gone_before(&mut self, before_boot_ns: u64, mut each: impl FnMut(CgroupId)) {
        let old = |instance: &mut Instance| {
            instance.gone_boot_ns.is_some_and(|gone_boot_ns| gone_boot_ns < before_boot_ns)
        };
        let forgotten: Vec<_> = self.instances.extract_if(.., old).collect();
        for instance in forgotten {
            each(self.forget(&instance));
        }
    }

    fn forget(&mut self, instance: &Instance) -> CgroupId {
        self.base.add(&instance.totals);
        instance.cgroup
    }

    /// When the last cgroup went, if there is no other.
    #[must_use]
    pub fn empty_since_boot_ns(&self) -> Option<u64> {
        self.instances.is_empty().then_some(self.gone_boot_ns)
    }

    /// The cgroups that were not removed, the newest first.
    pub fn live(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().rev().filter(|instance| instance.gone_boot_ns.is_none())
    }

    /// As [`Self::live`].
    pub fn live_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.instances.iter_mut().rev().filter(|instance| instance.gone_boot_ns.is_none())
    }

    /// Writes the samples of one family, whose first counter is number `first`.
    pub fn write(&self, family: &UsageFamily, first: usize, block: &[u8], to: &mut Exposition) {
        match family.source {
            Source::Counter(unit, counters) => {
                for (at, counter) in (first..).zip(counters) {
                    let of_instances = self.instances.iter().map(|old| old.totals.get(at));
                    if let Some(total) = of_instances.fold(self.base.get(at), sum) {
                        to.sample(block, &counter.labels, unit(total));
                    }
                }
            }
            Source::Gauge(get) => {
                let newest = self.live().next().and_then(|instance| instance.sample.as_ref());
                if let Some(value) = newest.and_then(get) {
                    to.sample(block, &NONE, value);
                }
            }
        }
    }
}
