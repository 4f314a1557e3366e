//! What the API says of Pods: names for those who wait, and what follows for the other rooms.

use super::Node;
use super::containers::Origin;
use crate::cgroup::CgroupId;
use crate::clock;
use crate::kube::news::PodNews;
use crate::kube::pod::Container;
use crate::kube::pods::Known;
use crate::lifecycle::Input;
use crate::signal;

/// The kubelet may hear of a deletion that much before us.
const KUBELET_AHEAD_NS: u64 = 1_000_000_000;

impl Node {
    /// There is news of Pods.
    pub fn pod_news(&mut self, news: PodNews) {
        // What the kernel recorded before comes before.
        self.drain();
        let changed = self.pods.apply(news);
        if changed.is_empty() {
            return;
        }
        let now = clock::boot_ns();
        for uid in &changed {
            self.pod_changed(uid, now);
        }
        self.settle_deaths(Some(now));
        self.compare_reports();
    }

    fn pod_changed(&mut self, uid: &str, now_boot_ns: u64) {
        let Some(known) = self.pods.get(uid) else { return };
        for container in &known.pod.containers {
            let names = [&known.pod.namespace, &known.pod.name, &container.name];
            self.store.pod_says(names.map(String::as_str), uid, container);
        }
        let of_pod = |(id, container): (&CgroupId, &super::Container)| {
            let Origin::Pod(pod, _) = &container.origin else { return None };
            let known = self.pods.of_cgroup(pod)?;
            (known.pod.uid == uid).then_some((*id, container.waits()))
        };
        let containers: Vec<_> = self.containers.iter().filter_map(of_pod).collect();
        for (id, waits) in containers {
            if waits {
                self.resolve_name(id, now_boot_ns);
            } else {
                self.tell_lifecycle_of(id);
                self.start_goes_on(id);
            }
        }
    }

    /// What the API says of a container, if it says which of its Pod's it is.
    fn said_of(&self, id: CgroupId) -> Option<(&Known, &Container)> {
        let Origin::Pod(pod, name) = &self.containers.get(&id)?.origin else { return None };
        self.pods.container(pod, name).or_else(|| {
            let known = self.pods.of_cgroup(pod)?;
            let link = self.names.lookup(&name.id)?;
            Some((known, known.pod.container(&link.container)?))
        })
    }

    /// Tells the store what the API says of a container that it has just begun to show.
    pub(super) fn tell_store_of(&mut self, id: CgroupId) {
        let Some((known, container)) = self.said_of(id) else { return };
        let names = [known.pod.namespace.clone(), known.pod.name.clone(), container.name.clone()];
        let (uid, container) = (known.pod.uid.clone(), container.clone());
        self.store.pod_says(names.each_ref().map(String::as_str), &uid, &container);
        if let Some(handler) = container.pre_stop {
            self.store.has_pre_stop(id, handler);
        }
        self.tell_lifecycle_of(id);
        self.start_goes_on(id);
    }

    /// Tells the lifecycle what it cannot see: the container's stop signal, and that its Pod is
    /// being deleted.
    fn tell_lifecycle_of(&mut self, id: CgroupId) {
        let Some((known, container)) = self.said_of(id) else { return };
        let signal = container.stop_signal.as_deref().and_then(signal::number);
        let deletion = known.deletion.filter(|_| !known.pod.is_mirror());
        if let Some(signal) = signal {
            self.apply(Input::KnownStopSignal { container: id, signal });
        }
        if let Some(deletion) = deletion {
            let since_boot_ns = deletion.time_boot_ns.saturating_sub(KUBELET_AHEAD_NS);
            self.apply(Input::KillBegins { container: id, since_boot_ns });
        }
    }

    /// How long ago the source of Pods was last heard.
    pub(super) fn pod_metadata_age_ns(&self, now_boot_ns: u64) -> Option<u64> {
        let (_, pulse) = self.options.pods.as_ref()?;
        Some(now_boot_ns.saturating_sub(pulse.last_boot_ns()?))
    }

    /// Where names come from, for people.
    pub(super) fn names_source(&self) -> String {
        let Some((source, pulse)) = &self.options.pods else {
            return format!("links in {}", self.options.log_dir.display());
        };
        match (self.pods.failing(pulse.last_boot_ns()), pulse.last_boot_ns()) {
            (Some(why), _) => format!("{source}; it does not answer: {why}"),
            (None, None) => format!("{source}; it was not heard yet"),
            (None, Some(last)) => {
                let age_s = clock::boot_ns().saturating_sub(last) / 1_000_000_000;
                format!("{source}: {} Pods, last heard {age_s} s ago", self.pods.len())
            }
        }
    }
}
