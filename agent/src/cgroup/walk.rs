//! Walk over the cgroup file system: the directories below a root.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::CgroupId;

/// Limit of the levels below the root of a walk; deeper directories are not entered.
pub const MAX_DEPTH: usize = 64;

/// Directory found by a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Id of the cgroup: the directory's inode number.
    pub id: CgroupId,
    /// Id of the parent; `None` for the root of the walk.
    pub parent: Option<CgroupId>,
    /// Name of the directory; for the root of the walk the last part of the path.
    pub name: Vec<u8>,
}

/// Error of a directory that was not read. The walk goes on without the directories below it.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The kernel refused to read the directory.
    #[error("cannot read the directory {}: {source}", crate::escape::path(path))]
    Io {
        /// Path of the directory.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// A directory more than [`MAX_DEPTH`] levels below the root.
    #[error("{} lies more than {MAX_DEPTH} levels deep", crate::escape::path(path))]
    TooDeep {
        /// Path of the directory that was not entered.
        path: PathBuf,
    },
}

struct Pending {
    path: PathBuf,
    name: OsString,
    id: CgroupId,
    parent: Option<CgroupId>,
    depth: usize,
}

/// Lists the root and every directory below it, parents before their children.
///
/// Directories that vanish meanwhile are left out without an error, and so is a missing root.
/// Symbolic links are not followed.
#[must_use]
pub fn walk(root: &Path) -> (Vec<Found>, Vec<WalkError>) {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    let id = match fs::metadata(root) {
        Ok(metadata) => CgroupId(metadata.ino()),
        Err(source) => {
            note(&mut errors, root, source);
            return (found, errors);
        }
    };
    let name = root.file_name().unwrap_or_default().to_owned();
    let mut stack = vec![Pending { path: root.to_owned(), name, id, parent: None, depth: 0 }];
    while let Some(dir) = stack.pop() {
        let children = match children(&dir.path) {
            Ok(children) => children,
            Err(error) if vanished(&error) => continue,
            Err(source) => {
                note(&mut errors, &dir.path, source);
                Vec::new()
            }
        };
        found.push(Found { id: dir.id, parent: dir.parent, name: dir.name.into_vec() });
        let depth = dir.depth.saturating_add(1);
        for (name, id) in children {
            let path = dir.path.join(&name);
            if depth > MAX_DEPTH {
                errors.push(WalkError::TooDeep { path });
                continue;
            }
            stack.push(Pending { path, name, id, parent: Some(dir.id), depth });
        }
    }
    (found, errors)
}

fn note(errors: &mut Vec<WalkError>, path: &Path, source: io::Error) {
    if !vanished(&source) {
        errors.push(WalkError::Io { path: path.to_owned(), source });
    }
}

/// Whether the error means a vanished directory: ENOENT for its path, ENODEV while it was open.
fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32)
}

/// Subdirectories of a directory. kernfs returns type and inode number with each name
/// (fs/kernfs/dir.c, `kernfs_fop_readdir`), so no `stat` is needed.
fn children(dir: &Path) -> io::Result<Vec<(OsString, CgroupId)>> {
    let mut children = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push((entry.file_name(), CgroupId(entry.ino())));
        }
    }
    Ok(children)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
