//! Sending signals as others do: a process of its own, with the name of the one it stands for.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::Spawn;
use crate::witness::boot_ns;

/// Arguments of `scenarios signal`: it writes `<before_ns> <errno>` for each signal, `CLOCK_BOOTTIME`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SignalArgs {
    /// The name that this process takes (at most 15 bytes count).
    #[arg(long)]
    comm: String,
    /// Whom to signal.
    #[arg(long)]
    pid: Option<i32>,
    /// Numbers of the signals, in order.
    #[arg(long, value_delimiter = ',')]
    signals: Vec<i32>,
    /// Then write 1 to the `cgroup.kill` of this cgroup.
    #[arg(long)]
    kill_cgroup: Option<PathBuf>,
}

/// The helper process.
pub(crate) fn run(args: &SignalArgs) -> Result<()> {
    prctl::set_name(&CString::new(args.comm.as_str())?).context("prctl(PR_SET_NAME)")?;
    let mut sent = Vec::new();
    if let Some(pid) = args.pid {
        for &number in &args.signals {
            let signal = Signal::try_from(number).with_context(|| format!("signal {number}"))?;
            let before_ns = boot_ns();
            let errno = kill(Pid::from_raw(pid), signal).err().unwrap_or(Errno::UnknownErrno);
            sent.push((before_ns, errno as i32));
        }
    }
    if let Some(dir) = &args.kill_cgroup {
        let path = dir.join("cgroup.kill");
        let before_ns = boot_ns();
        std::fs::write(&path, "1").with_context(|| format!("writing {}", path.display()))?;
        sent.push((before_ns, 0));
    }
    for (before_ns, errno) in sent {
        println!("{before_ns} {errno}");
    }
    Ok(())
}

/// Someone who sends signals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    /// The name that the kernel shows for it.
    pub(crate) comm: &'a str,
    /// Where it runs; in the runner's own cgroup if `None`.
    pub(crate) cgroup: Option<&'a Path>,
}

/// The container runtime, from outside every container.
pub(crate) const RUNTIME: Sender<'static> = Sender { comm: "runc", cgroup: None };

/// Somebody's `kill` on the host.
pub(crate) const HAND: Sender<'static> = Sender { comm: "sh", cgroup: None };

impl Sender<'_> {
    /// Sends the signals one after another, and returns when each was about to be sent:
    /// `CLOCK_BOOTTIME` just before kill(2).
    pub(crate) fn send(&self, pid: Pid, signals: &[Signal], timeout: Duration) -> Result<Vec<u64>> {
        let numbers: Vec<_> = signals.iter().map(|&s| (s as i32).to_string()).collect();
        self.run(
            &["--pid".into(), pid.to_string(), "--signals".into(), numbers.join(",")],
            signals.len(),
            timeout,
        )
    }

    /// Kills a whole cgroup (5.14+), and returns when.
    pub(crate) fn kill_cgroup(&self, dir: &Path, timeout: Duration) -> Result<u64> {
        let dir = dir.to_str().context("the cgroup's path is not UTF-8")?;
        let sent = self.run(&["--kill-cgroup".into(), dir.into()], 1, timeout)?;
        sent.first().copied().context("no time reported")
    }

    fn run(&self, args: &[String], wanted: usize, timeout: Duration) -> Result<Vec<u64>> {
        let mut all = vec!["signal".to_owned(), "--comm".to_owned(), self.comm.to_owned()];
        all.extend_from_slice(args);
        let mut spawn = Spawn::scenarios(all);
        if let Some(cgroup) = self.cgroup {
            spawn = spawn.cgroup(cgroup);
        }
        let mut process = spawn.start()?;
        let mut times = Vec::new();
        while let Some(line) = process.line(timeout)? {
            let (time, errno) =
                line.split_once(' ').with_context(|| format!("helper: {line:?}"))?;
            let errno: i32 = errno.parse().with_context(|| format!("helper: {line:?}"))?;
            ensure!(errno == 0, "kill(2): {}", Errno::from_raw(errno));
            times.push(time.parse().with_context(|| format!("helper: {line:?}"))?);
        }
        process.end_ns(timeout)?;
        let status = process.reap()?;
        ensure!(times.len() == wanted, "the helper {:?} ended with {status:?}", self.comm);
        Ok(times)
    }
}
