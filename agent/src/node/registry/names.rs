//! Names of the registry: what the sources say of a container, and what is decided from it.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{Decided, Entry, Naming, Registry, Waiting};
use crate::cgroup::CgroupId;
use crate::cgroup::path::{ContainerName, Origin, PodName};
use crate::kube::{
    identity::Identity,
    known_pod::KnownPod,
    log_names::LogNames,
    naming::{self, Decision, Listing, NameSource, Named, NamingInput, Revision},
    pods::Pods,
};
use crate::lifecycle::subject::{Subject, Who};

impl Registry {
    /// Reads the kubelet's log links.
    pub(crate) fn refresh_links(&mut self) {
        let refreshed = self.links.refresh();
        let denied =
            matches!(&refreshed, Err(error) if error.kind() == ErrorKind::PermissionDenied);
        match refreshed {
            Ok(()) => {}
            // Once: it is tried again several times a second.
            Err(error) if denied && !self.links_denied => tracing::warn!(
                %error,
                dir = crate::escape::path(&self.log_dir),
                "no names from log links: give the agent's user access, or name another directory \
                 with --pods.log-dir"
            ),
            Err(error) => {
                tracing::debug!(%error, dir = crate::escape::path(&self.log_dir), "no names from log links");
            }
        }
        self.links_denied = denied;
    }

    /// The best source of names that there is.
    pub(super) fn best_source(&self) -> NameSource {
        if self.pods_may_come {
            NameSource::Pod
        } else if self.links.available() {
            NameSource::LogLink
        } else {
            NameSource::Ids
        }
    }

    /// Decides about a container that waits for its name, or again about one that may have another;
    /// `None` if all stays as it is. `init_may_come`: the start of its own program will be seen.
    pub(crate) fn decide(
        &mut self,
        id: CgroupId,
        pods: &Pods,
        init_may_come: bool,
        now_boot_ns: u64,
    ) -> Option<Decided> {
        let entry = self.entries.get(&id)?;
        if matches!(entry.naming, Naming::Shown(_, NameSource::Pod)) {
            return None;
        }
        if let Naming::Waiting(waiting) = &entry.naming
            && init_may_come
            && entry.may_hold_others()
        {
            if waiting.gone_boot_ns.is_some() {
                // Nothing ever ran in it.
                return self.renamed(id, None, Naming::Hidden);
            }
            if now_boot_ns.saturating_sub(entry.birth.since_boot_ns()) < naming::TIMEOUT_NS {
                return None;
            }
        }
        let (named, known) = self.evidence(id, entry, pods, init_may_come, now_boot_ns);
        let unnamed = || match &entry.origin {
            Origin::Pod(pod, container) => Identity::fallback(pod, container),
            Origin::Unit(path, name) => Identity::host_unit(path, name),
        };
        let shown = match &entry.naming {
            Naming::Waiting(_) => match naming::decide(named, unnamed, known) {
                Decision::Wait => return None,
                Decision::Hide => None,
                Decision::Show(identity, source) => Some((identity, source)),
            },
            Naming::Shown(_, source) => match naming::revise(Some(*source), named, known) {
                Revision::Keep => return None,
                Revision::Hide => None,
                Revision::Show(identity, source) => Some((identity, source)),
            },
            Naming::Hidden => match naming::revise(None, named, known) {
                Revision::Keep | Revision::Hide => return None,
                Revision::Show(identity, source) => Some((identity, source)),
            },
        };
        let (who, naming) = match shown {
            None => (None, Naming::Hidden),
            Some((identity, source)) => {
                let who = Arc::new(Who {
                    cgroup: id,
                    pod_cgroup: entry.pod_cgroup,
                    origin: entry.origin.clone(),
                    identity: *identity,
                    birth: entry.birth,
                });
                (Some(Arc::clone(&who)), Naming::Shown(Subject::Container(who), source))
            }
        };
        self.renamed(id, who, naming)
    }

    /// Consequences of a decision.
    fn renamed(&mut self, id: CgroupId, who: Option<Arc<Who>>, naming: Naming) -> Option<Decided> {
        let source = match &naming {
            Naming::Shown(_, source) => Some(*source),
            Naming::Waiting(_) | Naming::Hidden => None,
        };
        let entry = self.entries.get_mut(&id)?;
        let started = entry.started.clone();
        let again = || Waiting { facts: started.into_iter().collect(), ..Waiting::default() };
        let (old, waited) = match std::mem::replace(&mut entry.naming, naming) {
            Naming::Waiting(waited) => (None, waited),
            Naming::Shown(subject, _) => (subject.container().cloned(), again()),
            Naming::Hidden => (None, again()),
        };
        let old_pod = match (&who, &old, source) {
            (Some(who), _, Some(source)) => who
                .pod_cgroup
                .and_then(|cgroup| self.pods.get_mut(&cgroup)?.show(cgroup, who, source)),
            (None, Some(old), _) => self.hide_pod(old),
            _ => None,
        };
        Some(Decided { old, old_pod, who, waited })
    }

    /// A container was shown by mistake. Returns its Pod if that was shown with it alone.
    fn hide_pod(&mut self, who: &Who) -> Option<Subject> {
        let shown = |id: &CgroupId| self.entries.get(id).is_some_and(|it| it.shown().is_some());
        if self.siblings(who.pod_cgroup).iter().any(shown) {
            return None;
        }
        self.pods.get_mut(&who.pod_cgroup?)?.hide()
    }

    /// Word of the sources and of the kernel on a container.
    fn evidence(
        &self,
        id: CgroupId,
        entry: &Entry,
        pods: &Pods,
        init_may_come: bool,
        now_boot_ns: u64,
    ) -> (Named, NamingInput) {
        let since_boot_ns = entry.exists_since_boot_ns();
        let (named, listing) = match &entry.origin {
            Origin::Pod(pod, name) => {
                (look_up(pods, &self.links, pod, name), listing(pods, pod, since_boot_ns))
            }
            Origin::Unit(path, name) => {
                (Named::FromPod(Box::new(Identity::host_unit(path, name))), Listing::Unknown)
            }
        };
        let gone_boot_ns = match &entry.naming {
            Naming::Waiting(waiting) => waiting.gone_boot_ns,
            Naming::Shown(..) | Naming::Hidden => None,
        };
        let has_link = |sibling: &CgroupId| {
            let origin = self.entries.get(sibling).map(|entry| &entry.origin);
            let name = origin.and_then(Origin::pod).map(|(_, name)| name);
            *sibling != id && name.is_some_and(|name| self.links.lookup(&name.id).is_some())
        };
        let known = NamingInput {
            waited_ns: now_boot_ns.saturating_sub(entry.due_boot_ns()),
            gone_ns: gone_boot_ns.map(|gone_boot_ns| now_boot_ns.saturating_sub(gone_boot_ns)),
            init_may_come: init_may_come && entry.birth.is_seen() && gone_boot_ns.is_none(),
            pods_may_come: self.pods_may_come,
            pods_answer: pods.answers(),
            names_may_come: self.pods_may_come || self.links.available(),
            links_tell: !self.links_denied && !self.links.is_empty(),
            is_pause: entry.started().map(|(started, _)| started.is_pause),
            is_first: self.first_of(entry.pod_cgroup) == Some(id),
            sibling_linked: self.siblings(entry.pod_cgroup).iter().any(has_link)
                || self.named_by_link(entry.pod_cgroup),
            listing,
        };
        (named, known)
    }
}

/// The names that the sources have for a Pod's container.
fn look_up(pods: &Pods, links: &LogNames, pod: &PodName, name: &ContainerName) -> Named {
    let link = links.lookup(&name.id);
    let known = pods.of_cgroup(pod);
    // The link tells which container it is before the statuses do; and of which Pod, as a mirror
    // may be forged.
    let of_link = |known: &KnownPod| {
        link.filter(|link| known.pod.namespace == link.namespace && known.pod.name == link.pod)
    };
    let container = known.and_then(|known| {
        let linked = || known.pod.container(&of_link(known)?.container);
        known.container(&name.id).or_else(linked)
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
        None => Listing::Unknown,
        Some(known) if pods.would_report(known, since_boot_ns) => Listing::None,
        Some(known) if known.pod.statuses_complete() => Listing::Missing,
        Some(_) => Listing::Incomplete,
    }
}
