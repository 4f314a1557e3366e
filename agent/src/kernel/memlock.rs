//! Limit of locked memory (`RLIMIT_MEMLOCK`) for the kernel side.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::btf::Btf;

/// Raises the limit of locked memory as far as this process may. Returns how much memory the maps
/// and programs of all processes of this user may take together, in bytes; `None` without a limit.
///
/// Up to Linux 5.10 they are charged to this limit; since then to the memory cgroup of the process
/// that creates them (kernel/bpf/syscall.c, `bpf_map_charge_init`, whose `struct bpf_map_memory` is
/// gone).
#[must_use]
pub fn raise(types: &Btf) -> Option<u64> {
    if !types.has_struct("bpf_map_memory") {
        return None;
    }
    // With CAP_SYS_RESOURCE there is no limit; else the soft limit can be raised to the hard one.
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return None;
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let raised = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_ok();
    let limit = if raised { hard } else { soft };
    (limit != RLIM_INFINITY).then_some(limit)
}
