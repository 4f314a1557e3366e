//! Containers between their cgroup and their name: who waits, who is shown, who is hidden.

use super::Node;
use crate::cgroup::{
    CgroupId,
    path::{ContainerName, PodName},
    sample::Sample,
};
use crate::kernel::host;
use crate::kube::{
    identity::Identity,
    naming::{self, Decision, Known},
};
use crate::lifecycle::fact::{Fact, FactKind};
use crate::metrics::wall::WallOffset;

/// Facts that a container without a name keeps: it has one life, so it has few.
const WAITING_FACTS_MAX: usize = 64;

/// What identifies a container over its restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    namespace: String,
    pod: String,
    container: String,
}

/// What the cgroup's path tells.
#[derive(Debug)]
pub(super) enum Origin {
    /// A Pod's container.
    Pod(PodName, ContainerName),
    /// Host mode: the path below the root and the directory's name.
    Unit(String, String),
}

/// A container whose cgroup is or was there.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) origin: Origin,
    /// When it was made, or found.
    pub(super) since_boot_ns: u64,
    is_pause: Option<bool>,
    naming: Naming,
}

#[derive(Debug)]
enum Naming {
    /// Facts and last figures wait for a name; `gone` if the cgroup does not exist any more.
    Waiting { facts: Vec<Fact>, last: Option<Box<Sample>>, gone: bool },
    /// In the store.
    Shown { key: Key },
    /// A sandbox.
    Hidden,
}

impl Container {
    pub(super) const fn new(origin: Origin, since_boot_ns: u64) -> Self {
        let naming = Naming::Waiting { facts: Vec::new(), last: None, gone: false };
        Self { origin, since_boot_ns, is_pause: None, naming }
    }

    /// Whether it has no name yet.
    pub(super) const fn waits(&self) -> bool {
        matches!(self.naming, Naming::Waiting { .. })
    }

    /// The names of its Pod, if it is shown.
    pub(super) fn shown_pod(&self) -> Option<(&str, &str)> {
        match (&self.naming, &self.origin) {
            (Naming::Shown { key }, Origin::Pod(..)) => Some((&key.namespace, &key.pod)),
            _ => None,
        }
    }

    /// Whether it is in the store.
    pub(super) const fn is_shown(&self) -> bool {
        matches!(self.naming, Naming::Shown { .. })
    }

    fn unnamed(&self) -> Identity {
        match &self.origin {
            Origin::Pod(pod, container) => Identity::fallback(pod, container),
            Origin::Unit(path, name) => Identity::host_unit(path, name),
        }
    }
}

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
        let named = match &container.origin {
            Origin::Pod(pod, name) => {
                self.names.lookup(&name.id).map(|link| Identity::from_log_name(link, pod, name))
            }
            Origin::Unit(path, name) => Some(Identity::host_unit(path, name)),
        };
        let known = Known {
            waited_ns: now_boot_ns.saturating_sub(container.since_boot_ns),
            names_may_come: self.names.available(),
            is_pause: container.is_pause,
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

    /// A fact: to the store if its container is shown, else it waits with it.
    pub(super) fn fact(&mut self, fact: Fact) {
        let id = fact.container;
        let Some(container) = self.containers.get_mut(&id) else { return };
        if let FactKind::Started(started) = &fact.kind {
            container.is_pause = Some(started.is_pause);
        }
        match &mut container.naming {
            Naming::Hidden => {}
            Naming::Shown { .. } => self.deliver(&fact),
            Naming::Waiting { facts, .. } => {
                if facts.len() < WAITING_FACTS_MAX {
                    facts.push(fact);
                }
                // Without a source of names, init's name may decide.
                self.resolve_name(id, host::boot_ns());
            }
        }
    }

    /// Hands a fact of a shown container to the store.
    fn deliver(&mut self, fact: &Fact) {
        let Some(Container { naming: Naming::Shown { key }, .. }) =
            self.containers.get(&fact.container)
        else {
            return;
        };
        log(key, fact);
        match &fact.kind {
            FactKind::Started(_) => {
                let before = self.history.restarts(key);
                let restart = self.history.started(key.clone(), fact.time_boot_ns);
                if self.history.restarts(key) > before {
                    self.store.restarted(fact.container, restart.map(|r| r.outage_ns));
                }
            }
            FactKind::Terminated(_) => {
                // A start that overtook the end before it has been counted without its outage.
                let _ = self.history.ended(key.clone(), fact.time_boot_ns);
            }
            _ => {}
        }
        // The clock may have been set since the fact before.
        self.store.fact(fact, WallOffset::now().unwrap_or_default());
    }

    /// Init has exited or ended: its cgroup's figures are read before the runtime removes them.
    pub(super) fn read_last(&mut self, id: CgroupId) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        let Some(dir) = self.tree.path(id) else { return };
        match self.reader.read_last(id, &dir) {
            Ok(sample) => match &mut container.naming {
                Naming::Hidden => {}
                Naming::Shown { .. } => self.store.last_sample(id, &sample),
                Naming::Waiting { last, .. } => *last = Some(Box::new(sample)),
            },
            Err(error) => tracing::debug!(%error, "the last figures came too late"),
        }
    }

    /// The lifecycle is done with a container whose cgroup is gone.
    pub(super) fn forget(&mut self, id: CgroupId) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        match &mut container.naming {
            Naming::Waiting { gone, .. } => *gone = true,
            Naming::Shown { .. } | Naming::Hidden => {
                self.store.gone(id, host::boot_ns());
                self.containers.remove(&id);
            }
        }
    }
}

/// One line for each change of state that an operator may look for.
fn log(key: &Key, fact: &Fact) {
    let Key { namespace, pod, container } = key;
    match &fact.kind {
        FactKind::StopSignal(stop) if stop.ignored => tracing::info!(
            ?namespace,
            ?pod,
            ?container,
            signal = stop.signal,
            sender = stop.sender.label(),
            "the container ignores its stop signal"
        ),
        FactKind::Oom(oom) => tracing::info!(
            ?namespace,
            ?pod,
            ?container,
            scope = oom.scope.map_or("unknown", |scope| scope.label()),
            victim = oom.victim.label(),
            killed = oom.killed,
            "OOM kill"
        ),
        FactKind::Terminated(end) => tracing::info!(
            ?namespace,
            ?pod,
            ?container,
            cause = end.cause.label(),
            status = ?end.status,
            shutdown_ms = end.shutdown_ns.map(|ns| ns / 1_000_000),
            "the container ended"
        ),
        _ => tracing::debug!(?namespace, ?pod, ?container, fact = ?fact.kind, "fact"),
    }
}
