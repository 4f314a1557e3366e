//! Readers of the one stream of subjects, facts and samples, each with a purpose of its own.

use std::sync::Arc;

use crate::cgroup::sample::Sample;
use crate::kube::pod::Pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};

/// Completeness of a cgroup's sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A current sample: gauges and counters.
    Current,
    /// The last sample of a container that has ended, read before its cgroup is removed: counters
    /// only. It may arrive after the end, and be incomplete.
    Last,
}

/// A reader of the one stream of facts.
///
/// The owner has an explicit list of readers and calls each of them with the same facts, in the
/// same order. A reader knows facts and subjects, not the other readers and not the source of a
/// fact. A reader must not block: the owner has one thread.
pub trait Reader {
    /// Takes in a container that has its name and is shown from now on. Comes before everything
    /// else about it.
    fn shown(&mut self, who: &Arc<Who>) {
        let _ = who;
    }

    /// Takes in another name of a container: it was shown as `old` before its name was known, and
    /// goes on as `who`. What was counted stays where it was counted. Facts that describe a state,
    /// such as its start, come again.
    fn renamed(&mut self, old: &Arc<Who>, who: &Arc<Who>, now_boot_ns: u64) {
        self.retracted(&Subject::Container(Arc::clone(old)), now_boot_ns);
        self.shown(who);
    }

    /// Takes a subject back: a container that is a sandbox or none at all, or a Pod that has another name from now
    /// on. It has not ended; what was counted stays.
    fn retracted(&mut self, subject: &Subject, now_boot_ns: u64) {
        let _ = (subject, now_boot_ns);
    }

    /// Takes in the spec and status of a Pod: when they change, and again when a container of the
    /// Pod is shown.
    fn pod(&mut self, pod: &Pod) {
        let _ = pod;
    }

    /// Takes in a conclusion about a container instance or a Pod. Its times are boot times: they become
    /// Unix times when they are shown, since the wall clock may be set meanwhile.
    fn fact(&mut self, subject: &Subject, fact: &Fact);

    /// Takes in the resource usage of a container's or a Pod's cgroup.
    fn sample(&mut self, subject: &Subject, sample: &Sample, reading: Reading) {
        let _ = (subject, sample, reading);
    }

    /// Takes in the removal of a subject's cgroup. All facts about it have come before, except
    /// those that wait for the Pod source
    /// ([`FactKind::Explained`](crate::lifecycle::fact::FactKind::Explained) and
    /// [`FactKind::Misreported`](crate::lifecycle::fact::FactKind::Misreported)) and the last attempts
    /// of probes: the kubelet asks for some time what has ended.
    fn gone(&mut self, subject: &Subject, now_boot_ns: u64) {
        let _ = (subject, now_boot_ns);
    }
}
