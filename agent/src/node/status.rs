//! The state of the agent itself: for its own metrics, and for the landing page.

use std::path::PathBuf;

use super::Node;
use crate::bpf::programs::Attached;
use crate::bpf::subjects::{SUBJECTS, SubjectId};
use crate::cgroup::snapshot;
use crate::clock::Now;
use crate::kernel::host;
use crate::metrics::agent::{AgentStats, CollectorStats};
use crate::metrics::collector::Collector;
use crate::metrics::probe::source::ProbeStats;
use crate::metrics::process::ProcessStats;
use crate::probe::Counts;

impl Node {
    /// The rows of the landing page.
    #[must_use]
    pub fn facts(&mut self, now: Now) -> Vec<(String, String)> {
        self.now = now;
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut facts = vec![
            fact("kernel", host::release().unwrap_or_default()),
            fact("kernel events", self.kernel_events()),
            fact("names", self.names_source()),
            fact("mode", self.tracking.tree().mode().describe().to_owned()),
            fact("cgroup root", crate::escape::path(&self.options.cgroup_root)),
            fact("cgroups", self.tracking.tree().len().to_string()),
            fact(
                "cgroups tracked by the kernel side",
                self.tracking.tracked_ids().len().to_string(),
            ),
            fact("walks over all cgroups", self.tracking.walks().to_string()),
            fact("containers", self.registry.shown_containers().to_string()),
            fact("without a name yet", self.registry.waiting().count().to_string()),
            fact("cgroups in no known form", self.unclassified()),
            fact("cgroups without a known place", self.tracking.unplaced().to_string()),
            fact("the kubelet's connections", self.kubelet.describe()),
            fact("times that they were found", self.kubelet.attached().to_string()),
        ];
        let traces = if self.publish.trace_stats().is_some() { "sent" } else { "off" };
        facts.push(fact("traces", traces.to_owned()));
        let off = Collector::ALL.into_iter().filter(|it| !self.options.store.collectors.has(*it));
        let off: Vec<&str> = off.map(Collector::name).collect();
        facts.push(fact("collectors that are off", off.join(", ")));
        let (series, hidden) = self.publish.room();
        facts.push(fact("series", series));
        if hidden > 0 {
            let hidden =
                format!("{hidden} for want of room for their series: raise --metrics.max-series");
            facts.push(fact("containers hidden", hidden));
        }
        let wanted = snapshot::describe(self.sampler.wanted());
        for ((values, by_run), (_, is_wanted)) in
            snapshot::describe(self.sampler.covered()).into_iter().zip(wanted)
        {
            let source = match (is_wanted, by_run) {
                (false, _) => "not read: its collector is off",
                (true, true) => "one run of the cgroup iterator",
                (true, false) => "its files",
            };
            facts.push(fact(values, source.into()));
        }
        let Some(kernel) = self.tracking.kernel() else { return facts };
        for attached in &kernel.programs.attached {
            let state = match &attached.outcome {
                Ok(_) if !kernel.programs.runs(attached) => {
                    "loaded, and not attached now".to_owned()
                }
                Ok(_) if attached.lost.is_empty() => "attached".to_owned(),
                Ok(_) => format!("attached; lost: {}", attached.lost),
                Err(why) if attached.lost.is_empty() => format!("not attached: {why}"),
                Err(why) => format!("not attached: {why}; lost: {}", attached.lost),
            };
            facts.push(fact(&format!("program {}", attached.name()), state));
        }
        facts
    }

    /// Whether there are any, for people.
    fn kernel_events(&self) -> String {
        let Some(kernel) = self.tracking.kernel() else {
            return "none; see podvitals check".to_owned();
        };
        format!("by {} of {} programs", kernel.attached(), kernel.programs.attached.len())
    }

    /// Cgroups that look like a container's and are in no known form, for people.
    fn unclassified(&self) -> String {
        let tree = self.tracking.tree();
        let cgroups = tree.unclassified();
        list(cgroups.len(), cgroups.filter_map(|id| tree.path_below_root(id)))
    }

    /// Whether the cgroup iterator is not switched off: by `--cgroup.source files`, or with all
    /// collectors that read cgroups.
    fn iterator_is_wanted(&self) -> bool {
        let attached = self.tracking.kernel().map(|kernel| &kernel.programs.attached);
        attached.is_none_or(|attached| {
            let iterator = attached.iter().find(|it| it.subject.id == SubjectId::CgroupIter);
            iterator.is_none_or(|it| it.outcome.is_ok() || !it.lost.is_empty())
        })
    }

    pub(super) fn stats(&self) -> AgentStats {
        let runs = self.sampler.runs();
        let kernel = self.tracking.kernel();
        let losses = kernel.map(|kernel| kernel.programs.losses()).unwrap_or_default();
        let mut stats = AgentStats {
            version: env!("CARGO_PKG_VERSION"),
            traces: self.publish.trace_stats(),
            cgroups_tracked: self.tracking.tree().len() as u64,
            cgroups_unresolved: self.tracking.unplaced()
                + (self.registry.waiting().count() + self.tracking.tree().unclassified().len())
                    as u64,
            cgroup_reader: self.sampler.reader_stats(),
            collectors: vec![CollectorStats {
                name: "cgroup_files",
                duration_ns: runs.files.map(|(duration, _)| duration),
                success: runs.files.is_none_or(|(_, success)| success),
            }],
            pod_metadata_age_ns: self.pod_metadata_age_ns(),
            wall: self.shown_wall.offset(),
            pods_dropped: self.pods.dropped(),
            pod_items_dropped: self.pods.rejections().counts().collect(),
            events_dropped: vec![
                ("unmatched", self.lifecycle.unmatched()),
                ("early_full", self.lifecycle.early_dropped()),
                ("waiting_full", self.registry.facts_dropped()),
                ("share_signal", losses.share_signals),
                ("share_cgroup", losses.share_cgroups),
                ("nested_full", losses.nested_full + self.tracking.nested_refused()),
            ],
            evidence_dropped: [
                &self.reasons.dropped()[..],
                &self.lifecycle.dropped(),
                &self.probes.dropped(),
            ]
            .concat(),
            events_unseen: vec![("oom_kill", self.tracking.unseen_oom_kills())],
            log_lines_dropped: crate::log::dropped().to_vec(),
            process: ProcessStats::read(),
            ..AgentStats::default()
        };
        if self.iterator_is_wanted() {
            stats.collectors.push(CollectorStats {
                name: "cgroup_iterator",
                duration_ns: runs.snapshot,
                success: self.sampler.has_snapshot(),
            });
        }
        if self.options.probes && self.options.pods.is_some() {
            let counts = |counts: &Counts| counts.iter().map(|(it, n)| (it.label(), n)).collect();
            stats.probes = Some(ProbeStats {
                source: self.kubelet.state().source(),
                reason: self.kubelet.reason(),
                connections: counts(self.probes.connections()),
                exec_sessions: counts(self.probes.sessions()),
            });
        }
        if let Some((_, last_contact)) = &self.options.pods {
            let failing = self.pods.failing(last_contact.last_boot_ns());
            let success = self.pods.listed() && failing.is_none();
            stats.collectors.push(CollectorStats { name: "pods", duration_ns: None, success });
        }
        if let Some(kernel) = kernel {
            let attached = &kernel.programs.attached;
            let kubelet = self.kubelet.state().is_found();
            let told = |it: &Attached| {
                let runs = kernel.programs.runs(it);
                (runs || kernel.programs.is_missed(it, kubelet)).then(|| (it.name(), runs))
            };
            stats.programs = attached.iter().filter_map(told).collect();
            for (count, (_, received)) in
                stats.events_received.iter_mut().zip(kernel.rings.received())
            {
                *count = received;
            }
            stats.events_lost =
                vec![("ring_full", losses.ring_full), ("tracked_full", losses.tracked_full)];
            if let Some(counts) = kernel.programs.connection_counts() {
                stats.events_lost.push(("probe_ring_full", counts.ring_full));
                stats.events_lost.push(("probe_sockets_full", counts.sockets_full));
            }
            stats.events_rejected = kernel.rings.rejected().collect();
        } else {
            let wanted = SUBJECTS.iter().filter(|it| it.id != SubjectId::InetSockSetState);
            stats.programs = wanted.map(|subject| (subject.id.name(), false)).collect();
        }
        stats
    }
}

/// The number of paths and the first of them, as text: whoever may make a cgroup chooses its name.
fn list(count: usize, paths: impl Iterator<Item = PathBuf>) -> String {
    const LISTED_MAX: usize = 8;
    const PATH_MAX: usize = 200;
    let listed: Vec<_> = paths
        .take(LISTED_MAX)
        .map(|path| {
            let path = crate::escape::path(&path);
            // The end tells more than the beginning, which many have in common.
            match path.char_indices().rev().nth(PATH_MAX) {
                Some((from, _)) => format!("…{}", path.get(from..).unwrap_or_default()),
                None => path,
            }
        })
        .collect();
    match count {
        0 => "none".into(),
        count if count > LISTED_MAX => format!("{count}, among them {}", listed.join(", ")),
        count => format!("{count}: {}", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    #[test]
    fn a_list_of_paths_is_bounded_and_printable() {
        assert_eq!(list(0, std::iter::empty()), "none");
        let hostile = Path::new(OsStr::from_bytes(b"a/<b>\x1b[2J\xff\xe2\x80\xae"));
        assert_eq!(list(1, std::iter::once(hostile.into())), r"1: a/<b>\x1b[2J\xff\xe2\x80\xae");
        let long = PathBuf::from(format!("{}/end", "x".repeat(4000)));
        let many = list(1000, std::iter::repeat_n(long, 1000));
        assert!(many.starts_with("1000, among them …x") && many.ends_with("/end"), "{many}");
        assert!(many.len() < 2000, "{}", many.len());
    }
}
