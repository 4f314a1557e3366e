//! The object of events: cgroups come and go, processes begin, get signals and end. One ring.

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
mod signal;
mod tasks;

agent_ebpf::object!();
