//! What the API tells the store: of containers, of their starts and of their ends.

use super::super::ending::{self, CauseAndTrigger, Ending};
use super::super::expose::Block;
use super::super::subject::{Container, Workload};
use super::super::terminations::{self, LastTermination};
use super::super::wall::WallOffset;
use super::super::{info, shutdown, signals, startup};
use super::Store;
use crate::cgroup::CgroupId;
use crate::cgroup::sample::{Cpu, Sample};
use crate::kube::pod;
use crate::lifecycle::fact::{Fact, Termination};
use crate::lifecycle::startup::Start;

impl Store {
    /// What the API says of a container, given the names of its namespace, Pod and self. One that
    /// is not shown is passed over.
    pub fn pod_says(&mut self, names: [&str; 3], pod_uid: &str, container: &pod::Container) {
        let [namespace, pod, name] = names.map(info::prefix);
        let block = Block::new(&[("namespace", namespace), ("pod", pod), ("container", name)]);
        let Some(id) = self.containers.find(block.bytes()) else { return };
        let Some(entry) = self.containers.get_mut(id) else { return };
        entry.requests = container.requests;
        if let Some(restarts) = container.restarts {
            entry.restarts.known(pod_uid, restarts);
        }
    }

    /// A container ended, with what else is known of that.
    pub fn terminated(&mut self, fact: &Fact, end: &Termination, ending: Ending, wall: WallOffset) {
        self.by_trigger.add_one(CauseAndTrigger(end.cause, ending.trigger));
        let Some(member) = self.members.get(&fact.container).copied() else { return };
        let mut workload = self.workloads.get_mut(member.workload);
        let Some(container) = self.containers.get_mut(member.container) else { return };
        let time_boot_ns = fact.time_boot_ns;
        let last = LastTermination {
            time_boot_ns,
            time_unix_ns: wall.unix_ns(time_boot_ns),
            end: *end,
            trigger: ending.trigger,
        };
        ending::ended(container, workload.as_deref_mut(), &ending);
        terminated(container, workload, fact.container, last);
    }

    /// A container's start has got further; `ready` if it is over now.
    pub fn start(&mut self, container: CgroupId, start: &Start, ready: bool) {
        let Some(member) = self.members.get(&container) else { return };
        if let Some(container) = self.containers.get_mut(member.container) {
            startup::goes_on(container, self.workloads.get_mut(member.workload), start, ready);
        }
    }

    /// The runtime reported an end of a container.
    pub fn reported(&mut self, container: CgroupId, reason: &str, end: &Termination) {
        if let Some(member) = self.members.get(&container)
            && let Some(workload) = self.workloads.get_mut(member.workload)
        {
            ending::compare(workload, reason, end);
        }
    }

    /// A container of a workload has a preStop hook.
    pub fn has_pre_stop(&mut self, container: CgroupId, handler: pod::PreStop) {
        if let Some(member) = self.members.get(&container)
            && let Some(workload) = self.workloads.get_mut(member.workload)
        {
            ending::has_pre_stop(workload, handler);
        }
    }
}

/// A container ended: each group takes its part.
fn terminated(
    container: &mut Container,
    workload: Option<&mut Workload>,
    cgroup: CgroupId,
    last: LastTermination,
) {
    let end: &Termination = &last.end;
    // Less than all of the container's CPU time, but there even if its files were gone too soon.
    if let Some(init_cpu_ns) = end.init_cpu_ns {
        let cpu = Cpu { usage_us: Some(init_cpu_ns / 1000), ..Cpu::default() };
        container.usage.last_sample(cgroup, &Sample { cpu, ..Sample::default() });
    }
    if let Some(instance) = container.usage.instance_mut(cgroup) {
        instance.open_shutdown = None;
    }
    let mut workload = workload;
    shutdown::terminated(container, workload.as_deref_mut(), last.time_boot_ns, end);
    if let Some(workload) = workload.as_deref_mut() {
        signals::terminated(workload, end);
    }
    terminations::terminated(container, workload, last);
}
