//! Starting processes as a container runtime does: into a cgroup, then exec; the parent stays
//! outside.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, pipe2};

use crate::witness::Witness;

/// This program, even if its file was replaced since.
pub(crate) const SELF_EXE: &str = "/proc/self/exe";

/// This program by its path, as a container's program has one; the runtime's stages have not.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(SELF_EXE))
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Spawn<'a> {
    /// All arguments, the program's name first. The program itself is always this binary.
    pub(crate) argv: Vec<OsString>,
    /// The cgroup that the child moves into before it executes; the parent's own if `None`.
    pub(crate) cgroup: Option<&'a Path>,
    /// The child is PID 1 of a new PID namespace.
    pub(crate) new_pid_namespace: bool,
}

impl<'a> Spawn<'a> {
    /// `scenarios <args>`.
    pub(crate) fn scenarios<I: IntoIterator<Item = S>, S: Into<OsString>>(args: I) -> Self {
        let mut argv = vec![OsString::from("scenarios")];
        argv.extend(args.into_iter().map(Into::into));
        Self { argv, cgroup: None, new_pid_namespace: false }
    }

    /// Into this cgroup.
    pub(crate) fn cgroup(mut self, cgroup: &'a Path) -> Self {
        self.cgroup = Some(cgroup);
        self
    }

    /// As PID 1 of a new PID namespace.
    pub(crate) fn new_pid_namespace(mut self, on: bool) -> Self {
        self.new_pid_namespace = on;
        self
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<Process> {
        let exe = CString::new(program().into_os_string().as_bytes())?;
        let argv = self
            .argv
            .iter()
            .map(|arg| CString::new(arg.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .context("an argument holds NUL")?;
        let mut argv_ptrs: Vec<*const libc::c_char> = argv.iter().map(|a| a.as_ptr()).collect();
        argv_ptrs.push(ptr::null());
        let env_ptrs: [*const libc::c_char; 1] = [ptr::null()];

        let procs = self
            .cgroup
            .map(|dir| {
                let path = dir.join("cgroup.procs");
                OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .with_context(|| format!("opening {}", path.display()))
            })
            .transpose()?;
        let null = File::open("/dev/null").context("opening /dev/null")?;
        let (out, child_out) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;

        let mut pidfd: libc::c_int = -1;
        let mut flags = libc::CLONE_PIDFD.cast_unsigned();
        if self.new_pid_namespace {
            flags |= libc::CLONE_NEWPID.cast_unsigned();
        }
        // SAFETY: all fields of this plain C structure may be 0.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = u64::from(flags);
        args.pidfd = ptr::from_mut(&mut pidfd) as u64;
        args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());

        let procs_fd = procs.as_ref().map_or(-1, std::os::fd::AsRawFd::as_raw_fd);
        // SAFETY: without CLONE_VM this is a fork: `args` is valid and as long as said. The child
        // (0) makes only system calls on memory prepared above (no allocation, no lock: other
        // threads of this process may have held them) and then executes or leaves by `_exit`.
        let pid = unsafe {
            let pid = libc::syscall(
                libc::SYS_clone3,
                ptr::from_mut(&mut args),
                size_of::<libc::clone_args>(),
            );
            if pid == 0 {
                child(
                    procs_fd,
                    null.as_raw_fd(),
                    child_out.as_raw_fd(),
                    exe.as_ptr(),
                    argv_ptrs.as_ptr(),
                    env_ptrs.as_ptr(),
                );
            }
            pid
        };
        if pid < 0 {
            return Err(Errno::last()).context("clone3");
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Process::new(Pid::from_raw(i32::try_from(pid)?), pidfd, Some(File::from(out)))
    }
}

/// The child's way to its program. Exit status 124: its signals are not the default; 125: it could
/// not join the cgroup; 127: no exec.
///
/// # Safety
/// Only for a child of `clone3` without `CLONE_VM`; the pointers must be valid and NUL-terminated.
unsafe fn child(
    procs_fd: libc::c_int,
    null_fd: libc::c_int,
    out_fd: libc::c_int,
    exe: *const libc::c_char,
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
) -> ! {
    // SAFETY: system calls on the caller's valid pointers.
    unsafe {
        if testbed::child::reset_signals().is_err() {
            libc::_exit(124);
        }
        if procs_fd >= 0 && libc::write(procs_fd, c"0".as_ptr().cast(), 1) != 1 {
            libc::_exit(125);
        }
        libc::dup2(null_fd, 0);
        libc::dup2(out_fd, 1);
        libc::execve(exe, argv, env);
        libc::_exit(127)
    }
}

/// A child of this process, not yet waited for. Dropped, it is killed and waited for.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    out: Option<File>,
    witness: Witness,
    status: Option<WaitStatus>,
}

impl Process {
    fn new(pid: Pid, pidfd: OwnedFd, out: Option<File>) -> Result<Self> {
        let witness = Witness::start(pidfd.try_clone().context("duplicating a pidfd")?)?;
        Ok(Self { pid, pidfd, out, witness, status: None })
    }

    /// A child that was not started by [`Spawn`]: one that a runtime's stage left to us.
    pub(crate) fn adopt(pid: Pid) -> Result<Self> {
        // SAFETY: no pointers; the result is a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        if fd < 0 {
            return Err(Errno::last()).with_context(|| format!("pidfd_open({pid})"));
        }
        // SAFETY: as above, and nobody else knows it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
        Self::new(pid, pidfd, None)
    }

    /// The process that it says it leaves behind.
    pub(crate) fn left_behind(&mut self, timeout: Duration) -> Result<Self> {
        let line = self.line(timeout)?.context("no process id was said")?;
        Self::adopt(Pid::from_raw(line.parse().with_context(|| format!("said {line:?}"))?))
    }

    /// Its process id in our PID namespace. Ours until it is reaped.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The next line that it writes; `None` at the end of its output.
    pub(crate) fn line(&mut self, timeout: Duration) -> Result<Option<String>> {
        let Some(out) = self.out.as_mut() else { return Ok(None) };
        let deadline = Instant::now() + timeout;
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(millis)) {
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e).context("poll on a child's output"),
                Ok(0) if left.is_zero() => {
                    bail!("process {} said nothing in {timeout:?}", self.pid)
                }
                Ok(0) => continue,
                Ok(_) => {}
            }
            let mut byte = [0];
            if out.read(&mut byte).context("reading a child's output")? == 0 {
                return Ok(None);
            }
            let [byte] = byte;
            if byte == b'\n' {
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            line.push(byte);
        }
    }

    /// Waits until it says this line.
    pub(crate) fn expect_line(&mut self, wanted: &str, timeout: Duration) -> Result<()> {
        match self.line(timeout)? {
            Some(line) if line == wanted => Ok(()),
            Some(line) => bail!("process {} said {line:?} instead of {wanted:?}", self.pid),
            None => bail!("process {} ended before it said {wanted:?}", self.pid),
        }
    }

    /// When it ended, `CLOCK_BOOTTIME` in nanoseconds. It stays a zombie until [`Self::reap`].
    pub(crate) fn end_ns(&self, timeout: Duration) -> Result<u64> {
        self.witness
            .wait(timeout)
            .with_context(|| format!("process {} did not end in {timeout:?}", self.pid))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.witness.wait(Duration::ZERO).is_some()
    }

    /// Takes its status, which frees its process id. Waits for its end without limit.
    pub(crate) fn reap(&mut self) -> Result<WaitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Err(Errno::EINTR) => {}
                other => break other.with_context(|| format!("waitid of {}", self.pid))?,
            }
        };
        self.status = Some(status);
        Ok(status)
    }

    /// Sends a signal from this very thread.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        // SAFETY: the descriptor is ours; a null siginfo asks for what kill(2) would send.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal as libc::c_int,
                ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        ensure!(result == 0, "sending {signal} to {}: {}", self.pid, Errno::last());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have ended already; the wait below tells.
            let _ = self.signal(nix::sys::signal::Signal::SIGKILL);
            let _ = self.reap();
        }
    }
}
