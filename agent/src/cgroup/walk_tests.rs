use super::*;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

fn make(root: &Path, dirs: &[&str]) {
    for dir in dirs {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
}

fn ino(path: &Path) -> CgroupId {
    CgroupId(fs::metadata(path).unwrap().ino())
}

#[test]
fn parents_come_before_children() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["a/b/c", "a/d", "e"]);
    fs::write(root.path().join("a/cpu.stat"), "").unwrap();
    symlink("..", root.path().join("a/loop")).unwrap();
    let (found, errors) = walk(root.path());
    assert!(errors.is_empty());
    assert_eq!(found.len(), 6);
    let mut seen = HashMap::new();
    for dir in &found {
        let path = match dir.parent {
            None => root.path().to_owned(),
            Some(parent) => {
                let parent: &PathBuf = &seen[&parent];
                parent.join(OsStr::from_bytes(&dir.name))
            }
        };
        assert_eq!(dir.id, ino(&path));
        seen.insert(dir.id, path);
    }
    assert_eq!(found[0].parent, None);
}

#[test]
fn what_is_not_there_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    let (found, errors) = walk(&root.path().join("gone"));
    assert!(found.is_empty() && errors.is_empty());
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_path() {
    if nix::unistd::geteuid().is_root() {
        println!("SKIPPED: root may read every directory");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["open", "shut/in"]);
    let shut = root.path().join("shut");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    let (found, errors) = walk(root.path());
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(found.len(), 3);
    assert!(matches!(&errors[..], [WalkError::Io { path, .. }] if *path == shut));
}

#[test]
fn a_file_as_root_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let (_, errors) = walk(&file);
    assert!(matches!(&errors[..], [WalkError::Io { path, .. }] if *path == file));
    assert!(errors[0].to_string().contains("file: Not a directory"), "{}", errors[0]);
}

#[test]
fn depth_is_bounded() {
    let root = tempfile::tempdir().unwrap();
    let deep = "d/".repeat(MAX_DEPTH + 3);
    make(root.path(), &[&deep]);
    let (found, errors) = walk(root.path());
    assert_eq!(found.len(), MAX_DEPTH + 1);
    assert!(matches!(&errors[..], [WalkError::TooDeep { .. }]));
}
