//! Pods and containers as the kubelet and a runtime make them: cgroups, log links, processes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::process::{Process, Spawn};
use crate::witness::boot_ns;

/// The namespace of all Pods here.
pub(crate) const NAMESPACE: &str = "scenarios";

/// The controllers that a kubelet turns on, where they exist.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "io", "pids"];

/// A cgroup v2 tree of the kubelet's shape below a root, and a folder of log links.
#[derive(Debug)]
pub(crate) struct Node {
    root: PathBuf,
    made_root: bool,
    log_dir: PathBuf,
}

impl Node {
    /// Makes `<root>/kubepods.slice/kubepods-burstable.slice` and `log_dir`. The root is made, and
    /// removed in the end, if it is missing. A root that already holds Pods is refused.
    pub(crate) fn make(root: &Path, log_dir: &Path) -> Result<Self> {
        let kubepods = root.join("kubepods.slice");
        ensure!(
            !kubepods.exists(),
            "{} exists: give a cgroup of its own with --cgroup-root",
            kubepods.display()
        );
        let made_root = !root.exists();
        // Only cgroup v2 has this file: the old hierarchies are none of our business.
        let there = if made_root { root.parent().unwrap_or(root) } else { root };
        ensure!(
            there.join("cgroup.controllers").exists(),
            "{} is not in a cgroup v2 hierarchy",
            there.display()
        );
        if made_root {
            make_dir(root)?;
        }
        let node = Self { root: root.to_owned(), made_root, log_dir: log_dir.to_owned() };
        fs::create_dir_all(log_dir).with_context(|| format!("making {}", log_dir.display()))?;
        turn_on_controllers(root)?;
        make_dir(&kubepods)?;
        turn_on_controllers(&kubepods)?;
        make_dir(&node.burstable())?;
        turn_on_controllers(&node.burstable())?;
        Ok(node)
    }

    /// The root that the agent is told.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of log links that the agent is told.
    pub(crate) fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The parent of our Pods.
    pub(crate) fn burstable(&self) -> PathBuf {
        self.root.join("kubepods.slice/kubepods-burstable.slice")
    }

    /// Makes a Pod's cgroup.
    pub(crate) fn pod(&self, name: &str) -> Result<Pod> {
        let digits = hex(32);
        let cut = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        let uid = [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-");
        let dir =
            self.burstable().join(format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")));
        make_dir(&dir)?;
        turn_on_controllers(&dir)?;
        Ok(Pod { name: name.to_owned(), uid, dir, log_dir: self.log_dir.clone() })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let result = if self.made_root {
            remove_tree(&self.root)
        } else {
            remove_tree(&self.root.join("kubepods.slice"))
        };
        if let Err(error) = result {
            eprintln!("scenarios: {error:#}");
        }
    }
}

/// A Pod. Dropped, its cgroup goes; drop its containers first.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: String,
    /// Its UID, with dashes.
    pub(crate) uid: String,
    /// Its cgroup.
    pub(crate) dir: PathBuf,
    log_dir: PathBuf,
}

impl Pod {
    /// A new container of this name: cgroup and log link, no process yet.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        let mut container = self.container_without_link(name)?;
        container.link()?;
        Ok(container)
    }

    /// A new container whose name nobody tells.
    pub(crate) fn container_without_link(&self, name: &str) -> Result<Container> {
        let id = hex(64);
        let dir = self.dir.join(format!("cri-containerd-{id}.scope"));
        make_dir(&dir)?;
        Ok(Container {
            link: None,
            link_path: self.log_dir.join(format!("{}_{NAMESPACE}_{name}-{id}.log", self.name)),
            key: Key {
                namespace: NAMESPACE.into(),
                pod: self.name.clone(),
                container: name.into(),
            },
            pod_uid: self.uid.clone(),
            id,
            dir,
            process: None,
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.dir) {
            eprintln!("scenarios: {error:#}");
        }
    }
}

/// The labels of a container's series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Kubernetes namespace.
    pub(crate) namespace: String,
    /// Pod name.
    pub(crate) pod: String,
    /// Container name.
    pub(crate) container: String,
}

/// How a container ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// `CLOCK_BOOTTIME`, by pidfd.
    pub(crate) at_ns: u64,
    /// By waitid.
    pub(crate) status: WaitStatus,
}

/// A container. Dropped, its processes are killed, its cgroup and link removed.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its labels.
    pub(crate) key: Key,
    /// The UID of its Pod.
    pub(crate) pod_uid: String,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Its cgroup.
    pub(crate) dir: PathBuf,
    link: Option<PathBuf>,
    link_path: PathBuf,
    process: Option<Process>,
}

impl Container {
    /// Makes the log link that names it.
    pub(crate) fn link(&mut self) -> Result<()> {
        // The kubelet's links point into /var/log/pods; nobody follows ours.
        symlink("/dev/null", &self.link_path)
            .with_context(|| format!("making {}", self.link_path.display()))?;
        self.link = Some(self.link_path.clone());
        Ok(())
    }

    /// Writes one of its cgroup's files.
    pub(crate) fn set(&self, file: &str, value: &str) -> Result<()> {
        write_file(&self.dir.join(file), value)
    }

    /// Reads one of its cgroup's files.
    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let path = self.dir.join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Reads a single number.
    pub(crate) fn read_number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        text.trim().parse().with_context(|| format!("{file} of {}: {text:?}", self.dir.display()))
    }

    /// Reads the line `field <number>` of a file.
    pub(crate) fn read_field(&self, file: &str, field: &str) -> Result<u64> {
        read_field(&self.dir.join(file), field)
    }

    /// Starts its init, `scenarios work <args>`, and waits until that says it is ready. Returns
    /// when it was about to be started, `CLOCK_BOOTTIME`.
    pub(crate) fn start(&mut self, work: &[&str], timeout: Duration) -> Result<u64> {
        self.start_as(work, false, timeout)
    }

    /// The same, optionally as PID 1 of a new PID namespace.
    pub(crate) fn start_as(
        &mut self,
        work: &[&str],
        new_pid_namespace: bool,
        timeout: Duration,
    ) -> Result<u64> {
        let args = std::iter::once("work").chain(work.iter().copied());
        let before_ns = boot_ns();
        let mut process = Spawn::scenarios(args)
            .cgroup(&self.dir)
            .new_pid_namespace(new_pid_namespace)
            .start()?;
        if !work.contains(&"--quiet") {
            process.expect_line("ready", timeout)?;
        }
        self.process = Some(process);
        Ok(before_ns)
    }

    /// A process that joins the container later, as `kubectl exec` makes it.
    pub(crate) fn exec(&self, args: &[&str]) -> Result<Process> {
        Spawn::scenarios(args.iter().copied()).cgroup(&self.dir).start()
    }

    /// A process with any arguments, the program's name included.
    pub(crate) fn exec_argv(&self, argv: &[&str]) -> Result<Process> {
        let argv = argv.iter().map(OsString::from).collect();
        Spawn { argv, cgroup: Some(&self.dir), new_pid_namespace: false }.start()
    }

    /// Its init is this process, started by other means.
    pub(crate) fn set_init(&mut self, process: Process) {
        self.process = Some(process);
    }

    /// Its init.
    pub(crate) fn init(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the container has not been started")
    }

    /// Its init's process id.
    pub(crate) fn pid(&self) -> Result<Pid> {
        self.process.as_ref().map(Process::pid).context("the container has not been started")
    }

    /// Waits for its init's end and takes its status.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<Ended> {
        let init = self.init()?;
        let at_ns = init.end_ns(timeout)?;
        let status = init.reap()?;
        Ok(Ended { at_ns, status })
    }

    /// Removes its cgroup, as the runtime does soon after the end. The link stays, as the
    /// kubelet's does until the container is removed for good.
    pub(crate) fn remove_cgroup(&mut self) -> Result<()> {
        self.process = None;
        remove_tree(&self.dir)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = self.remove_cgroup() {
            eprintln!("scenarios: {error:#}");
        }
        if let Some(link) = &self.link {
            // Gone with the folder already: nothing to do.
            let _ = fs::remove_file(link);
        }
    }
}

/// Reads the line `field <number>` of a cgroup's file.
pub(crate) fn read_field(path: &Path, field: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == field)
        .with_context(|| format!("{} has no {field}", path.display()))?
        .1
        .trim()
        .parse()
        .with_context(|| format!("{field} in {}", path.display()))
}

/// Writes a cgroup's file.
pub(crate) fn write_file(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// Makes a cgroup.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("making cgroup {}", dir.display()))
}

/// Turns on for `dir`'s children what `dir` has of [`CONTROLLERS`].
pub(crate) fn turn_on_controllers(dir: &Path) -> Result<()> {
    let path = dir.join("cgroup.controllers");
    let has = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    for controller in has.split_ascii_whitespace().filter(|c| CONTROLLERS.contains(c)) {
        write_file(&dir.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(())
}

/// Removes a cgroup of ours and all below it; processes still in it are killed.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
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

/// Kills what runs in a cgroup of ours.
fn kill_tree(dir: &Path) {
    let pids: BTreeSet<i32> = fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for pid in pids.into_iter().filter(|&pid| pid > 0) {
        // It may have ended since.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
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
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// That many hexadecimal digits, never the same again on this machine.
fn hex(digits: usize) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut seed = boot_ns() ^ (u64::from(std::process::id()) << 48);
    let mut text = String::new();
    while text.len() < digits {
        seed = seed.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9));
        text.push_str(&format!("{:016x}", split_mix(seed)));
    }
    text.truncate(digits);
    text
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
