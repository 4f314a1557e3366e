//! Memory of a ring buffer, and the records in it (kernel/bpf/ringbuf.c).
//!
//! The kernel offers the data twice in a row, so that a record which crosses the end lies in one
//! piece. But each mapped page counts as resident, 2 MiB for a ring of 1 MiB. So only the window with
//! the next record is mapped, and records are copied: in two parts if they cross its end.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use aya::maps::Map;
use nix::sys::mman::ProtFlags;

use super::mapping::Mapping;
use crate::kernel::host;

/// Flag in a record's header: the record is being written (include/uapi/linux/bpf.h).
const BUSY: u32 = 1 << 31;
/// Flag in a record's header: the record was given up.
const DISCARDED: u32 = 1 << 30;
/// Length of a record's header: its length with the flags, and a word of the kernel's.
const HEADER_BYTES: usize = 8;

/// Length of the window, a multiple of each page size. A map of a new window costs some microseconds,
/// so few nanoseconds a record.
const WINDOW_BYTES: usize = 64 << 10;

/// Ring buffer, with the position of the next record.
pub struct RingMemory {
    /// The map of the loaded object, in whose programs its descriptor stands until they are loaded.
    _object: Option<Map>,
    map: OwnedFd,
    /// Page with the position up to which the records were read, which the kernel reads.
    consumer: Mapping,
    /// Page with the position up to which the kernel has reserved room.
    producer: Mapping,
    /// Part of the data with the next record, as far as it is mapped.
    window: Mapping,
    /// Offset of the window in the data.
    window_offset: usize,
    page_bytes: usize,
    data_bytes: usize,
    /// Position of the next record. Positions count all bytes that ever were.
    position: usize,
    /// Position behind the last record, as it was read the last time.
    end: usize,
    /// Copy of the last record.
    record: Vec<u8>,
}

impl RingMemory {
    /// Maps the ring buffer of a loaded object.
    ///
    /// # Errors
    /// If the map is no ring buffer, or the kernel refuses the mapping.
    pub(super) fn of(map: Map) -> anyhow::Result<Self> {
        let Map::RingBuf(data) = &map else { anyhow::bail!("the map is no ring buffer") };
        let data_bytes = data.info().context("querying the ring buffer's size")?.max_entries();
        let descriptor = data.fd().as_fd().try_clone_to_owned()?;
        let page_bytes = usize::try_from(host::page_bytes())?;
        let ring = Self::map(descriptor, page_bytes, data_bytes as usize);
        Ok(Self { _object: Some(map), ..ring.context("mapping the ring buffer")? })
    }

    fn map(map: OwnedFd, page_bytes: usize, data_bytes: usize) -> anyhow::Result<Self> {
        ensure!(data_bytes.is_power_of_two(), "its size of {data_bytes} is no power of two");
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let consumer = Mapping::new(map.as_fd(), 0, page_bytes, both)?;
        let producer = Mapping::new(map.as_fd(), page_bytes, page_bytes, ProtFlags::PROT_READ)?;
        let position = word(&consumer).load(Ordering::Acquire);
        let window_offset = window_of(position, data_bytes);
        let window = window(map.as_fd(), page_bytes, data_bytes, window_offset)?;
        Ok(Self {
            _object: None,
            map,
            consumer,
            producer,
            window,
            window_offset,
            page_bytes,
            data_bytes,
            position,
            end: position,
            record: Vec::new(),
        })
    }

    /// A duplicate of the ring's descriptor, which the kernel makes readable to wake the agent.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.map.try_clone()
    }

    /// Takes the next record. `None` if there is none, or it is still being written.
    ///
    /// # Errors
    /// If the next part of the ring cannot be mapped. The record stays where it is.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if self.position == self.end {
                self.end = word(&self.producer).load(Ordering::Acquire);
                if self.position == self.end {
                    return Ok(None);
                }
            }
            // The kernel clears the flag when all of the record is written.
            let header = self.header()?;
            if header & BUSY != 0 {
                return Ok(None);
            }
            // A record is shorter than the ring.
            let length = ((header & !DISCARDED) as usize).min(self.data_bytes);
            let taken = header & DISCARDED == 0;
            if taken {
                self.copy(length)?;
            }
            let whole = (length + HEADER_BYTES).next_multiple_of(8);
            self.position = self.position.wrapping_add(whole);
            // From here on the kernel may use its room again.
            word(&self.consumer).store(self.position, Ordering::Release);
            if taken {
                return Ok(Some(&self.record));
            }
        }
    }

    /// Copies so many bytes behind the header at the position, from as many windows as they lie in.
    fn copy(&mut self, length: usize) -> io::Result<()> {
        self.record.clear();
        let mut position = self.position.wrapping_add(HEADER_BYTES);
        while self.record.len() < length {
            let left = length - self.record.len();
            let offset = self.seek(position)?;
            // SAFETY: the whole mapping. Of it only the record is looked at, which the kernel does not
            // write before it may; any bytes are valid.
            let data = unsafe {
                slice::from_raw_parts(
                    self.window.start().cast::<u8>().as_ptr(),
                    self.window.bytes(),
                )
            };
            let part = data.get(offset..).unwrap_or_default();
            let part = part.get(..left).unwrap_or(part);
            self.record.extend_from_slice(part);
            position = position.wrapping_add(part.len());
        }
        Ok(())
    }

    /// Word with the length and the flags of the record at the position. Records are aligned to 8
    /// bytes, and so are the ends of the ring and of the windows.
    fn header(&mut self) -> io::Result<u32> {
        let offset = self.seek(self.position)?;
        // SAFETY: four bytes of the mapping, aligned as above; the kernel writes them at once.
        let word = unsafe { self.window.start().byte_add(offset).cast::<AtomicU32>().as_ref() };
        Ok(word.load(Ordering::Acquire))
    }

    /// Maps the window of a position, and returns the position's offset in it.
    fn seek(&mut self, position: usize) -> io::Result<usize> {
        let wanted = window_of(position, self.data_bytes);
        if wanted != self.window_offset {
            self.window = window(self.map.as_fd(), self.page_bytes, self.data_bytes, wanted)?;
            self.window_offset = wanted;
        }
        Ok((position & (self.data_bytes - 1)) - wanted)
    }
}

/// First word of a page.
fn word(page: &Mapping) -> &AtomicUsize {
    // SAFETY: a mapping is at least a page long, and aligned to one.
    unsafe { page.start().cast().as_ref() }
}

/// Offset in the data of the window with this position.
const fn window_of(position: usize, data_bytes: usize) -> usize {
    let offset = position & (data_bytes - 1);
    offset - offset % WINDOW_BYTES
}

fn window(
    map: BorrowedFd<'_>,
    page_bytes: usize,
    data_bytes: usize,
    offset: usize,
) -> io::Result<Mapping> {
    // Both pages of positions come before the data.
    let bytes = WINDOW_BYTES.min(data_bytes);
    Mapping::new(map, 2 * page_bytes + offset, bytes, ProtFlags::PROT_READ)
}

#[cfg(test)]
#[path = "ring_memory_tests.rs"]
mod tests;
