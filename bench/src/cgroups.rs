//! Containers as the kubelet and containerd make them: cgroups, log links, and a process in each.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent::cgroup::CgroupId;
use anyhow::{Context as _, Result, ensure};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Containers of a Pod.
const POD_SIZE: usize = 2;
/// What a kubelet turns on, where it is offered.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "io", "pids"];

/// A node's containers. Dropped, all that was made is removed.
pub(crate) struct Node {
    root: PathBuf,
    log_dir: TempDir,
    /// Those that stay.
    pub(crate) containers: Vec<Container>,
    made: usize,
}

/// One of them.
pub(crate) struct Container {
    pub(crate) dir: PathBuf,
    link: PathBuf,
    pub(crate) init: Option<Child>,
}

impl Node {
    /// Makes the tree down to the QoS class; `root` must not be there.
    pub(crate) fn make(root: &Path) -> Result<Self> {
        ensure!(!root.exists(), "{} exists already", root.display());
        let log_dir = tempfile::Builder::new().prefix("podvitals-bench-").tempdir();
        let log_dir = log_dir.context("make a folder for log links")?;
        let root = root.to_owned();
        let node = Self { root, log_dir, containers: Vec::new(), made: 0 };
        make_dir(&node.root)?;
        // Only cgroup v2 has this file: older hierarchies are none of our business.
        ensure!(
            node.root.join("cgroup.controllers").exists(),
            "{} is not in a cgroup v2 hierarchy",
            node.root.display()
        );
        make_dir(&node.root.join("kubepods.slice"))?;
        make_dir(&node.class())?;
        Ok(node)
    }

    fn class(&self) -> PathBuf {
        self.root.join("kubepods.slice/kubepods-burstable.slice")
    }

    /// What the agent is told.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What the agent is told.
    pub(crate) fn log_dir(&self) -> &Path {
        self.log_dir.path()
    }

    /// Adds containers, each with a sleeping init, until there are so many.
    pub(crate) fn grow(&mut self, to: usize) -> Result<()> {
        while self.containers.len() < to {
            let pod = self.containers.len() / POD_SIZE;
            let name = if self.containers.len().is_multiple_of(POD_SIZE) { "app" } else { "proxy" };
            let mut container = self.container(pod, name)?;
            container.start(Command::new("sleep").arg("100000"))?;
            self.containers.push(container);
        }
        Ok(())
    }

    /// A container of that Pod: cgroup and log link.
    pub(crate) fn container(&mut self, pod: usize, name: &str) -> Result<Container> {
        self.made += 1;
        let uid = format!("00000000_0000_4000_8000_{pod:012x}");
        let pod_dir = self.class().join(format!("kubepods-burstable-pod{uid}.slice"));
        if !pod_dir.exists() {
            make_dir(&pod_dir)?;
        }
        let id = format!("{:064x}", self.made);
        let pod = format!("web-7d4b9c6f5d-{pod:05}");
        let link = self.log_dir().join(format!("{pod}_shop_{name}-{id}.log"));
        // The kubelet's links lead to /var/log/pods; nobody follows ours.
        symlink("/dev/null", &link).with_context(|| format!("make {}", link.display()))?;
        let dir = pod_dir.join(format!("cri-containerd-{id}.scope"));
        fs::create_dir(&dir).with_context(|| format!("make the cgroup {}", dir.display()))?;
        Ok(Container { dir, link, init: None })
    }
}

impl Container {
    /// Its cgroup's id.
    pub(crate) fn id(&self) -> Result<CgroupId> {
        let metadata = fs::metadata(&self.dir);
        Ok(CgroupId(metadata.with_context(|| format!("stat {}", self.dir.display()))?.ino()))
    }

    /// Starts its first process; what is piped stays with it.
    pub(crate) fn start(&mut self, command: &mut Command) -> Result<()> {
        self.init = Some(self.spawn(command)?);
        Ok(())
    }

    /// Starts a process in it. The thread that calls this must outlive the process.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let path = self.dir.join("cgroup.procs");
        let procs = File::options().write(true).open(&path);
        let procs = procs.with_context(|| format!("open {}", path.display()))?;
        // SAFETY: between fork and exec only two system calls are made: no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                (&procs).write_all(b"0")?;
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        command.spawn().with_context(|| format!("start {:?}", command.get_program()))
    }

    /// Removes the cgroup, which must be empty. The link stays for a while, as the kubelet's do.
    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }

    /// Removes the link.
    pub(crate) fn unlink(&self) -> Result<()> {
        fs::remove_file(&self.link).with_context(|| format!("remove {}", self.link.display()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for child in self.containers.iter_mut().filter_map(|container| container.init.as_mut()) {
            // It may have ended by itself.
            let _ = child.kill();
        }
        for child in self.containers.iter_mut().filter_map(|container| container.init.as_mut()) {
            let _ = child.wait();
        }
        if let Err(error) = remove(&self.root) {
            eprintln!("bench: {error:#}");
        }
    }
}

/// Makes a cgroup and hands its controllers on.
fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("make the cgroup {}", dir.display()))?;
    let offered = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in CONTROLLERS {
        if offered.split_whitespace().any(|it| it == controller) {
            let path = dir.join("cgroup.subtree_control");
            fs::write(&path, format!("+{controller}"))
                .with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Removes a cgroup of ours and all below it; a process that was just killed may need a moment.
fn remove(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    let mut result = fs::remove_dir(dir);
    for _ in 0..100 {
        if result.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        result = fs::remove_dir(dir);
    }
    result.with_context(|| format!("remove the cgroup {}", dir.display()))
}

/// Runs a command to its end in a container, outside the shell's reach.
pub(crate) fn run_in(container: &Container, program: &str) -> Result<()> {
    let mut child = container.spawn(Command::new(program).stdin(Stdio::null()))?;
    let status = child.wait().with_context(|| format!("wait for {program}"))?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}
