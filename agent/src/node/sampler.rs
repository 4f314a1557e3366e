//! The sampler: reads the resource usage of every shown cgroup, by one iterator run where the kernel
//! can, from files for the rest.

use std::path::{Path, PathBuf};

use crate::bpf::snapshot::{Snapshot, Stats};
use crate::cgroup::{
    CgroupId,
    files::Parts,
    reader::{Detail, ReadError, Reader, ReaderStats},
    sample::MemoryStat,
    sample::Sample,
    snapshot,
    statistics::Elements,
    tree::Tree,
};
use crate::clock::boot_ns;
use crate::kernel::host;
use crate::lifecycle::subject::Subject;

/// Cgroups that are compared in a round at the start; of those that are unclear, as many at a
/// collection.
const LEARN_MAX: usize = 16;
/// Rounds of comparing at the start.
const ROUNDS: usize = 4;

/// The last runs of the collectors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Runs {
    /// Duration, and whether every file was read that is there.
    pub(super) files: Option<(u64, bool)>,
    /// Duration of the last iterator run.
    pub(super) snapshot: Option<u64>,
}

/// A cgroup whose `memory.stat` was read before an iterator run.
struct Compared {
    id: CgroupId,
    dir: PathBuf,
    before: MemoryStat,
}

/// The sampler: the cgroup iterator and the files, and what was learned of both.
pub(super) struct Sampler {
    reader: Reader,
    /// The parts of a sample that a collector exports.
    wanted: Parts,
    /// The cgroup iterator, where there is one and once there is a root to begin at.
    snapshot: Option<Snapshot>,
    /// The parts of a sample that an iterator run has, so that their files need not be read.
    covered: Parts,
    /// The array elements that `memory.stat` is read from in an iterator run.
    elements: Elements,
    /// Cgroups whose `memory.stat` the last run did not tell.
    unclear: Vec<CgroupId>,
    /// The last that was compared in turn.
    compared_last: CgroupId,
    page_bytes: u64,
    runs: Runs,
}

impl Sampler {
    /// A sampler of the `wanted` parts. `covered` and `elements` are what the kernel's types say of an
    /// iterator run.
    pub(super) fn new(max_fds: usize, wanted: Parts, covered: Parts, elements: Elements) -> Self {
        // Where nobody wants `memory.stat` there is nothing to learn of it.
        let elements = if wanted.memory_stat { elements } else { Elements::none() };
        Self {
            reader: Reader::new(max_fds).wanting(wanted),
            wanted,
            snapshot: None,
            covered,
            elements,
            unclear: Vec::new(),
            compared_last: CgroupId(0),
            page_bytes: host::page_bytes(),
            runs: Runs::default(),
        }
    }

    /// Takes the iterator, bound to the root that is watched; `None` takes it away.
    pub(super) fn set_snapshot(&mut self, snapshot: Option<Snapshot>) {
        self.snapshot = snapshot;
    }

    /// The parts of a sample that a collector exports.
    pub(super) fn wanted(&self) -> Parts {
        self.wanted
    }

    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The parts of a sample that come from an iterator run; the others come from files.
    pub(super) fn covered(&self) -> Parts {
        if self.has_snapshot() { self.covered } else { Parts::NONE }
    }

    pub(super) fn runs(&self) -> Runs {
        self.runs
    }

    pub(super) fn reader_stats(&self) -> ReaderStats {
        self.reader.stats()
    }

    /// A cgroup is removed: its files are closed.
    pub(super) fn forget(&mut self, id: CgroupId) {
        self.reader.forget(id);
    }

    /// The counters of a container at its end.
    pub(super) fn read_last(&mut self, id: CgroupId, dir: &Path) -> Option<Sample> {
        match self.reader.read_last(id, dir) {
            Ok(sample) => Some(sample),
            Err(error) => {
                tracing::debug!(%error, "the last counters were gone");
                None
            }
        }
    }

    /// Samples the subjects: one iterator run, then the files that it does not cover.
    pub(super) fn sample<'a>(
        &mut self,
        tree: &Tree,
        subjects: impl Iterator<Item = &'a Subject>,
        mut sampled: impl FnMut(&Subject, &Sample),
    ) {
        if self.wanted == Parts::NONE {
            return;
        }
        let begin = boot_ns();
        let compared = self.begin_comparing(tree);
        self.flush(tree);
        let Self { reader, snapshot, covered, elements, unclear, page_bytes, runs, .. } = self;
        let page_bytes = *page_bytes;
        let mut failed = false;
        let (stats, covered) = match snapshot.as_mut().map(Snapshot::pass) {
            Some(Ok(stats)) => (stats, *covered),
            Some(Err(error)) => {
                tracing::warn!(%error, "the cgroup iterator failed: files are read from now on");
                failed = true;
                Default::default()
            }
            None => Default::default(),
        };
        let ran = boot_ns();
        let mut success = true;
        unclear.clear();
        for subject in subjects {
            let Some(id) = subject.cgroup() else { continue };
            // A cgroup that the run had no room for, or that is younger, is read from its files.
            let found = stats.of(id);
            let statistics = found.and_then(|found| elements.read(found, page_bytes));
            let covered = found.map_or_else(
                || Parts::NONE,
                |found| snapshot::parts_of(covered, found, statistics.is_some()),
            );
            let mut sample = Sample::default();
            if reader.wants_more(covered) {
                // A removed cgroup has no path any more; its last counters are published.
                let Some(dir) = tree.path(id) else { continue };
                if found.is_some() && !covered.memory_stat && unclear.len() < LEARN_MAX {
                    unclear.push(id);
                }
                let detail = match subject {
                    Subject::Container(_) => Detail::Container,
                    Subject::Pod(_) | Subject::Planned(_) => Detail::Pod,
                };
                sample = match reader.sample_rest(id, &dir, detail, covered) {
                    Ok(sample) => sample,
                    Err(ReadError::Vanished { .. }) => continue,
                    Err(error) => {
                        tracing::debug!(%error, "a cgroup was not read");
                        success = false;
                        continue;
                    }
                };
            }
            if let Some(found) = found {
                snapshot::fill(&mut sample, found, statistics.as_ref(), covered, page_bytes);
            }
            sampled(subject, &sample);
        }
        finish_comparing(elements, compared, &stats, page_bytes);
        runs.files = Some((boot_ns().saturating_sub(ran), success));
        if !stats.is_empty() {
            runs.snapshot = Some(ran.saturating_sub(begin));
        }
        drop(stats);
        if failed {
            *snapshot = None;
        }
    }

    /// Makes the kernel add up the CPU time and the memory statistics of all cgroups, which it does
    /// when `cpu.stat` and `memory.stat` of one above are read (kernel/cgroup/rstat.c). That of the
    /// hierarchy's root does not (6.18, 7.3), so each top-level cgroup's is read that holds some
    /// which are shown.
    fn flush(&self, tree: &Tree) {
        if !self.has_snapshot() {
            return;
        }
        let files = [("cpu.stat", self.wanted.cpu), ("memory.stat", self.wanted.memory_stat)];
        for path in tree.tops().into_iter().filter_map(|id| tree.path(id)) {
            for (file, _) in files.iter().filter(|(_, wanted)| *wanted) {
                // What is gone has nothing to add up, and not all have memory.
                let _ = std::fs::read(path.join(file));
            }
        }
    }

    /// Learns where `memory.stat` is in the kernel's arrays from the cgroups that are there, so
    /// that the first scrape need not.
    pub(super) fn learn_statistics(&mut self, tree: &Tree) {
        let mut chosen = Vec::new();
        for round in 0..ROUNDS {
            if self.elements.settled() {
                return;
            }
            // What differs has to differ twice in the same cgroup.
            if round % 2 == 0 {
                chosen = self.in_turn(tree, LEARN_MAX);
            }
            let compared = self.read_statistics(tree, &chosen);
            let Some(snapshot) = &mut self.snapshot else { return };
            // If it fails, the first scrape will say so.
            let Ok(stats) = snapshot.pass() else { return };
            finish_comparing(&mut self.elements, compared, &stats, self.page_bytes);
        }
    }

    /// Reads the files of those that are to be compared at a collection: those in which the last
    /// one found that the elements that are left differ, since they are the ones to learn from, and
    /// one of all, whose turn it is.
    fn begin_comparing(&mut self, tree: &Tree) -> Vec<Compared> {
        let mut chosen = std::mem::take(&mut self.unclear);
        let mut next = self.in_turn(tree, 1);
        // Twice in a collection would count as two.
        next.retain(|next| !chosen.contains(next));
        chosen.append(&mut next);
        self.read_statistics(tree, &chosen)
    }

    /// The next cgroups in the order of their ids, and so by and by all.
    fn in_turn(&mut self, tree: &Tree, count: usize) -> Vec<CgroupId> {
        let mut chosen = Vec::new();
        for _ in 0..count.min(tree.len()) {
            let ids = || tree.iter().map(|(id, _)| id);
            let next = ids().filter(|id| *id > self.compared_last).min().or_else(|| ids().min());
            let Some(next) = next else { break };
            self.compared_last = next;
            chosen.push(next);
        }
        chosen
    }

    fn read_statistics(&self, tree: &Tree, cgroups: &[CgroupId]) -> Vec<Compared> {
        if self.snapshot.is_none() || !self.elements.usable() {
            return Vec::new();
        }
        let read = |&id: &CgroupId| {
            let dir = tree.path(id)?;
            let before = Reader::read_memory_stat(&dir)?;
            Some(Compared { id, dir, before })
        };
        cgroups.iter().filter_map(read).collect()
    }
}

/// Reads the files again, now that the iterator run is over.
fn finish_comparing(
    elements: &mut Elements,
    compared: Vec<Compared>,
    stats: &Stats<'_>,
    page_bytes: u64,
) {
    let usable = elements.usable();
    for Compared { id, dir, before } in compared {
        let after = Reader::read_memory_stat(&dir);
        if let (Some(stats), Some(after)) = (stats.of(id), after) {
            elements.learn(stats, &before, &after, page_bytes);
        }
    }
    if usable && !elements.usable() {
        tracing::warn!(
            "the kernel's memory statistics are not where they are looked for: memory.stat is \
             read from the files"
        );
    }
}
