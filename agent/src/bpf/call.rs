//! System call bpf(2), for the commands that aya has no public function for.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::libc;

/// Attributes (`bpf_attr`) of one command.
///
/// # Safety
/// The type is the part of `bpf_attr` that its command reads, without padding that is not a field, and
/// large enough for all that any kernel writes back.
pub(super) unsafe trait Attributes {
    /// Number of the command (include/uapi/linux/bpf.h).
    const COMMAND: libc::c_long;
}

/// Calls the kernel, which may change the attributes; returns what it returns.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn bpf<T: Attributes>(attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the trait's word; the size is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            T::COMMAND,
            std::ptr::from_mut(attributes),
            size_of::<T>() as u32,
        )
    };
    match i32::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attributes of a command that returns a new descriptor.
///
/// # Safety
/// The command does.
pub(super) unsafe trait Creates: Attributes {}

/// Calls the kernel for a new descriptor.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn create<T: Creates>(mut attributes: T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just created the descriptor for this call.
    bpf(&mut attributes).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}
