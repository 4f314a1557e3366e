//! The Pods of this node, those that just went included.

use std::collections::{HashMap, HashSet, VecDeque};

use super::event::{PodEvent, PodEventKind};
use super::pod::{Container, Pod};
use crate::cgroup::path::{ContainerName, PodName};

/// How long a Pod stays known after it is gone from the API: its last facts may come later.
const KEEP_NS: u64 = 600_000_000_000;
/// Pods that are kept. The kubelet runs 110 by default, some hundred at most.
const PODS_MAX: usize = 2_000;
/// Pods that are kept after they are gone.
const GONE_MAX: usize = 1_000;
/// Ids of former instances that are kept for a Pod.
const FORMER_IDS_MAX: usize = 64;
/// A Pod's status tells of a container at most this long after it was made, if it tells of
/// anything at all: the kubelet looks at its runtime every second, and at once when that tells of
/// a change.
const STATUS_LAG_NS: u64 = 5_000_000_000;

/// A Pod, and when its news came.
#[derive(Debug)]
pub struct KnownPod {
    /// As it is, or last was.
    pub pod: Pod,
    /// When this state was news.
    pub changed_boot_ns: u64,
    /// How that state came.
    pub via: Via,
    /// When its deletion was news.
    pub deletion: Option<Noticed>,
    /// When it was gone from the API.
    pub gone_boot_ns: Option<u64>,
    /// Ids of containers with their names, the newest last.
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

    /// The container that has or had this id.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Container> {
        let former = || {
            let (_, name) = self.ids.iter().rev().find(|(known, _)| known == id)?;
            self.pod.container(name)
        };
        self.pod.container_by_id(id).or_else(former)
    }

    /// Whether a container that was made then would be in the statuses by now, if it were one.
    #[must_use]
    pub fn would_report(&self, made_boot_ns: u64) -> bool {
        self.pod.statuses_complete()
            && self.changed_boot_ns >= made_boot_ns.saturating_add(STATUS_LAG_NS)
    }
}

/// How the agent learned of a Pod's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A watch reported it as it happened.
    Watch,
    /// A list reported it some time after it happened.
    List,
}

/// The moment at which the agent learned of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// How it came.
    pub via: Via,
}

/// All Pods that are known.
#[derive(Debug, Default)]
pub struct Pods {
    by_uid: HashMap<String, KnownPod>,
    /// UIDs of static Pods' mirrors by what the Pods' cgroups are called after.
    by_hash: HashMap<String, String>,
    /// By the time that they went.
    gone: VecDeque<(u64, String)>,
    listed: bool,
    /// When there was no news last, and why.
    failed: Option<(u64, String)>,
    dropped: u64,
}

impl Pods {
    /// Knows none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one piece of news; returns the UIDs of the Pods that it is about.
    pub fn apply(&mut self, news: PodEvent) -> Vec<String> {
        let PodEvent { time_boot_ns: now, kind } = news;
        let told = Noticed { time_boot_ns: now, via: Via::Watch };
        let listed = Noticed { via: Via::List, ..told };
        self.forget_gone(now);
        match kind {
            PodEventKind::Listed(pods) => {
                self.heard();
                let there: HashSet<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
                let left = |(uid, known): (&String, &KnownPod)| {
                    (known.gone_boot_ns.is_none() && !there.contains(uid)).then(|| uid.clone())
                };
                let mut changed: Vec<String> = self.by_uid.iter().filter_map(left).collect();
                for uid in &changed {
                    self.went(uid, listed);
                }
                changed.extend(pods.into_iter().filter_map(|pod| self.put(pod, listed)));
                self.listed = true;
                changed
            }
            PodEventKind::Applied(pod) => {
                self.heard();
                self.put(*pod, told).into_iter().collect()
            }
            PodEventKind::Deleted(pod) => {
                self.heard();
                let mut pod = *pod;
                let uid = pod.uid.clone();
                if self.get(&uid).is_some_and(|known| known.pod.deletion.is_none()) {
                    // Deleted by force, with a grace of 0 that only this last word of it has: the
                    // kubelet stops it as it knew it before.
                    pod.deletion = None;
                }
                self.put(pod, told);
                self.went(&uid, told);
                vec![uid]
            }
            PodEventKind::Failed(why) => {
                if self.failed.as_ref().is_none_or(|(_, before)| *before != why) {
                    tracing::warn!(why, "no news of Pods: the last known names are used");
                }
                self.failed = Some((now, why));
                Vec::new()
            }
        }
    }

    fn heard(&mut self) {
        if self.failed.take().is_some() {
            tracing::info!("there is news of Pods again");
        }
    }

    /// Returns the Pod's UID if it was taken in and is not what was known.
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
            // A mirror that is made anew takes its place.
            self.by_hash.insert(hash, uid.clone());
        }
        Some(uid)
    }

    fn went(&mut self, uid: &str, now: Noticed) {
        let Some(known) = self.by_uid.get_mut(uid) else { return };
        if known.gone_boot_ns.is_some() {
            return;
        }
        known.gone_boot_ns = Some(now.time_boot_ns);
        // Deleted by force: nothing was said before.
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

    /// A Pod by its UID in the API.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&KnownPod> {
        self.by_uid.get(uid)
    }

    /// The Pod that a cgroup belongs to.
    #[must_use]
    pub fn of_cgroup(&self, name: &PodName) -> Option<&KnownPod> {
        // A static Pod's cgroup is called after its manifest's hash, or after the UID that the
        // manifest gives it; the annotation has the same (pkg/kubelet/config/common.go,
        // `applyDefaults`, Kubernetes 1.37).
        let mirror = || self.by_uid.get(self.by_hash.get(&name.uid)?);
        self.by_uid.get(&name.uid).or_else(mirror)
    }

    /// The container that a cgroup belongs to, with its Pod.
    #[must_use]
    pub fn container(
        &self,
        pod: &PodName,
        container: &ContainerName,
    ) -> Option<(&KnownPod, &Container)> {
        let known = self.of_cgroup(pod)?;
        Some((known, known.container(&container.id)?))
    }

    /// Pods that are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_uid.len() - self.gone.len()
    }

    /// No Pod is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All Pods of the node were told of once.
    #[must_use]
    pub const fn listed(&self) -> bool {
        self.listed
    }

    /// Why there is no news now, if so. `heard_boot_ns` is when the source was last heard: a watch
    /// that goes on need not have news at once.
    #[must_use]
    pub fn failing(&self, heard_boot_ns: Option<u64>) -> Option<&str> {
        let (time_boot_ns, why) = self.failed.as_ref()?;
        (heard_boot_ns < Some(*time_boot_ns)).then_some(why)
    }

    /// Pods that found no room, or were given up early, in total.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
