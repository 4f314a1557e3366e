//! Who a container is: what the sources say of it, and what is done with that.

use super::Node;
use super::containers::{Key, Naming, Origin};
use crate::cgroup::CgroupId;
use crate::cgroup::path::{ContainerName, PodName};
use crate::kube::{
    identity::Identity,
    log_names::LogNames,
    naming::{self, Decision, Known, Listing, Named},
    pods::Pods,
};

impl Node {
    /// Looks for the names of all who wait.
    pub(super) fn resolve_names(&mut self, now_boot_ns: u64) {
        if let Err(error) = self.names.refresh() {
            tracing::debug!(%error, dir = %self.options.log_dir.display(), "names not read");
        }
        let waiting: Vec<_> =
            self.containers.iter().filter(|(_, c)| c.waits()).map(|(id, _)| *id).collect();
        for id in waiting {
            self.resolve_name(id, now_boot_ns);
        }
    }

    /// Decides about one who waits, and hands on what has been waiting with it.
    pub(super) fn resolve_name(&mut self, id: CgroupId, now_boot_ns: u64) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.waits() {
            return;
        }
        let (named, listing) = match &container.origin {
            Origin::Pod(pod, name) => (
                look_up(&self.pods, &self.names, pod, name),
                listing(&self.pods, pod, container.since_boot_ns),
            ),
            Origin::Unit(path, name) => {
                (Named::Whole(Box::new(Identity::host_unit(path, name))), Listing::Open)
            }
        };
        let pods_may_come = self.options.pods.is_some();
        let since = container.running_boot_ns.unwrap_or(0).max(container.since_boot_ns);
        let gone = matches!(container.naming, Naming::Waiting { gone: true, .. });
        let known = Known {
            waited_ns: now_boot_ns.saturating_sub(since),
            init_may_come: self.kernel.is_some() && container.birth_seen && !gone,
            pods_may_come,
            names_may_come: pods_may_come || self.names.available(),
            is_pause: container.is_pause,
            listing,
        };
        let (naming, identity) = match naming::decide(named, || container.unnamed(), known) {
            Decision::Wait => return,
            Decision::Hide => (Naming::Hidden, None),
            Decision::Show(identity) => {
                let key = Key {
                    namespace: identity.namespace.clone(),
                    pod: identity.pod.clone(),
                    container: identity.container.clone(),
                };
                (Naming::Shown { key }, Some(identity))
            }
        };
        let since = container.since_boot_ns;
        let waited = std::mem::replace(&mut container.naming, naming);
        let Naming::Waiting { facts, last, gone } = waited else { return };
        if let Some(identity) = identity {
            self.store.appear(id, &identity, since);
            self.tell_store_of(id);
            for fact in facts {
                self.deliver(&fact);
            }
            if let Some(last) = last {
                self.store.last_sample(id, &last);
            }
        }
        if gone {
            self.forget(id);
        }
    }
}

/// What the sources say of a Pod's container.
fn look_up(pods: &Pods, links: &LogNames, pod: &PodName, name: &ContainerName) -> Named {
    let link = links.lookup(&name.id);
    let known = pods.of_cgroup(pod);
    // The link tells which container it is before the statuses do.
    let container = known.and_then(|known| {
        known.container(&name.id).or_else(|| known.pod.container(&link?.container))
    });
    if let (Some(known), Some(container)) = (known, container) {
        return Named::Whole(Box::new(Identity::from_pod(&known.pod, container, pod, name)));
    }
    link.map_or(Named::No, |link| Named::Link(Box::new(Identity::from_log_name(link, pod, name))))
}

/// What the Pod's statuses say of a container that is in none of them.
fn listing(pods: &Pods, pod: &PodName, since_boot_ns: u64) -> Listing {
    match pods.of_cgroup(pod) {
        Some(known) if known.would_tell_of(since_boot_ns) => Listing::None,
        Some(known) if known.pod.statuses_complete() => Listing::Missing,
        _ => Listing::Open,
    }
}
