//! What a run makes in the file system, removed whatever ends the run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use testbed::cgroup;

/// A folder of our own, world-readable, removed in the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// Makes it.
    pub(crate) fn make() -> Result<Self> {
        let dir = Self::path();
        std::fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self(dir))
    }

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("podvitals-scenarios-{}", std::process::id()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("scenarios: removing {}: {error}", self.0.display());
        }
    }
}

/// On SIGINT or SIGTERM, leaves nothing behind. Call it before any other thread is started.
pub(crate) fn clean_on_signal(root: &Path) -> Result<()> {
    let made_root = !root.exists();
    let root = root.to_owned();
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block().context("blocking signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || -> Result<()> {
            let Ok(signal) = set.wait() else { bail!("sigwait") };
            eprintln!("scenarios: {signal}: cleaning up");
            let ours = if made_root { root } else { root.join("kubepods.slice") };
            if let Err(error) = cgroup::remove(&ours) {
                eprintln!("scenarios: {error:#}");
            }
            // It may not have been made yet.
            let _ = std::fs::remove_dir_all(Scratch::path());
            std::process::exit(130)
        })
        .context("starting a thread")?;
    Ok(())
}
