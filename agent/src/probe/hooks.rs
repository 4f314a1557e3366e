//! Lifecycle hooks over HTTP, which are no probes. Pure.

use super::addresses::{self, Place};
use super::instance::Instances;
use super::request::{Get, Request};
use super::targets::{self, Targets};
use crate::cgroup::CgroupId;
use crate::event::Connection;
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::PreStop;
use crate::kube::pods::Pods;
use crate::kube::target::{HttpTarget, Target};
use crate::lifecycle::session::ExecSession;

/// Longest time by which the kubelet may learn of a deletion before the agent does.
const KUBELET_AHEAD_NS: u64 = 1_000_000_000;
/// Limit of hooks that wait to be taken.
const HOOKS_MAX: usize = 1_024;

/// What is known of Pods and their containers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) targets: &'a Targets,
    pub(super) instances: &'a Instances,
    pub(super) pods: &'a Pods,
}

impl Known<'_> {
    /// The container whose preStop hook goes to a connection's address, if it is one alone, and its own.
    fn hook_of(
        &self,
        connection: &Connection,
        is: impl Fn(&KnownPod, &HttpTarget) -> bool,
    ) -> Option<CgroupId> {
        let (remote, at) = (connection.remote, connection.start_boot_ns);
        let mut hooked = Vec::new();
        for known in self.targets.all_pods(remote, at, self.pods) {
            for container in &known.pod.containers {
                let targets = container.targets.as_deref();
                if let Some(hook @ Target::Http(http)) = targets.and_then(|it| it.pre_stop.as_ref())
                    && container.pre_stop == Some(PreStop::Http)
                    && let Some(place) = addresses::place(hook, &known.pod, remote)
                    && is(known, http)
                    && let Some(cgroup) = self.instances.at(known, &container.name, at)
                    && !hooked.contains(&(cgroup, place))
                {
                    hooked.push((cgroup, place));
                }
            }
        }
        // Whoever names a host may name another Pod's.
        let [(cgroup, Place::Own | Place::Foreign)] = *hooked else { return None };
        Some(cgroup)
    }
}

/// PreStop hooks that were seen, until they are taken, each with its container.
#[derive(Debug, Default)]
pub(super) struct Hooks(Vec<(CgroupId, ExecSession)>);

impl Hooks {
    /// Notes the run of a lifecycle hook, if it is the preStop hook of one container. The kubelet keeps
    /// the connection, so it has ended with the answer.
    pub(super) fn in_clear(&mut self, connection: &Connection, get: &Get, known: &Known<'_>) {
        let remote = connection.remote;
        let cgroup = known.hook_of(connection, |_, hook| {
            targets::goes_to_path(hook, get) && targets::goes_to_host(hook, get, remote)
        });
        let end = connection.first_byte_boot_ns.unwrap_or(connection.end_boot_ns);
        self.note(cgroup, connection.start_boot_ns, end);
    }

    /// Whether a connection to a place that no probe asks is a preStop hook whose request cannot be
    /// read: it comes when the Pod is being deleted. When it was answered is not known.
    pub(super) fn in_secret(
        &mut self,
        connection: &Connection,
        request: &Request,
        known: &Known<'_>,
    ) -> bool {
        let can_be = *request == Request::Tls || !connection.data_observed;
        if !can_be || known.targets.may_ask(connection, request, known.pods) {
            return false;
        }
        let latest = connection.start_boot_ns.saturating_add(KUBELET_AHEAD_NS);
        let cgroup = known.hook_of(connection, |known, _| {
            known.deletion_noticed().is_some_and(|noticed| noticed.time_boot_ns <= latest)
        });
        self.note(cgroup, connection.start_boot_ns, connection.end_boot_ns);
        cgroup.is_some()
    }

    /// Takes the hooks that were seen since the last call.
    pub(super) fn take(&mut self) -> Vec<(CgroupId, ExecSession)> {
        std::mem::take(&mut self.0)
    }

    fn note(&mut self, cgroup: Option<CgroupId>, begin_boot_ns: u64, end_boot_ns: u64) {
        if let Some(cgroup) = cgroup
            && self.0.len() < HOOKS_MAX
        {
            self.0.push((cgroup, ExecSession { begin_boot_ns, end_boot_ns: Some(end_boot_ns) }));
        }
    }
}
