//! Reads what a cgroup used, from its files.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::CgroupId;
use super::figures::Covered;
use super::files::{self, CpuMax, FileName, MemoryStat};
use super::handles::{Handles, Pass, Shared};
use super::sample::{MemoryEvents, Pressure, Sample};

pub use super::handles::ReadError;

/// How much of a [`Sample`] is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All of it: 14 files.
    Container,
    /// Limits, memory and its events: `cpu.max`, `memory.current`, `.max`, `.stat`, `.events`.
    Pod,
}

impl Detail {
    /// How many files, and so file descriptors, a cgroup has at most.
    #[must_use]
    pub fn files(self) -> usize {
        match self {
            Self::Container => FileName::COUNT,
            Self::Pod => 5,
        }
    }
}

/// What was read in vain, in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadErrors {
    /// Cgroups that were gone.
    pub vanished: u64,
    /// Files and directories that may not be read.
    pub permission: u64,
    /// Files that could not be understood.
    pub malformed: u64,
    /// Files and directories that the kernel refused for another reason.
    pub other: u64,
}

/// How the reader fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Files that are kept open now.
    pub open_fds: usize,
    /// Files read for samples, in total.
    pub reads: u64,
    /// What was read in vain, in total.
    pub read_errors: ReadErrors,
    /// How often a cgroup was left without kept files, for want of file descriptors.
    pub evictions: u64,
}

/// Reads samples and keeps the files open in between.
///
/// A file that does not exist is a figure that is `None`, and is looked for again every 60th
/// sample. A file that cannot be understood is `None` too, counted, and logged once for each name.
pub struct Reader {
    cgroups: HashMap<CgroupId, Handles>,
    shared: Shared,
}

impl Reader {
    /// A reader that keeps at most `max_fds` files open. Cgroups beyond that are read by opening
    /// and closing their files each time, which takes two file descriptors for a moment.
    #[must_use]
    pub fn new(max_fds: usize) -> Self {
        Self { cgroups: HashMap::new(), shared: Shared::new(max_fds) }
    }

    /// Reads the cgroup whose directory is `dir`.
    ///
    /// # Errors
    /// The cgroup is gone (it is then forgotten), or its directory cannot be opened. A single
    /// file is never an error.
    pub fn sample(&mut self, id: CgroupId, dir: &Path, what: Detail) -> Result<Sample, ReadError> {
        self.sample_rest(id, dir, what, Covered::default())
    }

    /// As [`Self::sample`], without the files whose figures another source has.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_rest(
        &mut self,
        id: CgroupId,
        dir: &Path,
        what: Detail,
        covered: Covered,
    ) -> Result<Sample, ReadError> {
        let handles = self.cgroups.entry(id).or_insert_with(Handles::new);
        let pass = Pass::new(id, dir, what.files(), handles, &mut self.shared);
        let result = match what {
            Detail::Container => container(pass, covered),
            Detail::Pod => pod(pass, covered),
        };
        if let Err(error) = &result {
            let errors = &mut self.shared.errors;
            match error {
                ReadError::Vanished { .. } => {
                    errors.vanished += 1;
                    self.forget(id);
                }
                ReadError::Permission { .. } => errors.permission += 1,
                ReadError::Other { .. } => errors.other += 1,
            }
        }
        result
    }

    /// The last figures of a container that ended. The kept files work until the directory is
    /// removed, so this should not wait.
    ///
    /// # Errors
    /// As [`Self::sample`]: too late is [`ReadError::Vanished`].
    pub fn read_last(&mut self, id: CgroupId, dir: &Path) -> Result<Sample, ReadError> {
        self.sample(id, dir, Detail::Container)
    }

    /// Reads `memory.stat` once, without keeping it open. `None` if it is not there or malformed.
    #[must_use]
    pub fn read_statistics(dir: &Path) -> Option<MemoryStat> {
        let bytes = fs::read(dir.join("memory.stat")).ok()?;
        files::memory_stat(&bytes).ok()
    }

    /// Reads `memory.events.local`, the events of this cgroup without those below, once. `None`
    /// if it is not there (before Linux 5.2, no memory controller, cgroup gone) or malformed.
    #[must_use]
    pub fn read_events_local(dir: &Path) -> Option<MemoryEvents> {
        let bytes = fs::read(dir.join("memory.events.local")).ok()?;
        files::memory_events(&bytes).ok()
    }

    /// Closes what is kept of a cgroup.
    pub fn forget(&mut self, id: CgroupId) {
        if let Some(mut handles) = self.cgroups.remove(&id) {
            self.shared.open_fds = self.shared.open_fds.saturating_sub(handles.close());
        }
    }

    /// Looks for a cgroup's missing files at its next sample already: a controller was enabled.
    pub fn retry_absent(&mut self, id: CgroupId) {
        if let Some(handles) = self.cgroups.get_mut(&id) {
            handles.retry_absent();
        }
    }

    /// How it fares.
    #[must_use]
    pub fn stats(&self) -> ReaderStats {
        ReaderStats {
            open_fds: self.shared.open_fds,
            reads: self.shared.reads,
            read_errors: self.shared.errors,
            evictions: self.shared.evictions,
        }
    }
}

fn container(mut pass: Pass<'_>, covered: Covered) -> Result<Sample, ReadError> {
    use FileName::{
        CpuPressure, CpuStat, IoPressure, MemoryPeak, MemoryPressure, MemorySwapCurrent,
        MemorySwapMax, PidsCurrent, PidsMax,
    };
    let mut sample = Sample::default();
    limits_and_memory(&mut pass, covered, &mut sample)?;
    if !covered.cpu
        && let Some(stat) = pass.figure(CpuStat, files::cpu_stat)?
    {
        sample.cpu.usage_us = stat.usage_us;
        sample.cpu.periods = stat.periods;
        sample.cpu.throttled_periods = stat.throttled_periods;
        sample.cpu.throttled_us = stat.throttled_us;
    }
    if !covered.memory {
        sample.memory.swap_bytes = single(&mut pass, MemorySwapCurrent)?;
        sample.memory.swap_limit_bytes = single(&mut pass, MemorySwapMax)?;
        sample.memory.peak_bytes = single(&mut pass, MemoryPeak)?;
    }
    if !covered.pressure {
        let cpu_pressure = pass.figure(CpuPressure, files::pressure)?.unwrap_or_default();
        sample.cpu_pressure = Pressure { full_us: None, ..cpu_pressure };
        sample.memory_pressure = pass.figure(MemoryPressure, files::pressure)?.unwrap_or_default();
        sample.io_pressure = pass.figure(IoPressure, files::pressure)?.unwrap_or_default();
    }
    if !covered.pids {
        sample.tasks = single(&mut pass, PidsCurrent)?;
        sample.tasks_limit = single(&mut pass, PidsMax)?;
    }
    pass.finish()?;
    Ok(sample)
}

fn pod(mut pass: Pass<'_>, covered: Covered) -> Result<Sample, ReadError> {
    let mut sample = Sample::default();
    limits_and_memory(&mut pass, covered, &mut sample)?;
    pass.finish()?;
    Ok(sample)
}

fn limits_and_memory(
    pass: &mut Pass<'_>,
    covered: Covered,
    sample: &mut Sample,
) -> Result<(), ReadError> {
    if !covered.cpu
        && let Some(CpuMax { quota_us, period_us }) =
            pass.figure(FileName::CpuMax, files::cpu_max)?.flatten()
    {
        sample.cpu.quota_us = Some(quota_us);
        sample.cpu.period_us = Some(period_us);
    }
    let memory = &mut sample.memory;
    if !covered.statistics
        && let Some(stat) = pass.figure(FileName::MemoryStat, files::memory_stat)?
    {
        memory.set_statistics(&stat);
    }
    if !covered.memory {
        memory.usage_bytes = single(pass, FileName::MemoryCurrent)?;
        memory.limit_bytes = single(pass, FileName::MemoryMax)?;
        memory.events = pass.figure(FileName::MemoryEvents, files::memory_events)?;
    }
    memory.set_working_set();
    Ok(())
}

fn single(pass: &mut Pass<'_>, file: FileName) -> Result<Option<u64>, ReadError> {
    Ok(pass.figure(file, |bytes| files::single(file, bytes))?.flatten())
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reader_live_tests.rs"]
mod live_tests;
