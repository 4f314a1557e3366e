//! Snapshot by the cgroup iterator: the stats of all cgroups below a root, in one iterator run.

use std::fs::File;
use std::io::{self, Read as _};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use agent_common::snapshot::CgroupStats;
use anyhow::Context as _;
use aya::maps::MapData;
use nix::libc;
use nix::sys::mman::ProtFlags;

use super::call::{Attributes, Creates, create};
use super::mapping::Mapping;
use crate::cgroup::CgroupId;
use crate::kernel::capabilities::raised;

/// Constants of the attributes (include/uapi/linux/bpf.h).
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

// SAFETY: as in include/uapi/linux/bpf.h; the kernel writes nothing back, and returns a descriptor.
unsafe impl Attributes for LinkCreate {
    const COMMAND: libc::c_long = 28;
}
// SAFETY: as above.
unsafe impl Creates for LinkCreate {}

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

// SAFETY: as that of `LinkCreate`.
unsafe impl Attributes for IterCreate {
    const COMMAND: libc::c_long = 33;
}
// SAFETY: as above.
unsafe impl Creates for IterCreate {}

/// First elements of the array, mapped.
struct Array {
    mapping: Mapping,
    elements: usize,
}

impl Array {
    fn map(map: BorrowedFd<'_>, elements: usize) -> io::Result<Self> {
        let bytes = size_of::<CgroupStats>() * elements;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        Ok(Self { mapping: Mapping::new(map, 0, bytes, protection)?, elements })
    }

    /// The elements. No iterator run is active while they are borrowed: [`Snapshot::pass`] makes each
    /// from start to end, and [`Stats`] do not outlive the next.
    fn elements(&self) -> &[CgroupStats] {
        let start = self.mapping.start().cast::<CgroupStats>();
        // SAFETY: the whole mapping, aligned to a page; any bytes are a valid value; and no
        // run writes, as above.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.elements) }
    }

    fn write_head(&mut self, head: CgroupStats) {
        // SAFETY: element 0 is inside the mapping, and no iterator run is active now.
        unsafe { self.mapping.start().cast::<CgroupStats>().write_volatile(head) };
    }
}

/// Cgroup iterator, bound to a root, with the array of its stats.
pub struct Snapshot {
    map: OwnedFd,
    map_elements: usize,
    /// Element 0. The others are mapped while somebody reads them.
    head: Array,
    link: OwnedFd,
    walk: u64,
}

impl Snapshot {
    /// Binds the loaded program to `root` and the cgroups below it.
    ///
    /// # Errors
    /// If the kernel refuses the mapping or the link.
    pub fn new(program: BorrowedFd<'_>, map: &MapData, root: &Path) -> anyhow::Result<Self> {
        let map_elements = map.info().context("querying the map's size")?.max_entries() as usize;
        let map = map.fd().as_fd().try_clone_to_owned()?;
        let head = Array::map(map.as_fd(), 1).context("mapping the stats")?;
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
        let link = create(attr).context("linking the cgroup iterator")?;
        Ok(Self { map, map_elements, head, link, walk: 0 })
    }

    /// Makes one iterator run.
    ///
    /// # Errors
    /// If the iterator cannot be created or read, or its results cannot be mapped.
    pub fn pass(&mut self) -> io::Result<Stats<'_>> {
        self.walk += 1;
        self.head.write_head(CgroupStats { walk: self.walk, ..CgroupStats::default() });
        let attr = IterCreate { link_fd: self.link.as_raw_fd().cast_unsigned(), flags: 0 };
        let mut pass = File::from(raised(|| create(attr))?);
        // The program writes into the array and has no output to read, so the first read makes the
        // whole run.
        let mut nothing = [0; 64];
        while pass.read(&mut nothing)? > 0 {}
        // The head's id is the index of the last element written; dead cgroups leave gaps before
        // it.
        let last = self.head.elements().first().map_or(0, |head| head.cgroup_id);
        let elements = usize::try_from(last).unwrap_or(0).saturating_add(1).min(self.map_elements);
        let array = Array::map(self.map.as_fd(), elements)?;
        let written = array.elements().iter().enumerate().skip(1);
        let mut by_id: Vec<_> = written
            .filter(|(_, stats)| stats.walk == self.walk)
            .map(|(index, stats)| (stats.cgroup_id, index))
            .collect();
        by_id.sort_unstable_by_key(|(id, _)| *id);
        Ok(Stats { by_id, array: Some(array), run: PhantomData })
    }
}

/// Stats of all cgroups from one iterator run, mapped as long as they are looked at: each mapped page
/// counts as resident. They are gone before the next run.
#[derive(Default)]
pub struct Stats<'a> {
    /// Indexes of the elements, by the ids of their cgroups.
    by_id: Vec<(u64, usize)>,
    array: Option<Array>,
    run: PhantomData<&'a mut Snapshot>,
}

impl Stats<'_> {
    /// Stats of one cgroup; `None` if it was created since, or the array had no room for it.
    #[must_use]
    pub fn of(&self, cgroup: CgroupId) -> Option<&CgroupStats> {
        let at = self.by_id.binary_search_by_key(&cgroup.0, |(id, _)| *id).ok()?;
        let (_, index) = self.by_id.get(at)?;
        self.array.as_ref()?.elements().get(*index)
    }

    /// Number of cgroups in the run.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether the run found no cgroup.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
