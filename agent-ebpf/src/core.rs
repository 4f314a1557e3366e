//! BPF object of the events: cgroups come and go; processes start, receive signals and end. It has
//! one ring buffer.

#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attribute macros of programs hand over the context by value"
)]

mod cgroup;
mod emit;
mod maps;
mod oom;
mod sched;
mod share;
mod signal;
mod tasks;

agent_ebpf::object!();
