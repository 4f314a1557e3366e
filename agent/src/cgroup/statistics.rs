//! Elements of the kernel's own arrays from which `memory.stat` is computed.
//!
//! The kernel keeps the values of a memory cgroup's `memory.stat` in two compact arrays, and finds
//! an item in them through tables that no type describes: `mem_cgroup_events_index` on all kernels
//! with a cgroup iterator, `mem_cgroup_stats_index` since that array became compact as well
//! (mm/memcontrol.c; not in 6.1, in 6.12). The tables' addresses are visible with CAP_SYSLOG only.
//! So the elements are learned: a cgroup's arrays are compared with its `memory.stat`, and an
//! element that differs is ruled out.
//!
//! A value is never guessed. As long as several elements are left for a line, a cgroup in which
//! they all have the same value still has an answer, whichever is the right one; where they differ,
//! its file is read. The comparison goes on as long as the agent runs, with one cgroup at each
//! collection.
//!
//! Pure.

use std::collections::VecDeque;

use agent_common::snapshot::{CgroupStats, HAS_STATISTICS, STATE_MAX, VM_EVENTS_MAX};

use super::sample::MemoryStat;

/// Number of the lines of `memory.stat` that are used, in the order of [`values`].
const LINES: usize = 7;
/// Number of those lines that are in `state`, in pages; the others are in `events`.
const STATE_LINES: usize = 5;
/// Limit of lines that no element fitted; after it, the arrays are not used at all.
const CONTRADICTIONS_MAX: u32 = 3;

/// Number of cgroups whose doubts are kept.
const DOUBTS_MAX: usize = 64;

/// Elements of one line that are not ruled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// Bits of the elements that are left.
    left: u64,
    /// Flag: all of them differed in the last comparison, in any cgroup.
    none_fitted: bool,
}

/// Elements of each line, one bit for each, that differed in the last comparison of a cgroup.
///
/// A value may have changed twice between two equal readings of the file, so one comparison is not
/// enough. The second has to be in the same cgroup: one in which all elements are 0 proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    cgroup_id: u64,
    lines: [u64; LINES],
}

/// Knowledge of the arrays: the elements that are left for each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    lines: [Line; LINES],
    begin: [u64; LINES],
    /// Doubts of the cgroups compared lately; the newest is the last.
    doubts: VecDeque<Doubt>,
    contradictions: u32,
}

impl Elements {
    /// Elements of arrays of these lengths. `state` has the elements of `anon`, `file`, `kernel`,
    /// `shmem` and `inactive_file` where the kernel's types have them.
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

    /// Elements of unknown arrays, which are never used.
    #[must_use]
    pub fn none() -> Self {
        Self::new(0, 0, None)
    }

    /// Whether the arrays may be used at all; otherwise the files are read.
    #[must_use]
    pub const fn usable(&self) -> bool {
        self.contradictions < CONTRADICTIONS_MAX
    }

    /// Whether each line has one element left.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.usable() && self.lines.iter().all(|line| line.left.is_power_of_two())
    }

    /// Compares a cgroup's arrays with its file, which had the values `before` before they were
    /// read and `after` afterwards. A line that changed meanwhile proves nothing.
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

    /// Values of the cgroup's `memory.stat`; `None` if its file has to be read.
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

/// Value of an element as in the file. A sum over CPUs may be below 0 for a moment, and is 0 then
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
