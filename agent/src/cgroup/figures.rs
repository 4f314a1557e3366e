//! From the kernel's own figures of a cgroup, as one pass of the iterator gives them, to a sample.
//!
//! Pure. A figure is taken from here only if it was shown equal to the kernel's file. Stall times
//! are behind it by 2 s at most: the kernel adds them up that often, or when the file is read
//! (kernel/sched/psi.c, `PSI_FREQ`).

use agent_common::snapshot::{
    CgroupFigures, HAS_BANDWIDTH, HAS_MEMORY, HAS_PIDS, HAS_PRESSURE, HAS_STATISTICS,
};

use super::files::MemoryStat;
use super::sample::{MemoryEvents, Pressure, Sample};

/// Which files need not be read, since the figures say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// `cpu.max` and `cpu.stat`.
    pub cpu: bool,
    /// `memory.current`, `.max`, `.peak`, `.swap.current`, `.swap.max` and `.events`.
    pub memory: bool,
    /// `pids.current` and `pids.max`.
    pub pids: bool,
    /// `cpu.pressure`, `memory.pressure` and `io.pressure`.
    pub pressure: bool,
    /// `memory.stat`.
    pub statistics: bool,
}

impl Covered {
    /// By a pass that knows the offsets of these controllers (`HAS_*` bits).
    #[must_use]
    pub const fn by(known: u64) -> Self {
        Self {
            cpu: known & HAS_BANDWIDTH != 0,
            memory: known & HAS_MEMORY != 0,
            pids: known & HAS_PIDS != 0,
            pressure: known & HAS_PRESSURE != 0,
            statistics: known & HAS_STATISTICS != 0,
        }
    }

    /// For one cgroup, of which `memory.stat` is told or not. Without a memory controller it has
    /// no such file.
    #[must_use]
    pub const fn with(self, figures: &CgroupFigures, statistics: bool) -> Self {
        let statistics = self.statistics && (statistics || figures.has & HAS_MEMORY == 0);
        Self { statistics, ..self }
    }

    /// Whether no file need be read.
    #[must_use]
    pub const fn all(self) -> bool {
        self.cpu && self.memory && self.pids && self.pressure && self.statistics
    }

    /// What there is to show of a cgroup, and whether a pass says it; else its files do.
    #[must_use]
    pub const fn sources(self) -> [(&'static str, bool); 5] {
        [
            ("CPU time, throttling, CPU limit", self.cpu),
            ("memory usage, limits, peak, swap, events", self.memory),
            ("tasks and their limit", self.pids),
            ("anonymous, file, shared and kernel memory, faults", self.statistics),
            ("pressure", self.pressure),
        ]
    }
}

/// The kernel's word for "no limit" of a bandwidth quota: `RUNTIME_INF` (kernel/sched/sched.h).
const NO_QUOTA: u64 = u64::MAX;
/// `PAGE_COUNTER_MAX` (include/linux/page_counter.h): `LONG_MAX / PAGE_SIZE`.
const fn no_page_limit(page_bytes: u64) -> u64 {
    i64::MAX.cast_unsigned() / page_bytes
}
/// `PIDS_MAX` (kernel/cgroup/pids.c) is one more than any pid: at most 4194304 + 1.
const NO_TASK_LIMIT: u64 = 4_194_305;

/// Fills in what the figures say. `covered` says which files were not read for it; `statistics` is
/// what they say of `memory.stat`.
pub fn fill(
    sample: &mut Sample,
    figures: &CgroupFigures,
    statistics: Option<&MemoryStat>,
    covered: Covered,
    page_bytes: u64,
) {
    if covered.cpu {
        sample.cpu.usage_us = Some(figures.cpu_usage_ns / 1000);
        if figures.has & HAS_BANDWIDTH != 0 {
            sample.cpu.periods = Some(figures.periods.into());
            sample.cpu.throttled_periods = Some(figures.throttled_periods.into());
            sample.cpu.throttled_us = Some(figures.throttled_ns / 1000);
            if figures.quota_ns != NO_QUOTA {
                sample.cpu.quota_us = Some(figures.quota_ns / 1000);
                sample.cpu.period_us = Some(figures.period_ns / 1000);
            }
        }
    }
    if covered.memory && figures.has & HAS_MEMORY != 0 {
        let bytes = |pages: u64| Some(pages.saturating_mul(page_bytes));
        let limit =
            |pages: u64| if pages >= no_page_limit(page_bytes) { None } else { bytes(pages) };
        let memory = &mut sample.memory;
        memory.usage_bytes = bytes(figures.memory_pages);
        memory.limit_bytes = limit(figures.memory_max_pages);
        memory.peak_bytes = bytes(figures.memory_peak_pages);
        memory.swap_bytes = bytes(figures.swap_pages);
        memory.swap_limit_bytes = limit(figures.swap_max_pages);
        memory.events = Some(MemoryEvents {
            high: Some(figures.events_high),
            max: Some(figures.events_max),
            oom: Some(figures.events_oom),
            oom_kill: Some(figures.events_oom_kill),
        });
    }
    if covered.pids && figures.has & HAS_PIDS != 0 {
        sample.tasks = Some(figures.tasks);
        sample.tasks_limit = (figures.tasks_max < NO_TASK_LIMIT).then_some(figures.tasks_max);
    }
    if covered.statistics
        && let Some(statistics) = statistics
    {
        sample.memory.set_statistics(statistics);
    }
    if covered.pressure && figures.has & HAS_PRESSURE != 0 {
        let [cpu, memory, memory_full, io, io_full] = figures.stalls_ns.map(|ns| Some(ns / 1000));
        sample.cpu_pressure = Pressure { some_us: cpu, full_us: None };
        sample.memory_pressure = Pressure { some_us: memory, full_us: memory_full };
        sample.io_pressure = Pressure { some_us: io, full_us: io_full };
    }
    sample.memory.set_working_set();
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const ALL: u64 = HAS_BANDWIDTH | HAS_MEMORY | HAS_PIDS | HAS_PRESSURE | HAS_STATISTICS;

    fn filled(figures: &CgroupFigures, covered: Covered) -> Sample {
        let mut sample = Sample::default();
        sample.memory.inactive_file_bytes = Some(PAGE);
        fill(&mut sample, figures, None, covered, PAGE);
        sample
    }

    #[test]
    fn units_are_those_of_the_files() {
        let figures = CgroupFigures {
            has: ALL,
            cpu_usage_ns: 1_234_567,
            quota_ns: 50_000_000,
            period_ns: 100_000_000,
            throttled_ns: 7_000,
            periods: 9,
            throttled_periods: 4,
            memory_pages: 3,
            memory_max_pages: 10,
            swap_max_pages: no_page_limit(PAGE),
            events_oom_kill: 2,
            tasks: 5,
            tasks_max: 64,
            stalls_ns: [1_000, 2_000, 3_000, 4_000, 5_999],
            ..CgroupFigures::default()
        };
        let sample = filled(&figures, Covered::by(ALL));
        assert_eq!(sample.cpu_pressure, Pressure { some_us: Some(1), full_us: None });
        assert_eq!(sample.memory_pressure, Pressure { some_us: Some(2), full_us: Some(3) });
        assert_eq!(sample.io_pressure, Pressure { some_us: Some(4), full_us: Some(5) });
        assert_eq!(sample.cpu.usage_us, Some(1_234));
        assert_eq!((sample.cpu.quota_us, sample.cpu.period_us), (Some(50_000), Some(100_000)));
        assert_eq!((sample.cpu.periods, sample.cpu.throttled_us), (Some(9), Some(7)));
        assert_eq!(sample.memory.usage_bytes, Some(3 * PAGE));
        assert_eq!(sample.memory.working_set_bytes, Some(2 * PAGE));
        assert_eq!(sample.memory.limit_bytes, Some(10 * PAGE));
        assert_eq!(sample.memory.swap_limit_bytes, None);
        assert_eq!(sample.memory.events.and_then(|events| events.oom_kill), Some(2));
        assert_eq!((sample.tasks, sample.tasks_limit), (Some(5), Some(64)));
    }

    #[test]
    fn no_limit_and_no_controller_are_no_figure() {
        let figures = CgroupFigures {
            has: HAS_BANDWIDTH | HAS_PIDS,
            quota_ns: NO_QUOTA,
            period_ns: 100_000_000,
            tasks_max: NO_TASK_LIMIT,
            ..CgroupFigures::default()
        };
        let sample = filled(&figures, Covered::by(ALL));
        assert_eq!((sample.cpu.quota_us, sample.cpu.period_us), (None, None));
        assert_eq!(sample.memory.usage_bytes, None);
        assert_eq!((sample.tasks, sample.tasks_limit), (Some(0), None));
        assert_eq!(sample.cpu_pressure, Pressure::default(), "told to keep none");
    }

    #[test]
    fn the_file_of_statistics_is_read_where_they_are_not_told() {
        let covered = Covered::by(ALL);
        let with_memory = CgroupFigures { has: ALL, ..CgroupFigures::NONE };
        assert!(covered.with(&with_memory, true).all());
        assert!(!covered.with(&with_memory, false).statistics);
        assert!(covered.with(&CgroupFigures::NONE, false).statistics, "there is no such file");
        assert!(!Covered::default().with(&with_memory, true).statistics);

        let stat = MemoryStat {
            anon_bytes: Some(1),
            faults: Some(9),
            major_faults: Some(2),
            ..MemoryStat::default()
        };
        let mut sample = Sample::default();
        fill(&mut sample, &with_memory, Some(&stat), covered, PAGE);
        assert_eq!((sample.memory.anon_bytes, sample.memory.minor_faults), (Some(1), Some(7)));
    }

    #[test]
    fn what_the_files_said_is_left_alone() {
        let mut sample = Sample { tasks: Some(3), ..Sample::default() };
        let figures = CgroupFigures { has: ALL, tasks: 99, ..CgroupFigures::default() };
        fill(&mut sample, &figures, None, Covered::default(), PAGE);
        assert_eq!(sample.tasks, Some(3));
        assert_eq!(sample.cpu.usage_us, None);
    }
}
