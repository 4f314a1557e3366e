//! Comparing the kernel's arrays with `memory.stat`, so that the files need not be read.

use std::path::PathBuf;

use super::Node;
use crate::bpf::snapshot::Figures;
use crate::cgroup::{CgroupId, files::MemoryStat, reader::Reader, statistics::Elements};

/// Cgroups that are compared in a round at the start; of those that are unclear, as many at a look.
pub(super) const LEARN_MAX: usize = 16;
/// Rounds of comparing at the start.
const ROUNDS: usize = 4;

/// A cgroup whose file was read before a pass.
pub(super) struct Compared {
    id: CgroupId,
    dir: PathBuf,
    before: MemoryStat,
}

impl Node {
    /// Learns from the cgroups that are there, so that the first scrape need not.
    pub(super) fn learn_statistics(&mut self) {
        let mut chosen = Vec::new();
        for round in 0..ROUNDS {
            if self.kernel.as_ref().is_none_or(|kernel| kernel.elements.settled()) {
                return;
            }
            // What differs has to differ twice in the same cgroup.
            if round % 2 == 0 {
                chosen = self.in_turn(LEARN_MAX);
            }
            let compared = self.read_statistics(&chosen);
            let page_bytes = self.page_bytes;
            let Some(kernel) = &mut self.kernel else { return };
            let Some(snapshot) = &mut kernel.snapshot else { return };
            if snapshot.pass().is_err() {
                // The first scrape will say so.
                return;
            }
            finish_comparing(&mut kernel.elements, compared, &snapshot.figures(), page_bytes);
        }
    }

    /// Reads the files of those that are to be compared at a look: those in which the last look
    /// found that the elements that are left differ, since they are the ones to learn from, and
    /// one of all, whose turn it is.
    pub(super) fn begin_comparing(&mut self) -> Vec<Compared> {
        let mut chosen = std::mem::take(&mut self.unclear);
        let mut next = self.in_turn(1);
        // Twice in a look would count as two looks.
        next.retain(|next| !chosen.contains(next));
        chosen.append(&mut next);
        self.read_statistics(&chosen)
    }

    /// The next cgroups in the order of their ids, and so by and by all.
    fn in_turn(&mut self, count: usize) -> Vec<CgroupId> {
        let mut chosen = Vec::new();
        for _ in 0..count.min(self.tree.len()) {
            let ids = || self.tree.iter().map(|(id, _)| id);
            let next = ids().filter(|id| *id > self.compared_last).min().or_else(|| ids().min());
            let Some(next) = next else { break };
            self.compared_last = next;
            chosen.push(next);
        }
        chosen
    }

    fn read_statistics(&self, cgroups: &[CgroupId]) -> Vec<Compared> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        if kernel.snapshot.is_none() || !kernel.elements.usable() {
            return Vec::new();
        }
        let read = |&id: &CgroupId| {
            let dir = self.tree.path(id)?;
            let before = Reader::read_statistics(&dir)?;
            Some(Compared { id, dir, before })
        };
        cgroups.iter().filter_map(read).collect()
    }
}

/// Reads the files again, now that the pass is over.
pub(super) fn finish_comparing(
    elements: &mut Elements,
    compared: Vec<Compared>,
    figures: &Figures<'_>,
    page_bytes: u64,
) {
    let usable = elements.usable();
    for Compared { id, dir, before } in compared {
        let after = Reader::read_statistics(&dir);
        if let (Some(figures), Some(after)) = (figures.of(id), after) {
            elements.learn(figures, &before, &after, page_bytes);
        }
    }
    if usable && !elements.usable() {
        tracing::warn!(
            "the kernel's memory statistics are not where they are looked for: memory.stat is \
             read from the files"
        );
    }
}
