//! Processes of the demo's containers, and the senders of their signals: the hidden `podvitals
//! demo-work`.

use std::ffi::CString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// Arguments of the hidden `podvitals demo-work`: a process of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoWorkArgs {
    /// Kind of process.
    #[arg(value_enum)]
    pub kind: WorkKind,
    /// First move into this cgroup, as the last stage of a runtime does, then execute the work.
    #[arg(long)]
    pub join: Option<PathBuf>,
    /// Process to signal.
    #[arg(long)]
    pub pid: Option<i32>,
}

/// The kinds of processes in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkKind {
    /// Fills memory until it is killed.
    Hog,
    /// Runs for a second, then exits with code 3.
    Crash,
    /// Goes on after SIGTERM.
    Stubborn,
    /// Exits 300 ms after SIGTERM.
    Clean,
    /// Uses the CPU for 150 ms and exits.
    Short,
    /// Uses a tenth of a CPU.
    Busy,
    /// Sends SIGTERM to `--pid`, under the name of a runtime.
    StopSignal,
    /// Sends SIGKILL to `--pid`, under the name of a runtime.
    KillSignal,
}

impl WorkKind {
    /// Name of the kind on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hog => "hog",
            Self::Crash => "crash",
            Self::Stubborn => "stubborn",
            Self::Clean => "clean",
            Self::Short => "short",
            Self::Busy => "busy",
            Self::StopSignal => "stop-signal",
            Self::KillSignal => "kill-signal",
        }
    }
}

/// Runs as a process of this kind. Most kinds end only by a signal.
///
/// # Errors
/// A cgroup that cannot be joined, a signal that cannot be sent.
pub fn run_work(args: DemoWorkArgs) -> Result<()> {
    let DemoWorkArgs { kind, join, pid } = args;
    // In case the demo is killed without a chance to clean up.
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    if let Some(dir) = join {
        let path = dir.join("cgroup.procs");
        fs::write(&path, "0").with_context(|| format!("joining {}", path.display()))?;
        let error = Command::new("/proc/self/exe")
            .arg0("podvitals")
            .args(["demo-work", kind.name()])
            .exec();
        bail!("executing the work: {error}");
    }
    match kind {
        WorkKind::Hog => hog(),
        WorkKind::Crash => {
            std::thread::sleep(Duration::from_secs(1));
            std::process::exit(3)
        }
        WorkKind::Stubborn => {
            // SIG_IGN, which the kernel reports at once; a handler that hangs shows only in time.
            ignore_term()?;
            loop {
                std::thread::park();
            }
        }
        WorkKind::Clean => {
            wait_for_term()?;
            std::thread::sleep(Duration::from_millis(300));
            Ok(())
        }
        WorkKind::Short => {
            burn(Duration::from_millis(150));
            std::thread::sleep(Duration::from_millis(50));
            Ok(())
        }
        WorkKind::Busy => loop {
            burn(Duration::from_millis(10));
            std::thread::sleep(Duration::from_millis(90));
        },
        WorkKind::StopSignal => send(pid, Signal::SIGTERM),
        WorkKind::KillSignal => send(pid, Signal::SIGKILL),
    }
}

fn send(pid: Option<i32>, signal: Signal) -> Result<()> {
    let pid = pid.filter(|&pid| pid > 0).context("--pid is missing")?;
    prctl::set_name(&CString::new("runc")?).context("prctl(PR_SET_NAME)")?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to {pid}"))
}

fn ignore_term() -> Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, sigaction};
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: SIG_IGN is no code.
    unsafe { sigaction(Signal::SIGTERM, &ignore) }.context("sigaction(SIGTERM)").map(drop)
}

/// Waits for SIGTERM without a handler.
fn wait_for_term() -> Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block().context("blocking SIGTERM")?;
    set.wait().context("sigwait").map(drop)
}

/// Fills memory a little faster than anyone can follow; 1 GiB at most, should no limit hold.
fn hog() -> Result<()> {
    let mut memory = Vec::new();
    for _ in 0..1024 {
        memory.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        std::thread::sleep(Duration::from_millis(40));
    }
    bail!("filled 1 GiB and no limit ended it")
}

fn burn(time: Duration) {
    let start = Instant::now();
    let mut x = 1_u64;
    while start.elapsed() < time {
        for _ in 0..1000 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
    }
}
