//! Handles of one cgroup's files, kept open: read again at offset 0 instead of opened again.
//!
//! An open file belongs to its cgroup, not to its path: after the cgroup is removed, a read fails
//! with ENODEV, even if another cgroup has the same path by then. A read also fails with ENODEV
//! when only the file was removed, because its controller was disabled or pressure was turned off
//! (kernel/cgroup/cgroup.c, `cgroup_addrm_files`, `cgroup_file_show`). So the directory decides
//! whether the cgroup is gone.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use super::CgroupId;
use super::files::{self, FILES};
use super::sample::Sample;

/// Number of samples after which a missing file is tried again: controllers can be enabled at any
/// time.
const RETRY_SAMPLES: u32 = 60;

/// Initial size of the buffer in bytes; `memory.stat` has 2 to 4 KiB.
const FIRST_BUFFER: usize = 8 << 10;

/// Maximum size of the buffer in bytes; all files of a cgroup are far smaller.
const MAX_BUFFER: usize = 1 << 20;

/// Failed reads, in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadErrors {
    /// Cgroups that were gone.
    pub vanished: u64,
    /// Files and directories that may not be read.
    pub permission: u64,
    /// Files that could not be parsed.
    pub malformed: u64,
    /// Files and directories that the kernel refused for another reason.
    pub other: u64,
}

/// Error of a cgroup that gave no sample at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The cgroup is gone, or another has its path.
    #[error("the cgroup {} is gone", crate::escape::path(path))]
    Vanished {
        /// Directory of the cgroup.
        path: PathBuf,
    },
    /// The cgroup's directory may not be opened.
    #[error("no permission to open {}", crate::escape::path(path))]
    Permission {
        /// Directory of the cgroup.
        path: PathBuf,
    },
    /// The cgroup's directory cannot be opened.
    #[error("cannot open {}", crate::escape::path(path))]
    Other {
        /// Directory of the cgroup.
        path: PathBuf,
        /// Error of the system call.
        source: Errno,
    },
}

enum Slot {
    Unopened,
    Open(File),
    Absent { again_at: u32 },
}

enum Keeping {
    Undecided,
    Kept,
    /// Files are opened, read and closed each time.
    Transient {
        again_at: u32,
    },
}

/// Kept files of one cgroup.
pub(super) struct Handles {
    slots: [Slot; FILES.len()],
    keeping: Keeping,
    samples: u32,
}

impl Handles {
    pub(super) fn new() -> Self {
        Self {
            slots: [const { Slot::Unopened }; FILES.len()],
            keeping: Keeping::Undecided,
            samples: 0,
        }
    }

    /// Closes all files; returns their number.
    pub(super) fn close(&mut self) -> usize {
        let mut closed = 0;
        for slot in &mut self.slots {
            if matches!(slot, Slot::Open(_)) {
                *slot = Slot::Unopened;
                closed += 1;
            }
        }
        closed
    }

    /// Tries missing files again at the next sample.
    pub(super) fn retry_absent(&mut self) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Absent { .. }) {
                *slot = Slot::Unopened;
            }
        }
    }

    fn again_at(&self) -> u32 {
        self.samples.wrapping_add(RETRY_SAMPLES)
    }

    fn is_due(&self, again_at: u32) -> bool {
        // This holds after the counter has wrapped, too.
        self.samples.wrapping_sub(again_at) < u32::MAX / 2
    }

    #[expect(clippy::indexing_slicing, reason = "there are as many slots as files")]
    fn slot(&mut self, file: usize) -> &mut Slot {
        &mut self.slots[file]
    }
}

/// State that all cgroups share.
pub(super) struct Shared {
    buffer: Vec<u8>,
    pub(super) max_fds: usize,
    pub(super) open_fds: usize,
    pub(super) reads: u64,
    pub(super) evictions: u64,
    pub(super) errors: ReadErrors,
    /// Bits of the files that were warned about.
    warned: u32,
}

impl Shared {
    pub(super) fn new(max_fds: usize) -> Self {
        let buffer = vec![0; FIRST_BUFFER];
        let errors = ReadErrors::default();
        Self { buffer, max_fds, open_fds: 0, reads: 0, evictions: 0, errors, warned: 0 }
    }

    fn warn(&mut self, file: usize, dir: &Path, error: &(dyn std::error::Error + 'static)) {
        let bit = 1 << file;
        if self.warned & bit == 0 {
            self.warned |= bit;
            tracing::warn!(
                file = FILES.get(file).map(|file| file.name),
                dir = crate::escape::path(dir),
                error,
                "a cgroup file cannot be read: its values are missing; logged once per file name"
            );
        }
    }
}

/// Run over the files of one cgroup, for one sample.
pub(super) struct Run<'a> {
    id: CgroupId,
    path: &'a Path,
    handles: &'a mut Handles,
    shared: &'a mut Shared,
    /// Directory of the cgroup, opened when it is first needed.
    dir: Option<OwnedFd>,
    read_any: bool,
    /// Flag: a file was missing, so the cgroup may be gone.
    in_doubt: bool,
}

impl<'a> Run<'a> {
    /// Starts a sample that reads `files` files.
    pub(super) fn new(
        id: CgroupId,
        path: &'a Path,
        files: usize,
        handles: &'a mut Handles,
        shared: &'a mut Shared,
    ) -> Self {
        handles.samples = handles.samples.wrapping_add(1);
        let room = shared.open_fds.saturating_add(files) <= shared.max_fds;
        let keeping = match handles.keeping {
            Keeping::Undecided if room => Keeping::Kept,
            Keeping::Undecided => {
                shared.evictions += 1;
                Keeping::Transient { again_at: handles.samples }
            }
            Keeping::Transient { again_at } if room && handles.is_due(again_at) => Keeping::Kept,
            Keeping::Transient { again_at } => Keeping::Transient { again_at },
            Keeping::Kept => Keeping::Kept,
        };
        handles.keeping = keeping;
        Self { id, path, handles, shared, dir: None, read_any: false, in_doubt: false }
    }

    /// Reads file number `at` and parses it into the sample. A missing or malformed file leaves the
    /// sample as it is.
    pub(super) fn file(
        &mut self,
        at: usize,
        file: &files::File,
        sample: &mut Sample,
    ) -> Result<(), ReadError> {
        let Some(length) = self.read(at, file.name)? else { return Ok(()) };
        self.read_any = true;
        let bytes = self.shared.buffer.get(..length).unwrap_or_default();
        if let Err(error) = (file.parse)(bytes, sample) {
            self.shared.errors.malformed += 1;
            self.shared.warn(at, self.path, &error);
        }
        Ok(())
    }

    /// Ends the sample. A cgroup that was removed in the middle of it has vanished; the files
    /// missed until then mean nothing for the next sample, so the caller forgets the handles.
    pub(super) fn finish(self) -> Result<(), ReadError> {
        let sure = self.read_any && !self.in_doubt;
        if sure || self.is_there() { Ok(()) } else { Err(self.vanished()) }
    }

    /// Reads a file into the buffer; returns the number of bytes, `None` if it cannot be read.
    fn read(&mut self, file: usize, name: &str) -> Result<Option<usize>, ReadError> {
        let read = match self.handles.slot(file) {
            Slot::Open(open) => read_whole(open, &mut self.shared.buffer),
            Slot::Absent { again_at } => {
                let again_at = *again_at;
                if !self.handles.is_due(again_at) {
                    return Ok(None);
                }
                return self.open_and_read(file, name);
            }
            Slot::Unopened => return self.open_and_read(file, name),
        };
        match read {
            Ok(length) => {
                self.shared.reads += 1;
                Ok(Some(length))
            }
            Err(errno) => {
                self.failed(file, errno);
                Ok(None)
            }
        }
    }

    fn open_and_read(&mut self, file: usize, name: &str) -> Result<Option<usize>, ReadError> {
        let open = match self.open(name)? {
            Err(errno) if out_of_fds(errno) => {
                self.fall_back();
                self.open(name)?
            }
            other => other,
        };
        let read = open.and_then(|open| Ok((read_whole(&open, &mut self.shared.buffer)?, open)));
        match read {
            Ok((length, open)) => {
                self.shared.reads += 1;
                let keep = matches!(self.handles.keeping, Keeping::Kept)
                    && self.shared.open_fds < self.shared.max_fds;
                *self.handles.slot(file) = if keep {
                    self.shared.open_fds += 1;
                    Slot::Open(open)
                } else {
                    Slot::Unopened
                };
                Ok(Some(length))
            }
            Err(errno) => {
                self.failed(file, errno);
                Ok(None)
            }
        }
    }

    fn open(&mut self, name: &str) -> Result<Result<File, Errno>, ReadError> {
        let dir = match self.dir.take() {
            Some(dir) => dir,
            None => self.open_dir()?,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let open = openat(&dir, name, flags, Mode::empty()).map(File::from);
        self.dir = Some(dir);
        Ok(open)
    }

    /// Opens the directory, and checks that it is this cgroup's: a restarted service has a new
    /// cgroup with the old path.
    fn open_dir(&mut self) -> Result<OwnedFd, ReadError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = open(self.path, flags, Mode::empty());
        if matches!(dir, Err(errno) if out_of_fds(errno)) {
            self.fall_back();
            dir = open(self.path, flags, Mode::empty());
        }
        let path = || self.path.to_owned();
        match dir.and_then(|dir| Ok((nix::sys::stat::fstat(&dir)?.st_ino, dir))) {
            Ok((ino, dir)) if ino == self.id.0 => Ok(dir),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV) => Err(self.vanished()),
            Err(Errno::EACCES | Errno::EPERM) => Err(ReadError::Permission { path: path() }),
            Err(source) => Err(ReadError::Other { path: path(), source }),
        }
    }

    fn failed(&mut self, file: usize, errno: Errno) {
        match errno {
            Errno::ENOENT | Errno::ENODEV => self.in_doubt = true,
            // Pressure (PSI) is disabled on this kernel.
            Errno::EOPNOTSUPP => {}
            Errno::EACCES | Errno::EPERM => {
                self.shared.errors.permission += 1;
                self.shared.warn(file, self.path, &errno);
            }
            other => {
                self.shared.errors.other += 1;
                self.shared.warn(file, self.path, &io::Error::from(other));
                return;
            }
        }
        let absent = Slot::Absent { again_at: self.handles.again_at() };
        if matches!(std::mem::replace(self.handles.slot(file), absent), Slot::Open(_)) {
            self.shared.open_fds = self.shared.open_fds.saturating_sub(1);
        }
    }

    /// Closes this cgroup's files for a while: the process has no file descriptors left.
    fn fall_back(&mut self) {
        if matches!(self.handles.keeping, Keeping::Kept) {
            self.shared.evictions += 1;
        }
        self.handles.keeping = Keeping::Transient { again_at: self.handles.again_at() };
        let closed = self.handles.close();
        self.shared.open_fds = self.shared.open_fds.saturating_sub(closed);
    }

    fn is_there(&self) -> bool {
        fs::metadata(self.path).is_ok_and(|metadata| metadata.ino() == self.id.0)
    }

    fn vanished(&self) -> ReadError {
        ReadError::Vanished { path: self.path.to_owned() }
    }
}

/// Reads a file with one `pread`: the kernel generates it as a whole at offset 0 (fs/seq_file.c),
/// so a short read is complete, and a full buffer means that the buffer is too small.
fn read_whole(file: &File, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    loop {
        match file.read_at(buffer, 0) {
            Ok(length) if length < buffer.len() => return Ok(length),
            Ok(_) if buffer.len() >= MAX_BUFFER => return Err(Errno::EFBIG),
            Ok(_) => buffer.resize(buffer.len().saturating_mul(2), 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
            }
        }
    }
}

fn out_of_fds(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE)
}
