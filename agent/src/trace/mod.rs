//! Traces: how a Pod started, how its containers were restarted and how it was shut down, as spans
//! with true times.
//!
//! [`Traces`] is a reader of the one stream of facts. From a Pod's facts it makes complete traces
//! ([`model`]), some of which are left out ([`volume`]); the others are sent by [`otlp`], as
//! [`settings`] say. Everything but the sending is pure: no I/O, no clock.

mod attempts;
mod complete;
pub mod endpoint;
pub mod id;
mod instance;
mod life;
pub mod link;
mod lives;
pub mod model;
pub mod names;
pub mod otlp;
mod problem;
mod resource;
mod restart;
pub mod settings;
mod shutdown;
mod startup;
mod tree;
mod variables;
pub mod volume;

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::TraceId;

use crate::clock::{Now, WallOffset};
use crate::kube::pod::Pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};
use crate::reader::Reader;
use life::At;
use lives::{Complete, Lives};
use model::Trace;
use otlp::{Stats, TraceStats};
use volume::{Limits, Omitted, Volume};

/// Way of a complete trace out of here. It returns whether the trace is queued, and never waits.
pub type Send = Box<dyn FnMut(&Trace, WallOffset) -> bool + std::marker::Send>;

/// A fact that a queued trace tells.
pub type Traced = (Arc<Who>, Fact, TraceId);

/// Settings of [`Traces`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Attributes of each resource: the service, the node, and what the user has set.
    pub resource: Vec<KeyValue>,
    /// Limits of what is sent.
    pub limits: Limits,
    /// Whether there is a Pod source, so that containers can become ready.
    pub pods_may_come: bool,
}

/// The reader that makes traces.
pub struct Traces {
    lives: Lives,
    volume: Volume,
    send: Send,
    stats: Arc<Stats>,
    now: Now,
    pods_may_come: bool,
    /// Facts of queued traces, for the exemplars.
    traced: Vec<Traced>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("lives", &self.lives).finish_non_exhaustive()
    }
}

impl Traces {
    /// A reader that has read nothing. `stats` are those of the exporter behind `send`.
    #[must_use]
    pub fn new(options: Options, send: Send, stats: Arc<Stats>, now: Now) -> Self {
        Self {
            lives: Lives::new(options.resource),
            volume: Volume::new(options.limits),
            send,
            stats,
            now,
            pods_may_come: options.pods_may_come,
            traced: Vec::new(),
        }
    }

    /// Sends what is complete because time has passed.
    pub fn settle(&mut self, now: Now) {
        self.now = now;
        let at = self.at(now.boot_ns);
        let complete = self.lives.settle(&at);
        self.finish(complete);
    }

    /// Sends what there is, as it is: the agent stops.
    pub fn flush(&mut self, now: Now) {
        self.now = now;
        let at = At { last: true, ..self.at(now.boot_ns) };
        let complete = self.lives.settle(&at);
        self.finish(complete);
    }

    /// Whether no Pod is followed.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.lives.is_empty()
    }

    /// Facts of the traces that were queued since the last call.
    pub fn take_traced(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.traced)
    }

    /// Counters of traces, the exporter's included.
    #[must_use]
    pub fn stats(&self) -> TraceStats {
        TraceStats {
            omitted: self.volume.omitted(),
            links_rejected: self.lives.links_rejected(),
            ..self.stats.read()
        }
    }

    const fn at(&self, now_boot_ns: u64) -> At {
        let Self { now, pods_may_come, .. } = self;
        At { now_boot_ns, wall: now.wall, pods_may_come: *pods_may_come, last: false }
    }

    fn finish(&mut self, complete: Vec<Complete>) {
        for (trace, who) in complete {
            let workload = self.volume.workload(&who.identity);
            if self.volume.admit(&trace, workload, self.now.boot_ns)
                && (self.send)(&trace, self.now.wall)
            {
                let facts = trace.facts.into_iter();
                self.traced.extend(facts.map(|(who, fact)| (who, fact, trace.id)));
            }
        }
        let dropped = self.lives.take_dropped();
        self.volume.count(Omitted::NoRoom, dropped);
    }
}

impl Reader for Traces {
    fn shown(&mut self, who: &Arc<Who>) {
        self.lives.shown(who);
    }

    fn renamed(&mut self, _: &Arc<Who>, who: &Arc<Who>, _: u64) {
        self.lives.shown(who);
    }

    fn retracted(&mut self, subject: &Subject, _: u64) {
        self.lives.retracted(subject);
    }

    fn pod(&mut self, pod: &Pod) {
        self.lives.pod(pod);
    }

    fn fact(&mut self, subject: &Subject, fact: &Fact) {
        // A fact may be told late: the time that has passed is at least its own.
        let at = self.at(self.now.boot_ns.max(fact.time_boot_ns));
        let complete = self.lives.fact(subject, fact, &at);
        self.finish(complete);
    }

    fn gone(&mut self, subject: &Subject, now_boot_ns: u64) {
        let at = self.at(now_boot_ns);
        let complete = self.lives.gone(subject, &at);
        self.finish(complete);
    }
}
