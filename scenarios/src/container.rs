//! Pods and containers as a runtime runs them: cgroups, log links and processes.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use testbed::tree::{self, Tree};

use crate::process::{Process, Spawn};
use crate::witness::boot_ns;

/// The namespace of all Pods here.
pub(crate) const NAMESPACE: &str = "scenarios";

/// The cgroup tree of a node.
#[derive(Debug)]
pub(crate) struct Node(Tree);

impl Node {
    /// Makes it, see [`Tree::make`].
    pub(crate) fn make(root: &Path, log_dir: &Path) -> Result<Self> {
        Tree::make(root, log_dir, NAMESPACE).map(Self)
    }

    /// Makes a Pod's cgroup.
    pub(crate) fn pod(&self, name: &str) -> Result<Pod> {
        self.0.pod(name).map(Pod)
    }
}

impl Deref for Node {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.0
    }
}

/// A Pod. Dropped, its cgroup goes; drop its containers first.
#[derive(Debug)]
pub(crate) struct Pod(tree::Pod);

impl Pod {
    /// A new container of this name: cgroup and log link, no process yet.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        self.0.container(name).map(Container::new)
    }

    /// A new container whose name nobody tells.
    pub(crate) fn container_without_link(&self, name: &str) -> Result<Container> {
        self.0.container_without_link(name).map(Container::new)
    }
}

impl Deref for Pod {
    type Target = tree::Pod;

    fn deref(&self) -> &tree::Pod {
        &self.0
    }
}

/// How a container ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// `CLOCK_BOOTTIME`, by pidfd.
    pub(crate) at_ns: u64,
    /// By waitid.
    pub(crate) status: WaitStatus,
}

/// A container and its init. Dropped, its processes are killed, its cgroup and link removed.
#[derive(Debug)]
pub(crate) struct Container {
    // Its init is reaped before its cgroup is removed.
    process: Option<Process>,
    made: tree::Container,
}

impl Container {
    fn new(made: tree::Container) -> Self {
        Self { process: None, made }
    }

    /// Makes the log link that names it.
    pub(crate) fn link(&mut self) -> Result<()> {
        self.made.link()
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

    /// Has init enter the cgroup without an exec, as a process does that is restored from a
    /// checkpoint.
    pub(crate) fn restore(&mut self, work: &[&str], timeout: Duration) -> Result<()> {
        let dir = self.dir.to_str().context("the cgroup's path is not UTF-8")?;
        let args = ["work", "--restored-in", dir].into_iter().chain(work.iter().copied());
        let mut helper = Spawn::scenarios(args).start()?;
        self.process = Some(helper.left_behind(timeout)?);
        helper.expect_line("ready", timeout)?;
        helper.end_ns(timeout)?;
        helper.reap()?;
        Ok(())
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
        self.made.remove_cgroup()
    }
}

impl Deref for Container {
    type Target = tree::Container;

    fn deref(&self) -> &tree::Container {
        &self.made
    }
}
