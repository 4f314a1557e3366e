//! The program, started and listened to.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use serde_json::Value;
use testbed::child::with_default_signals;

/// The program.
pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_workload");
/// How long an act may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// It, running with its children, and their log.
pub(super) struct Workload {
    child: Child,
    lines: Receiver<Value>,
    skipped: Vec<Value>,
}

impl Workload {
    /// Starts it with default signal dispositions and an empty mask, as a container runtime does:
    /// a shell may have left signals ignored to this test.
    pub(super) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdout(Stdio::piped()).process_group(0);
        let mut child = with_default_signals(&mut command).spawn().expect("start");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, skipped: Vec::new() }
    }

    /// The next line that tells `act`. Those of other acts wait for their turn: what a child tells
    /// may come before what its parent tells.
    pub(super) fn act(&mut self, act: &str) -> Value {
        let is_it = |line: &Value| line.get("act").is_some_and(|it| it == act);
        if let Some(at) = self.skipped.iter().position(is_it) {
            return self.skipped.remove(at);
        }
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("no act {act} after {:?}", self.skipped));
            if is_it(&line) {
                return line;
            }
            self.skipped.push(line);
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    /// Its pid.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for its end.
    pub(super) fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end; acts: {:?}", self.skipped);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// When a line was written.
pub(super) fn ns(line: &Value) -> Duration {
    Duration::from_nanos(line["boot_ns"].as_u64().expect("boot_ns"))
}

/// The same clock, now.
pub(super) fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).expect("clock").into()
}
