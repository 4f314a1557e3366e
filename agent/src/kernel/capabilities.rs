//! Capabilities of this thread: reading them, raising them for a call, and dropping the others.
//!
//! Capabilities belong to a thread, and a thread starts with those of its creator. The agent does
//! all its work with the kernel in one thread. They are read and set by capget(2) and capset(2)
//! themselves, since that happens at each call to the kernel side.

use std::fmt;
use std::io;

use caps::Capability::{
    self, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SETPCAP, CAP_SYS_ADMIN, CAP_SYS_RESOURCE,
};
use nix::libc;

/// A set of capabilities, one bit each (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// The set of these capabilities.
    #[must_use]
    pub fn of(capabilities: &[Capability]) -> Self {
        Self(capabilities.iter().fold(0, |bits, capability| bits | capability.bitmask()))
    }

    /// Whether the set has this capability.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.0 & capability.bitmask() != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Names of capabilities(7) in the kernel's order, or `none`.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        let mut known: Vec<_> = caps::all().into_iter().filter(|it| self.has(*it)).collect();
        known.sort_by_key(Capability::index);
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        f.write_str(&known.join(" "))
    }
}

/// Capability sets of this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    /// Capabilities that the thread can use now.
    pub effective: Set,
    /// Capabilities that the thread may make effective.
    pub permitted: Set,
    /// Capabilities that a program which the thread executes may be permitted.
    pub inheritable: Set,
}

/// Header of the system calls (`struct __user_cap_header_struct`).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Half of the sets (`struct __user_cap_data_struct`): 32 capabilities of 64.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Header for this thread, in version 3 (`_LINUX_CAPABILITY_VERSION_3`).
const THIS_THREAD: Header = Header { version: 0x2008_0522, pid: 0 };

impl Sets {
    /// Reads the sets from the kernel.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn read() -> io::Result<Self> {
        let mut header = THIS_THREAD;
        let mut halves = [Half::default(); 2];
        // SAFETY: the kernel reads the header, and writes two halves for this version.
        let answer = unsafe {
            libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr().cast::<Half>())
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        let [low, high] = halves;
        let whole = |low: u32, high: u32| Set(u64::from(low) | u64::from(high) << 32);
        Ok(Self {
            effective: whole(low.effective, high.effective),
            permitted: whole(low.permitted, high.permitted),
            inheritable: whole(low.inheritable, high.inheritable),
        })
    }

    fn apply(self) -> io::Result<()> {
        let mut header = THIS_THREAD;
        let half = |shift: u32| Half {
            effective: (self.effective.0 >> shift) as u32,
            permitted: (self.permitted.0 >> shift) as u32,
            inheritable: (self.inheritable.0 >> shift) as u32,
        };
        let halves = [half(0), half(32)];
        // SAFETY: the kernel reads the header and the two halves that this version has.
        let answer = unsafe {
            libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr().cast::<Half>())
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Capabilities that the kernel side needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Capability `CAP_BPF`: load programs, create maps.
    pub bpf: bool,
    /// Capability `CAP_PERFMON`: tracing programs.
    pub perfmon: bool,
    /// Capability `CAP_NET_ADMIN`: programs on a cgroup's sockets.
    pub net_admin: bool,
}

impl Capabilities {
    /// Capabilities that this thread can raise.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn read() -> io::Result<Self> {
        Ok(Self::of(Sets::read()?.permitted))
    }

    fn of(permitted: Set) -> Self {
        let admin = permitted.has(CAP_SYS_ADMIN);
        Self {
            bpf: admin || permitted.has(CAP_BPF),
            perfmon: admin || permitted.has(CAP_PERFMON),
            // Nothing stands for it (kernel/bpf/syscall.c, `bpf_prog_attach_check_attach_type`).
            net_admin: permitted.has(CAP_NET_ADMIN),
        }
    }

    /// Whether both capabilities for tracing programs are available.
    #[must_use]
    pub const fn can_trace(self) -> bool {
        self.bpf && self.perfmon
    }
}

/// Runs a function with the kernel side's capabilities in the effective set, and lowers them again.
/// This is the only function that raises any.
///
/// File capabilities are given as permitted only, since a program whose file asks for more
/// effective capabilities than its bounding set has cannot even be executed. And a system call on a
/// map is refused without CAP_BPF up to Linux 5.18, where the sysctl
/// `kernel.unprivileged_bpf_disabled` is set, as it is by default (kernel/bpf/syscall.c, `bpf`).
///
/// A call takes 4.5 µs (6.18, a virtual machine: a capget and two capsets), and next to nothing
/// inside another one.
pub fn raised<T>(act: impl FnOnce() -> T) -> T {
    let _lowered_after = match Raised::raise() {
        Ok(raised) => raised,
        Err(error) => {
            // A call that the kernel then refuses reports its own error.
            tracing::debug!(%error, "capabilities cannot be raised");
            None
        }
    };
    act()
}

/// Sets as they were before; restored when dropped.
struct Raised(Sets);

impl Raised {
    /// Raises the capabilities; `None` if nothing is to be raised.
    fn raise() -> io::Result<Option<Self>> {
        let before = Sets::read()?;
        let effective = before.effective.or(to_raise(before.permitted));
        if effective == before.effective {
            return Ok(None);
        }
        Sets { effective, ..before }.apply()?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Err(error) = self.0.apply() {
            tracing::error!(%error, "capabilities cannot be lowered");
        }
    }
}

/// Capabilities that a call to the kernel side may need: before Linux 5.11, also more locked
/// memory.
fn to_raise(permitted: Set) -> Set {
    to_keep(permitted, Kubelet::Watched).or(permitted.and(Set::of(&[CAP_SYS_RESOURCE])))
}

/// Capabilities that a later attach needs; CAP_SYS_ADMIN stands for a missing one
/// (include/linux/capability.h, `bpf_capable`). CAP_SYS_RESOURCE is not among them: the limit stays
/// as it was raised.
fn to_keep(permitted: Set, kubelet: Kubelet) -> Set {
    let both = Set::of(&[CAP_BPF, CAP_PERFMON]);
    let net_admin = match kubelet {
        Kubelet::Watched => permitted.and(Set::of(&[CAP_NET_ADMIN])),
        Kubelet::Unwatched => Set::default(),
    };
    if permitted.and(both) == both {
        return both.or(net_admin);
    }
    permitted.and(both.or(Set::of(&[CAP_SYS_ADMIN]))).or(net_admin)
}

/// Whether there are programs on the kubelet's cgroup, which is another one after each restart of the
/// kubelet: to attach them again needs CAP_NET_ADMIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubelet {
    /// There are.
    Watched,
    /// There are none, and never will be.
    Unwatched,
}

/// Result of dropping capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Sets after the drop.
    pub sets: Sets,
    /// Capabilities that were permitted before and are not any more.
    pub dropped: Set,
    /// Bounding set: capabilities that a program which the thread executes may still get.
    pub bounding: Set,
}

/// Forbids this process to gain privileges by executing a program, for good (prctl(2),
/// `PR_SET_NO_NEW_PRIVS`). The sets that it has stay as they are.
///
/// # Errors
/// Refusal of the call by the kernel.
pub fn forbid_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Drops, for good, all capabilities that [`raised`] does not need once the programs are attached,
/// and empties the effective set. The bounding set is emptied where CAP_SETPCAP allows it: as root.
///
/// As root, too: everything that the agent reads after its start belongs to root or is readable by
/// all, so nothing needs CAP_DAC_OVERRIDE.
///
/// # Errors
/// Sets that cannot be read, or refusal of the new ones by the kernel.
pub fn drop_unneeded(kubelet: Kubelet) -> io::Result<Kept> {
    let before = Sets::read()?;
    if before.effective.has(CAP_SETPCAP) {
        empty_bounding_set()?;
    }
    let kept = Sets {
        effective: Set::default(),
        permitted: to_keep(before.permitted, kubelet),
        inheritable: Set::default(),
    };
    kept.apply()?;
    let sets = Sets::read()?;
    let dropped = before.permitted.without(sets.permitted);
    Ok(Kept { sets, dropped, bounding: bounding_set() })
}

/// Drops, for good, all capabilities of this thread: for threads that do nothing with the kernel
/// side. A thread starts with those of its creator, which drops only its own.
///
/// # Errors
/// Refusal of the empty sets by the kernel.
pub fn drop_all() -> io::Result<()> {
    let none = Set::default();
    Sets { effective: none, permitted: none, inheritable: none }.apply()
}

/// Numbers of capabilities that the kernel can know; it refuses those after its last.
const NUMBERS: std::ops::Range<libc::c_ulong> = 0..64;

fn empty_bounding_set() -> io::Result<()> {
    for number in NUMBERS {
        // SAFETY: the call takes a number and no pointer.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            let is_past_the_last = number > 0 && error.raw_os_error() == Some(libc::EINVAL);
            return if is_past_the_last { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

fn bounding_set() -> Set {
    // SAFETY: the call takes a number and no pointer.
    let has = |number: &libc::c_ulong| unsafe {
        libc::prctl(libc::PR_CAPBSET_READ, *number, 0, 0, 0) == 1
    };
    Set(NUMBERS.filter(has).fold(0, |bits, number| bits | 1 << number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::CAP_CHOWN;

    /// Set of all capabilities.
    const ALL: Set = Set(u64::MAX);

    #[test]
    fn only_capabilities_for_a_later_attach_are_kept() {
        use Kubelet::{Unwatched, Watched};
        let both = Set::of(&[CAP_BPF, CAP_PERFMON]);
        assert_eq!(to_keep(ALL, Unwatched), both);
        assert_eq!(to_keep(ALL, Watched), both.or(Set::of(&[CAP_NET_ADMIN])));
        assert_eq!(to_keep(both, Watched), both);
        let keep = |of: &[Capability]| to_keep(Set::of(of), Unwatched);
        assert_eq!(keep(&[CAP_SYS_ADMIN, CAP_CHOWN]), Set::of(&[CAP_SYS_ADMIN]));
        assert_eq!(keep(&[CAP_SYS_ADMIN, CAP_BPF]), Set::of(&[CAP_SYS_ADMIN, CAP_BPF]));
        assert_eq!(keep(&[CAP_CHOWN]), Set::default());
    }

    #[test]
    fn only_permitted_capabilities_are_raised() {
        assert_eq!(to_raise(Set::of(&[CAP_CHOWN, CAP_BPF])), Set::of(&[CAP_BPF]));
        let all = [CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_RESOURCE];
        assert_eq!(to_raise(ALL), Set::of(&all));
    }

    #[test]
    fn sys_admin_stands_for_both() {
        let can = |permitted: &[Capability]| Capabilities::of(Set::of(permitted)).can_trace();
        assert!(can(&[CAP_SYS_ADMIN]) && can(&[CAP_BPF, CAP_PERFMON]));
        assert!(!can(&[CAP_BPF, CAP_CHOWN]) && !can(&[]));
    }

    /// Runs in a thread of its own, whose capabilities no other test shares. The crate `caps` reads
    /// them independently.
    #[test]
    fn the_effective_set_is_empty_except_during_a_call() {
        let effective = || Sets::read().unwrap().effective;
        let could_empty = effective().has(CAP_SETPCAP);
        let privileges_are_fixed = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"]))
        };
        let thread = std::thread::spawn(move || {
            let kept = drop_unneeded(Kubelet::Watched).unwrap();
            assert_eq!((kept.sets.effective, effective()), (Set::default(), Set::default()));
            let permitted = caps::read(None, caps::CapSet::Permitted).unwrap();
            assert_eq!(kept.sets.permitted, Set::of(&permitted.into_iter().collect::<Vec<_>>()));
            assert!(!kept.sets.permitted.has(CAP_CHOWN));
            let bounding = caps::read(None, caps::CapSet::Bounding).unwrap();
            assert_eq!(kept.bounding, Set::of(&bounding.into_iter().collect::<Vec<_>>()));
            assert!(!could_empty || kept.bounding == Set::default(), "{}", kept.bounding);
            assert!(!privileges_are_fixed());
            forbid_new_privileges().unwrap();
            assert!(privileges_are_fixed());
            let inside = raised(|| raised(|| caps::read(None, caps::CapSet::Effective).unwrap()));
            assert_eq!(Set::of(&inside.into_iter().collect::<Vec<_>>()), kept.sets.permitted);
            assert_eq!(effective(), Set::default());
            assert!(std::panic::catch_unwind(|| raised(|| panic!("a test of the drop"))).is_err());
            assert_eq!(effective(), Set::default(), "lowered after a panic as well");
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_without_need_has_none() {
        let sets = std::thread::spawn(|| {
            drop_all().unwrap();
            raised(|| Sets::read().unwrap())
        });
        let none = Set::default();
        let none = Sets { effective: none, permitted: none, inheritable: none };
        assert_eq!(sets.join().unwrap(), none);
    }

    #[test]
    fn names_are_in_the_kernels_order() {
        let set = Set::of(&[CAP_BPF, CAP_CHOWN, CAP_PERFMON]);
        assert_eq!(set.to_string(), "CAP_CHOWN CAP_PERFMON CAP_BPF");
        assert_eq!(Set::default().to_string(), "none");
    }
}
