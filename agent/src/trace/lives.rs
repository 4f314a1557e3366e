//! The lives of all Pods that are shown, by the UID in the name of their cgroup. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::KeyValue;

use super::life::{At, Life};
use super::link;
use super::model::Trace;
use super::resource;
use crate::kube::identity::Identity;
use crate::kube::pod::Pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{Subject, Who};

/// Limit of Pods that are followed; those beyond it have no traces.
const LIVES_MAX: usize = 4096;

/// A complete trace with the workload that it is about.
pub(super) type Complete = (Trace, Arc<Identity>);

/// Lives of Pods.
#[derive(Debug)]
pub(super) struct Lives {
    common: Vec<KeyValue>,
    lives: HashMap<String, (Life, Arc<Identity>)>,
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
        let (life, of) = self.lives.entry(pod.uid.clone()).or_insert_with(|| {
            let life = Life::new(&pod.uid, &identity.pod_uid, resource());
            (life, Arc::new(identity.clone()))
        });
        if (&of.pod, &of.workload, &of.pod_uid)
            != (&identity.pod, &identity.workload, &identity.pod_uid)
        {
            // The Pod has its name only now.
            life.resource = Arc::new(resource::of(identity, &self.common));
            life.uid.clone_from(&identity.pod_uid);
            *of = Arc::new(identity.clone());
        }
        life.shown(who);
    }

    pub(super) fn retracted(&mut self, subject: &Subject) {
        if let (Some(cgroup), Some((life, _))) = (subject.cgroup(), self.of(subject)) {
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
        let Some((life, _)) = self.of(subject) else { return Vec::new() };
        life.fact(subject, fact);
        let key = life.key.clone();
        self.complete(&key, at)
    }

    pub(super) fn gone(&mut self, subject: &Subject, at: &At) -> Vec<Complete> {
        let Some((life, _)) = self.of(subject) else { return Vec::new() };
        life.gone(subject, at.now_boot_ns);
        let key = life.key.clone();
        self.complete(&key, at)
    }

    /// The traces that are complete because time has passed.
    pub(super) fn settle(&mut self, at: &At) -> Vec<Complete> {
        let keys: Vec<String> = self.lives.keys().cloned().collect();
        keys.iter().flat_map(|key| self.complete(key, at)).collect()
    }

    fn complete(&mut self, key: &str, at: &At) -> Vec<Complete> {
        let Some((life, identity)) = self.lives.get_mut(key) else { return Vec::new() };
        let traces = life.complete(at);
        self.dropped += std::mem::take(&mut life.dropped);
        let complete = traces.into_iter().map(|trace| (trace, Arc::clone(identity))).collect();
        if life.is_over() {
            self.lives.remove(key);
        }
        complete
    }

    fn of(&mut self, subject: &Subject) -> Option<&mut (Life, Arc<Identity>)> {
        match subject {
            Subject::Container(who) => self.lives.get_mut(&who.origin.pod()?.0.uid),
            Subject::Pod(who) => self.lives.get_mut(&who.cgroup_uid),
            // The mirror of a static Pod is found under the Pod's own UID only.
            Subject::Planned(identity) => self.lives.get_mut(&identity.pod_uid),
        }
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
