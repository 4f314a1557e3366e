//! Kernel side of Podvitals: eBPF programs that observe how Pods start, run and end.
//!
//! This crate knows no kernel struct. It reads at the offsets of [`agent_common::layout::Layout`]
//! and writes the records of [`agent_common::event`]. There is one file for each kernel subject, and
//! each binary is a BPF object. An object has the maps that its own programs use and shares none
//! with another, so that it is loaded, and fails, without the others.
//!
//! The library has the code that objects share: reading at offsets. It has no maps, since each
//! would be in every object, used or not; code that needs a map (`emit`) is a module of each object
//! that uses it.

#![no_std]

pub mod globals;
pub mod read;

/// Common end of each object: the panic handler that Rust requires without its standard library,
/// and the licence. `bpf_probe_read_kernel` and its like are for programs under a GPL-compatible
/// licence only; the kernel side may be used under either.
#[macro_export]
macro_rules! object {
    () => {
        #[cfg(not(test))]
        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }

        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}
