//! The kernel side of Podvitals: eBPF programs that see Pods live and die.
//!
//! This crate knows no kernel struct. It reads at the offsets of [`agent_common::layout::Layout`]
//! and writes the records of [`agent_common::event`]. One file for each kernel subject.

#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attribute macros of programs hand over the context by value"
)]

mod cgroup;
mod emit;
mod globals;
mod maps;
mod oom;
mod read;
mod sched;
mod signal;
mod snapshot;
mod tasks;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_probe_read_kernel` and its like are for programs under a GPL-compatible licence only; this
/// side may be used under either.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
