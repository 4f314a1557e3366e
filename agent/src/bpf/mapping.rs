//! Memory mapping of a BPF map. It does not make the map larger, but each mapped page counts as
//! resident memory of this process, used or not.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use nix::libc::off_t;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Shared mapping of a part of a map, until it is dropped.
pub(super) struct Mapping {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
}

// SAFETY: a mapping belongs to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps so many bytes from an offset on, which is a multiple of the page size.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn new(
        map: BorrowedFd<'_>,
        offset: usize,
        bytes: usize,
        protection: ProtFlags,
    ) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let offset = off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new shared mapping, which no other code knows, where the kernel has room.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map, offset) }?;
        Ok(Self { start, bytes })
    }

    /// First byte, aligned to a page.
    pub(super) const fn start(&self) -> NonNull<c_void> {
        self.start
    }

    /// Length in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start, self.bytes.get()) };
    }
}
