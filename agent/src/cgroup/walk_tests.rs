use super::*;
use std::collections::HashMap;
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
        let leaf = ["c", "d", "e"].map(str::as_bytes).contains(&dir.name.as_slice());
        assert_eq!(dir.has_children, !leaf, "{}", path.display());
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

#[test]
fn kubepods_is_found() {
    for at in [
        "kubepods",
        "kubepods.slice",
        "kubelet/kubepods",
        "kubelet.slice/kubelet-kubepods.slice",
        "a.slice/a-b.slice/a-b-kubepods.slice",
    ] {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &["system.slice/ssh.service", "init.scope", at]);
        assert_eq!(find_kubepods(root.path()), Some(root.path().join(at)), "{at}");
    }
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["system.slice/kubelet.service", "a/b/c/kubepods"]);
    assert_eq!(find_kubepods(root.path()), None);
    assert_eq!(find_kubepods(&root.path().join("gone")), None);
}

#[test]
fn the_kubepods_with_pods_is_preferred() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["kubepods/burstable", "kubepods.slice/kubepods-burstable.slice"]);
    let [empty, full] = ["kubepods", "kubepods.slice"].map(|name| root.path().join(name));
    assert_eq!(find_kubepods(root.path()), Some(empty.clone()));
    make(&full, &["kubepods-burstable.slice/kubepods-burstable-pod1.slice"]);
    assert_eq!(find_kubepods(root.path()), Some(full.clone()));
    assert_eq!(kubepods_roots(root.path()), [empty, full]);
}
