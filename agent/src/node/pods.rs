//! The way of a Pod's change: names for containers that wait, and what follows for the others.

use super::Node;
use crate::cgroup::CgroupId;
use crate::clock::{Now, SECOND_NS};
use crate::kube::event::PodEvent;
use crate::lifecycle::{Input, kill};
use crate::signal;

impl Node {
    /// Takes in a change of Pods, and decides what has waited for it.
    pub fn pod_event(&mut self, event: PodEvent, now: Now) {
        self.now = now;
        // What the kernel recorded before comes before.
        self.drain();
        let changed = self.pods.apply(event);
        if changed.is_empty() {
            return;
        }
        for uid in &changed {
            self.pod_changed(uid);
        }
        // What the kubelet asked before it changed the Pod comes before what follows from the change.
        self.settle_probes();
        self.settle_reasons();
    }

    fn pod_changed(&mut self, uid: &str) {
        let Some(known) = self.pods.get(uid) else { return };
        self.publish.pod(&known.pod);
        self.probes.pod(&known.pod);
        let failed = self.reasons.pod(known, self.now);
        self.publish_planned(failed);
        for (id, who) in self.registry.of_pod(uid, &self.pods) {
            self.resolve_name(id);
            if let Some(who) = who {
                self.tell_lifecycle_of(id);
                self.progress(&who);
            }
            // Also to a Pod of which nothing but the sandbox is left.
            self.tell_deletion(id);
        }
    }

    /// A container is shown now: what its Pod says of it is handed on.
    pub(super) fn spec_known(&mut self, id: CgroupId) {
        let Some((known, _)) = self.registry.spec_of(id, &self.pods) else { return };
        self.publish.pod(&known.pod);
        self.tell_lifecycle_of(id);
        self.tell_deletion(id);
    }

    fn tell_deletion(&mut self, id: CgroupId) {
        if let Some((subject, fact)) = self.registry.deletion(id, &self.pods, self.now.wall) {
            self.publish.fact(&subject, &fact);
        }
    }

    /// Tells the lifecycle what it cannot see: the container's stop signal, how long a stop of it may
    /// take, and that its Pod is being deleted.
    fn tell_lifecycle_of(&mut self, id: CgroupId) {
        let Some((known, container)) = self.registry.spec_of(id, &self.pods) else { return };
        let signal = container.stop_signal.as_deref().and_then(signal::number);
        let grace_s = known.pod.longest_grace_s(Some(container));
        let kill = known.deletion_noticed().map(|noticed| {
            let since_boot_ns = kill::known_to_kubelet_since(known, noticed, self.now.wall);
            let noticed_boot_ns = noticed.time_boot_ns;
            Input::KillBegins { container: id, since_boot_ns, noticed_boot_ns }
        });
        if let Some(grace_s) = grace_s {
            let grace_ns = grace_s.saturating_mul(SECOND_NS);
            self.apply(Input::GracePeriod { container: id, grace_ns });
        }
        if let Some(signal) = signal {
            self.apply(Input::KnownStopSignal { container: id, signal });
        }
        self.apply(kill.unwrap_or(Input::NoKill { container: id }));
    }

    /// Time since the last contact with the Pod source; since the start, if there was none.
    pub(super) fn pod_metadata_age_ns(&self) -> Option<u64> {
        let (_, last_contact) = self.options.pods.as_ref()?;
        let since_boot_ns = last_contact.last_boot_ns().unwrap_or(self.began_boot_ns);
        Some(self.now.boot_ns.saturating_sub(since_boot_ns))
    }

    /// The source of names, for people.
    pub(super) fn names_source(&self) -> String {
        let Some((source, last_contact)) = &self.options.pods else {
            return format!("links in {}", crate::escape::path(&self.options.log_dir));
        };
        match (self.pods.failing(last_contact.last_boot_ns()), last_contact.last_boot_ns()) {
            (Some(why), _) => format!("{source}; unavailable: {why}"),
            (None, None) => format!("{source}; no contact yet"),
            (None, Some(last)) => {
                let age_s = self.now.boot_ns.saturating_sub(last) / SECOND_NS;
                let refused = match self.pods.refused() {
                    0 => String::new(),
                    refused => format!(" and {refused} without room"),
                };
                let pods = self.pods.len();
                format!("{source}: {pods} Pods{refused}, last contact {age_s} s ago")
            }
        }
    }
}
