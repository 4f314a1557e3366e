//! A Pod's life, from its first container until it is shut down. Pure.

use std::sync::Arc;

use super::instance::Instance;
use super::model::{Link, Resource};
use crate::cgroup::CgroupId;
use crate::clock::WallOffset;
use crate::kube::pod::{Pod, RestartPolicy, Role};
use crate::lifecycle::fact::{Deletion, Fact, FactKind};
use crate::lifecycle::subject::{Subject, Who};

/// Limit of instances that are kept for a Pod.
const INSTANCES_MAX: usize = 256;

/// A Pod's life.
#[derive(Debug)]
pub(super) struct Life {
    /// UID in the name of the Pod's cgroup, from which ids are made.
    pub(super) key: String,
    /// UID of the Pod in the API.
    pub(super) uid: String,
    pub(super) resource: Arc<Resource>,
    /// Containers of the spec that have to be ready; `None` without a Pod source.
    pub(super) expected: Option<Vec<String>>,
    /// Which deaths another instance follows.
    pub(super) restart_policy: RestartPolicy,
    pub(super) instances: Vec<Instance>,
    /// The trace of its startup is complete, or the startup was not seen from its beginning.
    pub(super) startup_over: bool,
    /// Failed starts of containers without a cgroup: their name, and when.
    pub(super) failed: Vec<(String, u64)>,
    /// The deletion, and when the agent learned of it.
    pub(super) deletion: Option<(Deletion, u64)>,
    /// The span that the Pod names in an annotation.
    pub(super) outside: Option<Link>,
    /// The annotation is malformed, and that is counted.
    pub(super) link_rejected: bool,
    /// The Pod has succeeded or failed.
    pub(super) terminal: bool,
    pub(super) empty_boot_ns: Option<u64>,
    /// The Pod's cgroup is gone.
    pub(super) gone: bool,
    /// Shutdowns that are told: a Pod whose sandbox is made again has more than one.
    pub(super) shutdowns: u64,
    /// The traces before, as far as they are linked to: of the startup, and the last restart of each
    /// container.
    pub(super) started: Option<Link>,
    pub(super) restarts: Vec<(String, Link)>,
}

impl Life {
    pub(super) fn new(key: &str, uid: &str, resource: Arc<Resource>) -> Self {
        Self {
            key: key.to_owned(),
            uid: uid.to_owned(),
            resource,
            expected: None,
            restart_policy: RestartPolicy::default(),
            instances: Vec::new(),
            startup_over: false,
            failed: Vec::new(),
            deletion: None,
            outside: None,
            link_rejected: false,
            terminal: false,
            empty_boot_ns: None,
            gone: false,
            shutdowns: 0,
            started: None,
            restarts: Vec::new(),
        }
    }

    /// Takes in a container that is shown. Returns whether there is room for it.
    pub(super) fn shown(&mut self, who: &Arc<Who>) -> bool {
        if let Some(known) = self.instance_mut(who.cgroup) {
            known.who = Arc::clone(who);
            return true;
        }
        if self.instances.len() >= INSTANCES_MAX {
            return false;
        }
        if !who.birth.is_seen() && self.instances.is_empty() {
            // The Pod is older than the agent.
            self.startup_over = true;
        }
        (self.empty_boot_ns, self.gone) = (None, false);
        // Most Pods have one or two, and an instance is large.
        self.instances.reserve_exact(1);
        self.instances.push(Instance::new(who));
        true
    }

    /// Takes back a container that is none.
    pub(super) fn retracted(&mut self, cgroup: CgroupId) {
        self.instances.retain(|instance| instance.who.cgroup != cgroup);
    }

    /// Takes in the Pod's spec and status.
    pub(super) fn pod(&mut self, pod: &Pod) {
        let lasting = |role| matches!(role, Role::App | Role::Sidecar);
        let names = pod.containers.iter().filter(|container| lasting(container.role));
        self.expected = Some(names.map(|container| container.name.clone()).collect());
        self.restart_policy = pod.restart_policy;
        self.terminal = pod.is_terminal();
    }

    /// Takes in a fact about a container, or the Pod.
    pub(super) fn fact(&mut self, subject: &Subject, fact: &Fact) {
        match subject {
            // One that found no room is counted, and what comes after its end was told is late.
            Subject::Container(who) => {
                if let Some(instance) = self.instance_mut(who.cgroup) {
                    instance.fact(fact);
                }
            }
            Subject::Planned(identity) => {
                if fact.kind == FactKind::StartFailed && self.failed.len() < INSTANCES_MAX {
                    self.failed.push((identity.container.clone(), fact.time_boot_ns));
                }
            }
            Subject::Pod(_) => match &fact.kind {
                FactKind::DeletionSeen(deletion) => {
                    self.deletion.get_or_insert((*deletion, fact.time_boot_ns));
                }
                FactKind::PodEmpty { .. } => self.empty_boot_ns = Some(fact.time_boot_ns),
                _ => {}
            },
        }
    }

    /// Notes that the cgroup of a container, or of the Pod, is gone.
    pub(super) fn gone(&mut self, subject: &Subject, now_boot_ns: u64) {
        match subject {
            Subject::Container(who) => {
                if let Some(instance) = self.instance_mut(who.cgroup) {
                    instance.gone_boot_ns = Some(now_boot_ns);
                }
            }
            Subject::Pod(_) => {
                self.empty_boot_ns.get_or_insert(now_boot_ns);
                self.gone = true;
            }
            Subject::Planned(_) => {}
        }
    }

    /// Whether nothing more is to be told.
    pub(super) fn is_over(&self) -> bool {
        self.instances.is_empty() && self.gone
    }

    pub(super) fn instance_mut(&mut self, cgroup: CgroupId) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.who.cgroup == cgroup)
    }
}

/// A moment at which traces may be complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) now_boot_ns: u64,
    /// For the API's times.
    pub(super) wall: WallOffset,
    /// Whether there is a Pod source.
    pub(super) pods_may_come: bool,
    /// Whether the agent stops: what is not complete is sent as it is.
    pub(super) last: bool,
}
