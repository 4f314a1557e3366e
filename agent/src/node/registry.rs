//! The registry: who is who. A container gets its identity here, once, and keeps it; facts that
//! come before it wait here.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::cgroup::path::{ContainerName, Origin, PodName};
use crate::cgroup::sample::Sample;
use crate::kube::{
    identity::Identity,
    log_names::LogNames,
    naming::{self, Decision, Listing, Named},
    pod,
    pods::{KnownPod, Pods},
};
use crate::lifecycle::fact::{Deletion, Fact, FactKind};
use crate::lifecycle::subject::{Birth, PodWho, Subject, Who};

/// Facts that a container without a name keeps: it has one life, so it has few.
const WAITING_FACTS_MAX: usize = 64;

/// A container whose cgroup is or was there.
#[derive(Debug)]
struct Entry {
    origin: Origin,
    pod_cgroup: Option<CgroupId>,
    birth: Birth,
    /// The exec of its own program, if that was seen, `CLOCK_BOOTTIME`.
    running_boot_ns: Option<u64>,
    is_pause: Option<bool>,
    naming: Naming,
}

#[derive(Debug)]
enum Naming {
    /// Facts and last counters wait for a name.
    Waiting(Waiting),
    /// A container with its name.
    Shown(Subject),
    /// A sandbox.
    Hidden,
}

/// Facts and counters that wait for a name.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) facts: Vec<Fact>,
    pub(super) last: Option<Box<Sample>>,
    /// The cgroup does not exist any more.
    pub(super) gone: bool,
}

/// A Pod's own cgroup, until it is removed and its containers are forgotten.
#[derive(Debug, Default)]
struct PodEntry {
    removed: bool,
    /// Containers, the sandbox included.
    containers: usize,
    /// Set with the first container that is shown.
    subject: Option<Subject>,
    deletion_told: bool,
    last_end_boot_ns: Option<u64>,
}

/// The destination of a fact.
#[derive(Debug)]
pub(super) enum Route {
    /// To the readers, by way of the reasons, with its container's identity.
    Named(Arc<Who>, Fact),
    /// To its container, which waits for a name that may now be decided.
    Waits,
    /// Nowhere: its container is a sandbox, or not known.
    Nowhere,
}

/// The decision about a container that waited for its name.
#[derive(Debug)]
pub(super) struct Decided {
    /// `None`: it is a sandbox.
    pub(super) who: Option<Arc<Who>>,
    pub(super) waited: Waiting,
}

/// A container that is forgotten.
#[derive(Debug)]
pub(super) struct Forgotten {
    /// The container, if it was shown.
    pub(super) subject: Option<Subject>,
    /// Its Pod, if that is shown and this was its last container.
    pub(super) empty_pod: Option<EmptyPod>,
}

/// A Pod whose last container is forgotten.
#[derive(Debug)]
pub(super) struct EmptyPod {
    pub(super) subject: Subject,
    pub(super) last_end_boot_ns: Option<u64>,
    /// Whether its cgroup is removed as well.
    pub(super) gone: bool,
}

/// All containers of the node.
pub(super) struct Registry {
    entries: HashMap<CgroupId, Entry>,
    pods: HashMap<CgroupId, PodEntry>,
    links: LogNames,
    log_dir: PathBuf,
    /// Whether the links could not be read for want of permission, the last time.
    links_denied: bool,
    /// There is a Pod source.
    pods_may_come: bool,
    facts_dropped: u64,
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
        let entry = Entry {
            origin,
            pod_cgroup,
            birth,
            running_boot_ns: None,
            is_pause: None,
            naming: Naming::Waiting(Waiting::default()),
        };
        if self.entries.insert(id, entry).is_none()
            && let Some(pod) = pod_cgroup
        {
            self.pods.entry(pod).or_default().containers += 1;
        }
    }

    /// A fact of the kernel half of the lifecycle.
    pub(super) fn fact(&mut self, id: CgroupId, fact: Fact) -> Route {
        let Some(entry) = self.entries.get_mut(&id) else { return Route::Nowhere };
        if let FactKind::Started(started) = &fact.kind {
            entry.is_pause = Some(started.is_pause);
            entry.running_boot_ns = Some(fact.time_boot_ns).filter(|_| !started.before_agent);
        }
        match &mut entry.naming {
            Naming::Hidden => Route::Nowhere,
            Naming::Shown(Subject::Container(who)) => Route::Named(Arc::clone(who), fact),
            Naming::Shown(Subject::Pod(_)) => Route::Nowhere,
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

    /// Notes the end of a container that is shown, for when its Pod is empty.
    pub(super) fn ended(&mut self, who: &Who, end_boot_ns: u64) {
        if let Some(pod) = who.pod_cgroup.and_then(|pod| self.pods.get_mut(&pod)) {
            pod.last_end_boot_ns = pod.last_end_boot_ns.max(Some(end_boot_ns));
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
            Naming::Shown(subject) => Some((subject.clone(), sample)),
            Naming::Waiting(waiting) => {
                waiting.last = Some(Box::new(sample));
                None
            }
        }
    }

    /// The lifecycle is done with a container whose cgroup is gone. `None` for one that waits for
    /// its name: it stays until that is decided.
    pub(super) fn forget(&mut self, id: CgroupId) -> Option<Forgotten> {
        if let Naming::Waiting(waiting) = &mut self.entries.get_mut(&id)?.naming {
            waiting.gone = true;
            return None;
        }
        let Entry { naming, pod_cgroup, .. } = self.entries.remove(&id)?;
        let subject = match naming {
            Naming::Shown(subject) => Some(subject),
            Naming::Waiting(_) | Naming::Hidden => None,
        };
        let empty_pod = pod_cgroup.and_then(|pod| self.leave_pod(pod));
        Some(Forgotten { subject, empty_pod })
    }

    /// A container of a Pod is forgotten. Returns the Pod if it is shown and this was the last.
    fn leave_pod(&mut self, pod: CgroupId) -> Option<EmptyPod> {
        let entry = self.pods.get_mut(&pod)?;
        entry.containers = entry.containers.saturating_sub(1);
        if entry.containers > 0 {
            return None;
        }
        let (last_end_boot_ns, gone) = (entry.last_end_boot_ns, entry.removed);
        let subject = entry.subject.clone();
        if gone {
            self.pods.remove(&pod);
        }
        Some(EmptyPod { subject: subject?, last_end_boot_ns, gone })
    }

    /// The cgroup of a Pod is removed. Returns the Pod if it is shown and has no container any
    /// more; else the last of them takes it away.
    pub(super) fn pod_removed(&mut self, pod: CgroupId) -> Option<Subject> {
        let entry = self.pods.get_mut(&pod)?;
        entry.removed = true;
        if entry.containers > 0 {
            return None;
        }
        self.pods.remove(&pod)?.subject
    }

    /// Reads the kubelet's log links.
    pub(super) fn refresh_links(&mut self) {
        let refreshed = self.links.refresh();
        let denied =
            matches!(&refreshed, Err(error) if error.kind() == ErrorKind::PermissionDenied);
        match refreshed {
            Ok(()) => {}
            // Once: it is tried again several times a second.
            Err(error) if denied && !self.links_denied => tracing::warn!(
                %error,
                dir = %self.log_dir.display(),
                "no names from log links: give the agent's user access, or name another directory \
                 with --pods.log-dir"
            ),
            Err(error) => {
                tracing::debug!(%error, dir = %self.log_dir.display(), "no names from log links");
            }
        }
        self.links_denied = denied;
    }

    /// Decides about a container that waits for its name; `None` if it goes on waiting, or does
    /// not wait. `init_may_come`: the start of its own program will be seen.
    pub(super) fn decide(
        &mut self,
        id: CgroupId,
        pods: &Pods,
        init_may_come: bool,
        now_boot_ns: u64,
    ) -> Option<Decided> {
        let entry = self.entries.get_mut(&id)?;
        let Naming::Waiting(Waiting { gone, .. }) = entry.naming else { return None };
        let since_boot_ns = entry.birth.since_boot_ns();
        let (named, listing) = match &entry.origin {
            Origin::Pod(pod, name) => {
                (look_up(pods, &self.links, pod, name), listing(pods, pod, since_boot_ns))
            }
            Origin::Unit(path, name) => {
                (Named::FromPod(Box::new(Identity::host_unit(path, name))), Listing::Open)
            }
        };
        let since = entry.running_boot_ns.unwrap_or(0).max(since_boot_ns);
        let known = naming::NamingInput {
            waited_ns: now_boot_ns.saturating_sub(since),
            init_may_come: init_may_come && entry.birth.is_seen() && !gone,
            pods_may_come: self.pods_may_come,
            names_may_come: self.pods_may_come || self.links.available(),
            is_pause: entry.is_pause,
            listing,
        };
        let unnamed = || match &entry.origin {
            Origin::Pod(pod, container) => Identity::fallback(pod, container),
            Origin::Unit(path, name) => Identity::host_unit(path, name),
        };
        let who = match naming::decide(named, unnamed, known) {
            Decision::Wait => return None,
            Decision::Hide => None,
            Decision::Show(identity) => Some(Arc::new(Who {
                cgroup: id,
                pod_cgroup: entry.pod_cgroup,
                origin: entry.origin.clone(),
                identity: *identity,
                birth: entry.birth,
            })),
        };
        let naming = match &who {
            Some(who) => Naming::Shown(Subject::Container(Arc::clone(who))),
            None => Naming::Hidden,
        };
        let waited = std::mem::replace(&mut entry.naming, naming);
        let Naming::Waiting(waited) = waited else { return None };
        if let Some(who) = &who {
            self.show_pod(who);
        }
        Some(Decided { who, waited })
    }

    /// The Pod of a container that is shown has the same names.
    fn show_pod(&mut self, who: &Who) {
        let Some(cgroup) = who.pod_cgroup else { return };
        let Some(pod) = self.pods.get_mut(&cgroup) else { return };
        pod.subject.get_or_insert_with(|| {
            let Identity { namespace, pod, pod_uid, .. } = who.identity.clone();
            let in_name = who.origin.pod().map(|(pod, _)| pod.uid.clone());
            let cgroup_uid = in_name.unwrap_or_default();
            Subject::Pod(Arc::new(PodWho { cgroup, namespace, pod, uid: pod_uid, cgroup_uid }))
        });
    }

    /// The deletion of a container's Pod, if it is known and was not told yet.
    pub(super) fn deletion(&mut self, id: CgroupId, pods: &Pods) -> Option<(Subject, Fact)> {
        let entry = self.entries.get(&id)?;
        let known = pods.of_cgroup(entry.origin.pod()?.0)?;
        let noticed = known.deletion.filter(|_| !known.pod.is_mirror())?;
        let pod = self.pods.get_mut(&entry.pod_cgroup?)?;
        let subject = pod.subject.clone().filter(|_| !pod.deletion_told)?;
        pod.deletion_told = true;
        let deletion = Deletion {
            requested_unix_s: known.pod.deletion.map(pod::Deletion::request_unix_s),
            grace_s: known.pod.deletion.and_then(|deletion| deletion.grace_s),
        };
        let kind = FactKind::DeletionSeen(deletion);
        Some((subject, Fact { time_boot_ns: noticed.time_boot_ns, kind }))
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
            let who = || match &entry.naming {
                Naming::Shown(subject) => subject.container().cloned(),
                Naming::Waiting(_) | Naming::Hidden => None,
            };
            (known.pod.uid == uid).then(|| (*id, who()))
        };
        let mut of_pod: Vec<_> = self.entries.iter().filter_map(of_pod).collect();
        of_pod.sort_by_key(|(id, _)| self.since_boot_ns(*id));
        of_pod
    }

    /// Birth of the sandbox of a container's Pod: the first cgroup of the Pod, if it is
    /// another one, and its birth was seen.
    pub(super) fn sandbox_boot_ns(&self, who: &Who) -> Option<u64> {
        let pod = who.pod_cgroup?;
        let of_pod = self.entries.iter().filter(|(_, entry)| entry.pod_cgroup == Some(pod));
        let (first, sandbox) = of_pod.min_by_key(|(_, entry)| entry.birth.since_boot_ns())?;
        sandbox.birth.made_boot_ns().filter(|_| *first != who.cgroup)
    }

    /// The subjects that are shown: containers, and the Pods that have some.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Subject> {
        let containers = self.entries.values().filter_map(|entry| match &entry.naming {
            Naming::Shown(subject) => Some(subject),
            Naming::Waiting(_) | Naming::Hidden => None,
        });
        let pods = self.pods.values().filter(|pod| pod.containers > 0 && !pod.removed);
        containers.chain(pods.filter_map(|pod| pod.subject.as_ref()))
    }

    /// Containers that are shown.
    pub(super) fn shown_containers(&self) -> usize {
        let shown = |entry: &&Entry| matches!(entry.naming, Naming::Shown(_));
        self.entries.values().filter(shown).count()
    }

    /// Containers that wait for their name, the oldest first: so the instances of one container get
    /// their names in the order of their lives.
    pub(super) fn waiting_by_age(&self) -> Vec<CgroupId> {
        let mut waiting: Vec<_> = self.waiting().collect();
        waiting.sort_by_key(|id| self.since_boot_ns(*id));
        waiting
    }

    /// The moment since when a container is known.
    fn since_boot_ns(&self, id: CgroupId) -> Option<u64> {
        Some(self.entries.get(&id)?.birth.since_boot_ns())
    }

    /// Containers that wait for their name.
    pub(super) fn waiting(&self) -> impl Iterator<Item = CgroupId> {
        let waits = |entry: &Entry| matches!(entry.naming, Naming::Waiting(_));
        self.entries.iter().filter(move |(_, entry)| waits(entry)).map(|(id, _)| *id)
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

/// The names that the sources have for a Pod's container.
fn look_up(pods: &Pods, links: &LogNames, pod: &PodName, name: &ContainerName) -> Named {
    let link = links.lookup(&name.id);
    let known = pods.of_cgroup(pod);
    // The link tells which container it is before the statuses do.
    let container = known.and_then(|known| {
        known.container(&name.id).or_else(|| known.pod.container(&link?.container))
    });
    if let (Some(known), Some(container)) = (known, container) {
        return Named::FromPod(Box::new(Identity::from_pod(&known.pod, container, pod, name)));
    }
    link.map_or(Named::Unnamed, |link| {
        Named::FromLogLink(Box::new(Identity::from_log_name(link, pod, name)))
    })
}

/// The statuses' word on a container that is in none of them.
fn listing(pods: &Pods, pod: &PodName, since_boot_ns: u64) -> Listing {
    match pods.of_cgroup(pod) {
        Some(known) if known.would_report(since_boot_ns) => Listing::None,
        Some(known) if known.pod.statuses_complete() => Listing::Missing,
        _ => Listing::Open,
    }
}
