//! Pods of the registry: which containers each has, and what it is called.

use std::sync::Arc;

use crate::cgroup::CgroupId;
use crate::kube::naming::NameSource;
use crate::lifecycle::subject::{PodWho, Subject, Who};

/// A Pod's own cgroup, until it is removed and its containers are forgotten.
#[derive(Debug, Default)]
pub(crate) struct PodEntry {
    /// The cgroup is removed.
    pub(crate) removed: bool,
    /// Containers, the sandbox included.
    pub(crate) containers: Vec<CgroupId>,
    /// Set with the first container that is shown, with the source of that container's name.
    subject: Option<(Subject, NameSource)>,
    /// The Pod's deletion was told under its present names.
    pub(crate) deletion_told: bool,
    pub(crate) last_end_boot_ns: Option<u64>,
}

/// A Pod whose last container is forgotten.
#[derive(Debug)]
pub(crate) struct EmptyPod {
    pub(crate) subject: Subject,
    pub(crate) last_end_boot_ns: Option<u64>,
    /// Whether its cgroup is removed as well.
    pub(crate) gone: bool,
}

impl PodEntry {
    /// The Pod under its names, if one of its containers is or was shown.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref().map(|(subject, _)| subject)
    }

    /// The source of the Pod's names, if they are known.
    pub(crate) fn source(&self) -> Option<NameSource> {
        self.subject.as_ref().map(|(_, source)| *source)
    }

    /// The Pod, if it is shown and has containers.
    pub(crate) fn shown(&self) -> Option<&Subject> {
        self.subject().filter(|_| !self.containers.is_empty() && !self.removed)
    }

    /// A container of the Pod is forgotten. Returns the Pod if it is shown and this was the last.
    pub(crate) fn leave(&mut self, container: CgroupId) -> Option<EmptyPod> {
        self.containers.retain(|id| *id != container);
        let subject = self.subject().filter(|_| self.containers.is_empty())?.clone();
        Some(EmptyPod { subject, last_end_boot_ns: self.last_end_boot_ns, gone: self.removed })
    }

    /// A container is shown, and the Pod under the same names, the best that one of its containers
    /// has. Returns the Pod under the names that these replace.
    pub(crate) fn show(
        &mut self,
        cgroup: CgroupId,
        who: &Who,
        source: NameSource,
    ) -> Option<Subject> {
        if self.subject.as_ref().is_some_and(|(_, known)| *known >= source) {
            return None;
        }
        let identity = &who.identity;
        let pod = PodWho {
            cgroup,
            namespace: identity.namespace.clone(),
            pod: identity.pod.clone(),
            uid: identity.pod_uid.clone(),
            cgroup_uid: who.origin.pod().map_or_else(String::new, |(pod, _)| pod.uid.clone()),
        };
        let named_alike = |known: &Subject| match known {
            Subject::Pod(known) => known.namespace == pod.namespace && known.pod == pod.pod,
            Subject::Container(_) | Subject::Planned(_) => false,
        };
        let before = self.subject().filter(|known| !named_alike(known)).cloned();
        self.subject = Some((Subject::Pod(Arc::new(pod)), source));
        self.deletion_told &= before.is_none();
        before
    }

    /// Hides the Pod, none of whose containers is shown any more: the last was a sandbox. Returns it.
    pub(crate) fn hide(&mut self) -> Option<Subject> {
        self.deletion_told = false;
        Some(self.subject.take()?.0)
    }
}
