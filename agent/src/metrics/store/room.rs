//! Room for series: what there is, who gets it, and who waits for it.
//!
//! What counts is what is exported. A new container, Pod or workload is expected to have as many
//! series as its kind can have before anything happens to it; after its first exposition it counts
//! with those that it has. Where there is no room, what only lingers gives way, the oldest first.
//! What still finds none is hidden, and tried again whenever something expires. Where series of
//! entities that are shown find none, whole families of an entity are left out of the exposition.

use std::sync::Arc;

use super::super::entity::{Container, Workload};
use super::super::table::Id;
use super::{Member, Store};
use crate::cgroup::CgroupId;
use crate::lifecycle::subject::Who;

/// Part of the limit that is made room for at once: to look for what lingers costs a walk over all.
const EVICT_AT_ONCE: u64 = 64;
/// Part of the limit that what only lingers may have. It is for those that come again, and for
/// scrapers that have not come; the memory and the time of each scrape are for who is there.
const LINGERING: u64 = 4;

/// An entity that only lingers.
#[derive(Clone, Copy, Debug)]
enum Lingering {
    Container(Id),
    Pod(Id),
    Workload(Id),
}

impl Store {
    /// Series of containers, Pods and workloads, with those expected of the new ones.
    pub(super) const fn taken(&self) -> u64 {
        self.containers.series() + self.workloads.series() + self.pods.series()
    }

    /// Whether there is room for more series, or room was made for them.
    pub(super) fn has_room(&mut self, series: u64) -> bool {
        let limit = self.options.max_series as u64;
        let over = |store: &Self| (store.taken() + series).saturating_sub(limit);
        let missing = over(self);
        series == 0 || missing == 0 || (self.evict(missing) && over(self) == 0)
    }

    /// Whether a container that needs so many series is shown. If not, it waits for room.
    pub(super) fn admits(&mut self, who: &Arc<Who>, series: u64) -> bool {
        let room = self.has_room(series);
        if !room && self.refused.insert(who) {
            self.dropped(series);
        }
        room
    }

    /// Whether a Pod that needs so many series is shown. If not, it is asked again at its next
    /// sample.
    pub(super) fn admits_pod(&mut self, cgroup: CgroupId, series: u64) -> bool {
        let room = self.has_room(series);
        if room {
            self.refused.remove(cgroup);
        } else if self.refused.insert_pod(cgroup) {
            self.dropped(series);
        }
        room
    }

    pub(super) fn dropped(&mut self, series: u64) {
        let dropped = &mut self.node.agent.series_dropped;
        *dropped = dropped.saturating_add(series);
        if self.refused.warns(self.now_boot_ns) {
            tracing::warn!(
                max_series = self.options.max_series,
                containers = self.containers.count(),
                hidden = self.refused.containers(),
                "no room for more series: what comes next is not shown; raise --metrics.max-series, \
                 or switch collectors off (further ones are counted in \
                 podvitals_series_dropped_total)"
            );
        }
    }

    /// Takes over how many series the exposition left out. They are counted once, while they are.
    pub(super) fn overflows(&mut self, left_out: u64) {
        if left_out > self.left_out {
            self.dropped(left_out - self.left_out);
        }
        self.left_out = left_out;
    }

    /// Shows the containers that have waited for room, the oldest first, as long as there is some.
    /// Returns those that are shown now.
    pub(super) fn readmit(&mut self) -> Vec<CgroupId> {
        let mut shown = Vec::new();
        for who in self.refused.oldest_first() {
            if !self.show(&who) {
                break;
            }
            if let Some(fact) = self.refused.admit(who.cgroup)
                && let Some(container) = self.container_mut(who.cgroup)
            {
                container.fact(who.cgroup, &fact);
            }
            shown.push(who.cgroup);
        }
        shown
    }

    /// Drops what lingers beyond its part of the limit.
    pub(super) fn limit_lingering(&mut self) {
        let of = |series: u64, lingers: bool| if lingers { series } else { 0 };
        let containers = self.containers.iter().map(|(_, container, series)| {
            of(series, container.lingers_since_boot_ns().is_some() && !self.waits(container))
        });
        let pods = self.pods.iter();
        let pods =
            pods.map(|(_, pod, series)| of(series, pod.usage.gone_since_boot_ns().is_some()));
        let workloads = self
            .workloads
            .iter()
            .map(|(_, workload, series)| of(series, workload.lingers_since_boot_ns().is_some()));
        let lingering: u64 = containers.chain(pods).chain(workloads).sum();
        let over = lingering.saturating_sub(self.options.max_series as u64 / LINGERING);
        if over > 0 {
            self.evict(over);
        }
    }

    /// Whether the API knew the container as waiting to run again when that was last asked.
    const fn waits(&self, container: &Container) -> bool {
        container.waited_boot_ns != 0 && container.waited_boot_ns == self.now_boot_ns
    }

    /// Drops what lingers, the longest first, until so many series are free. What waits to run again
    /// comes last. Returns whether anything was dropped.
    pub(super) fn evict(&mut self, series: u64) -> bool {
        let enough = series + self.options.max_series as u64 / EVICT_AT_ONCE;
        let mut lingering = Vec::new();
        for (id, container, _) in self.containers.iter() {
            if let Some(since) = container.lingers_since_boot_ns() {
                lingering.push((self.waits(container), since, Lingering::Container(id)));
            }
        }
        for (id, pod, _) in self.pods.iter() {
            if let Some(since) = pod.usage.gone_since_boot_ns() {
                lingering.push((false, since, Lingering::Pod(id)));
            }
        }
        for (id, workload, _) in self.workloads.iter() {
            if let Some(since) = workload.lingers_since_boot_ns() {
                lingering.push((false, since, Lingering::Workload(id)));
            }
        }
        lingering.sort_by_key(|(waits, since, _)| (*waits, *since));
        let (mut free, mut evicted) = (0, 0);
        for (.., entity) in lingering {
            if free >= enough {
                break;
            }
            free += self.drop_entity(entity);
            evicted += 1;
        }
        let evictions = &mut self.node.agent.retention_evictions;
        *evictions = evictions.saturating_add(evicted);
        evicted > 0
    }

    /// Removes an entity; returns its number of series.
    fn drop_entity(&mut self, entity: Lingering) -> u64 {
        match entity {
            Lingering::Container(id) => {
                let Some((container, series)) = self.containers.remove(id) else { return 0 };
                for cgroup in container.usage.cgroups() {
                    self.members.remove(&cgroup);
                }
                series
            }
            Lingering::Pod(id) => {
                let Some((pod, series)) = self.pods.remove(id) else { return 0 };
                for cgroup in pod.usage.cgroups() {
                    self.pod_members.remove(&cgroup);
                }
                series
            }
            Lingering::Workload(id) => self.workloads.remove(id).map_or(0, |(_, series)| series),
        }
    }

    /// Shows a container, if there is room for its series.
    pub(super) fn show(&mut self, who: &Arc<Who>) -> bool {
        let identity = &who.identity;
        let block = Container::block(&identity.namespace, &identity.pod, &identity.container);
        let workload_block = Workload::block(identity);
        let (known, known_workload) =
            (self.containers.find(block.bytes()), self.workloads.find(workload_block.bytes()));
        let series = if known.is_none() { self.expected.container } else { 0 }
            + if known_workload.is_none() { self.expected.workload } else { 0 };
        if !self.admits(who, series) {
            return false;
        }
        // What lingered under this name may have given way to it.
        let collectors = self.options.collectors;
        let key = self.containers.find(block.bytes()).unwrap_or_else(|| {
            let new = Container::new(collectors, &self.families.container_usage);
            self.containers.insert(block.bytes(), new, self.expected.container)
        });
        let workload = self.workloads.find(workload_block.bytes()).unwrap_or_else(|| {
            let new = Workload::new(collectors);
            self.workloads.insert(workload_block.bytes(), new, self.expected.workload)
        });
        if let Some(entry) = self.containers.get_mut(key) {
            // Of two with the same key, the one that was made later is the newest.
            let (newest, forgotten) = entry.usage.appear(who.cgroup, who.birth.since_boot_ns());
            if newest {
                entry.identify(who);
            }
            entry.workload = Some(workload);
            if let Some(forgotten) = forgotten {
                self.members.remove(&forgotten);
            }
        }
        if let Some(workload) = self.workloads.get_mut(workload) {
            workload.live += 1;
        }
        self.members.insert(who.cgroup, Member { container: key, workload });
        true
    }
}
