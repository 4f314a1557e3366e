//! Starts of containers: what the kernel saw of them, and what the API tells.

use super::Node;
use super::containers::Origin;
use crate::cgroup::CgroupId;
use crate::kube::pod::{Pod, Role};
use crate::kube::pods::Known;
use crate::lifecycle::startup::Start;
use crate::clock::WallOffset;

const SECOND_NS: u64 = 1_000_000_000;

impl Node {
    /// Works out how far a container that is shown has got, and tells the store what is new.
    pub(super) fn start_goes_on(&mut self, id: CgroupId) {
        let Some(container) = self.containers.get(&id).filter(|c| c.birth_seen && c.is_shown())
        else {
            return;
        };
        let Origin::Pod(pod, name) = &container.origin else { return };
        let known = self.pods.of_cgroup(pod);
        let said = known.and_then(|known| Some((known, known.container(&name.id)?)));
        // The API counts from 0; without it, what the agent has seen.
        let restarts = said.and_then(|(_, container)| container.restarts);
        let first = restarts.map_or(!container.is_restart, |restarts| restarts == 0);
        let wall = WallOffset::now().unwrap_or_default();
        let mut start = Start {
            first,
            sandbox_boot_ns: self.sandbox_of(id, &pod.uid),
            created_boot_ns: Some(container.since_boot_ns),
            running_boot_ns: container.running_boot_ns,
            ..container.start
        };
        if let Some(known) = known {
            api_times(&mut start, &known.pod, wall);
        }
        if let Some((known, said)) = said.filter(|(_, said)| said.id.as_deref() == Some(&*name.id))
        {
            // News of a list would be late by an unknown time.
            let now = news_at_once(known);
            if said.startup.is_some() && said.started == Some(true) {
                start.started_boot_ns = start.started_boot_ns.or(now);
            }
            if said.ready {
                start.ready_boot_ns = start.ready_boot_ns.or(now);
            }
        }
        if let Some(container) = self.containers.get_mut(&id)
            && container.start != start
        {
            let ready = container.start.ready_boot_ns.is_none() && start.ready_boot_ns.is_some();
            container.start = start;
            self.store.start(id, &start, ready);
        }
    }

    /// When the sandbox of a container's Pod was made: the first cgroup of the Pod, if it is
    /// another one.
    fn sandbox_of(&self, id: CgroupId, pod_uid: &str) -> Option<u64> {
        let of_pod = self.containers.iter().filter(
            |(_, container)| matches!(&container.origin, Origin::Pod(pod, _) if pod.uid == pod_uid),
        );
        let (first, sandbox) = of_pod.min_by_key(|(_, container)| container.since_boot_ns)?;
        (*first != id && sandbox.birth_seen).then_some(sandbox.since_boot_ns)
    }
}

fn api_times(start: &mut Start, pod: &Pod, wall: WallOffset) {
    let boot =
        |unix_s: Option<i64>| wall.boot_ns(u64::try_from(unix_s?).ok()?.saturating_mul(SECOND_NS));
    start.scheduled_boot_ns = start.scheduled_boot_ns.or_else(|| boot(pod.times.scheduled_unix_s));
    let has_init = pod.containers.iter().any(|container| container.role == Role::Init);
    if has_init && start.initialized_boot_ns.is_none() {
        start.initialized_boot_ns = boot(pod.times.initialized_unix_s);
    }
}

/// When the Pod's state was news, if it was told as it happened.
fn news_at_once(known: &Known) -> Option<u64> {
    known.at_once.then_some(known.news_boot_ns)
}
