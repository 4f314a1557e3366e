//! Pods of this node, including those that are just gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::event::{PodEvent, PodEventKind};
use super::known_pod::{self, KnownPod, Noticed, Via};
use super::pod::{Container, Pod, State};
use super::rejected::Rejections;
use crate::cgroup::path::{ContainerName, PodName};

/// Time for which a Pod stays known after it is gone from the API: its last facts may come later.
const KEEP_NS: u64 = 600_000_000_000;
/// Limit of Pods with containers that run, or may. The kubelet runs 110 by default, a few hundred
/// at most.
const LIVE_MAX: usize = 2_000;
/// Limit of Pods that only linger: they are gone, or have succeeded or failed. The API keeps
/// thousands of evicted Pods (`--terminated-pod-gc-threshold`).
const LINGERING_MAX: usize = 1_000;
/// Limit of the memory that they take, in bytes: 8 KiB for each.
const LINGERING_BYTES_MAX: usize = 8 << 20;
/// Limit of Pods that are remembered as refused, so that each is counted once.
const REFUSED_MAX: usize = 20_000;
/// Interval between looks for Pods that have been gone long enough.
const FORGET_NS: u64 = 10_000_000_000;
/// Longest delay between the creation of a container and its report where nothing is reported of its
/// Pod: the kubelet catches up with its reports every ten seconds.
const UNCHANGED_LAG_NS: u64 = 15_000_000_000;
/// Time after an interruption of the watch in which its events are those of the interruption.
const CATCH_UP_NS: u64 = 1_000_000_000;

/// Pods of this node, including those that are gone from the API but not yet forgotten.
#[derive(Debug, Default)]
pub struct Pods {
    /// No hash table, and boxed: with ever new Pods such a table is made again twice as large at some
    /// time, though there are no more of them.
    by_uid: BTreeMap<String, Box<KnownPod>>,
    /// UIDs of static Pods' mirrors, by the name in the Pods' cgroups.
    by_hash: HashMap<String, String>,
    /// Pods that only linger, by the time since which they do.
    lingering: BTreeSet<(u64, String)>,
    /// Memory that they take, in bytes.
    lingering_bytes: usize,
    next_forget_boot_ns: u64,
    /// Pods in the API for which there was no room.
    refused: HashSet<String>,
    warned: bool,
    listed: bool,
    /// Time of the last report of the source, `CLOCK_BOOTTIME`.
    reported_boot_ns: Option<u64>,
    /// Time of the last contact with the source, at which it had no change to report.
    heard_boot_ns: Option<u64>,
    /// Time of the first report after the source's last failure, or at which the agent was back.
    recovered_boot_ns: Option<u64>,
    /// Time of the last report before that.
    before_gap_boot_ns: Option<u64>,
    /// Time and reason of the source's last failure, if it has not reported since.
    failed: Option<(u64, String)>,
    dropped: u64,
    rejections: Rejections,
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
        self.forget_gone(now);
        match kind {
            PodEventKind::Listed(pods) => {
                let noticed = Noticed { via: Via::List, ..self.reported(now) };
                self.take_list(pods, noticed)
            }
            PodEventKind::Applied(pod) => {
                let noticed = self.reported(now);
                self.put(*pod, noticed).into_iter().collect()
            }
            PodEventKind::Deleted(pod) => {
                let noticed = self.reported(now);
                self.removed(*pod, noticed).into_iter().collect()
            }
            PodEventKind::Rejected(rejected) => {
                self.rejections.take_in(*rejected);
                Vec::new()
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

    /// The agent could not run until now: the watch was interrupted, and what it reports next comes
    /// late.
    pub const fn resumed(&mut self, now_boot_ns: u64) {
        self.recovered(now_boot_ns);
    }

    const fn recovered(&mut self, now_boot_ns: u64) {
        self.recovered_boot_ns = Some(now_boot_ns);
        self.before_gap_boot_ns = self.reported_boot_ns;
    }

    /// The source has reported. Returns the moment for what a watch event says: after a failure,
    /// what the watch has missed comes first, some time after the change.
    fn reported(&mut self, now: u64) -> Noticed {
        if self.failed.take().is_some() {
            tracing::info!("Pod source available again");
            self.recovered(now);
        }
        let before_boot_ns = self.reported_boot_ns.replace(now);
        let late = self.recovered_boot_ns.is_some_and(|at| now < at.saturating_add(CATCH_UP_NS));
        // All that was missed came after the last report before the gap, not only the first of it.
        let (via, after_boot_ns) =
            if late { (Via::List, self.before_gap_boot_ns) } else { (Via::Watch, before_boot_ns) };
        Noticed { time_boot_ns: now, via, after_boot_ns }
    }

    /// Takes note of the last contact with the source. A watch that is healthy and has no event to
    /// report says that nothing has changed.
    pub fn heard(&mut self, last_contact_boot_ns: Option<u64>) {
        // After a failure the first contacts may be the parts of a list that is not taken in yet.
        let caught_up = |(failed, _): &(u64, String)| {
            last_contact_boot_ns >= Some(failed.saturating_add(UNCHANGED_LAG_NS))
        };
        // Nor is all read at once that came while there was a gap.
        let gap = self.recovered_boot_ns.map(|at| at.saturating_add(UNCHANGED_LAG_NS));
        if self.reported_boot_ns.is_some()
            && self.failed.as_ref().is_none_or(caught_up)
            && last_contact_boot_ns >= gap
        {
            self.heard_boot_ns = self.heard_boot_ns.max(last_contact_boot_ns);
        }
    }

    /// Whether the source has answered since its last failure.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.failing(self.heard_boot_ns).is_none()
    }

    /// Whether a container that was made at that time would be in the Pod's statuses by now, if it
    /// were one of the Pod's: they have changed since, or the source would have said so.
    #[must_use]
    pub fn would_report(&self, known: &KnownPod, made_boot_ns: u64) -> bool {
        let unchanged = || {
            known.gone.is_none()
                && known.pod.statuses_complete()
                && self.heard_boot_ns >= Some(made_boot_ns.saturating_add(UNCHANGED_LAG_NS))
        };
        known.would_report(made_boot_ns) || unchanged()
    }

    /// Takes over a complete list. What lives comes before what only lingers.
    fn take_list(&mut self, mut pods: Vec<Pod>, noticed: Noticed) -> Vec<String> {
        let there: HashSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        let unread = self.rejections.of_list();
        let may_be_there = |uid: &str| there.contains(uid) || unread(uid);
        self.refused.retain(|uid| may_be_there(uid));
        let before = self.by_uid.iter().filter(|(_, known)| known.gone.is_none());
        let missing = before.map(|(uid, _)| uid).filter(|uid| !may_be_there(uid));
        let mut changed: Vec<String> = missing.cloned().collect();
        for uid in &changed {
            if let Some(known) = self.by_uid.get_mut(uid) {
                known.gone = Some(noticed);
            }
            self.note_lingering(uid, noticed.time_boot_ns);
        }
        pods.sort_by_key(known_pod::lingers);
        changed.extend(pods.into_iter().filter_map(|pod| self.put(pod, noticed)));
        self.listed = true;
        changed
    }

    /// Stores a Pod. Returns its UID if it was stored and differs from what was known.
    fn put(&mut self, pod: Pod, now: Noticed) -> Option<String> {
        let uid = pod.uid.clone();
        if let Some(known) = self.by_uid.get_mut(&uid) {
            if known.gone.is_none() && known.pod == pod {
                known.changed_boot_ns = now.time_boot_ns;
                return None;
            }
            known.update(pod, now);
        } else if self.has_room(&pod) {
            self.refused.remove(&uid);
            self.by_uid.insert(uid.clone(), Box::new(KnownPod::new(pod, now)));
        } else {
            self.refuse(&pod);
            return None;
        }
        self.note_lingering(&uid, now.time_boot_ns);
        self.claim_cgroup(&uid);
        Some(uid)
    }

    /// A Pod is gone, in this last state. Returns its UID if it is known.
    fn removed(&mut self, pod: Pod, now: Noticed) -> Option<String> {
        let uid = pod.uid.clone();
        if !self.by_uid.contains_key(&uid) {
            self.put(Pod { deletion: None, ..pod.clone() }, now);
        }
        self.refused.remove(&uid);
        self.by_uid.get_mut(&uid)?.removed(pod, now);
        self.note_lingering(&uid, now.time_boot_ns);
        Some(uid)
    }

    /// Whether a Pod that is new finds room. One that only lingers takes none from another.
    fn has_room(&self, pod: &Pod) -> bool {
        let room = if known_pod::lingers(pod) {
            self.lingering.len() < LINGERING_MAX && self.lingering_bytes < LINGERING_BYTES_MAX
        } else {
            self.by_uid.len() - self.lingering.len() < LIVE_MAX
        };
        room && !pod.uid.is_empty()
    }

    fn refuse(&mut self, pod: &Pod) {
        let counted = self.refused.contains(&pod.uid);
        if counted {
            return;
        }
        self.dropped = self.dropped.saturating_add(1);
        if self.refused.len() < REFUSED_MAX && !pod.uid.is_empty() {
            self.refused.insert(pod.uid.clone());
        }
        if !known_pod::lingers(pod) && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                limit = LIVE_MAX,
                "more Pods on this node than are kept: containers of the others have no names"
            );
        }
    }

    /// Notes whether a Pod only lingers, and forgets the oldest of those if they are too many.
    fn note_lingering(&mut self, uid: &str, now_boot_ns: u64) {
        let Some(known) = self.by_uid.get_mut(uid) else { return };
        let bytes = if known.lingers() { known.size_bytes() } else { 0 };
        let before = std::mem::replace(&mut known.lingers_bytes, bytes);
        self.lingering_bytes = self.lingering_bytes.saturating_sub(before).saturating_add(bytes);
        match (known.lingers(), known.lingers_since_boot_ns) {
            (true, None) => {
                known.lingers_since_boot_ns = Some(now_boot_ns);
                self.lingering.insert((now_boot_ns, uid.to_owned()));
            }
            (false, Some(since)) => {
                known.lingers_since_boot_ns = None;
                self.lingering.remove(&(since, uid.to_owned()));
            }
            (true, Some(_)) | (false, None) => {}
        }
        while (self.lingering.len() > LINGERING_MAX || self.lingering_bytes > LINGERING_BYTES_MAX)
            && let Some((_, oldest)) = self.lingering.first().cloned()
        {
            self.dropped = self.dropped.saturating_add(1);
            if self.by_uid.get(&oldest).is_some_and(|known| known.gone.is_none()) {
                self.refused.insert(oldest.clone());
            }
            self.forget(&oldest);
        }
    }

    /// Gives a mirror Pod the cgroup of its static Pod.
    ///
    /// The first keeps it: another Pod that bears the same marks is forged, unless it proves more. A
    /// mirror that is re-created has the same name. The kubelet runs no forged mirror, so it reports
    /// containers of the true one alone; and the API server demands an owner of kind Node of a
    /// kubelet, but of nobody else.
    fn claim_cgroup(&mut self, uid: &str) {
        let Some(pod) = self.by_uid.get(uid).map(|known| &known.pod) else { return };
        let Some(mirror) = &pod.mirror else { return };
        let holder = self.by_hash.get(&mirror.hash).and_then(|holder| self.by_uid.get(holder));
        let proof = |pod: &Pod| {
            let owned = pod.mirror.as_ref().is_some_and(|mirror| mirror.owned_by_node);
            (pod.reports_containers(), owned)
        };
        let takes = holder.is_none_or(|holder| {
            let same_name =
                (&holder.pod.namespace, &holder.pod.name) == (&pod.namespace, &pod.name);
            same_name || proof(pod) > proof(&holder.pod)
        });
        if takes {
            self.by_hash.insert(mirror.hash.clone(), uid.to_owned());
        }
    }

    fn forget_gone(&mut self, now: u64) {
        if now < self.next_forget_boot_ns {
            return;
        }
        self.next_forget_boot_ns = now.saturating_add(FORGET_NS);
        let over = |known: &KnownPod| {
            known.gone.is_some_and(|gone| gone.time_boot_ns.saturating_add(KEEP_NS) <= now)
        };
        let is_over =
            |(_, uid): &&(u64, String)| self.by_uid.get(uid).is_none_or(|known| over(known));
        let over: Vec<String> =
            self.lingering.iter().filter(is_over).map(|(_, uid)| uid.clone()).collect();
        for uid in over {
            self.forget(&uid);
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some(known) = self.by_uid.remove(uid) else { return };
        self.lingering_bytes = self.lingering_bytes.saturating_sub(known.lingers_bytes);
        if let Some(since) = known.lingers_since_boot_ns {
            self.lingering.remove(&(since, uid.to_owned()));
        }
        if let Some(mirror) = &known.pod.mirror
            && self.by_hash.get(&mirror.hash).is_some_and(|holder| holder == uid)
        {
            self.by_hash.remove(&mirror.hash);
        }
    }

    /// The Pod with this UID in the API.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&KnownPod> {
        self.by_uid.get(uid).map(Box::as_ref)
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
        self.by_uid.get(uid).or_else(mirror).map(Box::as_ref)
    }

    /// Notes that a container was made in a Pod's cgroup.
    pub fn container_made(&mut self, name: &PodName, time_boot_ns: u64) {
        let mirror = self.by_hash.get(&name.uid).cloned();
        for uid in [Some(&name.uid), mirror.as_ref()].into_iter().flatten() {
            if let Some(known) = self.by_uid.get_mut(uid) {
                known.made_boot_ns = known.made_boot_ns.max(Some(time_boot_ns));
            }
        }
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
            !known.lingers()
                && container.is_some_and(|it| matches!(it.state, State::Waiting { .. }))
        })
    }

    /// Number of Pods in the API that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_uid.values().filter(|known| known.gone.is_none()).count()
    }

    /// Number of Pods in the API for which there is no room.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.len()
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

    /// Items of the source that were not taken in.
    #[must_use]
    pub const fn rejections(&self) -> &Rejections {
        &self.rejections
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
