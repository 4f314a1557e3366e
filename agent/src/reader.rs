//! Readers: all who are told of subjects, facts and samples, each for a purpose of its own.

use std::sync::Arc;

use crate::cgroup::sample::Sample;
use crate::clock::WallOffset;
use crate::kube::pod::Pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};

/// How much of a cgroup a sample has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The cgroup as it is now: gauges and counters.
    Current,
    /// The counters at the end of a container, read before its cgroup is removed; it may come
    /// after that, and need not be whole.
    Last,
}

/// A reader of the one stream of facts.
///
/// The owner has an explicit list of readers and tells each of them the same, in the same order.
/// A reader knows facts and subjects, not the other readers and not where a fact comes from.
/// Nothing here may block: the owner has one thread.
pub trait Reader {
    /// A container has its name and is shown from now on. Comes before all else about it.
    fn shown(&mut self, who: &Arc<Who>) {
        let _ = who;
    }

    /// The spec and status of a Pod: when they change, and again when a container of the Pod is
    /// shown.
    fn pod(&mut self, pod: &Pod) {
        let _ = pod;
    }

    /// A conclusion about a container instance or a Pod. `wall` makes Unix times of its boot times.
    fn fact(&mut self, subject: &Subject, fact: &Fact, wall: WallOffset);

    /// The resource usage of a container's or a Pod's cgroup.
    fn sample(&mut self, subject: &Subject, sample: &Sample, reading: Reading) {
        let _ = (subject, sample, reading);
    }

    /// The cgroup of a subject is removed, and all facts about it are told but those that wait for
    /// the Pod source: [`FactKind::Explained`](crate::lifecycle::fact::FactKind::Explained) and
    /// [`FactKind::Misreported`](crate::lifecycle::fact::FactKind::Misreported).
    fn gone(&mut self, subject: &Subject, now_boot_ns: u64) {
        let _ = (subject, now_boot_ns);
    }
}
