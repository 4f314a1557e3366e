//! Conversion of cgroup stats from an iterator run into samples.
//!
//! Pure. A value is taken from here only if it was shown to equal that of the kernel's file. Stall
//! times are at most 2 s behind the file: the kernel sums them up every 2 s, or when the file is
//! read (kernel/sched/psi.c, `PSI_FREQ`).

use agent_common::snapshot::{
    CgroupStats, HAS_BANDWIDTH, HAS_MEMORY, HAS_PIDS, HAS_PRESSURE, HAS_STATISTICS,
};

use super::files::Parts;
use super::sample::{MemoryEvents, MemoryStat, Pressure, Sample};

/// Parts of a sample that an iterator run provides, from the controllers whose offsets are known
/// (`HAS_*` bits).
#[must_use]
pub const fn parts(known: u64) -> Parts {
    Parts {
        cpu: known & HAS_BANDWIDTH != 0,
        memory: known & HAS_MEMORY != 0,
        memory_stat: known & HAS_STATISTICS != 0,
        pids: known & HAS_PIDS != 0,
        pressure: known & HAS_PRESSURE != 0,
        other: false,
    }
}

/// Parts of a sample that an iterator run provides for one cgroup; `memory_stat` is whether its
/// `memory.stat` is known. Without a memory controller there is no such file.
#[must_use]
pub const fn parts_of(known: Parts, stats: &CgroupStats, memory_stat: bool) -> Parts {
    let memory_stat = known.memory_stat && (memory_stat || stats.has & HAS_MEMORY == 0);
    Parts { memory_stat, ..known }
}

/// Description of each part, with a flag: in the set, or read from the files.
#[must_use]
pub const fn describe(parts: Parts) -> [(&'static str, bool); 5] {
    [
        ("CPU time, throttling, CPU limit", parts.cpu),
        ("memory usage, limits, peak, swap, events", parts.memory),
        ("tasks and their limit", parts.pids),
        ("anonymous, file, shared and kernel memory, faults", parts.memory_stat),
        ("pressure", parts.pressure),
    ]
}

/// Value of a bandwidth quota for "no limit": `RUNTIME_INF` (kernel/sched/sched.h).
const NO_QUOTA: u64 = u64::MAX;
/// Value of a page counter's maximum for "no limit": `PAGE_COUNTER_MAX`, which is `LONG_MAX /
/// PAGE_SIZE` (include/linux/page_counter.h).
#[must_use]
pub const fn no_page_limit(page_bytes: u64) -> u64 {
    i64::MAX.cast_unsigned() / page_bytes
}
/// Value of a task limit for "no limit": `PIDS_MAX` (kernel/cgroup/pids.c), one more than any pid,
/// at most 4194304 + 1.
const NO_TASK_LIMIT: u64 = 4_194_305;

/// Fills in the parts of a sample that the iterator run provides, whose files were not read;
/// `memory_stat` has the values of the cgroup's `memory.stat`.
pub fn fill(
    sample: &mut Sample,
    stats: &CgroupStats,
    memory_stat: Option<&MemoryStat>,
    parts: Parts,
    page_bytes: u64,
) {
    if parts.cpu {
        sample.cpu.usage_us = Some(stats.cpu_usage_ns / 1000);
        if stats.has & HAS_BANDWIDTH != 0 {
            sample.cpu.periods = Some(stats.periods.into());
            sample.cpu.throttled_periods = Some(stats.throttled_periods.into());
            sample.cpu.throttled_us = Some(stats.throttled_ns / 1000);
            if stats.quota_ns != NO_QUOTA {
                sample.cpu.quota_us = Some(stats.quota_ns / 1000);
                sample.cpu.period_us = Some(stats.period_ns / 1000);
            }
        }
    }
    if parts.memory && stats.has & HAS_MEMORY != 0 {
        let bytes = |pages: u64| Some(pages.saturating_mul(page_bytes));
        let limit =
            |pages: u64| if pages >= no_page_limit(page_bytes) { None } else { bytes(pages) };
        let memory = &mut sample.memory;
        memory.usage_bytes = bytes(stats.memory_pages);
        memory.limit_bytes = limit(stats.memory_max_pages);
        memory.peak_bytes = bytes(stats.memory_peak_pages);
        memory.swap_bytes = bytes(stats.swap_pages);
        memory.swap_limit_bytes = limit(stats.swap_max_pages);
        memory.events = Some(MemoryEvents {
            high: Some(stats.events_high),
            max: Some(stats.events_max),
            oom: Some(stats.events_oom),
            oom_kill: Some(stats.events_oom_kill),
        });
    }
    if parts.pids && stats.has & HAS_PIDS != 0 {
        sample.tasks = Some(stats.tasks);
        sample.tasks_limit = (stats.tasks_max < NO_TASK_LIMIT).then_some(stats.tasks_max);
    }
    if parts.memory_stat
        && let Some(stat) = memory_stat
    {
        sample.memory.set_stat(stat);
    }
    if parts.pressure && stats.has & HAS_PRESSURE != 0 {
        let [cpu, memory, memory_full, io, io_full] = stats.stalls_ns.map(|ns| Some(ns / 1000));
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

    fn filled(stats: &CgroupStats, known: Parts) -> Sample {
        let mut sample = Sample::default();
        sample.memory.inactive_file_bytes = Some(PAGE);
        fill(&mut sample, stats, None, known, PAGE);
        sample
    }

    #[test]
    fn units_are_those_of_the_files() {
        let stats = CgroupStats {
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
            ..CgroupStats::default()
        };
        let sample = filled(&stats, parts(ALL));
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
    fn no_limit_and_no_controller_are_no_value() {
        let stats = CgroupStats {
            has: HAS_BANDWIDTH | HAS_PIDS,
            quota_ns: NO_QUOTA,
            period_ns: 100_000_000,
            tasks_max: NO_TASK_LIMIT,
            ..CgroupStats::default()
        };
        let sample = filled(&stats, parts(ALL));
        assert_eq!((sample.cpu.quota_us, sample.cpu.period_us), (None, None));
        assert_eq!(sample.memory.usage_bytes, None);
        assert_eq!((sample.tasks, sample.tasks_limit), (Some(0), None));
        assert_eq!(sample.cpu_pressure, Pressure::default(), "the kernel keeps none");
    }

    #[test]
    fn memory_stat_is_read_where_the_iterator_does_not_provide_it() {
        let known = parts(ALL);
        let with_memory = CgroupStats { has: ALL, ..CgroupStats::NONE };
        assert_eq!(parts_of(known, &with_memory, true), Parts::OTHER.complement());
        assert!(!parts_of(known, &with_memory, false).memory_stat);
        assert!(parts_of(known, &CgroupStats::NONE, false).memory_stat, "there is no such file");
        assert_eq!(parts_of(Parts::NONE, &with_memory, true), Parts::NONE);

        let stat = MemoryStat {
            anon_bytes: Some(1),
            faults: Some(9),
            major_faults: Some(2),
            ..MemoryStat::default()
        };
        let mut sample = Sample::default();
        fill(&mut sample, &with_memory, Some(&stat), known, PAGE);
        assert_eq!((sample.memory.anon_bytes, sample.memory.minor_faults), (Some(1), Some(7)));
    }

    #[test]
    fn parts_from_files_are_left_alone() {
        let mut sample = Sample { tasks: Some(3), ..Sample::default() };
        let stats = CgroupStats { has: ALL, tasks: 99, ..CgroupStats::default() };
        fill(&mut sample, &stats, None, Parts::NONE, PAGE);
        assert_eq!(sample.tasks, Some(3));
        assert_eq!(sample.cpu.usage_us, None);
    }
}
