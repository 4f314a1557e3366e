//! BPF object of the kubelet's network probes: its connections, each reported once, at its end. It
//! has a ring buffer of its own.
//!
//! Two ways lead to the same record. Programs on the kubelet's own cgroup see its sockets and no
//! others, with the first bytes of each direction; they need CAP_NET_ADMIN. Without it a tracepoint
//! tells when a connection was asked for, established, refused and ended.

#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attribute macros of programs hand over the context by value"
)]

mod connections;
mod packet;
mod sock_ops;
mod sock_state;

agent_ebpf::object!();
