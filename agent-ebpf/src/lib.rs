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

/// Line of the agent's log about what a program decided for one process, with the feature
/// `kernel-log`; nothing in an object that is shipped. It takes a format and up to three numbers, and
/// begins with the process.
#[macro_export]
macro_rules! decided {
    ($($line:tt)*) => {
        #[cfg(feature = "kernel-log")]
        $crate::line!(debug, $($line)*);
    };
}

/// Line about a process that is none of a container's, as [`decided!`] at the level trace: there are
/// many.
#[macro_export]
macro_rules! passed {
    ($($line:tt)*) => {
        #[cfg(feature = "kernel-log")]
        $crate::line!(trace, $($line)*);
    };
}

/// Line of [`decided!`] and [`passed!`], in a function of its own: so it changes nothing in the
/// program around it, where LLVM would run out of registers and copy ones that hold nothing, which
/// the verifier refuses.
#[cfg(feature = "kernel-log")]
#[macro_export]
macro_rules! line {
    ($level:ident, $format:literal, $a:expr $(,)?) => {{
        #[inline(never)]
        fn line(a: i64) {
            aya_log_ebpf::$level!(&(), $format, a);
        }
        line($a as i64);
    }};
    ($level:ident, $format:literal, $a:expr, $b:expr $(,)?) => {{
        #[inline(never)]
        fn line(a: i64, b: i64) {
            aya_log_ebpf::$level!(&(), $format, a, b);
        }
        line($a as i64, $b as i64);
    }};
    ($level:ident, $format:literal, $a:expr, $b:expr, $c:expr $(,)?) => {{
        #[inline(never)]
        fn line(a: i64, b: i64, c: i64) {
            aya_log_ebpf::$level!(&(), $format, a, b, c);
        }
        line($a as i64, $b as i64, $c as i64);
    }};
}

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
