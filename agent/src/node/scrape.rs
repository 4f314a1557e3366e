//! One scrape: read every shown cgroup, write the exposition.

use std::collections::HashMap;

use super::Node;
use crate::cgroup::{
    CgroupId,
    reader::{Detail, ReadError},
};
use crate::kernel::host;
use crate::metrics::{
    expose::Reader,
    node::{CollectorStats, NodeStats},
    process::ProcessStats,
    shutdown::OpenShutdown,
};

/// The last runs of the collectors.
#[derive(Debug, Default)]
pub(super) struct Runs {
    files: Option<(u64, bool)>,
}

impl Node {
    /// The whole exposition, as of now.
    pub fn scrape(&mut self, reader: Reader) -> Vec<u8> {
        self.turn();
        self.sample();
        let now = host::boot_ns();
        let open = self.lifecycle.open_shutdowns().map(|(container, open)| OpenShutdown {
            container,
            open_ns: now.saturating_sub(open.since_boot_ns),
            killed: open.killed,
        });
        self.store.set_open_shutdowns(open);
        let stats = self.stats();
        // Somewhat larger than the last, so that it seldom has to grow.
        let mut body = Vec::with_capacity(self.body_bytes + self.body_bytes / 8 + 4096);
        self.store.encode(&stats, reader, &mut body);
        self.body_bytes = body.len();
        body
    }

    /// What the landing page tells people.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut facts = vec![
            fact("kernel", host::release().unwrap_or_default()),
            fact("mode", format!("{:?}", self.options.mode).to_lowercase()),
            fact("cgroup root", self.options.cgroup_root.display().to_string()),
            fact("cgroups", self.tree.len().to_string()),
            fact(
                "containers",
                self.containers.values().filter(|c| c.is_shown()).count().to_string(),
            ),
            fact(
                "without a name yet",
                self.containers.values().filter(|c| c.waits()).count().to_string(),
            ),
        ];
        match &self.kernel {
            None => facts.push(fact("kernel events", "none; see podvitals check".into())),
            Some(kernel) => {
                for attached in &kernel.programs.attached {
                    let state = match &attached.outcome {
                        Ok(_) if attached.lost.is_empty() => "attached".to_owned(),
                        Ok(_) => format!("attached; lost: {}", attached.lost),
                        Err(why) => format!("not attached: {why}; lost: {}", attached.lost),
                    };
                    facts.push(fact(&format!("program {}", attached.name), state));
                }
            }
        }
        facts
    }

    fn sample(&mut self) {
        let begin = host::boot_ns();
        let mut success = true;
        let mut pods: HashMap<CgroupId, CgroupId> = HashMap::new();
        for (&id, container) in &self.containers {
            if !container.is_shown() {
                continue;
            }
            // A removed cgroup has no path any more; its last figures are in the store.
            let Some(dir) = self.tree.path(id) else { continue };
            if let Some(pod) = self.tree.pod_of(id) {
                pods.insert(pod, id);
            }
            match self.reader.sample(id, &dir, Detail::Container) {
                Ok(sample) => self.store.sample(id, sample),
                Err(ReadError::Vanished { .. }) => {}
                Err(error) => {
                    tracing::debug!(%error, "a cgroup was not read");
                    success = false;
                }
            }
        }
        for (pod, container) in pods {
            let Some(dir) = self.tree.path(pod) else { continue };
            let names = self.containers.get(&container).and_then(super::Container::shown_pod);
            let Some((namespace, name)) = names else { continue };
            match self.reader.sample(pod, &dir, Detail::Pod) {
                Ok(sample) => self.store.pod_sample(pod, namespace, name, sample),
                Err(ReadError::Vanished { .. }) => {}
                Err(_) => success = false,
            }
        }
        self.scans.files = Some((host::boot_ns().saturating_sub(begin), success));
    }

    fn stats(&self) -> NodeStats {
        let mut stats = NodeStats {
            version: env!("CARGO_PKG_VERSION"),
            cgroups_tracked: Some(self.tree.len() as u64),
            cgroups_unresolved: self.unresolved
                + self.containers.values().filter(|c| c.waits()).count() as u64,
            collectors: vec![CollectorStats {
                name: "cgroup_files",
                duration_ns: self.scans.files.map(|(duration, _)| duration),
                success: self.scans.files.is_none_or(|(_, success)| success),
            }],
            events_unseen: vec![("oom_kill", self.unseen_oom_kills)],
            process: ProcessStats::read(),
            ..NodeStats::default()
        };
        if let Some(kernel) = &self.kernel {
            let attached = &kernel.programs.attached;
            stats.programs = attached.iter().map(|a| (a.name, a.outcome.is_ok())).collect();
            for (count, (_, received)) in
                stats.events_received.iter_mut().zip(kernel.ring.received())
            {
                *count = received;
            }
            let losses = kernel.programs.losses();
            stats.events_lost =
                vec![("ring_full", losses.ring_full), ("tracked_full", losses.tracked_full)];
            stats.events_rejected = kernel.ring.rejected().collect();
        } else {
            let subjects = crate::bpf::plan::SUBJECTS;
            stats.programs = subjects.iter().map(|subject| (subject.name, false)).collect();
        }
        stats
    }
}
