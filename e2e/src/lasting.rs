//! Programs that outlive the thread that starts them.

use std::{process::Command, sync::mpsc, thread};

use anyhow::{Context as _, Result};

use xtask::child::Child;

/// Starts a program on a thread that lasts: the kernel ends a child with the thread that started it,
/// which may be a scenario's.
pub(crate) fn spawn(name: &'static str, mut command: Command) -> Result<Child> {
    let (sender, started) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let _ = sender.send(Child::spawn(name, &mut command));
        loop {
            thread::park();
        }
    });
    started.recv().with_context(|| format!("start {name}"))?
}
