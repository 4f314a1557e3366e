//! The witness: when a process really ended, by `pidfd` and the same clock as the kernel side's.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

/// Now, `CLOCK_BOOTTIME` in nanoseconds: the clock of `bpf_ktime_get_boot_ns`.
pub(crate) fn boot_ns() -> u64 {
    // The clock exists since 2.6.39; a failure would show as an absurd duration in every case.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0)
    })
}

/// From `from` to `to` in seconds; negative when they are the other way round.
pub(crate) fn seconds_between(from_ns: u64, to_ns: u64) -> f64 {
    if to_ns >= from_ns {
        Duration::from_nanos(to_ns - from_ns).as_secs_f64()
    } else {
        -Duration::from_nanos(from_ns - to_ns).as_secs_f64()
    }
}

/// Gives this thread a real-time priority, so that its clock is not read late because others run.
/// Where that is not allowed, it stays as it is: late by some scheduling delay.
fn wake_at_once() {
    // SAFETY: all fields of this plain C structure may be 0.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = 1;
    // SAFETY: 0 is the calling thread; the pointer is to a structure of our own.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
}

/// A thread that does nothing but wait for one process's end.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    end: Arc<(Mutex<Option<u64>>, Condvar)>,
}

impl Witness {
    /// Starts the thread. A pidfd is readable when the last thread of the process has ended and
    /// its parent was told (`kernel/exit.c`, `do_notify_pidfd`).
    pub(crate) fn start(pidfd: OwnedFd) -> Result<Self> {
        let end = Arc::new((Mutex::new(None), Condvar::new()));
        let shared = Arc::clone(&end);
        std::thread::Builder::new()
            .name("witness".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                wake_at_once();
                loop {
                    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                    match poll(&mut fds, PollTimeout::NONE) {
                        Err(Errno::EINTR) => {}
                        Ok(_) => break,
                        Err(_) => return,
                    }
                }
                let now_ns = boot_ns();
                let (slot, told) = &*shared;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(now_ns);
                told.notify_all();
            })
            .context("starting a witness thread")?;
        Ok(Self { end })
    }

    /// When the process ended, `CLOCK_BOOTTIME` in nanoseconds; `None` if it has not by `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<u64> {
        let deadline = Instant::now() + timeout;
        let (slot, told) = &*self.end;
        let mut end = slot.lock().unwrap_or_else(PoisonError::into_inner);
        while end.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            end = told.wait_timeout(end, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *end
    }
}
