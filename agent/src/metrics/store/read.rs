//! The store as a reader: subjects, facts and samples in.

use std::sync::Arc;

use super::super::entity::{Container, Pod, Workload};
use super::super::table::Id;
use super::{Member, Store};
use crate::cgroup::sample::Sample;
use crate::kube::identity::Identity;
use crate::kube::pod;
use crate::lifecycle::fact::{Fact, FactKind};
use crate::lifecycle::subject::{PodWho, Subject, Who};
use crate::reader::{Reader, Reading};

impl Reader for Store {
    /// A container that is known already keeps its identity. One that finds no room is not shown.
    fn shown(&mut self, who: &Arc<Who>) {
        if self.members.contains_key(&who.cgroup) {
            return;
        }
        self.show(who);
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

    /// End of its series, but for those of a workload for which something was counted.
    fn retracted(&mut self, subject: &Subject, now_boot_ns: u64) {
        let Some(cgroup) = subject.cgroup() else { return };
        self.refused.remove(cgroup);
        if let Some(id) = self.pod_members.remove(&cgroup)
            && self.pods.get_mut(id).is_some_and(|pod| pod.usage.retract(cgroup))
        {
            self.pods.remove(id);
        }
        let Some(member) = self.members.remove(&cgroup) else { return };
        let mut live = false;
        if let Some(container) = self.containers.get_mut(member.container) {
            live = container.usage.is_live(cgroup);
            if container.usage.retract(cgroup) {
                self.containers.remove(member.container);
            }
        }
        self.leave_workload(member.workload, live, now_boot_ns);
    }

    /// Containers of the Pod that are not shown are passed over.
    fn pod(&mut self, pod: &pod::Pod) {
        for container in &pod.containers {
            let block = Container::block(&pod.namespace, &pod.name, &container.name);
            let Some(id) = self.containers.find(block.bytes()) else { continue };
            let Some(entry) = self.containers.get_mut(id) else { continue };
            let agent = &mut self.node.agent;
            agent.label_sets_folded += entry.pod(pod, container);
            if let Some(workload) = entry.workload.and_then(|id| self.workloads.get_mut(id)) {
                agent.label_sets_folded += workload.pod(container);
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
        let Some(member) = self.members.get(&who.cgroup).copied() else {
            match self.refused.fact(who.cgroup, fact) {
                Some(kept) => self.node.agent.facts_hidden += u64::from(!kept),
                None => self.late(who, fact),
            }
            return;
        };
        if let Some(container) = self.containers.get_mut(member.container) {
            self.node.agent.label_sets_folded += container.fact(who.cgroup, fact);
            if container.usage.release(who.cgroup) {
                self.members.remove(&who.cgroup);
            }
        }
        self.of_workload(Some(member.workload), fact);
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
        self.refused.remove(cgroup);
        if let Some(id) = self.pod_members.get(&cgroup)
            && let Some(entry) = self.pods.get_mut(*id)
        {
            entry.usage.gone(cgroup, now_boot_ns);
            // There are no facts about its usage.
            entry.usage.set_over(cgroup);
            entry.usage.release(cgroup);
            self.pod_members.remove(&cgroup);
        }
        let Some(member) = self.members.get(&cgroup).copied() else { return };
        let Some(key) = self.containers.get_mut(member.container) else { return };
        let news = key.gone(cgroup, now_boot_ns);
        if key.usage.release(cgroup) {
            self.members.remove(&cgroup);
        }
        if news && let Some(workload) = self.workloads.get_mut(member.workload) {
            workload.live = workload.live.saturating_sub(1);
            workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
        }
    }
}

impl Store {
    /// A fact about a container whose cgroup is not known, since it is gone: what comes after its
    /// death was explained counts for whatever has its names.
    fn late(&mut self, who: &Who, fact: &Fact) {
        let is_late = matches!(
            fact.kind,
            FactKind::Misreported(_) | FactKind::Restarted(_) | FactKind::Probed(_)
        );
        if !is_late {
            self.node.agent.facts_forgotten += 1;
            return;
        }
        let Identity { namespace, pod, container, .. } = &who.identity;
        let block = Container::block(namespace, pod, container);
        let container = self.containers.find(block.bytes());
        if let Some(container) = container.and_then(|id| self.containers.get_mut(id)) {
            self.node.agent.label_sets_folded += container.fact(who.cgroup, fact);
        }
        let workload = self.workloads.find(Workload::block(&who.identity).bytes());
        self.of_workload(workload, fact);
    }

    fn of_workload(&mut self, id: Option<Id>, fact: &Fact) {
        let agent = &mut self.node.agent;
        match id.and_then(|id| self.workloads.get_mut(id)) {
            Some(workload) => agent.label_sets_folded += workload.fact(fact),
            None => agent.facts_forgotten += 1,
        }
    }

    /// A fact about a container without a cgroup counts for its workload, which stays for as long
    /// as after the last of its containers.
    fn planned(&mut self, identity: &Identity, fact: &Fact) {
        let block = Workload::block(identity);
        let series = self.expected.workload;
        let id = match self.workloads.find(block.bytes()) {
            Some(id) => id,
            None if self.has_room(series) => {
                let new = Workload::new(self.options.collectors);
                self.workloads.insert(block.bytes(), new, series)
            }
            None => {
                self.node.agent.facts_hidden += 1;
                return;
            }
        };
        if let Some(workload) = self.workloads.get_mut(id) {
            self.node.agent.label_sets_folded += workload.fact(fact);
            workload.gone_boot_ns = workload.gone_boot_ns.max(fact.time_boot_ns);
        }
    }

    /// A container is under the right key, and its identity is known better.
    fn identified(&mut self, who: &Who, member: Member, now_boot_ns: u64) {
        let block = Workload::block(&who.identity);
        let known = self.workloads.find(block.bytes());
        let series = if known.is_none() { self.expected.workload } else { 0 };
        if !self.has_room(series) {
            return self.dropped(series);
        }
        let collectors = self.options.collectors;
        let workload = known.unwrap_or_else(|| {
            self.workloads.insert(block.bytes(), Workload::new(collectors), series)
        });
        let mut live = false;
        if let Some(entry) = self.containers.get_mut(member.container) {
            live = entry.usage.is_live(who.cgroup);
            if entry.usage.is_newest(who.cgroup) {
                entry.identify(who);
            }
            entry.workload = Some(workload);
        }
        self.members.insert(who.cgroup, Member { workload, ..member });
        if workload != member.workload {
            if let Some(workload) = self.workloads.get_mut(workload) {
                workload.live += usize::from(live);
                if !live {
                    workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
                }
            }
            self.leave_workload(member.workload, live, now_boot_ns);
        }
    }

    /// A container, live or not, was counted to a workload that it is not of.
    fn leave_workload(&mut self, id: Id, live: bool, now_boot_ns: u64) {
        let Some(workload) = self.workloads.get_mut(id) else { return };
        workload.live = workload.live.saturating_sub(usize::from(live));
        // Facts about those that are gone may still come.
        let had_no_other = workload.live == 0 && workload.gone_boot_ns == 0;
        workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
        if had_no_other && !workload.counted {
            self.workloads.remove(id);
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
        let series = if known.is_none() { self.expected.pod } else { 0 };
        if !self.admits_pod(who.cgroup, series) {
            return None;
        }
        let id = known.unwrap_or_else(|| {
            self.pods.insert(block.bytes(), Pod::new(&self.families.pod_usage), series)
        });
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
