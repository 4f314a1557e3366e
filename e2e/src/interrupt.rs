//! Ctrl-C and SIGTERM while a cluster runs: whoever waits asks [`check`], so that all that was
//! started is ended in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static STOP: AtomicBool = AtomicBool::new(false);

/// Blocks the two signals in this thread, and so in those that it will start, and watches for them
/// in one of its own. Before that they end this tool at once, as they do with any.
pub(crate) fn watch() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("block signals")?;
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            eprintln!("\n{signal}: stopping");
            STOP.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Fails if the user wants to stop.
pub(crate) fn check() -> Result<()> {
    if asked() {
        bail!("stopped by a signal");
    }
    Ok(())
}

/// Whether the user wants to stop.
pub(crate) fn asked() -> bool {
    STOP.load(Ordering::Relaxed)
}
