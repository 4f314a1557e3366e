//! When which trace of a Pod is complete. Pure.

use super::instance::Instance;
use super::life::{At, Life};
use super::model::Trace;
use super::{restart, shutdown, startup};
use crate::kube::pod::{RestartPolicy, Role};
use crate::lifecycle::fact::{Cause, Death};
use crate::lifecycle::trigger::Trigger;

/// Longest time that a startup, or a container that runs again, may take until it is ready: then its
/// trace is sent as it is.
const READY_NS: u64 = 15 * 60 * 1_000_000_000;
/// Longest time that a death waits for the next instance: the kubelet's longest back-off, and what an
/// image pull adds.
const AGAIN_NS: u64 = 15 * 60 * 1_000_000_000;
/// Time that a Pod without a container waits for another one, where nothing says that it is over, nor
/// is its cgroup gone: its sandbox may be made again.
const EMPTY_NS: u64 = 30_000_000_000;
/// Longest time that a Pod without a container waits for the reasons of its containers' ends, which
/// come 30 s after the end at most.
const EXPLAIN_NS: u64 = 45_000_000_000;

impl Life {
    /// The traces that are complete at that time.
    pub(super) fn complete(&mut self, at: &At) -> Vec<Trace> {
        let mut traces = Vec::new();
        if !self.startup_over && self.startup_due(at) {
            self.startup_over = true;
            traces.extend(startup::trace(self, at));
        }
        if self.startup_over {
            for done in self.instances.iter_mut().filter(|it| it.is_done_init()) {
                done.told = true;
            }
        }
        traces.extend(self.complete_restarts(at));
        if self.shutdown_due(at) {
            let with_root = self.empty_boot_ns.is_some();
            traces.extend(shutdown::trace(self, at, with_root));
            self.instances.clear();
            self.deletion = None;
            self.shutdowns += 1;
        }
        // The startup tells of all that was tried.
        if self.startup_over {
            self.instances.retain(|instance| {
                let explained = instance.told || instance.ended_boot_ns.is_none();
                !(instance.gone_boot_ns.is_some() && explained)
            });
        }
        traces
    }

    fn startup_due(&self, at: &At) -> bool {
        // Without a Pod source there is nothing to wait for.
        if self.is_ending() || self.empty_boot_ns.is_some() || at.last || !at.pods_may_come {
            return true;
        }
        let since = self.instances.iter().map(Instance::since_boot_ns).min();
        if since.is_some_and(|since| at.now_boot_ns.saturating_sub(since) >= READY_NS) {
            return true;
        }
        let Some(expected) = &self.expected else { return false };
        !expected.is_empty()
            && expected.iter().all(|name| {
                self.instances.iter().any(|instance| {
                    instance.name() == name
                        && (instance.ready.is_some() || instance.explained.is_some())
                })
            })
    }

    fn complete_restarts(&mut self, at: &At) -> Vec<Trace> {
        let mut traces = Vec::new();
        for n in 0..self.instances.len() {
            let Some(dead) = self.instances.get(n).filter(|dead| self.is_restart(dead)) else {
                continue;
            };
            let Some(death) = dead.death() else { continue };
            let ended_boot_ns = death.end.end_boot_ns;
            let next = self.next_instance(dead);
            let complete = next.is_some_and(|next| {
                next.start.ready_boot_ns.is_some()
                    || next.ended_boot_ns.is_some()
                    || (!at.pods_may_come && next.start.running_boot_ns.is_some())
            });
            let (since_boot_ns, limit_ns) =
                next.map_or((ended_boot_ns, AGAIN_NS), |next| (next.since_boot_ns(), READY_NS));
            let waited_ns = at.now_boot_ns.saturating_sub(since_boot_ns);
            if complete || waited_ns >= limit_ns || at.last {
                let (name, (trace, link)) =
                    (dead.name().to_owned(), restart::trace(self, dead, next, complete));
                self.restarts.retain(|(other, _)| *other != name);
                self.restarts.push((name, link));
                traces.push(trace);
                if let Some(dead) = self.instances.get_mut(n) {
                    dead.told = true;
                }
            }
        }
        traces
    }

    /// Whether a death is followed by another instance, as far as is known; else it belongs to the end
    /// of the Pod.
    fn is_restart(&self, dead: &Instance) -> bool {
        let Some(death) = dead.death().filter(|_| !dead.told) else { return false };
        let runs_again = self.next_instance(dead).is_some();
        // Init containers follow one another: the end of one is part of the startup.
        let is_done = dead.is_done_init() && !runs_again;
        !is_done
            && (runs_again
                || (self.restarts_after(dead, death)
                    && !is_final(death.trigger)
                    && !self.is_ending()))
            && (runs_again || self.empty_boot_ns.is_none())
    }

    /// Whether the Pod's spec has another instance follow this death. One that comes against it, by a
    /// rule of its container, is a restart all the same.
    fn restarts_after(&self, dead: &Instance, death: &Death) -> bool {
        let failed = death.end.cause != Cause::Completed;
        let role = dead.who.identity.role;
        if role == Role::Ephemeral.label() {
            return false;
        }
        match self.restart_policy {
            _ if role == Role::Sidecar.label() => true,
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => failed,
            RestartPolicy::Never => false,
        }
    }

    /// The instance of the same name that came after.
    fn next_instance(&self, dead: &Instance) -> Option<&Instance> {
        let after = self.instances.iter().filter(|other| {
            other.name() == dead.name()
                && other.who.cgroup != dead.who.cgroup
                && Some(other.since_boot_ns()) > dead.ended_boot_ns
        });
        after.min_by_key(|other| other.since_boot_ns())
    }

    /// Whether the Pod is about to end.
    fn is_ending(&self) -> bool {
        self.deletion.is_some()
            || self.terminal
            || self.instances.iter().filter_map(Instance::death).any(|it| is_final(it.trigger))
    }

    fn shutdown_due(&self, at: &At) -> bool {
        if at.last {
            return self.instances.iter().any(|it| it.explained.is_some() && !it.told);
        }
        let Some(empty_boot_ns) = self.empty_boot_ns else { return false };
        if self.instances.is_empty() && self.deletion.is_none() {
            return false;
        }
        let waited_ns = at.now_boot_ns.saturating_sub(empty_boot_ns);
        let explained = self.instances.iter().all(|it| it.explained.is_some());
        let over = self.is_ending() || self.gone || waited_ns >= EMPTY_NS;
        (explained && over) || waited_ns >= EXPLAIN_NS
    }
}

/// Whether a container that was stopped for this reason ends with its Pod.
const fn is_final(trigger: Trigger) -> bool {
    match trigger {
        Trigger::PodDeletion
        | Trigger::ApiEviction
        | Trigger::Preemption
        | Trigger::Taint
        | Trigger::NodePressure
        | Trigger::NodeShutdown
        | Trigger::Deadline
        | Trigger::PodCompletion => true,
        Trigger::None
        | Trigger::Liveness
        | Trigger::Startup
        | Trigger::RestartOther
        | Trigger::Unknown => false,
    }
}
