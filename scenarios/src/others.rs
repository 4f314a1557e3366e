//! BPF programs of others on a cgroup: a few instructions, attached as some programs in the wild are.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::libc;

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;

/// Flag of `PROG_ATTACH`: cgroups below may have a program in its place.
pub(crate) const ALLOW_OVERRIDE: u32 = 1;
/// Flag of `PROG_ATTACH`: it runs beside those of others.
pub(crate) const ALLOW_MULTI: u32 = 2;

/// A kind of program, by its numbers (`bpf_prog_type`, `bpf_attach_type`).
#[derive(Clone, Copy)]
struct Kind {
    program: u32,
    attach: u32,
}

const SOCK_OPS: Kind = Kind { program: 13, attach: 3 };
const EGRESS: Kind = Kind { program: 8, attach: 1 };

/// Attributes of `PROG_LOAD`, up to the last that is needed.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Attributes of `PROG_ATTACH` and `PROG_DETACH`.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// A program that is attached to a cgroup, until it is dropped.
pub(crate) struct Other {
    program: OwnedFd,
    cgroup: File,
    kind: Kind,
}

/// Code of an instruction.
const fn instruction(code: u8, to: u8, from: u8, jump: u8, value: u32) -> u64 {
    code as u64 | (to as u64 | (from as u64) << 4) << 8 | (jump as u64) << 16 | (value as u64) << 32
}

impl Other {
    /// Attaches a program that sets the callbacks of each socket that connects to none at all, as one
    /// does that knows of no others.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn taking_callbacks(cgroup: &Path) -> Result<Self> {
        let code = [
            instruction(0xbf, 6, 1, 0, 0),  // r6 = context
            instruction(0x61, 2, 1, 0, 0),  // r2 = op
            instruction(0x15, 2, 0, 1, 3),  // at TCP_CONNECT_CB: on
            instruction(0x55, 2, 0, 3, 4),  // not at ACTIVE_ESTABLISHED_CB: to the end
            instruction(0xbf, 1, 6, 0, 0),  // r1 = context
            instruction(0xb7, 2, 0, 0, 0),  // r2 = 0
            instruction(0x85, 0, 0, 0, 59), // bpf_sock_ops_cb_flags_set(r1, r2)
            instruction(0xb7, 0, 0, 0, 1),  // r0 = 1
            instruction(0x95, 0, 0, 0, 0),  // return
        ];
        Self::attach(&code, SOCK_OPS, cgroup, ALLOW_MULTI)
    }

    /// Attaches a program that lets what is sent pass.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn passing(cgroup: &Path, flags: u32) -> Result<Self> {
        let code = [instruction(0xb7, 0, 0, 0, 1), instruction(0x95, 0, 0, 0, 0)];
        Self::attach(&code, EGRESS, cgroup, flags)
    }

    fn attach(code: &[u64], kind: Kind, cgroup: &Path, flags: u32) -> Result<Self> {
        let cgroup = File::open(cgroup).context("opening the cgroup")?;
        let load = Load {
            prog_type: kind.program,
            insn_cnt: u32::try_from(code.len())?,
            insns: code.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
            log: [0; 2],
            kern_version: 0,
            prog_flags: 0,
            prog_name: [0; 16],
            prog_ifindex: 0,
            expected_attach_type: kind.attach,
        };
        let program = bpf(PROG_LOAD, &load).context("loading another's program")?;
        // SAFETY: the kernel has just created the descriptor for this call.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let other = Self { program, cgroup, kind };
        bpf(PROG_ATTACH, &other.attributes(flags)).context("attaching another's program")?;
        Ok(other)
    }

    fn attributes(&self, attach_flags: u32) -> Attach {
        Attach {
            target_fd: self.cgroup.as_raw_fd().cast_unsigned(),
            attach_bpf_fd: self.program.as_raw_fd().cast_unsigned(),
            attach_type: self.kind.attach,
            attach_flags,
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Err(error) = bpf(PROG_DETACH, &self.attributes(0)) {
            eprintln!("cannot detach another's program: {error}");
        }
    }
}

/// System call bpf(2); returns what it returns.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is the part of `bpf_attr` that the command reads, and its size is passed; the
    // kernel writes nothing back for these.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>() as u32)
    };
    match i32::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
