//! The one door out: all that is known of subjects goes through here, to each reader.

use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::cgroup::sample::Sample;
use crate::clock::Now;
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
use crate::trace::{Traces, otlp::TraceStats};

/// The list of readers, and the ways to reach them.
#[derive(Debug)]
pub(super) struct Publish {
    lines: Lines,
    store: Store,
    /// Where traces are sent.
    pub(super) traces: Option<Traces>,
    #[cfg(test)]
    pub(super) recorder: super::tests::Recorder,
}

impl Publish {
    pub(super) fn new(store: StoreOptions, traces: Option<Traces>) -> Self {
        Self {
            lines: Lines::default(),
            store: Store::new(store),
            traces,
            #[cfg(test)]
            recorder: super::tests::Recorder::default(),
        }
    }

    /// The explicit list: each reader gets the same, in this order.
    fn readers(&mut self) -> impl Iterator<Item = &mut dyn Reader> {
        let traces = self.traces.as_mut().map(|traces| traces as &mut dyn Reader);
        let both: [&mut dyn Reader; 2] = [&mut self.lines, &mut self.store];
        let readers = both.into_iter().chain(traces);
        #[cfg(test)]
        let readers = readers.chain([&mut self.recorder as &mut dyn Reader]);
        readers
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
        self.exemplars();
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
        self.exemplars();
    }

    /// Sends the traces that are complete because time has passed.
    pub(super) fn settle_traces(&mut self, now: Now) {
        if let Some(traces) = &mut self.traces {
            traces.settle(now);
        }
        self.exemplars();
    }

    /// Sends the traces that are not complete: the agent stops.
    pub(super) fn flush_traces(&mut self, now: Now) {
        if let Some(traces) = &mut self.traces {
            traces.flush(now);
        }
        self.exemplars();
    }

    /// Counters of traces; `None` if they are sent nowhere.
    pub(super) fn trace_stats(&self) -> Option<TraceStats> {
        self.traces.as_ref().map(Traces::stats)
    }

    /// What was counted of the facts of a trace that is queued now has the trace as its exemplar.
    fn exemplars(&mut self) {
        let Some(traces) = &mut self.traces else { return };
        for (who, fact, trace) in traces.take_traced() {
            self.store.traced(&who, &fact, trace);
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
