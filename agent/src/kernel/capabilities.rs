//! Which capabilities this process has, raising them for what needs them, and giving up the others.
//!
//! Capabilities belong to a thread, and a thread begins with those of who starts it. The agent does
//! all its work with the kernel in one.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// The capabilities that Podvitals has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CAP_BPF`: load programs, make maps.
    pub bpf: bool,
    /// `CAP_PERFMON`: tracing programs.
    pub perfmon: bool,
}

impl Capabilities {
    /// What this thread can raise.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn read() -> Result<Self, CapsError> {
        Ok(Self::of(&caps::read(None, CapSet::Permitted)?))
    }

    fn of(permitted: &CapsHashSet) -> Self {
        let has = |capability| {
            permitted.contains(&capability) || permitted.contains(&Capability::CAP_SYS_ADMIN)
        };
        Self { bpf: has(Capability::CAP_BPF), perfmon: has(Capability::CAP_PERFMON) }
    }

    /// Whether both needed for tracing programs are there.
    #[must_use]
    pub const fn can_trace(self) -> bool {
        self.bpf && self.perfmon
    }
}

/// Does something with the capabilities that the kernel side needs in the effective set, and takes
/// them out of it again. This is the only place that raises any.
///
/// File capabilities are given as permitted only, since a program whose file asks for more
/// effective capabilities than its bounding set has cannot even be executed. And a system call on a
/// map is refused without CAP_BPF up to Linux 5.18, where the sysctl
/// `kernel.unprivileged_bpf_disabled` is set, as it is by default (kernel/bpf/syscall.c, `bpf`).
pub fn raised<T>(act: impl FnOnce() -> T) -> T {
    let _lowered_after = match Raised::raise() {
        Ok(raised) => raised,
        Err(error) => {
            // What is then refused says so itself.
            tracing::debug!(%error, "capabilities cannot be raised");
            None
        }
    };
    act()
}

/// The effective set as it was; dropped, it is so again.
struct Raised(CapsHashSet);

impl Raised {
    /// `None` if nothing is to be raised.
    fn raise() -> Result<Option<Self>, CapsError> {
        let effective = caps::read(None, CapSet::Effective)?;
        let permitted = caps::read(None, CapSet::Permitted)?;
        let wanted = to_raise(&permitted);
        if wanted.is_subset(&effective) {
            return Ok(None);
        }
        caps::set(None, CapSet::Effective, &wanted.union(&effective).copied().collect())?;
        Ok(Some(Self(effective)))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Err(error) = caps::set(None, CapSet::Effective, &self.0) {
            tracing::error!(%error, "capabilities cannot be lowered");
        }
    }
}

/// What a call to the kernel side may need: before Linux 5.11, also more locked memory.
fn to_raise(permitted: &CapsHashSet) -> CapsHashSet {
    let mut raised = to_keep(permitted);
    raised.extend(permitted.get(&Capability::CAP_SYS_RESOURCE));
    raised
}

/// What a thread has while it serves, and what it gave up for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The effective set.
    pub effective: CapsHashSet,
    /// The permitted set.
    pub permitted: CapsHashSet,
    /// What was permitted before.
    pub dropped: CapsHashSet,
}

/// Gives up, for good, all that [`raised`] has no use for once the programs are attached, and empties
/// the effective set.
///
/// As root, too: what the agent reads after its start is root's own or everybody's, so that nothing
/// of it needs CAP_DAC_OVERRIDE.
///
/// # Errors
/// If the kernel refuses.
pub fn drop_unneeded() -> Result<Kept, CapsError> {
    let before = caps::read(None, CapSet::Permitted)?;
    caps::clear(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Permitted, &to_keep(&before))?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    Ok(Kept {
        effective: caps::read(None, CapSet::Effective)?,
        dropped: before.difference(&permitted).copied().collect(),
        permitted,
    })
}

/// What attaching again needs; CAP_SYS_ADMIN stands for what is missing (include/linux/capability.h,
/// `bpf_capable`). Not CAP_SYS_RESOURCE: the limit stays as it was raised.
fn to_keep(permitted: &CapsHashSet) -> CapsHashSet {
    let own = [Capability::CAP_BPF, Capability::CAP_PERFMON];
    let own: CapsHashSet = own.into_iter().filter(|it| permitted.contains(it)).collect();
    if own.len() < 2 && permitted.contains(&Capability::CAP_SYS_ADMIN) {
        // A runtime that is older than the two.
        return own.into_iter().chain([Capability::CAP_SYS_ADMIN]).collect();
    }
    own
}

/// A set's names, as capabilities(7) has them, in its order.
#[must_use]
pub fn names(set: &CapsHashSet) -> String {
    if set.is_empty() {
        return "none".to_owned();
    }
    let mut sorted: Vec<_> = set.iter().collect();
    sorted.sort_by_key(|capability| capability.index());
    sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{CAP_BPF, CAP_CHOWN, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE};

    fn set<const N: usize>(of: [Capability; N]) -> CapsHashSet {
        of.into()
    }

    #[test]
    fn only_what_attaching_again_needs_is_kept() {
        let both = set([CAP_BPF, CAP_PERFMON]);
        assert_eq!(to_keep(&caps::all()), both);
        assert_eq!(to_keep(&both), both);
        assert_eq!(to_keep(&set([CAP_SYS_ADMIN, CAP_CHOWN])), set([CAP_SYS_ADMIN]));
        assert_eq!(to_keep(&set([CAP_SYS_ADMIN, CAP_BPF])), set([CAP_SYS_ADMIN, CAP_BPF]));
        assert_eq!(to_keep(&set([CAP_CHOWN])), set([]));
    }

    #[test]
    fn only_what_is_permitted_is_raised() {
        assert_eq!(to_raise(&set([CAP_CHOWN, CAP_BPF])), set([CAP_BPF]));
        assert!(to_raise(&caps::all()).contains(&CAP_SYS_RESOURCE));
    }

    #[test]
    fn sys_admin_stands_for_both() {
        let can = |permitted| Capabilities::of(&permitted).can_trace();
        assert!(can(set([CAP_SYS_ADMIN])) && can(set([CAP_BPF, CAP_PERFMON])));
        assert!(!can(set([CAP_BPF, CAP_CHOWN])) && !can(set([])));
    }

    /// In a thread of its own, whose capabilities are nobody else's.
    #[test]
    fn the_effective_set_is_empty_but_while_something_is_done() {
        let effective = || caps::read(None, CapSet::Effective).unwrap();
        let thread = std::thread::spawn(move || {
            let kept = drop_unneeded().unwrap();
            assert_eq!((kept.effective, effective()), (set([]), set([])));
            assert_eq!(kept.permitted, caps::read(None, CapSet::Permitted).unwrap());
            assert!(!kept.permitted.contains(&CAP_CHOWN));
            let inside = raised(|| raised(effective));
            assert_eq!(inside, kept.permitted);
            assert_eq!(effective(), set([]));
            assert!(std::panic::catch_unwind(|| raised(|| panic!("as a test"))).is_err());
            assert_eq!(effective(), set([]), "lowered whatever happens");
        });
        thread.join().unwrap();
    }

    #[test]
    fn names_are_in_the_kernels_order() {
        assert_eq!(names(&set([CAP_BPF, CAP_CHOWN, CAP_PERFMON])), "CAP_CHOWN CAP_PERFMON CAP_BPF");
        assert_eq!(names(&set([])), "none");
    }
}
