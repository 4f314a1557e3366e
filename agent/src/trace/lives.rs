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
        // A container that nobody has a name for, such as one that failed to start and is gone again, says
        // nothing of its Pod.
        let is_name = !identity.namespace.is_empty() || known.namespace.is_empty();
        let is_other = (&known.pod, &known.workload, &known.pod_uid)
            != (&identity.pod, &identity.workload, &identity.pod_uid);
        if is_name && is_other {
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
        let Some((life, named_by)) = self.lives.get_mut(pod.lasting_uid()) else { return };
        life.pod(pod);
        if named_by.identity.namespace.is_empty() {
            // None of its containers has a name.
            let identity = Identity {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                pod_uid: pod.uid.clone(),
                workload_kind: pod.workload.kind.clone(),
                workload: pod.workload.name.clone(),
                ..named_by.identity.clone()
            };
            life.uid.clone_from(&identity.pod_uid);
            life.resource = Arc::new(resource::of(&identity, &self.common));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::CgroupId;
    use crate::cgroup::path::{ContainerName, Origin, PodName, Qos, Runtime};
    use crate::kube::pod::Workload;
    use crate::lifecycle::subject::Birth;
    use crate::trace::names;

    const UID: &str = "6e460f5f-c785-4d0d-9dfb-963ee819aa22";

    fn who(cgroup: u64, named: bool) -> Arc<Who> {
        let pod = PodName { uid: UID.into(), qos: Qos::Burstable };
        let name = ContainerName { id: cgroup.to_string(), runtime: Runtime::Containerd };
        let mut identity = Identity::fallback(&pod, &name);
        if named {
            (identity.namespace, identity.pod) = ("shop".to_owned(), "web-0".to_owned());
        }
        let birth = Birth::Seen { boot_ns: 1 };
        let origin = Origin::Pod(pod, name);
        Arc::new(Who { cgroup: CgroupId(cgroup), pod_cgroup: None, origin, identity, birth })
    }

    /// Names of the Pod, in their own order.
    fn told(lives: &Lives) -> Vec<String> {
        let (life, _) = lives.lives.get(UID).unwrap();
        let all = life.resource.attributes.iter();
        let names = all.filter(|it| {
            [names::NAMESPACE.name, names::POD.name, names::WORKLOAD.name]
                .contains(&it.key.as_str())
        });
        let mut names: Vec<String> = names.map(|it| it.value.as_str().into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_container_without_a_name_does_not_take_the_pods() {
        let mut lives = Lives::new(Vec::new());
        lives.shown(&who(1, false));
        assert_eq!(told(&lives), [UID, UID]);
        lives.shown(&who(2, true));
        lives.shown(&who(3, false));
        assert_eq!(told(&lives), [UID, "shop", "web-0"]);
    }

    #[test]
    fn a_pod_that_the_api_knows_has_its_name_though_no_container_has() {
        let mut lives = Lives::new(Vec::new());
        lives.shown(&who(1, false));
        let workload = Workload { kind: "StatefulSet".to_owned(), name: "web".to_owned() };
        let pod = Pod {
            uid: UID.to_owned(),
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
            workload,
            ..Pod::default()
        };
        lives.pod(&pod);
        assert_eq!(told(&lives), ["shop", "web", "web-0"]);
        lives.shown(&who(2, false));
        assert_eq!(told(&lives), ["shop", "web", "web-0"]);
    }
}
