//! Snapshot by the cgroup iterator: the stats of all cgroups below a root, in one iterator run.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;

use agent_common::snapshot::CgroupStats;
use anyhow::Context as _;
use aya::maps::MapData;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::cgroup::CgroupId;
use crate::kernel::capabilities::raised;

/// Commands of bpf(2), and constants of their attributes (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;
const BPF_CGROUP_ITER_DESCENDANTS_PRE: u32 = 2;

/// Attributes (`bpf_attr`) of `BPF_LINK_CREATE` for an iterator.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    padding: u32,
}

/// Link parameters (`bpf_iter_link_info`) of a cgroup iterator.
#[repr(C)]
struct CgroupInfo {
    order: u32,
    cgroup_fd: u32,
    cgroup_id: u64,
}

/// Attributes (`bpf_attr`) of `BPF_ITER_CREATE`.
#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// Memory mapping of the array that the program writes.
struct Mapping {
    start: NonNull<CgroupStats>,
    bytes: NonZeroUsize,
    elements: u32,
}

// SAFETY: the mapping belongs to no thread, and is used through `&mut Snapshot` only.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first elements only: each mapped page counts as resident, used or not.
    fn new(map: BorrowedFd<'_>, elements: u32) -> io::Result<Self> {
        let bytes = size_of::<CgroupStats>() * elements as usize;
        let bytes = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping of the map's beginning, which no other code knows.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { start: start.cast(), bytes, elements })
    }

    /// Elements that the last iterator run has written. No run is active while they are borrowed:
    /// [`Snapshot::pass`] makes each run from start to end.
    fn elements(&self) -> &[CgroupStats] {
        // SAFETY: the whole mapping, aligned to a page; any bytes are a valid value; and no
        // run writes, as above.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.elements as usize) }
    }

    fn write_head(&mut self, head: CgroupStats) {
        // SAFETY: element 0 is inside the mapping, and no iterator run is active now.
        unsafe { self.start.write_volatile(head) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}

/// Cgroup iterator, bound to a root, with the array of its stats.
pub struct Snapshot {
    map: OwnedFd,
    map_elements: u32,
    mapping: Mapping,
    link: OwnedFd,
    walk: u64,
    /// Index of the last element that was written.
    last: u32,
}

impl Snapshot {
    /// Binds the loaded program to `root` and the cgroups below it.
    ///
    /// # Errors
    /// If the kernel refuses the mapping or the link.
    pub fn new(program: BorrowedFd<'_>, map: &MapData, root: &Path) -> anyhow::Result<Self> {
        /// Elements mapped at first: enough for a busy node of 300 containers.
        const FIRST_ELEMENTS: u32 = 512;
        let map_elements = map.info().context("querying the map's size")?.max_entries();
        let map = map.fd().as_fd().try_clone_to_owned()?;
        let mapping = Mapping::new(map.as_fd(), FIRST_ELEMENTS.min(map_elements))
            .context("mapping the stats")?;
        let directory = File::open(root).with_context(|| format!("opening {}", root.display()))?;
        let info = CgroupInfo {
            order: BPF_CGROUP_ITER_DESCENDANTS_PRE,
            cgroup_fd: directory.as_raw_fd().cast_unsigned(),
            cgroup_id: 0,
        };
        let attr = LinkCreate {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_fd: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            iter_info: (&raw const info).addr() as u64,
            iter_info_len: size_of::<CgroupInfo>() as u32,
            padding: 0,
        };
        let link = bpf(BPF_LINK_CREATE, &attr).context("linking the cgroup iterator")?;
        Ok(Self { map, map_elements, mapping, link, walk: 0, last: 0 })
    }

    /// Makes one iterator run; [`Self::stats`] returns its results.
    ///
    /// # Errors
    /// If the iterator cannot be created or read.
    pub fn pass(&mut self) -> io::Result<()> {
        self.walk += 1;
        self.mapping.write_head(CgroupStats { walk: self.walk, ..CgroupStats::default() });
        let attr = IterCreate { link_fd: self.link.as_raw_fd().cast_unsigned(), flags: 0 };
        let mut pass = File::from(raised(|| bpf(BPF_ITER_CREATE, &attr))?);
        // The program writes into the array and has no output to read, so the first read makes the
        // whole run.
        let mut nothing = [0; 64];
        while pass.read(&mut nothing)? > 0 {}
        // The head's id is the index of the last element written; dead cgroups leave gaps before
        // it.
        let last = self.mapping.elements().first().map_or(0, |head| head.cgroup_id);
        let last = u32::try_from(last).unwrap_or(0);
        if last >= self.mapping.elements {
            // The array has all elements; only this process's mapping of it was too short.
            let elements = last.saturating_add(1).next_power_of_two().min(self.map_elements);
            self.mapping = Mapping::new(self.map.as_fd(), elements)?;
        }
        self.last = last;
        Ok(())
    }

    /// Stats of the last iterator run; empty before the first.
    #[must_use]
    pub fn stats(&self) -> Stats<'_> {
        let last = self.last as usize;
        let elements = self.mapping.elements();
        let written = elements.get(1..=last).unwrap_or_default().iter();
        let mut by_id: Vec<_> = written
            .filter(|stats| stats.walk == self.walk)
            .map(|stats| (stats.cgroup_id, stats))
            .collect();
        by_id.sort_unstable_by_key(|(id, _)| *id);
        Stats(by_id)
    }
}

/// Stats of all cgroups from one iterator run.
#[derive(Debug, Default)]
pub struct Stats<'a>(Vec<(u64, &'a CgroupStats)>);

impl Stats<'_> {
    /// Stats of one cgroup; `None` if it was created since, or the array had no room for it.
    #[must_use]
    pub fn of(&self, cgroup: CgroupId) -> Option<&CgroupStats> {
        let at = self.0.binary_search_by_key(&cgroup.0, |(id, _)| *id).ok()?;
        self.0.get(at).map(|(_, stats)| *stats)
    }

    /// Number of cgroups in the run.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the run found no cgroup.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// System call bpf(2) for a command that returns a descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is the part of `bpf_attr` that the command reads, and its size is passed.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>() as u32)
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just created the descriptor for this call.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
