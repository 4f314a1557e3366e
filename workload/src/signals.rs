//! Signals that are ignored or handled.

use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde_json::json;
use signal_hook::iterator::Signals;

use crate::{
    cli::{OnSignal, Step},
    exit,
    log::log,
};

/// Gives a signal the disposition SIG_IGN: the kernel drops it when it is sent.
pub(crate) fn ignore(of: Signal) -> Result<()> {
    // SAFETY: SIG_IGN is not a function, so nothing runs when the signal comes.
    unsafe { signal(of, SigHandler::SigIgn) }.with_context(|| format!("ignore {of}"))?;
    Ok(())
}

/// Handles signals, each in a thread of its own, so that the steps of one do not delay another.
pub(crate) fn handle(all: Vec<OnSignal>) -> Result<()> {
    for OnSignal { signal, steps } in all {
        let mut signals =
            Signals::new([signal as i32]).with_context(|| format!("handle {signal}"))?;
        thread::spawn(move || {
            for _ in signals.forever() {
                log("signal", &json!({ "signal": signal.as_str() }));
                for &step in &steps {
                    match step {
                        Step::Sleep(time) => thread::sleep(time),
                        Step::Exit(code) => exit::now(code, signal.as_str()),
                    }
                }
            }
        });
    }
    Ok(())
}
