//! The program's own code in memory.

use std::ffi::c_void;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// Gives back the pages of the program's own file that it has read: most of its code runs while it
/// starts, and never again. What is needed again comes from the page cache, without a read.
///
/// Returns the bytes that were resident. Pages that were written, such as relocated constants, stay.
///
/// # Errors
/// `/proc/self/smaps` cannot be read.
pub fn release() -> anyhow::Result<u64> {
    let own = Process::myself()?;
    let file = own.exe()?;
    let mut released = 0;
    for map in own.smaps()? {
        let is_own = matches!(&map.pathname, MMapPath::Path(path) if *path == file);
        if is_own && is_clean(&map) && give_back(map.address) {
            released += field(&map, "Rss").unwrap_or(0);
        }
    }
    Ok(released)
}

/// Whether nothing of a mapping would be lost: it is read only, and has no page of its own. (A dirty page
/// may be the file's, which was written a moment ago.)
fn is_clean(map: &MemoryMap) -> bool {
    let writable = map.perms.contains(MMPermissions::WRITE);
    !writable && ["Anonymous", "Swap"].iter().all(|name| field(map, name) == Some(0))
}

fn field(map: &MemoryMap, name: &str) -> Option<u64> {
    map.extension.map.get(name).copied()
}

fn give_back((begin, end): (u64, u64)) -> bool {
    let length = usize::try_from(end.saturating_sub(begin)).unwrap_or(0);
    let begin = usize::try_from(begin).ok().map(std::ptr::with_exposed_provenance_mut::<c_void>);
    let Some(begin) = begin.and_then(NonNull::new) else { return false };
    // SAFETY: a private mapping of a file that no page was written of has the same bytes after it:
    // they are read again from the file (madvise(2), MADV_DONTNEED).
    unsafe { madvise(begin, length, MmapAdvise::MADV_DONTNEED) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    static CONSTANTS: [u64; 4096] = {
        let mut constants = [0; 4096];
        let mut n = 0;
        while n < constants.len() {
            constants[n] = n as u64 * 0x9e37_79b9;
            n += 1;
        }
        constants
    };

    #[test]
    fn what_was_read_is_the_same_after_it() {
        let sum = || CONSTANTS.iter().fold(0_u64, |sum, it| sum.wrapping_add(*it));
        let before = sum();
        assert!(release().unwrap() > 1 << 20);
        assert_eq!(sum(), before);
        release().unwrap();
    }
}
