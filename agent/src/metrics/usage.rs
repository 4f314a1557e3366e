//! Usage: what the cgroups of one entity used. Counters go on over restarts, gauges are those of the
//! newest cgroup.

use std::sync::Arc;

use super::expose::{Exposition, NONE, Value};
use super::family::Family;
use crate::cgroup::CgroupId;
use crate::cgroup::sample::{Cpu, Sample};
use crate::lifecycle::fact::{Fact, FactKind};

/// A family that is written from samples.
#[derive(Debug)]
pub struct UsageFamily {
    /// The family.
    pub family: Family,
    source: Source,
}

/// Source of a family's values in a [`Sample`].
#[derive(Debug)]
enum Source {
    /// Totals since the cgroup was made.
    Counter(fn(u64) -> Value, &'static [Series]),
    /// The state at the moment of the sample.
    Gauge(fn(&Sample) -> Option<Value>),
}

/// One series of a counter family.
#[derive(Debug)]
pub struct Series {
    /// Labels beside those of the entity.
    pub labels: &'static [(&'static str, &'static str)],
    /// Function that gets the value.
    pub get: fn(&Sample) -> Option<u64>,
}

impl UsageFamily {
    /// A gauge.
    #[must_use]
    pub const fn gauge(family: Family, get: fn(&Sample) -> Option<Value>) -> Self {
        Self { family, source: Source::Gauge(get) }
    }

    /// A counter, whose values have that unit.
    #[must_use]
    pub const fn counter(
        family: Family,
        unit: fn(u64) -> Value,
        series: &'static [Series],
    ) -> Self {
        Self { family, source: Source::Counter(unit, series) }
    }

    const fn series(&self) -> &'static [Series] {
        match self.source {
            Source::Counter(_, series) => series,
            Source::Gauge(_) => &[],
        }
    }
}

/// The usage families that are exported, with the number of the first counter of each.
#[derive(Debug)]
pub struct UsageFamilies {
    list: Vec<(usize, &'static UsageFamily)>,
    counters: usize,
}

impl UsageFamilies {
    /// Usage of these families, in this order.
    pub fn new(families: impl IntoIterator<Item = &'static UsageFamily>) -> Arc<Self> {
        let mut counters = 0;
        let first = |family: &'static UsageFamily| {
            let first = counters;
            counters += family.series().len();
            (first, family)
        };
        let list = families.into_iter().map(first).collect();
        Arc::new(Self { list, counters })
    }

    /// The families, each with the number of its first counter.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'static UsageFamily)> + '_ {
        self.list.iter().copied()
    }
}

/// Values of all counters of a list of families, in its order; none until there is one, since most
/// keys have a single cgroup in their life and no base.
#[derive(Clone, Debug, Default)]
struct Totals(Box<[Option<u64>]>);

impl Totals {
    /// Takes over what a sample has. A value that it lacks, or has less of, stays: a counter never
    /// falls.
    fn raise(&mut self, families: &UsageFamilies, sample: &Sample) {
        if self.0.is_empty() {
            self.0 = vec![None; families.counters].into();
        }
        let series = families.iter().flat_map(|(_, family)| family.series());
        for (total, series) in self.0.iter_mut().zip(series) {
            *total = (*total).max((series.get)(sample));
        }
    }

    fn add(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
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

/// A shutdown under way: the container got its stop signal and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminating {
    /// The time since the stop signal.
    pub for_ns: u64,
    /// Whether SIGKILL was sent as well.
    pub killed: bool,
}

/// Instance of a key, a cgroup: a container is one instance, its restart another.
#[derive(Debug)]
pub struct Instance {
    cgroup: CgroupId,
    since_boot_ns: u64,
    gone_boot_ns: Option<u64>,
    totals: Totals,
    /// The newest sample; dropped when the cgroup is gone. A box, since it is five times as large as
    /// all the rest, which is kept for a while.
    sample: Option<Box<Sample>>,
    /// Its death is explained, or it never ran: no fact follows that its own counters need.
    over: bool,
    /// Start of its init, `CLOCK_BOOTTIME`.
    pub start_boot_ns: Option<u64>,
    /// Shutdown of the instance, while that is under way.
    pub terminating: Option<Terminating>,
}

/// Most instances of a key that are held. More than one lives only while one replaces another.
const INSTANCES_MAX: usize = 8;

/// The instances of one key, and the sum of those that were forgotten.
#[derive(Debug)]
pub struct Usage {
    families: Arc<UsageFamilies>,
    base: Totals,
    /// By age, the newest last.
    instances: Vec<Instance>,
    gone_boot_ns: u64,
}

impl Usage {
    /// Usage without an instance.
    #[must_use]
    pub fn new(families: &Arc<UsageFamilies>) -> Self {
        Self {
            families: Arc::clone(families),
            base: Totals::default(),
            instances: Vec::new(),
            gone_boot_ns: 0,
        }
    }

    /// Adds a cgroup to this key; returns whether it is the newest, and a cgroup that was
    /// forgotten for it.
    pub fn appear(&mut self, cgroup: CgroupId, since_boot_ns: u64) -> (bool, Option<CgroupId>) {
        let at = self.instances.partition_point(|old| old.since_boot_ns <= since_boot_ns);
        let newest = at == self.instances.len();
        // Most keys have one; a vector would begin with room for four.
        self.instances.reserve_exact(1);
        self.instances.insert(
            at,
            Instance {
                cgroup,
                since_boot_ns,
                gone_boot_ns: None,
                totals: Totals::default(),
                sample: None,
                over: false,
                start_boot_ns: None,
                terminating: None,
            },
        );
        let oldest = self.instances.iter().position(|instance| instance.gone_boot_ns.is_some());
        let forgotten = oldest
            .filter(|_| self.instances.len() > INSTANCES_MAX)
            .map(|oldest| self.instances.remove(oldest));
        (newest, forgotten.map(|instance| self.forget(instance)))
    }

    /// The instance with this cgroup.
    pub fn instance_mut(&mut self, cgroup: CgroupId) -> Option<&mut Instance> {
        self.instances.iter_mut().rev().find(|instance| instance.cgroup == cgroup)
    }

    /// Takes over a new sample of a cgroup.
    pub fn sample(&mut self, cgroup: CgroupId, sample: Sample) {
        self.last_sample(cgroup, &sample);
        if let Some(instance) = self.instance_mut(cgroup)
            && instance.gone_boot_ns.is_none()
        {
            match &mut instance.sample {
                Some(last) => **last = sample,
                none => *none = Some(Box::new(sample)),
            }
        }
    }

    /// Takes over the counters alone of a sample, as of one read at the end of a container.
    pub fn last_sample(&mut self, cgroup: CgroupId, sample: &Sample) {
        let instance = self.instances.iter_mut().rev().find(|instance| instance.cgroup == cgroup);
        if let Some(instance) = instance {
            instance.totals.raise(&self.families, sample);
        }
    }

    /// Drops the gauges of a cgroup that was removed. Its last counters may still come. Returns
    /// whether the cgroup was still there.
    pub fn gone(&mut self, cgroup: CgroupId, now_boot_ns: u64) -> bool {
        let there = |instance: &&mut Instance| instance.gone_boot_ns.is_none();
        let Some(instance) = self.instance_mut(cgroup).filter(there) else { return false };
        instance.gone_boot_ns = Some(now_boot_ns);
        instance.sample = None;
        instance.terminating = None;
        self.gone_boot_ns = self.gone_boot_ns.max(now_boot_ns);
        true
    }

    /// Notes that no fact follows about a cgroup that needs its own counters.
    pub fn set_over(&mut self, cgroup: CgroupId) {
        if let Some(instance) = self.instance_mut(cgroup) {
            instance.over = true;
        }
    }

    /// Adds the counters of a cgroup to the base, if it was removed and no fact about it needs them
    /// apart. Returns whether it is forgotten now.
    pub fn release(&mut self, cgroup: CgroupId) -> bool {
        let done = |instance: &Instance| {
            instance.cgroup == cgroup && instance.gone_boot_ns.is_some() && instance.over
        };
        let Some(at) = self.instances.iter().position(done) else { return false };
        let instance = self.instances.remove(at);
        self.forget(instance);
        self.instances.shrink_to_fit();
        true
    }

    /// Takes back a cgroup that is not of this key. Its counters stay if another is under the key,
    /// since a counter never falls; returns whether none is.
    pub fn retract(&mut self, cgroup: CgroupId) -> bool {
        if let Some(at) = self.instances.iter().rposition(|instance| instance.cgroup == cgroup) {
            let instance = self.instances.remove(at);
            self.forget(instance);
        }
        self.instances.is_empty()
    }

    /// Whether this cgroup is under the key and was not removed.
    #[must_use]
    pub fn is_live(&self, cgroup: CgroupId) -> bool {
        self.live().any(|instance| instance.cgroup == cgroup)
    }

    /// Whether this cgroup is the newest of the key.
    #[must_use]
    pub fn is_newest(&self, cgroup: CgroupId) -> bool {
        self.instances.last().is_some_and(|newest| newest.cgroup == cgroup)
    }

    /// Adds the counters of the cgroups that were gone by then to the base, and drops the rest of
    /// them.
    pub fn forget_gone_before(&mut self, before_boot_ns: u64, mut each: impl FnMut(CgroupId)) {
        let old = |instance: &mut Instance| {
            instance.gone_boot_ns.is_some_and(|gone_boot_ns| gone_boot_ns < before_boot_ns)
        };
        let forgotten: Vec<_> = self.instances.extract_if(.., old).collect();
        if !forgotten.is_empty() {
            self.instances.shrink_to_fit();
        }
        for instance in forgotten {
            each(self.forget(instance));
        }
    }

    fn forget(&mut self, instance: Instance) -> CgroupId {
        self.base.add(instance.totals);
        instance.cgroup
    }

    /// The moment at which the last cgroup went, if there is no other.
    #[must_use]
    pub fn gone_since_boot_ns(&self) -> Option<u64> {
        self.live().next().is_none().then_some(self.gone_boot_ns)
    }

    /// Whether facts may still come about a cgroup.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        !self.instances.is_empty()
    }

    /// The cgroups that facts may still be about.
    pub fn cgroups(&self) -> impl Iterator<Item = CgroupId> + '_ {
        self.instances.iter().map(|instance| instance.cgroup)
    }

    /// The instances that were not removed, the newest first.
    pub fn live(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().rev().filter(|instance| instance.gone_boot_ns.is_none())
    }

    /// Counterpart of [`Self::live`].
    pub fn live_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.instances.iter_mut().rev().filter(|instance| instance.gone_boot_ns.is_none())
    }

    /// Takes in a fact about a container's cgroup.
    pub fn fact(&mut self, cgroup: CgroupId, fact: &Fact) {
        match &fact.kind {
            FactKind::Started(_) => {
                if let Some(instance) = self.instance_mut(cgroup) {
                    instance.start_boot_ns = Some(fact.time_boot_ns);
                }
            }
            FactKind::Explained(death) => {
                // Less than all of the container's CPU time, but there even if its files were gone
                // too soon.
                if let Some(init_cpu_ns) = death.end.init_cpu_ns {
                    let cpu = Cpu { usage_us: Some(init_cpu_ns / 1000), ..Cpu::default() };
                    self.last_sample(cgroup, &Sample { cpu, ..Sample::default() });
                }
                if let Some(instance) = self.instance_mut(cgroup) {
                    instance.terminating = None;
                    instance.over = true;
                }
            }
            FactKind::StartFailed => self.set_over(cgroup),
            _ => {}
        }
    }

    /// Writes the samples of one family, whose first counter is number `first`.
    pub fn write(&self, family: &UsageFamily, first: usize, block: &[u8], to: &mut Exposition) {
        match family.source {
            Source::Counter(unit, series) => {
                for (at, series) in (first..).zip(series) {
                    let of_instances = self.instances.iter().map(|old| old.totals.get(at));
                    if let Some(total) = of_instances.fold(self.base.get(at), sum) {
                        to.sample(block, &series.labels, unit(total));
                    }
                }
            }
            Source::Gauge(get) => {
                let newest = self.live().next().and_then(|instance| instance.sample.as_deref());
                if let Some(value) = newest.and_then(get) {
                    to.sample(block, &NONE, value);
                }
            }
        }
    }
}
