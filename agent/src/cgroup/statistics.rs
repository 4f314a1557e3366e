//! Which elements of the kernel's own arrays `memory.stat` is made from.
//!
//! The kernel keeps a memory cgroup's statistics in two compact arrays, and finds an item in them
//! through tables that no type describes: `mem_cgroup_events_index` on all kernels with a cgroup
//! iterator, `mem_cgroup_stats_index` since they were made compact as well (mm/memcontrol.c; not in
//! 6.1, in 6.12). The tables' addresses are told to CAP_SYSLOG only. So the elements are learned:
//! a cgroup's arrays are compared with its `memory.stat`, and an element that differs is out.
//!
//! This never guesses. As long as several elements are left for a line, a cgroup in which they all
//! have the same value still has an answer, whichever is the right one; where they differ, its file
//! is read. Comparing goes on for as long as the agent runs, one cgroup at each look.
//!
//! Pure.

use std::collections::VecDeque;

use agent_common::snapshot::{CgroupStats, HAS_STATISTICS, STATE_MAX, VM_EVENTS_MAX};

use super::sample::MemoryStat;

/// The lines of `memory.stat` that are wanted, in the order of [`values`].
const LINES: usize = 7;
/// Those of them that are in `state`, in pages; the others are in `events`.
const STATE_LINES: usize = 5;
/// After as many lines that no element fitted, the arrays are not what they are taken for.
const CONTRADICTIONS_MAX: u32 = 3;

/// As many cgroups' doubts are kept.
const DOUBTS_MAX: usize = 64;

/// One line's elements that have not been refuted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// One bit for each.
    left: u64,
    /// All of them differed the last time, in whichever cgroup.
    none_fitted: bool,
}

/// The elements of each line, one bit for each, that differed when a cgroup was last compared.
///
/// A value may have changed twice between two readings of the file that are equal, so once is not
/// enough. The second time has to be in the same cgroup: others, in which all elements are 0, have
/// nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    cgroup_id: u64,
    lines: [u64; LINES],
}

/// What is known of the arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    lines: [Line; LINES],
    begin: [u64; LINES],
    /// The newest is the last.
    doubts: VecDeque<Doubt>,
    contradictions: u32,
}

impl Elements {
    /// For arrays with so many elements. `state` are the elements of `anon`, `file`, `kernel`,
    /// `shmem` and `inactive_file` where the kernel's types tell them.
    #[must_use]
    pub fn new(state_length: u32, events_length: u32, state: Option<[u32; STATE_LINES]>) -> Self {
        let all = |length: u32, room: usize| match length {
            0 => 0,
            length if length as usize > room => 0,
            length => u64::MAX >> (u64::BITS - length),
        };
        let states = all(state_length, STATE_MAX);
        let mut begin = [all(events_length, VM_EVENTS_MAX); LINES];
        for (line, bits) in begin.iter_mut().take(STATE_LINES).enumerate() {
            let known = state.and_then(|state| 1_u64.checked_shl(*state.get(line)?));
            *bits = known.map_or(states, |bit| bit & states);
        }
        let contradictions = if begin.contains(&0) { CONTRADICTIONS_MAX } else { 0 };
        Self { lines: begin.map(Line::all), begin, doubts: VecDeque::new(), contradictions }
    }

    /// Nothing is known, and nothing will be.
    #[must_use]
    pub fn none() -> Self {
        Self::new(0, 0, None)
    }

    /// Whether the arrays may serve at all: else the files have to.
    #[must_use]
    pub const fn usable(&self) -> bool {
        self.contradictions < CONTRADICTIONS_MAX
    }

    /// Whether each line has one element left.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.usable() && self.lines.iter().all(|line| line.left.is_power_of_two())
    }

    /// Compares a cgroup's arrays with its file, which said `before` before they were read and
    /// `after` afterwards. A line that changed meanwhile proves nothing.
    pub fn learn(
        &mut self,
        stats: &CgroupStats,
        before: &MemoryStat,
        after: &MemoryStat,
        page_bytes: u64,
    ) {
        if !self.usable() || stats.has & HAS_STATISTICS == 0 {
            return;
        }
        let known = self.doubts.iter().position(|doubt| doubt.cgroup_id == stats.cgroup_id);
        let known = known.and_then(|at| self.doubts.remove(at));
        let mut doubted = known.map_or([0; LINES], |doubt| doubt.lines);
        let pairs = values(before).into_iter().zip(values(after));
        let lines = self.lines.iter_mut().zip(self.begin).zip(&mut doubted);
        for (number, (((line, begin), doubted), (one, other))) in lines.zip(pairs).enumerate() {
            let (Some(one), true) = (one, one == other) else { continue };
            let fits = |element| value(stats, number, element, page_bytes) == Some(one);
            let differ = bits(line.left).filter(|element| !fits(*element));
            let differ = differ.fold(0, |bits, element| bits | 1 << element);
            if differ != line.left {
                line.left &= !(differ & *doubted);
                line.none_fitted = false;
            } else if line.none_fitted {
                *line = Line::all(begin);
                self.contradictions += 1;
            } else {
                line.none_fitted = true;
            }
            *doubted = differ & line.left;
        }
        if doubted != [0; LINES] {
            if self.doubts.len() == DOUBTS_MAX {
                self.doubts.pop_front();
            }
            self.doubts.push_back(Doubt { cgroup_id: stats.cgroup_id, lines: doubted });
        }
    }

    /// What `memory.stat` would say; `None` if its file has to be read.
    #[must_use]
    pub fn read(&self, stats: &CgroupStats, page_bytes: u64) -> Option<MemoryStat> {
        if !self.usable() || stats.has & HAS_STATISTICS == 0 {
            return None;
        }
        let agreed = |line: usize| {
            let left = self.lines.get(line)?.left;
            let mut values = bits(left).map(|element| value(stats, line, element, page_bytes));
            let first = values.next()??;
            values.all(|other| other == Some(first)).then_some(first)
        };
        Some(MemoryStat {
            anon_bytes: Some(agreed(0)?),
            file_bytes: Some(agreed(1)?),
            kernel_bytes: Some(agreed(2)?),
            shmem_bytes: Some(agreed(3)?),
            inactive_file_bytes: Some(agreed(4)?),
            faults: Some(agreed(5)?),
            major_faults: Some(agreed(6)?),
        })
    }
}

impl Line {
    const fn all(left: u64) -> Self {
        Self { left, none_fitted: false }
    }
}

const fn values(stat: &MemoryStat) -> [Option<u64>; LINES] {
    [
        stat.anon_bytes,
        stat.file_bytes,
        stat.kernel_bytes,
        stat.shmem_bytes,
        stat.inactive_file_bytes,
        stat.faults,
        stat.major_faults,
    ]
}

/// An element as the file would show it. Sums over CPUs may be below 0 for a moment: 0 then
/// (mm/memcontrol.c, `memcg_page_state`).
fn value(stats: &CgroupStats, line: usize, element: u32, page_bytes: u64) -> Option<u64> {
    if line < STATE_LINES {
        let pages = stats.state.get(element as usize)?;
        Some(u64::try_from(*pages).unwrap_or(0).saturating_mul(page_bytes))
    } else {
        stats.vm_events.get(element as usize).copied()
    }
}

fn bits(of: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(of), |left| Some(left & left.wrapping_sub(1)))
        .take_while(|left| *left != 0)
        .map(u64::trailing_zeros)
}

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;
