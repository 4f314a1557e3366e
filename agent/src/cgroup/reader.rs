//! Reader of cgroup files.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::CgroupId;
use super::files::{self, FILES, Parts};
use super::handles::{Handles, Run, Shared};
use super::sample::{MemoryEvents, MemoryStat, Sample};

pub use super::handles::{ReadError, ReadErrors};

/// Extent of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Sample of all files, for a container.
    Container,
    /// Sample of limits, memory and its events, for a Pod.
    Pod,
}

impl Detail {
    /// Maximum number of files, and so of file descriptors, of one cgroup.
    #[must_use]
    pub fn files(self) -> usize {
        FILES.iter().filter(|file| self.has(file)).count()
    }

    const fn has(self, file: &files::File) -> bool {
        match self {
            Self::Container => true,
            Self::Pod => file.of_pod,
        }
    }
}

/// Counts of the reader's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Number of files that are kept open now.
    pub open_fds: usize,
    /// Files read for samples, in total.
    pub reads: u64,
    /// Failed reads, in total.
    pub read_errors: ReadErrors,
    /// Times that a cgroup was left without open files, for lack of file descriptors.
    pub evictions: u64,
}

/// Reader of samples, which keeps the files open in between.
///
/// The values of a file that does not exist are `None`, and it is tried again every 60th sample. A
/// file that cannot be parsed is `None` too, counted, and logged once for each name.
pub struct Reader {
    cgroups: HashMap<CgroupId, Handles>,
    shared: Shared,
    /// Parts whose files are read.
    wanted: Parts,
}

impl Reader {
    /// Reader that keeps at most `max_fds` files open. Cgroups beyond that are read by opening
    /// and closing their files each time, which takes two file descriptors for a moment.
    #[must_use]
    pub fn new(max_fds: usize) -> Self {
        Self { cgroups: HashMap::new(), shared: Shared::new(max_fds), wanted: Parts::ALL }
    }

    /// Reader limited to the files of these parts.
    #[must_use]
    pub fn wanting(self, wanted: Parts) -> Self {
        Self { wanted, ..self }
    }

    /// Whether files are left to read where another source covers those parts.
    #[must_use]
    pub fn wants_more(&self, covered: Parts) -> bool {
        FILES.iter().any(|file| file.part.meets(self.wanted) && !file.part.meets(covered))
    }

    /// Reads the cgroup whose directory is `dir`.
    ///
    /// # Errors
    /// If the cgroup is gone (it is then forgotten), or its directory cannot be opened. A single
    /// file is never an error.
    pub fn sample(&mut self, id: CgroupId, dir: &Path, what: Detail) -> Result<Sample, ReadError> {
        self.sample_rest(id, dir, what, Parts::NONE)
    }

    /// Reads as [`Self::sample`], without the parts that another source covers.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_rest(
        &mut self,
        id: CgroupId,
        dir: &Path,
        what: Detail,
        covered: Parts,
    ) -> Result<Sample, ReadError> {
        let handles = self.cgroups.entry(id).or_insert_with(Handles::new);
        let wanted = self.wanted;
        let is_read = |file: &files::File| {
            what.has(file) && file.part.meets(wanted) && !file.part.meets(covered)
        };
        let run = Run::new(id, dir, what.files(), handles, &mut self.shared);
        let result = read(run, is_read);
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

    /// Reads the last sample of a container that ended. The open files work until the directory is
    /// removed, so call this at once.
    ///
    /// # Errors
    /// As [`Self::sample`]; [`ReadError::Vanished`] if it is too late.
    pub fn read_last(&mut self, id: CgroupId, dir: &Path) -> Result<Sample, ReadError> {
        self.sample(id, dir, Detail::Container)
    }

    /// Reads `memory.stat` once, without keeping it open. `None` if it is not there or malformed.
    #[must_use]
    pub fn read_memory_stat(dir: &Path) -> Option<MemoryStat> {
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

    /// Closes a cgroup's open files and forgets it.
    pub fn forget(&mut self, id: CgroupId) {
        if let Some(mut handles) = self.cgroups.remove(&id) {
            self.shared.open_fds = self.shared.open_fds.saturating_sub(handles.close());
        }
    }

    /// Retries a cgroup's missing files at its next sample already: a controller was enabled.
    pub fn retry_absent(&mut self, id: CgroupId) {
        if let Some(handles) = self.cgroups.get_mut(&id) {
            handles.retry_absent();
        }
    }

    /// Counts of the reader's work.
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

/// Reads the selected files into a sample.
fn read(mut run: Run<'_>, is_read: impl Fn(&files::File) -> bool) -> Result<Sample, ReadError> {
    let mut sample = Sample::default();
    let mut any = false;
    for (at, file) in FILES.iter().enumerate().filter(|(_, file)| is_read(file)) {
        any = true;
        run.file(at, file, &mut sample)?;
    }
    if any {
        run.finish()?;
    }
    sample.memory.set_working_set();
    Ok(sample)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reader_live_tests.rs"]
mod live_tests;
