//! The registry: who is who. A container gets its identity here, and another once if a better source
//! names it later; facts that come before it wait here.

mod names;
mod pods;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) use self::pods::EmptyPod;
use self::pods::PodEntry;
use crate::cgroup::path::Origin;
use crate::cgroup::sample::Sample;
use crate::cgroup::{CgroupId, role};
use crate::clock::WallOffset;
use crate::kube::{
    known_pod::{DeletionRequest, KnownPod},
    log_names::LogNames,
    naming::{self, NameSource},
    pod,
    pods::Pods,
};
use crate::lifecycle::fact::{Deletion, Fact, FactKind, Started};
use crate::lifecycle::subject::{Birth, Subject, Who};

/// Facts that a container without a name keeps: it has one life, so it has few.
const WAITING_FACTS_MAX: usize = 64;
/// Time for which a container's name is looked for several times a second, from its start on.
/// Later it is looked for when its Pod changes, and with the rarer looks at all that may change.
const HURRY_NS: u64 = 2 * naming::TIMEOUT_NS;

/// A container whose cgroup is or was there.
#[derive(Debug)]
struct Entry {
    origin: Origin,
    pod_cgroup: Option<CgroupId>,
    birth: Birth,
    /// The start of its own program, which is published again where the container gets another name.
    started: Option<Fact>,
    naming: Naming,
}

impl Entry {
    /// Whether this is a directory of any name on a plain machine in which nothing runs yet: it may
    /// be made to hold containers.
    fn may_hold_others(&self) -> bool {
        let Origin::Unit(_, name) = &self.origin else { return false };
        self.started.is_none() && role::is_plain(name.as_bytes())
    }

    /// The start of its own program, and its time.
    fn started(&self) -> Option<(&Started, u64)> {
        let fact = self.started.as_ref()?;
        match &fact.kind {
            FactKind::Started(started) => Some((started, fact.time_boot_ns)),
            _ => None,
        }
    }

    /// The moment since when its name is due: its birth, or the exec of its own program if that
    /// was seen.
    fn due_boot_ns(&self) -> u64 {
        let seen = self.started().filter(|(started, _)| !started.before_agent);
        seen.map_or(0, |(_, time_boot_ns)| time_boot_ns).max(self.birth.since_boot_ns())
    }

    /// The moment since when it is there, as far as is known: one that is older than the agent is as
    /// old as its program at least.
    fn exists_since_boot_ns(&self) -> u64 {
        let since = self.birth.since_boot_ns();
        self.started().map_or(since, |(_, time_boot_ns)| time_boot_ns.min(since))
    }

    fn shown(&self) -> Option<&Subject> {
        match &self.naming {
            Naming::Shown(subject, _) => Some(subject),
            Naming::Waiting(_) | Naming::Hidden => None,
        }
    }
}

#[derive(Debug)]
enum Naming {
    /// Facts and last counters wait for a name.
    Waiting(Waiting),
    /// A container with the name that this source has for it.
    Shown(Subject, NameSource),
    /// A sandbox.
    Hidden,
}

/// Facts and counters that wait for a name.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) facts: Vec<Fact>,
    pub(super) last: Option<Box<Sample>>,
    /// Time at which all about the container was concluded: its cgroup does not exist any more.
    pub(super) gone_boot_ns: Option<u64>,
}

/// The destination of a fact.
#[derive(Debug)]
pub(super) enum Route {
    /// To the readers, by way of the reasons, with its container's identity.
    Named(Arc<Who>, Fact),
    /// To its container, which waits for a name that may now be decided.
    Waits,
    /// To the reasons: the sandbox of the Pod with this UID in its cgroup's name ended at this time.
    SandboxEnded(String, u64),
    /// Nowhere: its container is a sandbox, or not known.
    Nowhere,
}

/// The decision about a container's name, the first one or a later one.
#[derive(Debug)]
pub(super) struct Decided {
    /// The container under the name that it was shown under so far.
    pub(super) old: Option<Arc<Who>>,
    /// Pod of the container, under names that it has no more.
    pub(super) old_pod: Option<Subject>,
    /// The container under its name; `None`: it is a sandbox.
    pub(super) who: Option<Arc<Who>>,
    /// All that has waited for the name; the start of one that is renamed.
    pub(super) waited: Waiting,
}

/// A container that is forgotten.
#[derive(Debug)]
pub(super) struct Forgotten {
    /// The container, if it was shown.
    pub(super) subject: Option<Subject>,
    /// Pod of the container, if that is shown and this was its last container.
    pub(super) empty_pod: Option<EmptyPod>,
}

/// All containers of the node.
pub(super) struct Registry {
    entries: HashMap<CgroupId, Entry>,
    pods: HashMap<CgroupId, PodEntry>,
    links: LogNames,
    log_dir: PathBuf,
    /// Whether the links could not be read for want of permission, the last time.
    links_denied: bool,
    /// Whether there is a Pod source.
    pods_may_come: bool,
    facts_dropped: u64,
    /// The moment at which the agent was back after it could not run: no name is due before.
    resumed_boot_ns: u64,
}

impl Registry {
    pub(super) fn new(log_dir: PathBuf, pods_may_come: bool) -> Self {
        Self {
            entries: HashMap::new(),
            pods: HashMap::new(),
            links: LogNames::new(log_dir.clone()),
            log_dir,
            links_denied: false,
            pods_may_come,
            facts_dropped: 0,
            resumed_boot_ns: 0,
        }
    }

    /// A container's cgroup is there.
    pub(super) fn insert(
        &mut self,
        id: CgroupId,
        pod_cgroup: Option<CgroupId>,
        origin: Origin,
        birth: Birth,
    ) {
        let naming = Naming::Waiting(Waiting::default());
        let entry = Entry { origin, pod_cgroup, birth, started: None, naming };
        if self.entries.insert(id, entry).is_none()
            && let Some(pod) = pod_cgroup
        {
            self.pods.entry(pod).or_default().containers.push(id);
        }
    }

    /// A fact of the kernel half of the lifecycle.
    pub(super) fn fact(&mut self, id: CgroupId, fact: Fact) -> Route {
        let Some(entry) = self.entries.get_mut(&id) else { return Route::Nowhere };
        if let FactKind::Started(_) = &fact.kind {
            entry.started = Some(fact.clone());
        }
        match &mut entry.naming {
            Naming::Hidden => match (entry.origin.pod(), &fact.kind) {
                (Some((pod, _)), FactKind::Ended(end)) => {
                    Route::SandboxEnded(pod.uid.clone(), end.end_boot_ns)
                }
                _ => Route::Nowhere,
            },
            Naming::Shown(Subject::Pod(_) | Subject::Planned(_), _) => Route::Nowhere,
            Naming::Shown(Subject::Container(who), _) => Route::Named(Arc::clone(who), fact),
            Naming::Waiting(waiting) => {
                if waiting.facts.len() < WAITING_FACTS_MAX {
                    waiting.facts.push(fact);
                } else {
                    self.facts_dropped = self.facts_dropped.saturating_add(1);
                }
                Route::Waits
            }
        }
    }

    /// The last counters of a container: returns the subject if it has its name.
    pub(super) fn last_sample(
        &mut self,
        id: CgroupId,
        sample: Sample,
    ) -> Option<(Subject, Sample)> {
        match &mut self.entries.get_mut(&id)?.naming {
            Naming::Hidden => None,
            Naming::Shown(subject, _) => Some((subject.clone(), sample)),
            Naming::Waiting(waiting) => {
                waiting.last = Some(Box::new(sample));
                None
            }
        }
    }

    /// The lifecycle is done with a container whose cgroup is gone. `None` for one that waits for
    /// its name: it stays until that is decided.
    pub(super) fn forget(&mut self, id: CgroupId, now_boot_ns: u64) -> Option<Forgotten> {
        if let Naming::Waiting(waiting) = &mut self.entries.get_mut(&id)?.naming {
            waiting.gone_boot_ns.get_or_insert(now_boot_ns);
            return None;
        }
        let entry = self.entries.remove(&id)?;
        let subject = entry.shown().cloned();
        let empty_pod = entry.pod_cgroup.and_then(|pod| self.leave_pod(pod, id));
        Some(Forgotten { subject, empty_pod })
    }

    /// Withdraws what was taken for a container. Returns it if it was shown.
    pub(super) fn withdraw(&mut self, id: CgroupId) -> Option<Arc<Who>> {
        let entry = self.entries.remove(&id)?;
        if let Some(pod) = entry.pod_cgroup {
            self.leave_pod(pod, id);
        }
        entry.shown()?.container().cloned()
    }

    /// A container of a Pod is forgotten. Returns the Pod if it is shown and this was the last.
    fn leave_pod(&mut self, pod: CgroupId, container: CgroupId) -> Option<EmptyPod> {
        let entry = self.pods.get_mut(&pod)?;
        let empty = entry.leave(container);
        if entry.removed && entry.containers.is_empty() {
            self.pods.remove(&pod);
        }
        empty
    }

    /// The cgroup of a Pod is removed. Returns the Pod if it is shown and has no container any
    /// more; else the last of them takes it away.
    pub(super) fn pod_removed(&mut self, pod: CgroupId) -> Option<Subject> {
        let entry = self.pods.get_mut(&pod)?;
        entry.removed = true;
        if !entry.containers.is_empty() {
            return None;
        }
        self.pods.remove(&pod)?.subject().cloned()
    }

    /// Notes the end of a container that is shown, for when its Pod is empty.
    pub(super) fn ended(&mut self, who: &Who, end_boot_ns: u64) {
        if let Some(pod) = who.pod_cgroup.and_then(|pod| self.pods.get_mut(&pod)) {
            pod.last_end_boot_ns = pod.last_end_boot_ns.max(Some(end_boot_ns));
        }
    }

    /// The deletion of a container's Pod, if it is known and was not told yet.
    pub(super) fn deletion(
        &mut self,
        id: CgroupId,
        pods: &Pods,
        wall: WallOffset,
    ) -> Option<(Subject, Fact)> {
        let entry = self.entries.get(&id)?;
        let known = pods.of_cgroup(entry.origin.pod()?.0)?;
        let noticed = known.deletion_noticed()?;
        let pod = self.pods.get_mut(&entry.pod_cgroup?)?;
        let subject = pod.subject().filter(|_| !pod.deletion_told)?.clone();
        pod.deletion_told = true;
        let agreed = |request: &DeletionRequest| request.requested_boot_ns(wall).is_some();
        let request = known.deletion.filter(agreed).map(|request| request.first.request_unix_s());
        let grace_s = known.deletion_grace_s();
        let deletion = Deletion { requested_unix_s: request, grace_s };
        let kind = FactKind::DeletionSeen(deletion);
        Some((subject, Fact { time_boot_ns: noticed.time_boot_ns, kind }))
    }

    /// The containers of a Pod, the sandbox included.
    fn siblings(&self, pod: Option<CgroupId>) -> &[CgroupId] {
        pod.and_then(|pod| self.pods.get(&pod)).map_or(&[], |entry| &entry.containers)
    }

    /// Whether a container of the Pod is, or was, named by its log link.
    fn named_by_link(&self, pod: Option<CgroupId>) -> bool {
        let source = pod.and_then(|pod| self.pods.get(&pod)?.source());
        source == Some(NameSource::LogLink)
    }

    /// The first of a Pod's containers that are there.
    fn first_of(&self, pod: Option<CgroupId>) -> Option<CgroupId> {
        self.siblings(pod).iter().copied().min_by_key(|id| self.age(*id))
    }

    /// Birth of the sandbox of a container's Pod: the first cgroup of the Pod, if it is
    /// another one, and its birth was seen.
    pub(super) fn sandbox_boot_ns(&self, who: &Who) -> Option<u64> {
        let first = self.first_of(who.pod_cgroup).filter(|first| *first != who.cgroup)?;
        self.entries.get(&first)?.birth.made_boot_ns()
    }

    /// The Pod of a container and the container in it, if the Pod source says which it is.
    pub(super) fn spec_of<'a>(
        &self,
        id: CgroupId,
        pods: &'a Pods,
    ) -> Option<(&'a KnownPod, &'a pod::Container)> {
        let (pod, name) = self.entries.get(&id)?.origin.pod()?;
        pods.container(pod, name).or_else(|| {
            let known = pods.of_cgroup(pod)?;
            let link = self.links.lookup(&name.id)?;
            Some((known, known.pod.container(&link.container)?))
        })
    }

    /// The containers of a Pod of the API, the oldest first, with their identity if they have it.
    pub(super) fn of_pod(&self, uid: &str, pods: &Pods) -> Vec<(CgroupId, Option<Arc<Who>>)> {
        let of_pod = |(id, entry): (&CgroupId, &Entry)| {
            let known = pods.of_cgroup(entry.origin.pod()?.0)?;
            let who = || entry.shown()?.container().cloned();
            (known.pod.uid == uid).then(|| (*id, who()))
        };
        let mut of_pod: Vec<_> = self.entries.iter().filter_map(of_pod).collect();
        of_pod.sort_by_key(|(id, _)| self.age(*id));
        of_pod
    }

    /// A container with its name, if it is shown.
    pub(super) fn who(&self, id: CgroupId) -> Option<Arc<Who>> {
        self.entries.get(&id)?.shown()?.container().cloned()
    }

    /// The subjects that are shown: containers, and the Pods that have some.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Subject> {
        let containers = self.entries.values().filter_map(Entry::shown);
        containers.chain(self.pods.values().filter_map(PodEntry::shown))
    }

    /// Containers that are shown.
    pub(super) fn shown_containers(&self) -> usize {
        self.entries.values().filter_map(Entry::shown).count()
    }

    /// Containers whose name may be found or change, the oldest first: so the instances of one
    /// container get their names in the order of their lives.
    pub(super) fn unsettled_by_age(&self) -> Vec<CgroupId> {
        let mut unsettled: Vec<_> = self.unsettled().collect();
        unsettled.sort_by_key(|id| self.age(*id));
        unsettled
    }

    /// Order of containers by age: since when each is known and, of those that a walk found
    /// together, the id, which grows with each cgroup that is made.
    fn age(&self, id: CgroupId) -> Option<(u64, CgroupId)> {
        Some((self.entries.get(&id)?.birth.since_boot_ns(), id))
    }

    /// Containers that wait for their name, or are shown under a poorer one than may come.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = CgroupId> {
        let best = self.best_source();
        let unsettled = move |entry: &Entry| match entry.naming {
            Naming::Waiting(_) => true,
            Naming::Shown(_, source) => source < best,
            Naming::Hidden => false,
        };
        self.entries.iter().filter(move |(_, entry)| unsettled(entry)).map(|(id, _)| *id)
    }

    /// Containers that wait for their name.
    pub(super) fn waiting(&self) -> impl Iterator<Item = CgroupId> {
        let waits = |entry: &Entry| matches!(entry.naming, Naming::Waiting(_));
        self.entries.iter().filter(move |(_, entry)| waits(entry)).map(|(id, _)| *id)
    }

    /// Whether a container waits whose name is due any moment.
    pub(super) fn hurries(&self, now_boot_ns: u64) -> bool {
        let hurries = |entry: &Entry| {
            matches!(entry.naming, Naming::Waiting(_))
                && self.waited_ns(entry.due_boot_ns(), now_boot_ns) <= HURRY_NS
        };
        self.entries.values().any(hurries)
    }

    /// Containers whose cgroup was made after `boot_ns`.
    pub(super) fn younger_than(&self, boot_ns: u64) -> impl Iterator<Item = CgroupId> {
        let young = move |entry: &Entry| entry.birth.since_boot_ns() > boot_ns;
        self.entries.iter().filter(move |(_, entry)| young(entry)).map(|(id, _)| *id)
    }

    /// Number of containers, sandboxes included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Facts that a container without a name could not keep.
    pub(super) const fn facts_dropped(&self) -> u64 {
        self.facts_dropped
    }
}
