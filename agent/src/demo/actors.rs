//! Actors of the demo: each is a thread that plays kubelet and runtime for one Pod.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::tree::{Container, Limits, Pod, Tree};
use super::work::WorkKind;

/// Actors of the demo: its Pods, by their behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// A Pod that fills memory over its limit.
    Hungry,
    /// A Pod that crashes and is restarted.
    Crasher,
    /// A Pod that ignores its stop signal.
    Stubborn,
    /// A Pod that stops in order.
    Polite,
    /// A Pod that is gone between two scrapes.
    Mayfly,
    /// A Pod that works steadily.
    Steady,
}

/// Grace period of Pods that need one.
const GRACE: Duration = Duration::from_secs(5);
/// Limits of `hungry`: 32 MiB, without swap to escape to.
const HUNGRY: Limits = &[("memory.max", "33554432"), ("memory.swap.max", "0")];
/// Limits of `steady` and of its Pod: a fifth of a CPU, 64 MiB, 64 tasks.
const STEADY: Limits =
    &[("cpu.max", "20000 100000"), ("memory.max", "67108864"), ("pids.max", "64")];
/// Longest back-off before a restart; the kubelet's is 5 min.
const MAX_BACK_OFF: Duration = Duration::from_secs(16);

impl Actor {
    pub(super) const ALL: [Self; 6] =
        [Self::Hungry, Self::Crasher, Self::Stubborn, Self::Polite, Self::Mayfly, Self::Steady];

    /// Name of the actor's Pod.
    pub(super) const fn pod(self) -> &'static str {
        match self {
            Self::Hungry => "hungry-0",
            Self::Crasher => "crasher-0",
            Self::Stubborn => "stubborn-0",
            Self::Polite => "polite-0",
            Self::Mayfly => "mayfly-0",
            Self::Steady => "steady-0",
        }
    }

    /// Description of the actor, in a line.
    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Hungry => "fills memory until its limit of 32 MiB kills it; restarted",
            Self::Crasher => "exits with code 3 after a second; restarted after 1, 2, 4 … 16 s",
            Self::Stubborn => "ignores SIGTERM and is killed after its grace period of 5 s",
            Self::Polite => "exits 300 ms after SIGTERM",
            Self::Mayfly => "lives for 200 ms",
            Self::Steady => "uses a tenth of a CPU; its limits are far",
        }
    }

    /// Whether the actor needs a memory limit.
    pub(super) fn needs_memory_limit(self) -> bool {
        self == Self::Hungry
    }

    /// Runs the actor in a thread of its own, until the stage is closed.
    pub(super) fn start(self, tree: &Arc<Tree>, stage: &Arc<Stage>) -> Result<JoinHandle<()>> {
        let (tree, stage) = (Arc::clone(tree), Arc::clone(stage));
        std::thread::Builder::new()
            .name(self.pod().into())
            .spawn(move || {
                while stage.is_open() {
                    if let Err(error) = self.play(&tree, &stage) {
                        tracing::warn!(
                            pod = self.pod(),
                            error = format!("{error:#}"),
                            "an actor of the demo failed; it is retried"
                        );
                        stage.pause(Duration::from_secs(5));
                    }
                }
            })
            .with_context(|| format!("starting a thread for {}", self.pod()))
    }

    /// Runs one life of the actor's Pod.
    fn play(self, tree: &Tree, stage: &Stage) -> Result<()> {
        let pod = tree.pod(self.pod())?;
        match self {
            Self::Hungry => restarts(&pod, stage, WorkKind::Hog, HUNGRY),
            Self::Crasher => restarts(&pod, stage, WorkKind::Crash, &[]),
            Self::Stubborn => stopped(&pod, stage, WorkKind::Stubborn, Duration::from_secs(4)),
            Self::Polite => stopped(&pod, stage, WorkKind::Clean, Duration::from_secs(3)),
            Self::Mayfly => {
                let mut running = Running::start(&pod, WorkKind::Short, &[])?;
                running.wait(stage, None)?;
                running.finish()?;
                stage.pause(Duration::from_secs(2));
                Ok(())
            }
            Self::Steady => {
                pod.limit(STEADY)?;
                let mut running = Running::start(&pod, WorkKind::Busy, STEADY)?;
                running.wait(stage, None)?;
                Ok(())
            }
        }
    }
}

/// Runs the same container repeatedly, with a growing back-off.
fn restarts(pod: &Pod, stage: &Stage, kind: WorkKind, limits: Limits) -> Result<()> {
    let mut back_off = Duration::from_secs(1);
    while stage.is_open() {
        let mut running = Running::start(pod, kind, limits)?;
        running.wait(stage, None)?;
        running.finish()?;
        // The link goes with `running`, after the pause: time to be read.
        stage.pause(back_off);
        back_off = (back_off * 2).min(MAX_BACK_OFF);
    }
    Ok(())
}

/// Runs a container for a while, then sends its stop signal, and SIGKILL when the grace period is
/// over.
fn stopped(pod: &Pod, stage: &Stage, kind: WorkKind, run: Duration) -> Result<()> {
    let mut running = Running::start(pod, kind, &[])?;
    if running.wait(stage, Some(run))?.is_none() && stage.is_open() {
        running.signal(WorkKind::StopSignal)?;
        if running.wait(stage, Some(GRACE))?.is_none() && stage.is_open() {
            running.signal(WorkKind::KillSignal)?;
            running.wait(stage, None)?;
        }
    }
    running.finish()?;
    stage.pause(Duration::from_secs(2));
    Ok(())
}

/// A container with its init. Dropped, the process is killed, then the cgroup removed.
#[derive(Debug)]
struct Running {
    child: Child,
    container: Container,
}

impl Running {
    fn start(pod: &Pod, kind: WorkKind, limits: Limits) -> Result<Self> {
        let container = pod.container()?;
        container.limit(limits)?;
        let child = Command::new("/proc/self/exe")
            .args(["demo-work", kind.name(), "--join"])
            .arg(container.dir())
            // A terminal's Ctrl-C reaches only the demo, which then ends all processes.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting a process of the demo")?;
        Ok(Self { child, container })
    }

    /// Waits for the end of the process: for this time at most, and no longer than the stage is
    /// open.
    fn wait(&mut self, stage: &Stage, time: Option<Duration>) -> Result<Option<ExitStatus>> {
        let deadline = time.map(|time| Instant::now() + time);
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for a process")? {
                return Ok(Some(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) || !stage.is_open() {
                return Ok(None);
            }
            stage.pause(Duration::from_millis(20));
        }
    }

    /// Sends a signal as a runtime does: from a process of its own, outside the container.
    fn signal(&self, kind: WorkKind) -> Result<()> {
        let status = Command::new("/proc/self/exe")
            .args(["demo-work", kind.name(), "--pid", &self.child.id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("starting the runtime's part")?;
        ensure!(status.success(), "the runtime's part ended with {status}");
        Ok(())
    }

    /// Cleans up after the end, as a runtime does.
    fn finish(&mut self) -> Result<()> {
        self.kill();
        self.container.remove_cgroup()
    }

    fn kill(&mut self) {
        // Both fail when the process has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stage of the demo: open until the demo ends, which also ends all pauses.
#[derive(Debug, Default)]
pub(super) struct Stage {
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Stage {
    /// Whether the demo goes on.
    pub(super) fn is_open(&self) -> bool {
        !*self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the demo.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closing.notify_all();
    }

    /// Sleeps for this time, or until the demo ends.
    fn pause(&self, time: Duration) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closing.wait_timeout_while(closed, time, |closed| !*closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_stage_ends_pauses() {
        let stage = Stage::default();
        assert!(stage.is_open());
        stage.close();
        let start = Instant::now();
        stage.pause(Duration::from_secs(60));
        assert!(!stage.is_open() && start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn every_actor_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Actor::ALL.iter().map(|a| a.pod()).collect();
        assert_eq!(names.len(), Actor::ALL.len());
    }
}
