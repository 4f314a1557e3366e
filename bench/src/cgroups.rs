//! Containers as the kubelet and containerd make them: cgroups, log links, and a process in each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent::cgroup::CgroupId;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use testbed::cgroup;
use testbed::child::{dying_with_parent, with_default_signals};
use testbed::tree::{self, Pod, Tree};

/// Containers of a Pod.
const POD_SIZE: usize = 2;

/// A node's containers. Dropped, all that was made is removed.
pub(crate) struct Node {
    /// Those that stay.
    pub(crate) containers: Vec<Container>,
    pods: BTreeMap<usize, Pod>,
    made: usize,
    tree: Tree,
    _log_dir: TempDir,
}

/// One of them.
pub(crate) struct Container {
    made: tree::Container,
    pub(crate) init: Option<Child>,
}

impl Node {
    /// Makes the tree down to the QoS class; `root` must not be there.
    pub(crate) fn make(root: &Path) -> Result<Self> {
        ensure!(!root.exists(), "{} exists already", root.display());
        let log_dir = tempfile::Builder::new().prefix("podvitals-bench-").tempdir();
        let log_dir = log_dir.context("make a folder for log links")?;
        let tree = Tree::make(root, log_dir.path(), "shop")?;
        Ok(Self { containers: Vec::new(), pods: BTreeMap::new(), made: 0, tree, _log_dir: log_dir })
    }

    /// What the agent is told.
    pub(crate) fn root(&self) -> &Path {
        self.tree.root()
    }

    /// What the agent is told.
    pub(crate) fn log_dir(&self) -> &Path {
        self.tree.log_dir()
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

    /// A container of that Pod: cgroup and log link. Ids are numbers, so that a scrape has as many
    /// bytes, and as few when compressed, in each run.
    pub(crate) fn container(&mut self, pod: usize, name: &str) -> Result<Container> {
        if !self.pods.contains_key(&pod) {
            let uid = format!("00000000-0000-4000-8000-{pod:012x}");
            let name = format!("web-7d4b9c6f5d-{pod:05}");
            self.pods.insert(pod, self.tree.pod_with_uid(&name, uid)?);
        }
        let pod = self.pods.get(&pod).context("no such Pod")?;
        self.made += 1;
        let made = pod.container_with_id(name, format!("{:064x}", self.made))?;
        Ok(Container { made, init: None })
    }
}

impl Container {
    /// Its cgroup's id.
    pub(crate) fn id(&self) -> Result<CgroupId> {
        cgroup::id(self.dir()).map(CgroupId)
    }

    /// Its cgroup's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.made.dir
    }

    /// Starts its first process; what is piped stays with it.
    pub(crate) fn start(&mut self, command: &mut Command) -> Result<()> {
        self.init = Some(self.spawn(command)?);
        Ok(())
    }

    /// Starts a process in it. The thread that calls this must outlive the process.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let path = self.dir().join("cgroup.procs");
        let procs = File::options().write(true).open(&path);
        let procs = procs.with_context(|| format!("open {}", path.display()))?;
        // SAFETY: between fork and exec one system call is made: no allocation, no lock.
        unsafe {
            command.pre_exec(move || (&procs).write_all(b"0"));
        }
        dying_with_parent(with_default_signals(command), Signal::SIGKILL);
        command.spawn().with_context(|| format!("start {:?}", command.get_program()))
    }

    /// Runs a command to its end in it.
    pub(crate) fn run(&self, program: &str) -> Result<()> {
        let mut child = self.spawn(Command::new(program).stdin(Stdio::null()))?;
        let status = child.wait().with_context(|| format!("wait for {program}"))?;
        ensure!(status.success(), "{program}: {status}");
        Ok(())
    }

    /// Removes the cgroup. The link stays for a while, as the kubelet's do.
    pub(crate) fn remove(&self) -> Result<()> {
        self.made.remove_cgroup()
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
    }
}
