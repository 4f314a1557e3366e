//! Containers between their cgroup and their name: who waits, who is shown, who is hidden.

use super::Node;
use crate::cgroup::{
    CgroupId,
    path::{ContainerName, PodName},
    sample::Sample,
};
use crate::clock;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{Fact, FactKind};
use crate::lifecycle::startup::Start;
use crate::clock::WallOffset;

/// Facts that a container without a name keeps: it has one life, so it has few.
const WAITING_FACTS_MAX: usize = 64;

/// What identifies a container over its restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
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
    /// It was made while the agent looked.
    pub(super) birth_seen: bool,
    /// When its own program was executed, if that was seen.
    pub(super) running_boot_ns: Option<u64>,
    /// One of the same name was there before it.
    pub(super) is_restart: bool,
    /// How far its start has got.
    pub(super) start: Start,
    pub(super) is_pause: Option<bool>,
    pub(super) naming: Naming,
}

#[derive(Debug)]
pub(super) enum Naming {
    /// Facts and last figures wait for a name; `gone` if the cgroup does not exist any more.
    Waiting { facts: Vec<Fact>, last: Option<Box<Sample>>, gone: bool },
    /// In the store.
    Shown { key: Key },
    /// A sandbox.
    Hidden,
}

impl Container {
    pub(super) fn new(origin: Origin, since_boot_ns: u64, birth_seen: bool) -> Self {
        Self {
            origin,
            since_boot_ns,
            birth_seen,
            running_boot_ns: None,
            is_restart: false,
            start: Start::default(),
            is_pause: None,
            naming: Naming::Waiting { facts: Vec::new(), last: None, gone: false },
        }
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

    pub(super) fn unnamed(&self) -> Identity {
        match &self.origin {
            Origin::Pod(pod, container) => Identity::fallback(pod, container),
            Origin::Unit(path, name) => Identity::host_unit(path, name),
        }
    }
}

impl Node {
    /// A fact: to the store if its container is shown, else it waits with it.
    pub(super) fn fact(&mut self, fact: Fact) {
        let id = fact.container;
        let Some(container) = self.containers.get_mut(&id) else { return };
        if let FactKind::Started(started) = &fact.kind {
            container.is_pause = Some(started.is_pause);
            container.running_boot_ns = Some(fact.time_boot_ns).filter(|_| !started.existing);
        }
        match &mut container.naming {
            Naming::Hidden => {}
            Naming::Shown { .. } => self.deliver(&fact),
            Naming::Waiting { facts, .. } => {
                if facts.len() < WAITING_FACTS_MAX {
                    facts.push(fact);
                }
                // Without a source of names, init's name may decide.
                self.resolve_name(id, clock::boot_ns());
            }
        }
    }

    /// Hands a fact of a shown container to the store.
    pub(super) fn deliver(&mut self, fact: &Fact) {
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
                    if let Some(container) = self.containers.get_mut(&fact.container) {
                        container.is_restart = true;
                    }
                }
                self.start_goes_on(fact.container);
            }
            FactKind::StopSignal(stop) => {
                let stop = *stop;
                self.stop_signal(fact, &stop);
            }
            FactKind::Terminated(end) => {
                // A start that overtook the end before it has been counted without its outage.
                let _ = self.history.ended(key.clone(), fact.time_boot_ns);
                let (key, end) = (key.clone(), *end);
                return self.death(&key, fact.clone(), end);
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
                self.store.gone(id, clock::boot_ns());
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
        _ => tracing::debug!(?namespace, ?pod, ?container, fact = ?fact.kind, "fact"),
    }
}
