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
        for _ in 0..ROUNDS {
            if self.kernel.as_ref().is_none_or(|kernel| kernel.elements.settled()) {
                return;
            }
            let compared = self.begin_comparing(LEARN_MAX);
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

    /// Reads the files of those that are to be compared: those in which the last look found that
    /// the elements that are left differ, since they are the ones to learn from, and some of all,
    /// whose turn it is.
    pub(super) fn begin_comparing(&mut self, in_turn: usize) -> Vec<Compared> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        if kernel.snapshot.is_none() || !kernel.elements.usable() {
            return Vec::new();
        }
        let mut chosen = std::mem::take(&mut self.unclear);
        for _ in 0..in_turn.min(self.tree.len()) {
            let ids = || self.tree.iter().map(|(id, _)| id);
            let next = ids().filter(|id| *id > self.compared_last).min().or_else(|| ids().min());
            let Some(next) = next else { break };
            self.compared_last = next;
            // Twice in a look would count as two looks.
            if !chosen.contains(&next) {
                chosen.push(next);
            }
        }
        let read = |id| {
            let dir = self.tree.path(id)?;
            let before = Reader::read_statistics(&dir)?;
            Some(Compared { id, dir, before })
        };
        chosen.into_iter().filter_map(read).collect()
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
