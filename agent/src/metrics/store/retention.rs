//! Retention: how long what is gone is kept.

use std::time::Duration;

use super::super::variant::Format;
use super::Store;
use crate::cgroup::CgroupId;

/// Longest time after the removal of a container's cgroup for which its counters are kept apart: until
/// its death is explained, 30 s after its end at most, if an end of it was seen.
const HOLD_NS: u64 = 60_000_000_000;

impl Store {
    /// Drops what has been retained long enough. `waits`: the API knows the container, given with
    /// the UID in the name of its Pod's cgroup, as waiting to run again, so it is kept. Returns the containers that found room now and are shown. Cheap;
    /// once in a few seconds is enough.
    pub fn expire(
        &mut self,
        now_boot_ns: u64,
        waits: impl Fn(&str, &str) -> bool,
    ) -> Vec<CgroupId> {
        self.now_boot_ns = now_boot_ns;
        let before = now_boot_ns.saturating_sub(HOLD_NS);
        let Self { containers, pods, workloads, members, options, .. } = self;
        for container in containers.iter_mut() {
            container.usage.forget_gone_before(before, |cgroup| {
                members.remove(&cgroup);
            });
            let in_api = container.in_api.as_ref();
            if container.usage.gone_since_boot_ns().is_some()
                && in_api.is_some_and(|(pod, container)| waits(pod, container))
            {
                container.waited_boot_ns = now_boot_ns;
                if let Some(workload) = container.workload.and_then(|id| workloads.get_mut(id)) {
                    workload.gone_boot_ns = now_boot_ns;
                }
            }
        }
        let passed = |since_boot_ns: Option<u64>, retention: Duration| {
            since_boot_ns.is_some_and(|since| {
                u128::from(now_boot_ns.saturating_sub(since)) >= retention.as_nanos()
            })
        };
        let retention = options.retention;
        containers.retain(|container| {
            container.usage.is_held() || !passed(container.lingers_since_boot_ns(), retention)
        });
        pods.retain(|pod| !passed(pod.usage.gone_since_boot_ns(), retention));
        let of_workload = options.workload_retention;
        workloads.retain(|workload| !passed(workload.lingers_since_boot_ns(), of_workload));
        self.limit_lingering();
        self.date_series(now_boot_ns);
        self.readmit()
    }

    /// Writes an exposition for nobody, where nobody scrapes: a series is as old as the first
    /// exposition that it is part of, and what is old must not look new to the first scraper that
    /// comes.
    fn date_series(&mut self, now_boot_ns: u64) {
        let next = self.generation.next(now_boot_ns);
        if next.stranger().has(self.generation) {
            let generation = self.next_generation(now_boot_ns);
            drop(self.write(generation, Format::Text));
        }
    }
}
