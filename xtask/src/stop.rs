//! Early ends: a signal to this program, or a step past its time limit.
//!
//! Whoever waits asks [`check`] now and then, and so ends what it started in order. What does not
//! end in time is killed by a thread of [`watch`].

use std::{
    fs,
    process::{self, ExitCode},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use crate::{groups, terminal::note};

/// Time for an end in order, after which all processes are killed: longer than a child's own.
pub const GRACE: Duration = Duration::from_secs(15);
/// Time after which all children are asked to end, whoever waits for them: a reader of a child's
/// output asks nobody until the output ends.
const NUDGE: Duration = Duration::from_secs(2);
/// Time between two looks at the clock.
const POLL: Duration = Duration::from_millis(50);

static STATE: Mutex<State> = Mutex::new(State { signal: None, step: None });

struct State {
    signal: Option<(Signal, Instant)>,
    step: Option<Step>,
}

/// The step that has a limit now.
struct Step {
    name: String,
    limit: Duration,
    deadline: Instant,
}

/// A reason to end.
struct Reason {
    text: String,
    since: Instant,
}

impl State {
    fn reason(&self, now: Instant) -> Option<Reason> {
        if let Some((signal, since)) = self.signal {
            return Some(Reason { text: format!("stopped by {signal}"), since });
        }
        let step = self.step.as_ref().filter(|step| step.deadline <= now)?;
        let text = format!("not done within {:?}, the time limit of \"{}\"", step.limit, step.name);
        Some(Reason { text, since: step.deadline })
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals and time limits are watched from now on: SIGINT, SIGTERM and SIGHUP, and steps that do not heed their limit. To be called
/// first, from the main thread: all others inherit that these signals are blocked. A second signal,
/// or `grace` after the first, kills what still runs.
///
/// A signal that is ignored stays so, for `nohup` and a shell's `&`.
pub fn watch(grace: Duration) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let signals = heeded(&status).context("no SigIgn in /proc/self/status")?;
    signals.thread_block().context("block signals")?;
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if state().signal.is_some() {
                kill_all(&format!("{signal} once more"));
            }
            state().signal = Some((signal, Instant::now()));
            note(format_args!("\n{signal}: ending all that was started"));
        }
    });
    thread::spawn(move || {
        let mut nudged = false;
        loop {
            thread::sleep(POLL);
            let reason = state().reason(Instant::now());
            let Some(Reason { text, since }) = reason else {
                nudged = false;
                continue;
            };
            if since.elapsed() >= grace {
                kill_all(&format!("{text}; {grace:?} later not all has ended"));
            }
            if since.elapsed() >= NUDGE && !nudged {
                nudged = true;
                note(format_args!("{text}: ending {}", groups::running()));
                groups::ask_all();
            }
        }
    });
    Ok(())
}

/// Kills all children, and ends this program.
fn kill_all(why: &str) -> ! {
    note(format_args!("{why}: killing {}", groups::running()));
    groups::kill_all();
    process::exit(status().into())
}

/// The signals to heed: those of three that `status`, a `/proc/<pid>/status`, does not show ignored.
fn heeded(status: &str) -> Option<SigSet> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    let is_heeded = |signal: &Signal| ignored & (1 << (*signal as u32 - 1)) == 0;
    let candidates = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    Some(candidates.into_iter().filter(is_heeded).collect())
}

/// The reason to end this run early, as an error: a signal, or a step past its time limit.
pub fn check() -> Result<()> {
    match state().reason(Instant::now()) {
        None => Ok(()),
        Some(reason) => bail!(reason.text),
    }
}

/// Whether this run has to end early.
pub fn asked() -> bool {
    check().is_err()
}

/// The signal that stopped this run.
pub fn signal() -> Option<Signal> {
    state().signal.map(|(signal, _)| signal)
}

/// The time limit of a step, as long as this lives. There is one at a time.
pub struct Limit(());

impl Limit {
    /// From now on, [`check`] fails when `limit` is over.
    pub fn set(name: &str, limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        state().step = Some(Step { name: name.to_owned(), limit, deadline });
        Self(())
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        state().step = None;
    }
}

/// The program's exit code, its error told.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("error: {error:#}"));
            ExitCode::from(status())
        }
    }
}

/// The exit status of a failed run: as a shell's where a signal ended it.
pub fn status() -> u8 {
    let by_signal = signal().and_then(|signal| u8::try_from(128 + signal as i32).ok());
    by_signal.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_left_alone() {
        let nohup = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t0\n";
        let expected = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        assert_eq!(heeded(nohup), Some(expected));
        // `cmd &` of a shell without job control.
        let background = "SigIgn:\t0000000000001006\n";
        let expected = SigSet::from_iter([Signal::SIGHUP, Signal::SIGTERM]);
        assert_eq!(heeded(background), Some(expected));
        assert_eq!(heeded("Name:\tx\n"), None);
    }

    #[test]
    fn a_signal_is_a_reason_before_a_limit() {
        let now = Instant::now();
        let step = |deadline| {
            Some(Step { name: "lints".to_owned(), limit: Duration::from_secs(7), deadline })
        };
        let mut state = State { signal: None, step: step(now + Duration::from_secs(1)) };
        let text = |state: &State| state.reason(now).map(|reason| reason.text);
        assert_eq!(text(&state), None);
        state.step = step(now);
        assert_eq!(text(&state).unwrap(), "not done within 7s, the time limit of \"lints\"");
        state.signal = Some((Signal::SIGTERM, now));
        assert_eq!(text(&state).unwrap(), "stopped by SIGTERM");
    }
}
