//! Cgroups and log links of the demo, in the kubelet's shape.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

/// Namespace of the demo's Pods.
pub(super) const NAMESPACE: &str = "demo";

/// Mount point of the cgroup v2 hierarchy.
pub(super) fn mount_point() -> Result<PathBuf> {
    let path = "/proc/self/mounts";
    let mounts = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    find_cgroup2(&mounts).context(
        "no cgroup v2 hierarchy is mounted: boot with systemd.unified_cgroup_hierarchy=1, or \
         `mount -t cgroup2 none /sys/fs/cgroup`",
    )
}

fn find_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let target = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(target))
    })
}

/// Cgroups and log links of the demo. Dropped, they are removed, and processes in the cgroups
/// killed.
#[derive(Debug)]
pub(super) struct Tree {
    parent: PathBuf,
    root: PathBuf,
    log_dir: PathBuf,
    made_log_dir: bool,
    has_memory: bool,
}

impl Tree {
    /// Makes `<parent>/podvitals-demo-<pid>/kubepods.slice/kubepods-burstable.slice` and the
    /// directory of links.
    pub(super) fn make(parent: &Path, log_dir: Option<&Path>) -> Result<Self> {
        ensure!(
            parent.join("cgroup.controllers").exists(),
            "{} is not in a cgroup v2 hierarchy: give one with --cgroup.root",
            parent.display()
        );
        let name = format!("podvitals-demo-{}", std::process::id());
        let own_log_dir = std::env::temp_dir().join(&name);
        let mut tree = Self {
            parent: parent.to_owned(),
            root: parent.join(&name),
            log_dir: log_dir.map_or(own_log_dir, Path::to_owned),
            made_log_dir: false,
            has_memory: false,
        };
        // From the first directory on, Drop removes what is there.
        fs::create_dir(&tree.root).with_context(|| {
            format!(
                "making cgroup {}: is {} mounted read-only? Run the demo on the host, or in a \
                 container with the host's cgroups writable",
                tree.root.display(),
                parent.display()
            )
        })?;
        if !tree.log_dir.exists() {
            fs::create_dir_all(&tree.log_dir)
                .with_context(|| format!("making {}", tree.log_dir.display()))?;
            tree.made_log_dir = true;
        }
        let kubepods = tree.root.join("kubepods.slice");
        let burstable = tree.burstable();
        tree.has_memory = turn_on_controllers(&tree.root)?;
        for dir in [&kubepods, &burstable] {
            make_dir(dir)?;
            turn_on_controllers(dir)?;
        }
        Ok(tree)
    }

    /// The cgroup in which the demo made its own.
    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }

    /// The demo's own cgroup: the node's root to the agent.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of the links that name the containers.
    pub(super) fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Whether memory can be limited.
    pub(super) fn has_memory(&self) -> bool {
        self.has_memory
    }

    fn burstable(&self) -> PathBuf {
        self.root.join("kubepods.slice/kubepods-burstable.slice")
    }

    /// A new Pod of this name, with a UID of its own.
    pub(super) fn pod(&self, name: &str) -> Result<Pod> {
        let digits = hex(32);
        let uid: Vec<&str> = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
            .into_iter()
            .filter_map(|(from, to)| digits.get(from..to))
            .collect();
        let dir = self.burstable().join(format!("kubepods-burstable-pod{}.slice", uid.join("_")));
        make_dir(&dir)?;
        turn_on_controllers(&dir)?;
        Ok(Pod { name: name.to_owned(), dir, log_dir: self.log_dir.clone() })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.root) {
            tracing::warn!(error = format!("{error:#}"), "a cgroup of the demo is left behind");
        }
        if self.made_log_dir {
            // It held only links of the demo, which are gone; if others are there, it stays.
            let _ = fs::remove_dir(&self.log_dir);
        }
    }
}

/// A Pod's cgroup. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Pod {
    name: String,
    dir: PathBuf,
    log_dir: PathBuf,
}

impl Pod {
    /// Limits all containers of the Pod together.
    pub(super) fn limit(&self, limits: Limits) -> Result<()> {
        write_limits(&self.dir, limits)
    }

    /// A new container `app`, with an id of its own: its cgroup and its log link.
    pub(super) fn container(&self) -> Result<Container> {
        let id = hex(64);
        let dir = self.dir.join(format!("cri-containerd-{id}.scope"));
        make_dir(&dir)?;
        let container = Container {
            dir,
            link: self.log_dir.join(format!("{}_{NAMESPACE}_app-{id}.log", self.name)),
        };
        symlink("/dev/null", &container.link)
            .with_context(|| format!("making {}", container.link.display()))?;
        Ok(container)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.dir) {
            tracing::warn!(error = format!("{error:#}"), "a cgroup of the demo is left behind");
        }
    }
}

/// A container's cgroup and log link. Dropped, both are removed.
#[derive(Debug)]
pub(super) struct Container {
    dir: PathBuf,
    link: PathBuf,
}

impl Container {
    /// The container's cgroup.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Limits the container.
    pub(super) fn limit(&self, limits: Limits) -> Result<()> {
        write_limits(&self.dir, limits)
    }

    /// Removes the container's cgroup, as a runtime does after the end. The link stays for a while.
    pub(super) fn remove_cgroup(&self) -> Result<()> {
        remove_tree(&self.dir)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = self.remove_cgroup() {
            tracing::warn!(error = format!("{error:#}"), "a cgroup of the demo is left behind");
        }
        if let Err(error) = fs::remove_file(&self.link) {
            tracing::warn!(%error, path = %self.link.display(), "a link of the demo is left behind");
        }
    }
}

/// Files of a cgroup with the values to write, as the kubelet derives them from a container's
/// limits.
pub(super) type Limits = &'static [(&'static str, &'static str)];

/// Writes limits; those for which the host has no controller are left out.
fn write_limits(dir: &Path, limits: Limits) -> Result<()> {
    for (file, value) in limits {
        let path = dir.join(file);
        if path.exists() {
            write_file(&path, value)?;
        }
    }
    Ok(())
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("making cgroup {}", dir.display()))
}

fn write_file(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// Enables the controllers of `dir` for its children; returns whether memory is among them.
fn turn_on_controllers(dir: &Path) -> Result<bool> {
    let path = dir.join("cgroup.controllers");
    let has = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let ours = |name: &&str| ["cpu", "memory", "io", "pids"].contains(name);
    for controller in has.split_ascii_whitespace().filter(ours) {
        write_file(&dir.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(has.split_ascii_whitespace().any(|name| name == "memory"))
}

/// Removes a cgroup of the demo and all below it; processes in it are killed.
fn remove_tree(dir: &Path) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..200 {
        if !dir.exists() {
            return Ok(());
        }
        kill_tree(dir);
        last = remove_tree_once(dir);
        if last.is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    last
}

fn remove_tree_once(dir: &Path) -> Result<()> {
    for child in children(dir) {
        remove_tree_once(&child)?;
    }
    fs::remove_dir(dir).with_context(|| format!("removing cgroup {}", dir.display()))
}

/// Kills the processes in a cgroup of the demo: by `cgroup.kill` where the kernel has it (5.14+).
fn kill_tree(dir: &Path) {
    if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for line in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = line.parse().ok().filter(|&pid| pid > 0) {
            // The process may have ended since.
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
    for child in children(dir) {
        kill_tree(&child);
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

/// A string of this many hexadecimal digits, unique on this machine.
fn hex(digits: usize) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut seed = u64::from(now.subsec_nanos()) << 32 ^ now.as_secs();
    seed ^= u64::from(std::process::id()) << 16;
    let mut text = String::new();
    while text.len() < digits {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
        let z = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        text.push_str(&format!("{:016x}", z ^ (z >> 31)));
    }
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_unified_hierarchy_beside_the_old_ones() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_cgroup2(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_cgroup2("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn ids_have_their_length_and_differ() {
        let (a, b) = (hex(64), hex(64));
        assert!(a.len() == 64 && b.len() == 64 && a != b);
        assert!(a.chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn a_directory_without_cgroups_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tree::make(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("--cgroup.root"), "{error}");
    }
}
