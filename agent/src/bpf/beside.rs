//! Programs of others on the kubelet's cgroup and above it, and whether ours can run beside them.
//!
//! Of a cgroup's ancestors, the kernel runs only those programs that were attached with
//! `BPF_F_ALLOW_MULTI` once the cgroup has one of its own (kernel/bpf/cgroup.c,
//! `compute_effective_progs`). So where others have attached without it, ours would switch theirs off for
//! the kubelet, a firewall perhaps, and the kernel does not always refuse that.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;

use super::call::{Attributes, bpf};
use crate::escape;

/// Kinds of programs that are attached to the kubelet's cgroup, with their numbers (`bpf_attach_type`).
const KINDS: [(&str, u32); 3] =
    [("cgroup_skb/ingress", 0), ("cgroup_skb/egress", 1), ("sock_ops", 3)];

/// Attributes of `BPF_PROG_QUERY`, with all that kernels up to 7.x write back.
#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

// SAFETY: as in include/uapi/linux/bpf.h, where `revision` is the last member.
unsafe impl Attributes for ProgQuery {
    const COMMAND: libc::c_long = 16;
}

/// What is attached to one cgroup, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct There {
    programs: u32,
    flags: u32,
}

impl There {
    /// Whether they run as before when a cgroup below, or the same, gets a program of its own.
    const fn can_share(self) -> bool {
        /// Flag of programs that run beside others (`BPF_F_ALLOW_MULTI`).
        const ALLOW_MULTI: u32 = 1 << 1;
        self.programs == 0 || self.flags & ALLOW_MULTI != 0
    }
}

/// Finds a program that ours cannot run beside, on a cgroup or above it; says where, in words.
///
/// # Errors
/// The kernel does not say, or the cgroup is gone.
pub(super) fn exclusive(directory: &Path) -> anyhow::Result<Option<String>> {
    let directory = directory.canonicalize().context("the kubelet's cgroup")?;
    for (depth, ancestor) in directory.ancestors().enumerate() {
        let cgroup =
            File::open(ancestor).with_context(|| format!("opening {}", escape::path(ancestor)))?;
        for (kind, number) in KINDS {
            match query(&cgroup, number) {
                Ok(there) if there.can_share() => {}
                Ok(_) => {
                    let path = escape::path(ancestor);
                    return Ok(Some(format!(
                        "another program ({kind}) is attached exclusively to {path}, without \
                         BPF_F_ALLOW_MULTI"
                    )));
                }
                // Above the root of the hierarchy, or of what is mounted of it.
                Err(error) if depth > 0 && error.raw_os_error() == Some(Errno::EBADF as i32) => {
                    return Ok(None);
                }
                Err(error) => {
                    let what = format!("asking what is attached to {}", escape::path(ancestor));
                    return Err(error).context(what);
                }
            }
        }
    }
    Ok(None)
}

fn query(cgroup: &impl AsFd, attach_type: u32) -> io::Result<There> {
    let target_fd = cgroup.as_fd().as_raw_fd().cast_unsigned();
    let mut asked = ProgQuery { target_fd, attach_type, ..ProgQuery::default() };
    bpf(&mut asked)?;
    Ok(There { programs: asked.prog_cnt, flags: asked.attach_flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags as in include/uapi/linux/bpf.h: 0, `BPF_F_ALLOW_OVERRIDE`, `BPF_F_ALLOW_MULTI`. The kernel
    /// keeps those of programs that are gone.
    #[test]
    fn only_programs_that_allow_others_are_left_running() {
        let can_share = |programs, flags| There { programs, flags }.can_share();
        assert!(can_share(0, 0) && can_share(0, 1) && can_share(0, 2));
        assert!(!can_share(1, 0) && !can_share(1, 1));
        assert!(can_share(1, 2) && can_share(3, 2));
    }

    #[test]
    fn what_the_kernel_writes_back_has_room() {
        assert_eq!(size_of::<ProgQuery>(), 64);
        assert_eq!(std::mem::offset_of!(ProgQuery, prog_cnt), 24);
        assert_eq!(std::mem::offset_of!(ProgQuery, revision), 56);
    }

    #[test]
    fn a_directory_that_is_no_cgroup_is_an_error() {
        assert!(exclusive(Path::new("/no/such/cgroup")).is_err());
    }
}
