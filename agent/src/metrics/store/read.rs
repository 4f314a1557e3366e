//! The store as a reader: subjects, facts and samples in.

use std::sync::Arc;

use super::super::ending::{self, CauseAndTrigger};
use super::super::expose::Block;
use super::super::oom::{self, ScopeLabel};
use super::super::subject::{Container, Pod, Workload};
use super::super::table::Id;
use super::super::terminations::{self, LastTermination};
use super::super::{info, restart, shutdown, signals, startup};
use super::{Member, Store, release};
use crate::cgroup::CgroupId;
use crate::cgroup::sample::{Cpu, Sample};
use crate::clock::WallOffset;
use crate::kube::pod;
use crate::lifecycle::fact::{Death, Fact, FactKind};
use crate::lifecycle::subject::{PodWho, Subject, Who};
use crate::reader::{Reader, Reading};

impl Reader for Store {
    /// A container that is known already keeps its identity. One that finds no room is not shown.
    fn shown(&mut self, who: &Arc<Who>) {
        if self.members.contains_key(&who.cgroup) {
            return;
        }
        let identity = info::cut(&who.identity);
        let block = Block::new(&[
            ("namespace", &identity.namespace),
            ("pod", &identity.pod),
            ("container", &identity.container),
        ]);
        let workload_block = Block::new(&[
            ("namespace", &identity.namespace),
            ("workload_kind", &identity.workload_kind),
            ("workload", &identity.workload),
            ("container", &identity.container),
        ]);
        let (key, workload) =
            (self.containers.find(block.bytes()), self.workloads.find(workload_block.bytes()));
        let [container_cost, workload_cost, _] = self.costs;
        let cost = if key.is_none() { container_cost } else { 0 }
            + if workload.is_none() { workload_cost } else { 0 };
        if !self.has_room(who.cgroup, cost) {
            return;
        }
        let key = key.unwrap_or_else(|| self.containers.insert(block.bytes(), Container::new()));
        let workload = workload
            .unwrap_or_else(|| self.workloads.insert(workload_block.bytes(), Workload::new()));
        if let Some(entry) = self.containers.get_mut(key) {
            // Of two with the same key, the one that was made later is the newest.
            let (newest, forgotten) = entry.usage.appear(who.cgroup, who.birth.since_boot_ns());
            if newest {
                entry.info = info::labels(&identity);
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

    /// Containers of the Pod that are not shown are passed over.
    fn pod(&mut self, pod: &pod::Pod) {
        for container in &pod.containers {
            let names = [&pod.namespace, &pod.name, &container.name];
            let [namespace, name, of_container] = names.map(|name| info::prefix(name));
            let block =
                Block::new(&[("namespace", namespace), ("pod", name), ("container", of_container)]);
            let Some(id) = self.containers.find(block.bytes()) else { continue };
            let Some(entry) = self.containers.get_mut(id) else { continue };
            entry.requests = container.requests;
            if let Some(restarts) = container.restarts {
                entry.restarts.known(&pod.uid, restarts);
            }
            if let (Some(handler), Some(workload)) = (container.pre_stop, entry.workload)
                && let Some(workload) = self.workloads.get_mut(workload)
            {
                ending::has_pre_stop(workload, handler);
            }
        }
    }

    /// A fact about a container that is not shown counts for the node only.
    fn fact(&mut self, subject: &Subject, fact: &Fact, wall: WallOffset) {
        match &fact.kind {
            FactKind::Oom(oom) => self.node_oom.add_one(ScopeLabel(oom.scope)),
            FactKind::Explained(death) => {
                self.by_trigger.add_one(CauseAndTrigger(death.end.cause, death.trigger));
            }
            _ => {}
        }
        let cgroup = subject.cgroup();
        let Some(member) = self.members.get(&cgroup).copied() else { return };
        let workload = self.workloads.get_mut(member.workload);
        let Some(container) = self.containers.get_mut(member.container) else { return };
        match &fact.kind {
            FactKind::Started(_) => {
                if let Some(instance) = container.usage.instance_mut(cgroup) {
                    instance.start_unix_ns = Some(wall.unix_ns(fact.time_boot_ns));
                }
            }
            FactKind::Progressed(start) => startup::progressed(container, workload, start),
            FactKind::StopSignal(stop) => {
                if let Some(workload) = workload {
                    signals::stop_signal(workload, stop);
                }
            }
            FactKind::Oom(oom) => {
                if let Some(workload) = workload {
                    oom::happened(workload, oom);
                }
            }
            FactKind::Explained(death) => explained(container, workload, cgroup, death, wall),
            FactKind::Restarted(restart) => restart::restarted(container, workload, *restart),
            FactKind::Misreported(report) => {
                if let Some(workload) = workload {
                    ending::misreported(workload, report);
                }
            }
            // An end counts once its reason is known. A kill shows in the gauge of what is
            // terminating and then in the outcome. A failed start is no end of the container's own
            // program, and a Pod is no container.
            FactKind::KilledAfterStopSignal
            | FactKind::Ended(_)
            | FactKind::StartFailed
            | FactKind::DeletionSeen(_)
            | FactKind::PodEmpty { .. } => {}
        }
    }

    fn sample(&mut self, subject: &Subject, sample: &Sample, reading: Reading) {
        match subject {
            Subject::Pod(who) => self.pod_sample(who, sample),
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
        let cgroup = subject.cgroup();
        self.refused.remove(&cgroup);
        if let Some(id) = self.pod_members.get(&cgroup)
            && let Some(entry) = self.pods.get_mut(*id)
        {
            entry.usage.gone(cgroup, now_boot_ns);
        }
        let Some(member) = self.members.get(&cgroup).copied() else { return };
        if let Some(key) = self.containers.get_mut(member.container) {
            key.usage.gone(cgroup, now_boot_ns);
        }
        if let Some(workload) = self.workloads.get_mut(member.workload) {
            workload.gone_boot_ns = workload.gone_boot_ns.max(now_boot_ns);
        }
    }
}

impl Store {
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
        let names = [&who.namespace, &who.pod].map(|name| info::prefix(name));
        let [namespace, pod] = names;
        let block = Block::new(&[("namespace", namespace), ("pod", pod)]);
        let known = self.pods.find(block.bytes());
        let [.., cost] = self.costs;
        if !self.has_room(who.cgroup, if known.is_none() { cost } else { 0 }) {
            return None;
        }
        let id = known.unwrap_or_else(|| self.pods.insert(block.bytes(), Pod::new()));
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

/// A container ended, and it is known why: each group takes its part.
fn explained(
    container: &mut Container,
    mut workload: Option<&mut Workload>,
    cgroup: CgroupId,
    death: &Death,
    wall: WallOffset,
) {
    let end = death.end;
    ending::ended(container, workload.as_deref_mut(), death);
    // Less than all of the container's CPU time, but there even if its files were gone too soon.
    if let Some(init_cpu_ns) = end.init_cpu_ns {
        let cpu = Cpu { usage_us: Some(init_cpu_ns / 1000), ..Cpu::default() };
        container.usage.last_sample(cgroup, &Sample { cpu, ..Sample::default() });
    }
    if let Some(instance) = container.usage.instance_mut(cgroup) {
        instance.terminating = None;
    }
    shutdown::terminated(container, workload.as_deref_mut(), end.end_boot_ns, &end);
    if let Some(workload) = workload.as_deref_mut() {
        signals::terminated(workload, &end);
    }
    let last = LastTermination {
        time_boot_ns: end.end_boot_ns,
        time_unix_ns: wall.unix_ns(end.end_boot_ns),
        end,
        trigger: death.trigger,
    };
    terminations::terminated(container, workload, last);
}
