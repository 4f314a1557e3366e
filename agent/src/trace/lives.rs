//! The lives of all Pods that are shown, by the UID in the name of their cgroup. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::KeyValue;

use super::life::{At, Life};
use super::link;
use super::model::Trace;
use super::resource;
use crate::kube::pod::Pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};

/// Limit of Pods that are followed; those beyond it have no traces.
const LIVES_MAX: usize = 4096;

/// A complete trace with a container of the Pod, whose workload it is about.
pub(super) type Complete = (Trace, Arc<Who>);

/// Lives of Pods.
#[derive(Debug)]
pub(super) struct Lives {
    common: Vec<KeyValue>,
    /// Each with the container that gave the Pod its name.
    lives: HashMap<String, (Life, Arc<Who>)>,
    /// Pods and containers that found no room.
    dropped: u64,
    links_rejected: u64,
}

impl Lives {
    /// No lives. `common`: attributes of each resource.
    pub(super) fn new(common: Vec<KeyValue>) -> Self {
        Self { common, lives: HashMap::new(), dropped: 0, links_rejected: 0 }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }

    /// Takes in a container that is shown, or has another name. Units of the host have no life.
    pub(super) fn shown(&mut self, who: &Arc<Who>) {
        let Some((pod, _)) = who.origin.pod() else { return };
        let identity = &who.identity;
        let full = self.lives.len() >= LIVES_MAX;
        if full && !self.lives.contains_key(&pod.uid) {
            self.dropped += 1;
            return;
        }
        let resource = || Arc::new(resource::of(identity, &self.common));
        let (life, named_by) = self.lives.entry(pod.uid.clone()).or_insert_with(|| {
            let life = Life::new(&pod.uid, &identity.pod_uid, resource());
            (life, Arc::clone(who))
        });
        let known = &named_by.identity;
        if (&known.pod, &known.workload, &known.pod_uid)
            != (&identity.pod, &identity.workload, &identity.pod_uid)
        {
            // The Pod has its name only now.
            life.resource = resource();
            life.uid.clone_from(&identity.pod_uid);
            *named_by = Arc::clone(who);
        }
        if !life.shown(who) {
            self.dropped += 1;
        }
    }

    pub(super) fn retracted(&mut self, subject: &Subject) {
        let life = key(subject).and_then(|key| self.lives.get_mut(key));
        if let (Some(cgroup), Some((life, _))) = (subject.cgroup(), life) {
            life.retracted(cgroup);
        }
    }

    /// Takes in a Pod. `traceparent`: the annotation that names a span.
    pub(super) fn pod(&mut self, pod: &Pod) {
        let Some((life, _)) = self.lives.get_mut(pod.lasting_uid()) else { return };
        life.pod(pod);
        if let Some(traceparent) = &pod.traceparent
            && life.outside.is_none()
        {
            life.outside = link::parse(traceparent);
            if life.outside.is_none() && !std::mem::replace(&mut life.link_rejected, true) {
                self.links_rejected += 1;
            }
        }
    }

    /// Takes in a fact. Returns the traces that are complete with it.
    pub(super) fn fact(&mut self, subject: &Subject, fact: &Fact, at: &At) -> Vec<Complete> {
        self.changed(subject, at, |life| life.fact(subject, fact))
    }

    pub(super) fn gone(&mut self, subject: &Subject, at: &At) -> Vec<Complete> {
        self.changed(subject, at, |life| life.gone(subject, at.now_boot_ns))
    }

    /// The traces that are complete because time has passed.
    pub(super) fn settle(&mut self, at: &At) -> Vec<Complete> {
        let mut all = Vec::new();
        self.lives.retain(|_, entry| {
            all.extend(complete(entry, at));
            !entry.0.is_over()
        });
        all
    }

    /// Changes the life of a subject's Pod. Returns the traces that are complete with that.
    fn changed(
        &mut self,
        subject: &Subject,
        at: &At,
        change: impl FnOnce(&mut Life),
    ) -> Vec<Complete> {
        let Some(key) = key(subject) else { return Vec::new() };
        let Some(entry) = self.lives.get_mut(key) else { return Vec::new() };
        change(&mut entry.0);
        let traces = complete(entry, at);
        if entry.0.is_over() {
            self.lives.remove(key);
        }
        traces
    }

    /// Pods and containers that found no room, since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Pods whose annotation is malformed.
    pub(super) const fn links_rejected(&self) -> u64 {
        self.links_rejected
    }
}

/// The UID under which the life of a subject's Pod is found.
fn key(subject: &Subject) -> Option<&str> {
    match subject {
        Subject::Container(who) => Some(&who.origin.pod()?.0.uid),
        Subject::Pod(who) => Some(&who.cgroup_uid),
        // The mirror of a static Pod is found under the Pod's own UID only.
        Subject::Planned(identity) => Some(&identity.pod_uid),
    }
}

/// The traces of a Pod that are complete at that time.
fn complete((life, named_by): &mut (Life, Arc<Who>), at: &At) -> Vec<Complete> {
    life.complete(at).into_iter().map(|trace| (trace, Arc::clone(named_by))).collect()
}
