//! The one door out: all that is known of subjects goes through here, to each reader.

use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::cgroup::sample::Sample;
use crate::kube::pod::Pod;
use crate::lifecycle::OpenShutdown;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};
use crate::log::Lines;
use crate::metrics::agent::AgentStats;
use crate::metrics::scrapers::Connection;
use crate::metrics::store::{Store, StoreOptions};
use crate::metrics::text::Text;
use crate::metrics::variant::{Format, Generation, Seen};
use crate::reader::{Reader, Reading};

/// The list of readers, and the ways to reach them.
#[derive(Debug)]
pub(super) struct Publish {
    lines: Lines,
    store: Store,
    #[cfg(test)]
    pub(super) recorder: super::tests::Recorder,
}

impl Publish {
    pub(super) fn new(store: StoreOptions) -> Self {
        Self {
            lines: Lines::default(),
            store: Store::new(store),
            #[cfg(test)]
            recorder: super::tests::Recorder::default(),
        }
    }

    /// The explicit list: each reader gets the same, in this order.
    #[cfg(test)]
    fn readers(&mut self) -> [&mut dyn Reader; 3] {
        [&mut self.lines, &mut self.store, &mut self.recorder]
    }

    /// The explicit list: each reader gets the same, in this order.
    #[cfg(not(test))]
    fn readers(&mut self) -> [&mut dyn Reader; 2] {
        [&mut self.lines, &mut self.store]
    }

    pub(super) fn shown(&mut self, who: &Arc<Who>) {
        for reader in self.readers() {
            reader.shown(who);
        }
    }

    pub(super) fn renamed(&mut self, old: &Arc<Who>, who: &Arc<Who>, now_boot_ns: u64) {
        for reader in self.readers() {
            reader.renamed(old, who, now_boot_ns);
        }
    }

    pub(super) fn retracted(&mut self, subject: &Subject, now_boot_ns: u64) {
        for reader in self.readers() {
            reader.retracted(subject, now_boot_ns);
        }
    }

    pub(super) fn pod(&mut self, pod: &Pod) {
        for reader in self.readers() {
            reader.pod(pod);
        }
    }

    pub(super) fn fact(&mut self, subject: &Subject, fact: &Fact) {
        for reader in self.readers() {
            reader.fact(subject, fact);
        }
    }

    pub(super) fn sample(&mut self, subject: &Subject, sample: &Sample, reading: Reading) {
        for reader in self.readers() {
            reader.sample(subject, sample, reading);
        }
    }

    pub(super) fn gone(&mut self, subject: &Subject, now_boot_ns: u64) {
        for reader in self.readers() {
            reader.gone(subject, now_boot_ns);
        }
    }

    /// Gives up what has been kept long enough, but for what waits to run again. Returns the
    /// containers for whose series there is room only now.
    pub(super) fn expire(
        &mut self,
        now_boot_ns: u64,
        waits: impl Fn(&str, &str) -> bool,
    ) -> Vec<CgroupId> {
        self.store.expire(now_boot_ns, waits)
    }

    /// The metrics' room for series, for people.
    pub(super) fn room(&self) -> (String, usize) {
        (self.store.room(), self.store.hidden())
    }

    /// The containers that are terminating at the moment of a collection. It is a state and no
    /// fact: a shutdown is over with the end of init, 100 ms before the end is concluded.
    pub(super) fn set_terminating(
        &mut self,
        now_boot_ns: u64,
        open: impl IntoIterator<Item = (CgroupId, OpenShutdown)>,
    ) {
        self.store.set_terminating(now_boot_ns, open);
    }

    pub(super) fn next_generation(&mut self, now_boot_ns: u64) -> Generation {
        self.store.next_generation(now_boot_ns)
    }

    pub(super) fn seen(&mut self, generation: Generation, from: &Connection) -> Seen {
        self.store.seen(generation, from)
    }

    pub(super) fn encode(
        &mut self,
        generation: Generation,
        stats: &AgentStats,
        format: Format,
    ) -> Text {
        self.store.encode(generation, stats, format)
    }
}
