//! Pods of this node, including those that are just gone.

use std::collections::{HashMap, HashSet, VecDeque};

use super::event::{PodEvent, PodEventKind};
use super::pod::{Container, Pod, State};
use crate::cgroup::path::{ContainerName, PodName};

/// Time for which a Pod stays known after it is gone from the API: its last facts may come later.
const KEEP_NS: u64 = 600_000_000_000;
/// Limit of Pods that are kept. The kubelet runs 110 by default, a few hundred at most.
const PODS_MAX: usize = 2_000;
/// Limit of Pods that are kept after they are gone.
const GONE_MAX: usize = 1_000;
/// Limit of container ids that are kept for a Pod, former instances included.
const FORMER_IDS_MAX: usize = 64;
/// Longest delay between the creation of a container and its first report in the Pod's status, if
/// the status reports anything at all: the kubelet polls its runtime every second, and at once
/// after an event from the runtime.
const STATUS_LAG_NS: u64 = 5_000_000_000;

/// A Pod with the times at which the agent learned of its changes.
#[derive(Debug)]
pub struct KnownPod {
    /// The Pod in its newest, or last, state.
    pub pod: Pod,
    /// Time at which the agent learned of this state, `CLOCK_BOOTTIME`.
    pub changed_boot_ns: u64,
    /// Way in which the agent learned of this state.
    pub via: Via,
    /// Moment at which the agent learned of the Pod's deletion; `None` while it is not being
    /// deleted.
    pub deletion: Option<Noticed>,
    /// Time at which the Pod was gone from the API, `CLOCK_BOOTTIME`; `None` while it is there.
    pub gone_boot_ns: Option<u64>,
    /// Container ids with the containers' names, the newest last.
    ids: VecDeque<(String, String)>,
}

impl KnownPod {
    fn new(pod: Pod, now: Noticed) -> Self {
        let mut known = Self {
            pod: Pod::default(),
            changed_boot_ns: now.time_boot_ns,
            via: now.via,
            deletion: None,
            gone_boot_ns: None,
            ids: VecDeque::new(),
        };
        known.update(pod, now);
        known
    }

    fn update(&mut self, pod: Pod, now: Noticed) {
        self.changed_boot_ns = now.time_boot_ns;
        self.via = now.via;
        if pod.deletion.is_some() {
            self.deletion.get_or_insert(now);
        }
        for container in &pod.containers {
            for id in container.ids() {
                if !self.ids.iter().any(|(known, _)| known == id) {
                    self.ids.push_back((id.to_owned(), container.name.clone()));
                }
            }
        }
        while self.ids.len() > FORMER_IDS_MAX.max(2 * pod.containers.len()) {
            self.ids.pop_front();
        }
        self.pod = pod;
    }

    /// The container that has, or had, this id.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Container> {
        let former = || {
            let (_, name) = self.ids.iter().rev().find(|(known, _)| known == id)?;
            self.pod.container(name)
        };
        self.pod.container_by_id(id).or_else(former)
    }

    /// Whether a container created at that time would be in the statuses by now, if it were one of
    /// the Pod's containers.
    #[must_use]
    pub fn would_report(&self, made_boot_ns: u64) -> bool {
        self.pod.statuses_complete()
            && self.changed_boot_ns >= made_boot_ns.saturating_add(STATUS_LAG_NS)
    }
}

/// Way in which the agent learned of a Pod's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A watch event, at the time of the change.
    Watch,
    /// A list, some time after the change.
    List,
}

/// Moment at which the agent learned of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// Time, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// Way in which the agent learned of it.
    pub via: Via,
}

/// Pods of this node, including those that are gone from the API but not yet forgotten.
#[derive(Debug, Default)]
pub struct Pods {
    by_uid: HashMap<String, KnownPod>,
    /// UIDs of static Pods' mirrors, by the name in the Pods' cgroups.
    by_hash: HashMap<String, String>,
    /// UIDs of Pods that are gone, in the order of the time at which they went.
    gone: VecDeque<(u64, String)>,
    listed: bool,
    /// Time and reason of the source's last failure, if it has not reported since.
    failed: Option<(u64, String)>,
    dropped: u64,
}

impl Pods {
    /// An empty set of Pods.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a watch event and returns the UIDs of the Pods that changed.
    pub fn apply(&mut self, event: PodEvent) -> Vec<String> {
        let PodEvent { time_boot_ns: now, kind } = event;
        let watched = Noticed { time_boot_ns: now, via: Via::Watch };
        let listed = Noticed { via: Via::List, ..watched };
        self.forget_gone(now);
        match kind {
            PodEventKind::Listed(pods) => {
                self.reported();
                let there: HashSet<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
                let missing = |(uid, known): (&String, &KnownPod)| {
                    (known.gone_boot_ns.is_none() && !there.contains(uid)).then(|| uid.clone())
                };
                let mut changed: Vec<String> = self.by_uid.iter().filter_map(missing).collect();
                for uid in &changed {
                    self.gone(uid, listed);
                }
                changed.extend(pods.into_iter().filter_map(|pod| self.put(pod, listed)));
                self.listed = true;
                changed
            }
            PodEventKind::Applied(pod) => {
                self.reported();
                self.put(*pod, watched).into_iter().collect()
            }
            PodEventKind::Deleted(pod) => {
                self.reported();
                let mut pod = *pod;
                let uid = pod.uid.clone();
                if self.get(&uid).is_some_and(|known| known.pod.deletion.is_none()) {
                    // A forced deletion: only this last state has its grace period of 0. The
                    // kubelet stops the Pod with the grace period it knew before.
                    pod.deletion = None;
                }
                self.put(pod, watched);
                self.gone(&uid, watched);
                vec![uid]
            }
            PodEventKind::Failed(why) => {
                if self.failed.as_ref().is_none_or(|(_, before)| *before != why) {
                    tracing::warn!(why, "Pod source unavailable: the last known Pods stay in use");
                }
                self.failed = Some((now, why));
                Vec::new()
            }
        }
    }

    fn reported(&mut self) {
        if self.failed.take().is_some() {
            tracing::info!("Pod source available again");
        }
    }

    /// Stores a Pod. Returns its UID if it was stored and differs from what was known.
    fn put(&mut self, pod: Pod, now: Noticed) -> Option<String> {
        let uid = pod.uid.clone();
        let hash = pod.config_hash.clone();
        let room = self.len() < PODS_MAX && !uid.is_empty();
        if let Some(known) = self.by_uid.get_mut(&uid) {
            if known.gone_boot_ns.take().is_some() {
                self.gone.retain(|(_, gone)| *gone != uid);
            } else if known.pod == pod {
                known.changed_boot_ns = now.time_boot_ns;
                return None;
            }
            known.update(pod, now);
        } else if room {
            self.by_uid.insert(uid.clone(), KnownPod::new(pod, now));
        } else {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        if let Some(hash) = hash {
            // A mirror that is re-created takes the place of the old one.
            self.by_hash.insert(hash, uid.clone());
        }
        Some(uid)
    }

    fn gone(&mut self, uid: &str, now: Noticed) {
        let Some(known) = self.by_uid.get_mut(uid) else { return };
        if known.gone_boot_ns.is_some() {
            return;
        }
        known.gone_boot_ns = Some(now.time_boot_ns);
        // After a forced deletion this is the first report of it.
        known.deletion.get_or_insert(now);
        self.gone.push_back((now.time_boot_ns, uid.to_owned()));
        if self.gone.len() > GONE_MAX
            && let Some((_, oldest)) = self.gone.pop_front()
        {
            self.dropped = self.dropped.saturating_add(1);
            self.forget(&oldest);
        }
    }

    fn forget_gone(&mut self, now: u64) {
        let over = |(gone, _): &&(u64, String)| gone.saturating_add(KEEP_NS) <= now;
        while self.gone.front().filter(over).is_some() {
            if let Some((_, uid)) = self.gone.pop_front() {
                self.forget(&uid);
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some(known) = self.by_uid.remove(uid)
            && let Some(hash) = &known.pod.config_hash
            && self.by_hash.get(hash).is_some_and(|newest| newest == uid)
        {
            self.by_hash.remove(hash);
        }
    }

    /// The Pod with this UID in the API.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&KnownPod> {
        self.by_uid.get(uid)
    }

    /// The Pod that a Pod-level cgroup belongs to.
    #[must_use]
    pub fn of_cgroup(&self, name: &PodName) -> Option<&KnownPod> {
        self.of_cgroup_uid(&name.uid)
    }

    fn of_cgroup_uid(&self, uid: &str) -> Option<&KnownPod> {
        // A static Pod's cgroup is named after its manifest's hash, or after the UID that the
        // manifest gives it; the annotation has the same value (pkg/kubelet/config/common.go,
        // `applyDefaults`, Kubernetes 1.37).
        let mirror = || self.by_uid.get(self.by_hash.get(uid)?);
        self.by_uid.get(uid).or_else(mirror)
    }

    /// The container that a container's cgroup belongs to, with its Pod.
    #[must_use]
    pub fn container(
        &self,
        pod: &PodName,
        container: &ContainerName,
    ) -> Option<(&KnownPod, &Container)> {
        let known = self.of_cgroup(pod)?;
        Some((known, known.container(&container.id)?))
    }

    /// Whether the API knows a container as waiting to run, be it in a back-off of any length. The
    /// Pod is known by the UID in its cgroup's name.
    #[must_use]
    pub fn waits(&self, cgroup_uid: &str, container: &str) -> bool {
        self.of_cgroup_uid(cgroup_uid).is_some_and(|known| {
            let container = known.pod.container(container);
            known.gone_boot_ns.is_none()
                && !known.pod.is_terminal()
                && container.is_some_and(|c| matches!(c.state, State::Waiting { .. }))
        })
    }

    /// Number of Pods in the API.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_uid.len() - self.gone.len()
    }

    /// Whether no Pod is in the API.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the source has delivered a complete list at least once.
    #[must_use]
    pub const fn listed(&self) -> bool {
        self.listed
    }

    /// The reason why the source is failing, if it is. `last_contact_boot_ns` is the time of the
    /// last contact: a watch may be healthy and have no event to report.
    #[must_use]
    pub fn failing(&self, last_contact_boot_ns: Option<u64>) -> Option<&str> {
        let (time_boot_ns, why) = self.failed.as_ref()?;
        (last_contact_boot_ns < Some(*time_boot_ns)).then_some(why)
    }

    /// Total of Pods that were dropped: there was no room, or they were forgotten early.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
