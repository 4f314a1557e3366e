//! One look at the node: read every shown cgroup, and write what is known for all who wait.

use std::collections::HashMap;

use bytes::Bytes;

use super::statistics::{LEARN_MAX, finish_comparing};
use super::{Kernel, Node};
use crate::bpf::snapshot::{Figures, Snapshot};
use crate::cgroup::{
    CgroupId,
    figures::{self, Covered},
    reader::{Detail, ReadError},
    sample::Sample,
    statistics::Elements,
    tree::{Entry, Mode},
};
use crate::kernel::host;
use crate::metrics::{
    edition::{Edition, Round},
    node::{CollectorStats, NodeStats},
    process::ProcessStats,
    shutdown::OpenShutdown,
};

/// The last runs of the collectors.
#[derive(Debug, Default)]
pub(super) struct Runs {
    files: Option<(u64, bool)>,
    snapshot: Option<u64>,
}

/// What one look told, beside what is in the store.
#[derive(Debug)]
pub struct Look {
    round: Round,
    stats: NodeStats,
}

/// One pass of the cgroup iterator; nothing where there is none.
fn pass(kernel: &mut Option<Kernel>) -> (Figures<'_>, Covered, Option<&mut Elements>) {
    let Some(Kernel { snapshot, covered, elements, .. }) = kernel else {
        return Default::default();
    };
    if let Some(Err(error)) = snapshot.as_mut().map(Snapshot::pass) {
        tracing::warn!(%error, "no more snapshots: figures are read from files");
        *snapshot = None;
    }
    match snapshot {
        Some(snapshot) => (snapshot.figures(), *covered, Some(elements)),
        None => Default::default(),
    }
}

impl Node {
    /// Takes in what has happened and samples every shown cgroup.
    #[must_use]
    pub fn look(&mut self) -> Look {
        self.turn();
        self.sample();
        let now = clock::boot_ns();
        let open = self.lifecycle.open_shutdowns().map(|(container, open)| OpenShutdown {
            container,
            open_ns: now.saturating_sub(open.since_boot_ns),
            killed: open.killed,
        });
        self.store.set_open_shutdowns(open);
        Look { round: self.store.next_round(), stats: self.stats() }
    }

    /// The whole exposition, as of the look, which is to be the last one.
    #[must_use]
    pub fn expose(&mut self, look: &Look, edition: Edition) -> Vec<Bytes> {
        self.store.encode(look.round, &look.stats, edition)
    }

    /// What the landing page tells people.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut facts = vec![
            fact("kernel", host::release().unwrap_or_default()),
            fact("names", self.names_source()),
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
        let snapshot = self.kernel.as_ref().filter(|kernel| kernel.snapshot.is_some());
        let covered = snapshot.map_or_else(Covered::default, |kernel| kernel.covered);
        for (figures, by_pass) in covered.sources() {
            let source = if by_pass { "one pass of the cgroup iterator" } else { "its files" };
            facts.push(fact(figures, source.into()));
        }
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

    /// Brings the store up to date: one pass over all cgroups, then the files that the pass does
    /// not cover.
    fn sample(&mut self) {
        let begin = clock::boot_ns();
        let compared = self.begin_comparing();
        self.flush();
        let Self { tree, containers, reader, store, kernel, unclear, page_bytes, .. } = self;
        let page_bytes = *page_bytes;
        let (figures, covered, elements) = pass(kernel);
        let passed = clock::boot_ns();
        let mut success = true;
        let mut pods: HashMap<CgroupId, CgroupId> = HashMap::new();
        unclear.clear();
        let mut read = |id, what| {
            // A cgroup that the pass had no room for, or that is younger, is read from its files.
            let found = figures.of(id);
            let statistics = found.and_then(|found| elements.as_ref()?.read(found, page_bytes));
            let covered = found
                .map_or_else(Covered::default, |found| covered.with(found, statistics.is_some()));
            let mut sample = Sample::default();
            if !covered.all() {
                // A removed cgroup has no path any more; its last figures are in the store.
                let dir = tree.path(id)?;
                if found.is_some() && !covered.statistics && unclear.len() < LEARN_MAX {
                    unclear.push(id);
                }
                sample = match reader.sample_rest(id, &dir, what, covered) {
                    Ok(sample) => sample,
                    Err(ReadError::Vanished { .. }) => return None,
                    Err(error) => {
                        tracing::debug!(%error, "a cgroup was not read");
                        success = false;
                        return None;
                    }
                };
            }
            if let Some(found) = found {
                figures::fill(&mut sample, found, statistics.as_ref(), covered, page_bytes);
            }
            Some(sample)
        };
        for (&id, _) in containers.iter().filter(|(_, container)| container.is_shown()) {
            if let Some(pod) = tree.pod_of(id) {
                pods.insert(pod, id);
            }
            if let Some(sample) = read(id, Detail::Container) {
                store.sample(id, sample);
            }
        }
        for (pod, container) in pods {
            let names = containers.get(&container).and_then(super::Container::shown_pod);
            let Some((namespace, name)) = names else { continue };
            if let Some(sample) = read(pod, Detail::Pod) {
                store.pod_sample(pod, namespace, name, sample);
            }
        }
        if let Some(elements) = elements {
            finish_comparing(elements, compared, &figures, page_bytes);
        }
        let end = clock::boot_ns();
        self.runs.files = Some((end.saturating_sub(passed), success));
        if !figures.is_empty() {
            self.runs.snapshot = Some(passed.saturating_sub(begin));
        }
    }

    /// Makes the kernel add up the CPU time and the memory statistics of all cgroups, which it does
    /// when `cpu.stat` and `memory.stat` of one above are read (kernel/cgroup/rstat.c). That of the
    /// hierarchy's root does not (6.18, 7.3), so in host mode each top-level cgroup's is read.
    fn flush(&self) {
        if self.kernel.as_ref().is_none_or(|kernel| kernel.snapshot.is_none()) {
            return;
        }
        let is_root = |entry: &Entry| entry.parent.is_none();
        let tops = self.tree.iter().filter(|(_, entry)| match self.options.mode {
            Mode::Kubernetes => is_root(entry),
            Mode::Host => {
                entry.parent.and_then(|parent| self.tree.get(parent)).is_some_and(is_root)
            }
        });
        for (id, _) in tops {
            if let Some(path) = self.tree.path(id) {
                for file in ["cpu.stat", "memory.stat"] {
                    // What is gone has no figures to add up, and not all have memory.
                    let _ = std::fs::read(path.join(file));
                }
            }
        }
    }

    fn stats(&self) -> NodeStats {
        let mut stats = NodeStats {
            version: env!("CARGO_PKG_VERSION"),
            cgroups_tracked: Some(self.tree.len() as u64),
            cgroups_unresolved: self.unresolved
                + self.containers.values().filter(|c| c.waits()).count() as u64,
            cgroup_files_read: self.reader.stats().reads,
            collectors: vec![
                CollectorStats {
                    name: "cgroup_files",
                    duration_ns: self.runs.files.map(|(duration, _)| duration),
                    success: self.runs.files.is_none_or(|(_, success)| success),
                },
                CollectorStats {
                    name: "cgroup_snapshot",
                    duration_ns: self.runs.snapshot,
                    success: self.kernel.as_ref().is_some_and(|kernel| kernel.snapshot.is_some()),
                },
            ],
            pod_metadata_age_ns: self.pod_metadata_age_ns(clock::boot_ns()),
            pods_dropped: self.pods.dropped(),
            events_unseen: vec![("oom_kill", self.unseen_oom_kills)],
            process: ProcessStats::read(),
            ..NodeStats::default()
        };
        if let Some((_, pulse)) = &self.options.pods {
            let failing = self.pods.failing(pulse.last_boot_ns());
            let success = self.pods.listed() && failing.is_none();
            stats.collectors.push(CollectorStats { name: "pods", duration_ns: None, success });
        }
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
