//! The emulator that boots the test machines, and what they all have in common.

use std::path::PathBuf;

use anyhow::Result;

use crate::apt;

/// Options of every machine: software emulation of a CPU, and no device that is not asked for.
///
/// KVM may be refused even where /dev/kvm exists; `-cpu max` crashes 6.12 and later. One thread for
/// all CPUs: with one each, a CPU may run into the breakpoint that another has put over an
/// instruction to patch it and has taken away since (static keys, as of the first cpu.max), which
/// the kernel takes for its end.
pub const MACHINE: [&str; 9] = [
    "-accel",
    "tcg,thread=single",
    "-cpu",
    "Nehalem",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
];

/// QEMU's program, installed if it is not there.
pub fn program() -> Result<PathBuf> {
    apt::program("qemu-system-x86_64", "qemu-system-x86")
}
