//! The store as a reader: subjects, facts and samples in.

use std::sync::Arc;

use super::super::entity::{Container, Pod, Workload};
use super::super::table::Id;
use super::{Member, Store, release};
use crate::cgroup::sample::Sample;
use crate::kube::identity::Identity;
use crate::kube::pod;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::{PodWho, Subject, Who};
use crate::reader::{Reader, Reading};

impl Reader for Store {
    /// A container that is known already keeps its identity. One that finds no room is not shown.
    fn shown(&mut self, who: &Arc<Who>) {
        if self.members.contains_key(&who.cgroup) {
            return;
        }
        let identity = &who.identity;
        let block = Container::block(&identity.namespace, &identity.pod, &identity.container);
        let workload_block = Workload::block(identity);
        let (key, workload) =
            (self.containers.find(block.bytes()), self.workloads.find(workload_block.bytes()));
        let [container_cost, workload_cost, _] = self.costs;
        let cost = if key.is_none() { container_cost } else { 0 }
            + if workload.is_none() { workload_cost } else { 0 };
        if !self.has_room(who.cgroup, cost) {
            return;
        }
        let collectors = self.options.collectors;
        let key = key.unwrap_or_else(|| {
            let new = Container::new(collectors, &self.families.container_usage);
            self.containers.insert(block.bytes(), new)
        });
        let workload = workload.unwrap_or_else(|| {
            self.workloads.insert(workload_block.bytes(), Workload::new(collectors))
        });
        if let Some(entry) = self.containers.get_mut(key) {
            // Of two with the same key, the one that was made later is the newest.
            let (newest, forgotten) = entry.usage.appear(who.cgroup, who.birth.since_boot_ns());
            if newest {
                entry.identify(identity);
            }
            entry.workload = Some(workload);
            if let Some(forgotten) = forgotten {
                release(&mut self.members, &mut self.workloads, forgotten);
            }
        }
        if let Some(workload) = self.workloads.get_mut(workload) {
            workload.members += 1;
        }
        self.members.insert(who.cgroup, Member { container: key, workload });
    }

    /// Under the same namespace, Pod and container its series go on, whatever workload it is found to
    /// be of.
    fn renamed(&mut self, old: &Arc<Who>, who: &Arc<Who>, now_boot_ns: u64) {
        let identity = &who.identity;
        let block = Container::block(&identity.namespace, &identity.pod, &identity.container);
        let member = self.members.get(&who.cgroup).copied();
        match member.filter(|member| self.containers.find(block.bytes()) == Some(member.container))
        {
            Some(member) => self.identified(who, member, now_boot_ns),
            None => {
                self.retracted(&Subject::Container(Arc::clone(old)), now_boot_ns);
                self.shown(who);
            }
        }
    }

    /// Its series end, but for those of a workload for which something was counted.
    fn retracted(&mut self, subject: &Subject, now_boot_ns: u64) {
        let Some(cgroup) = subject.cgroup() else { return };
        self.refused.remove(&cgroup);
        if let Some(id) = self.pod_members.remove(&cgroup)
            && self.pods.get_mut(id).is_some_and(|pod| pod.usage.retract(cgroup))
        {
            self.pods.remove(id);
        }
        let Some(member) = self.members.remove(&cgroup) else { return };
        if self.containers.get_mut(member.container).is_some_and(|it| it.usage.retract(cgroup)) {
            self.containers.remove(member.container);
        }
        self.leave_workload(member.workload, now_boot_ns);
    }

    /// Containers of the Pod that are not shown are passed over.
    fn pod(&mut self, pod: &pod::Pod) {
        for container in &pod.containers {
            let block = Container::block(&pod.namespace, &pod.name, &container.name);
            let Some(id) = self.containers.find(block.bytes()) else { continue };
            let Some(entry) = self.containers.get_mut(id) else { continue };
            entry.pod(pod, container);
            if let Some(workload) = entry.workload.and_then(|id| self.workloads.get_mut(id)) {
                workload.pod(container);
            }
        }
    }

    /// A fact about a container that is not shown counts for the node only.
    fn fact(&mut self, subject: &Subject, fact: &Fact) {
        self.node.fact(fact);
        let who = match subject {
            Subject::Container(who) => who,
            Subject::Planned(identity) => return self.planned(identity, fact),
            Subject::Pod(_) => return,
        };
        let Some(member) = self.members.get(&who.cgroup) else {
            if !self.refused.contains(&who.cgroup) {
                self.node.agent.facts_forgotten += 1;
            }
            return;
        };
        if let Some(container) = self.containers.get_mut(member.container) {
            container.fact(who.cgroup, fact);
        }
        if let Some(workload) = self.workloads.get_mut(member.workload) {
            workload.fact(fact);
        }
    }

    fn sample(&mut self, subject: &Subject, sample: &Sample, reading: Reading) {
        match subject {
            Subject::Pod(who) => self.pod_sample(who, sample),
            Subject::Planned(_) => {}
            Subject::Container(who) => {
                let Some(key) = self.container_mut(who.cgroup) else { return };
                match reading {
                    Reading::Current => key.usage.sample(who.cgroup, sample.clone()),
                    Reading::Last => key.usage.last_sample(who.cgroup, sample),
                }
            }
        }
    }

    fn gone(&mut self, subject: &Subject, now_boot_ns: u64) {
        let Some(cgroup) = subject.cgroup() else { return };
        self.refused.remove(&cgroup);
        if let Some(id) = self.pod_members.get(&cgroup)
            && let Some(entry) = self.pods.get_mut(*id)
        {
            entry.usage.gone(cgroup, now_boot_ns);
        }
        let Some(member) = self.members.get(&cgroup).copied() else { return };
        if let Some(key) = self.containers.get_mut(member.container) {
            key.gone(cgroup, now_boot_ns);
        }
        if let Some(workload) = self.workloads.get_mut(member.workload) {
            workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
        }
    }
}

impl Store {
    /// A fact about a container without a cgroup counts for its workload, which stays for as long
    /// as after the last of its containers.
    fn planned(&mut self, identity: &Identity, fact: &Fact) {
        let block = Workload::block(identity);
        let [_, cost, _] = self.costs;
        let id = match self.workloads.find(block.bytes()) {
            Some(id) => id,
            None if self.fits(cost) => {
                let new = Workload::new(self.options.collectors);
                self.workloads.insert(block.bytes(), new)
            }
            None => {
                self.node.agent.facts_forgotten += 1;
                return;
            }
        };
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.fact(fact);
            workload.gone_boot_ns = workload.gone_boot_ns.max(fact.time_boot_ns);
        }
    }

    /// A container is under the right key, and its identity is known better.
    fn identified(&mut self, who: &Who, member: Member, now_boot_ns: u64) {
        let block = Workload::block(&who.identity);
        let known = self.workloads.find(block.bytes());
        let [_, cost, _] = self.costs;
        if !self.has_room(who.cgroup, if known.is_none() { cost } else { 0 }) {
            return;
        }
        let collectors = self.options.collectors;
        let workload = known
            .unwrap_or_else(|| self.workloads.insert(block.bytes(), Workload::new(collectors)));
        if let Some(entry) = self.containers.get_mut(member.container) {
            if entry.usage.is_newest(who.cgroup) {
                entry.identify(&who.identity);
            }
            entry.workload = Some(workload);
        }
        self.members.insert(who.cgroup, Member { workload, ..member });
        if workload != member.workload {
            if let Some(workload) = self.workloads.get_mut(workload) {
                workload.members += 1;
            }
            self.leave_workload(member.workload, now_boot_ns);
        }
    }

    /// A container was counted to a workload that it is not of.
    fn leave_workload(&mut self, id: Id, now_boot_ns: u64) {
        let Some(workload) = self.workloads.get_mut(id) else { return };
        workload.members = workload.members.saturating_sub(1);
        workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
        if workload.members == 0 && !workload.counted {
            self.workloads.remove(id);
            // Ids are used again.
            self.containers.each(|_, container| {
                container.workload = container.workload.filter(|known| *known != id);
            });
        }
    }

    fn pod_sample(&mut self, who: &PodWho, sample: &Sample) {
        let id = match self.pod_members.get(&who.cgroup) {
            Some(id) => *id,
            None => match self.pod_appears(who) {
                Some(id) => id,
                None => return,
            },
        };
        if let Some(entry) = self.pods.get_mut(id) {
            entry.usage.sample(who.cgroup, sample.clone());
        }
    }

    fn pod_appears(&mut self, who: &PodWho) -> Option<Id> {
        let block = Pod::block(&who.namespace, &who.pod);
        let known = self.pods.find(block.bytes());
        let [.., cost] = self.costs;
        if !self.has_room(who.cgroup, if known.is_none() { cost } else { 0 }) {
            return None;
        }
        let id = known
            .unwrap_or_else(|| self.pods.insert(block.bytes(), Pod::new(&self.families.pod_usage)));
        if let Some(entry) = self.pods.get_mut(id) {
            // The order of appearance is the order of age here: a Pod's name is taken until it is
            // gone from the API.
            let (_, forgotten) = entry.usage.appear(who.cgroup, 0);
            forgotten.map(|forgotten| self.pod_members.remove(&forgotten));
        }
        self.pod_members.insert(who.cgroup, id);
        Some(id)
    }
}
