//! Cgroups of our own: made, filled with controllers, read, removed with all that runs in them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Controllers that a kubelet turns on where the host offers them.
pub const CONTROLLERS: [&str; 4] = ["cpu", "memory", "io", "pids"];

/// How often, and after which pauses, a cgroup is removed in which something still ends.
const REMOVALS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Where cgroup v2 is mounted.
///
/// # Errors
/// If it is not.
pub fn mount() -> Result<PathBuf> {
    let path = "/proc/self/mounts";
    let mounts = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    find_mount(&mounts).context(
        "no cgroup v2 hierarchy is mounted: boot with systemd.unified_cgroup_hierarchy=1, or \
         `mount -t cgroup2 none /sys/fs/cgroup`",
    )
}

/// The mount point in a list of mounts; the shortest of several is the usual one.
fn find_mount(mounts: &str) -> Option<PathBuf> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let target = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(target))
    };
    mounts.lines().filter_map(mount).min_by_key(|path| path.as_os_str().len())
}

/// The controllers that a cgroup offers to its children.
///
/// # Errors
/// If it is no cgroup of version 2, which alone has that file.
pub fn controllers(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("cgroup.controllers");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("read {}: not in a cgroup v2 hierarchy?", path.display()))?;
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Makes a cgroup.
///
/// # Errors
/// If it cannot be made.
pub fn make(dir: &Path) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("make cgroup {}", dir.display()))
}

/// Turns on for the children of a cgroup what it has of [`CONTROLLERS`].
///
/// # Errors
/// If one of them cannot be turned on.
pub fn turn_on_controllers(dir: &Path) -> Result<()> {
    for controller in controllers(dir)? {
        if CONTROLLERS.contains(&controller.as_str()) {
            write(&dir.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// Writes a file of a cgroup.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("write {value:?} to {}", path.display()))
}

/// Reads a file of a cgroup.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Reads the line `field <number>` of a file of a cgroup.
///
/// # Errors
/// If there is no such line.
pub fn read_field(path: &Path, field: &str) -> Result<u64> {
    field_of(&read(path)?, field)
        .with_context(|| format!("no number {field} in {}", path.display()))
}

fn field_of(text: &str, field: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == field)?.1.trim().parse().ok()
}

/// The id of a cgroup: the inode number of its directory.
///
/// # Errors
/// If it is not there.
pub fn id(dir: &Path) -> Result<u64> {
    Ok(fs::metadata(dir).with_context(|| format!("stat {}", dir.display()))?.ino())
}

/// Removes a cgroup of ours and all below it; processes still in it are killed. One that is not
/// there is removed already.
///
/// # Errors
/// If something keeps it for 5 s.
pub fn remove(dir: &Path) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..REMOVALS {
        if !dir.exists() {
            return Ok(());
        }
        kill_all(dir);
        last = remove_once(dir);
        if last.is_ok() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    last
}

fn remove_once(dir: &Path) -> Result<()> {
    for child in children(dir) {
        remove_once(&child)?;
    }
    fs::remove_dir(dir).with_context(|| format!("remove cgroup {}", dir.display()))
}

/// Kills what runs in a cgroup of ours: by `cgroup.kill` where the kernel has it (5.14).
fn kill_all(dir: &Path) {
    if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for line in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = line.parse().ok().filter(|&pid| pid > 0) {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for child in children(dir) {
        kill_all(&child);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A cgroup of ours. Dropped, it is removed with all below it, and what runs there is killed.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Makes it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        make(&dir)?;
        Ok(Self { dir })
    }

    /// Makes one for a test, below the mount point; `None`, with the reason printed, where that
    /// cannot be done.
    #[must_use]
    pub fn for_test(name: &str) -> Option<Self> {
        let dir = mount().map(|at| at.join(format!("podvitals-{name}-{}", std::process::id())));
        match dir.and_then(Self::make) {
            Ok(cgroup) => Some(cgroup),
            Err(error) => {
                println!("SKIPPED: {error:#}");
                None
            }
        }
    }

    /// Makes one below it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::make(self.dir.join(name))
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            crate::note::note(format_args!("left behind: {error:#}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::{Child, command};

    #[test]
    fn the_mount_is_found_in_all_layouts() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_mount(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let twice =
            "none /run/other/place/of/it cgroup2 rw 0 0\nnone /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(find_mount(twice), Some("/sys/fs/cgroup".into()));
        assert_eq!(find_mount("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "oom 1\noom_kill 2\n";
        assert_eq!(field_of(text, "oom"), Some(1));
        assert_eq!(field_of(text, "oom_kill"), Some(2));
        assert_eq!(field_of(text, "oom_"), None);
        assert_eq!(field_of("oom x\n", "oom"), None);
    }

    #[test]
    fn what_runs_in_a_cgroup_goes_with_it() {
        let Some(root) = Cgroup::for_test("removal") else { return };
        let inner = root.dir().join("inner");
        make(&inner).unwrap();
        assert_eq!(id(&inner).unwrap(), fs::metadata(&inner).unwrap().ino());
        let mut sleep = command("sh");
        sleep.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec sleep 60"]).arg(&inner);
        let mut sleep = Child::spawn("sleep", &mut sleep).unwrap();
        let joined = || read_field(&inner.join("cgroup.events"), "populated").unwrap() == 1;
        while !joined() && sleep.ended().unwrap().is_none() {
            std::thread::sleep(PAUSE);
        }
        assert!(joined() && remove_once(root.dir()).is_err());
        let dir = root.dir().to_owned();
        drop(root);
        assert!(!dir.exists());
        let status = sleep.wait(Duration::from_secs(10)).unwrap().unwrap();
        assert!(!status.success());
        remove(&dir).unwrap();
    }

    #[test]
    fn a_folder_is_no_cgroup() {
        let folder = tempfile::tempdir().unwrap();
        let error = turn_on_controllers(folder.path()).unwrap_err();
        assert!(error.to_string().contains("cgroup v2"), "{error}");
    }
}
