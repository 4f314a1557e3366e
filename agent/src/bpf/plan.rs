//! Plan of the objects and programs to load on this host, with the loss without each. Pure.

use agent_common::map::{EVENTS_BYTES, TRACKED_MAX};
use agent_common::probes::{ATTEMPTS_MAX, CONNECTIONS_BYTES};
use agent_common::snapshot::SNAPSHOT_MAX;

use super::object::ObjectId;
use super::subjects::{Fallback, Hook, Subject, SubjectId, Variant};
use crate::kernel::{btf::lookup::Parameter, capabilities::Capabilities, host::Lockdown};

/// Facts about the host, collected before anything is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Capabilities of this process.
    pub capabilities: Capabilities,
    /// Lockdown mode of the kernel.
    pub lockdown: Lockdown,
    /// Flag: the offsets for the memory hierarchy are known.
    pub memory_offsets: bool,
    /// Flag: the offsets for the cgroup snapshot are known.
    pub snapshot_offsets: bool,
    /// Flag: the kernel's BTF has the function that a cgroup iterator is attached to (Linux 6.1).
    pub cgroup_iterator: bool,
    /// Flag: the offsets for the programs on the kubelet's sockets are known.
    pub sock_ops_offsets: bool,
    /// Flag: the offsets for the tracepoint of sockets are known.
    pub sock_offsets: bool,
    /// Limit of the locked memory for maps and programs in bytes, where they are charged to this
    /// process's user.
    pub memlock_bytes: Option<u64>,
    /// Objects that are turned off.
    pub off: Vec<ObjectId>,
}

/// Sizes of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Size of the ring buffer in bytes.
    pub events_bytes: u32,
    /// Limit of cgroups that can be tracked at once.
    pub tracked_max: u32,
    /// Size of the ring buffer of the kubelet's connections in bytes.
    pub connections_bytes: u32,
    /// Limit of the kubelet's connections that the tracepoint follows at once.
    pub attempts_max: u32,
}

impl Sizes {
    /// Full sizes, for a host without a limit on locked memory.
    pub const FULL: Self = Self {
        events_bytes: EVENTS_BYTES,
        tracked_max: TRACKED_MAX,
        connections_bytes: CONNECTIONS_BYTES,
        attempts_max: ATTEMPTS_MAX,
    };
}

/// Minimum of locked memory in bytes: with less the programs do not fit, whatever the maps.
pub const MEMLOCK_MIN_BYTES: u64 = 512 << 10;

/// Sizes of the maps that fit into half of the locked memory: the programs are charged too.
///
/// # Errors
/// If the limit is too low for anything; the error names the minimum and the remedy.
pub fn sizes(facts: &Facts) -> Result<Sizes, String> {
    /// Size of a hash map's element with its bucket (kernel/bpf/hashtab.c, 5.10).
    const TRACKED_BYTES: u64 = 104;
    /// The same of the map of attempts to connect.
    const ATTEMPT_BYTES: u64 = 96;
    let Some(limit) = facts.memlock_bytes else { return Ok(Sizes::FULL) };
    if limit < MEMLOCK_MIN_BYTES {
        return Err(format!(
            "this kernel charges maps and programs to RLIMIT_MEMLOCK, which is {} KiB, and at \
             least {} KiB are needed: {MEMLOCK_REMEDY}",
            limit >> 10,
            MEMLOCK_MIN_BYTES >> 10
        ));
    }
    // The ring buffer's size has to be a power of two.
    let power = |bytes: u64, max: u32| {
        let below = bytes.checked_ilog2().and_then(|log| 1_u32.checked_shl(log));
        below.map_or(max, |below| below.min(max))
    };
    let quarter = limit >> 2;
    Ok(Sizes {
        events_bytes: power(quarter, EVENTS_BYTES),
        tracked_max: power(quarter.div_euclid(TRACKED_BYTES), TRACKED_MAX),
        connections_bytes: power(limit >> 4, CONNECTIONS_BYTES),
        attempts_max: power((limit >> 5).div_euclid(ATTEMPT_BYTES), ATTEMPTS_MAX),
    })
}

/// Number of cgroups that one iterator run has room for on a node that has `found` now: four times
/// as many, since the array cannot grow; no more, since it costs memory whether it is full or not.
/// A cgroup without room is read from its files.
#[must_use]
pub fn snapshot_elements(found: u64) -> u32 {
    /// Minimum, enough for a node of 250 Pods and more: 2 MiB.
    const ELEMENTS_MIN: u32 = 2_048;
    let wanted = u32::try_from(found.saturating_mul(4)).unwrap_or(u32::MAX);
    wanted.checked_next_power_of_two().unwrap_or(SNAPSHOT_MAX).clamp(ELEMENTS_MIN, SNAPSHOT_MAX)
}

/// Reason for which the programs on the kubelet's cgroup are not loaded, though this kernel could.
pub const NO_NET_ADMIN: &str = "CAP_NET_ADMIN is missing";

/// Remedy for a low limit of locked memory.
pub const MEMLOCK_REMEDY: &str = "run with LimitMEMLOCK=infinity, or give CAP_SYS_RESOURCE";

/// Reason for which an object is not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The object is turned off.
    Off,
    /// The object cannot be loaded on this host, for the given reason.
    Unfit(String),
}

/// Decision about a subject whose object is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Load one program of these variants; the second only if the kernel refuses the first.
    Load {
        /// Variant to try first: the best.
        first: Variant,
        /// Variant to try when the first is refused.
        second: Option<Variant>,
    },
    /// Load no program, for this reason.
    Skip(String),
}

/// Decides whether to load an object.
///
/// # Errors
/// The reason, if not.
pub fn choose_object(object: ObjectId, facts: &Facts) -> Result<(), Skip> {
    let unfit = |why: &str| Err(Skip::Unfit(why.into()));
    if facts.off.contains(&object) {
        return Err(Skip::Off);
    }
    if !facts.capabilities.bpf {
        return unfit("CAP_BPF is missing");
    }
    if !facts.capabilities.perfmon {
        return unfit("CAP_PERFMON is missing");
    }
    match object {
        ObjectId::Core => Ok(()),
        ObjectId::Snapshot if !facts.cgroup_iterator => {
            unfit("this kernel has no cgroup iterator (needs Linux 6.1)")
        }
        ObjectId::Snapshot if !facts.snapshot_offsets => {
            unfit("the offsets of cgroups' stats are not known")
        }
        ObjectId::Snapshot if facts.lockdown == Lockdown::Confidentiality => {
            unfit("the lockdown forbids reading untyped memory")
        }
        ObjectId::Snapshot | ObjectId::Probes => Ok(()),
    }
}

/// Decides about one subject of an object that is loaded. `parameter` is the type that the kernel's
/// BTF has for [`Subject::parameter`].
#[must_use]
pub fn choose(subject: &Subject, facts: &Facts, parameter: Option<&Parameter>) -> Choice {
    let untyped_allowed = facts.lockdown != Lockdown::Confidentiality;
    if subject.hook.is_on_cgroup() && !facts.capabilities.net_admin {
        return Choice::Skip(NO_NET_ADMIN.into());
    }
    if subject.id == SubjectId::InetSockSetState && !facts.sock_offsets {
        return Choice::Skip("the offsets of sockets are not known".into());
    }
    if let (Some((n, name)), Hook::Tracepoint(tracepoint)) = (subject.parameter, subject.hook) {
        match parameter {
            None => return Choice::Skip(format!("this kernel has no tracepoint {tracepoint}")),
            Some(Parameter::StructPointer(found)) if found == name => {}
            Some(other) => {
                if let (Parameter::Integer, Some(Fallback::IfInteger(_))) =
                    (other, subject.fallback)
                    && untyped_allowed
                {
                    return Choice::Load { first: Variant::Fallback, second: None };
                }
                return Choice::Skip(format!(
                    "parameter {n} of the tracepoint {tracepoint} is not a {name} on this kernel"
                ));
            }
        }
    }
    let offsets_known = match subject.id {
        SubjectId::MarkVictim => facts.memory_offsets,
        SubjectId::KubeletSockOps => facts.sock_ops_offsets,
        _ => true,
    };
    match (subject.untyped, subject.fallback) {
        (Some(_), _) if untyped_allowed && offsets_known => {
            Choice::Load { first: Variant::Untyped, second: Some(Variant::Typed) }
        }
        (None, Some(Fallback::IfRefused(_))) if untyped_allowed => {
            Choice::Load { first: Variant::Typed, second: Some(Variant::Fallback) }
        }
        _ => Choice::Load { first: Variant::Typed, second: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::subjects::SUBJECTS;

    const ALL: Facts = Facts {
        capabilities: Capabilities { bpf: true, perfmon: true, net_admin: true },
        lockdown: Lockdown::None,
        memory_offsets: true,
        snapshot_offsets: true,
        cgroup_iterator: true,
        sock_ops_offsets: true,
        sock_offsets: true,
        memlock_bytes: None,
        off: Vec::new(),
    };

    fn subject(id: SubjectId) -> &'static Subject {
        SUBJECTS.iter().find(|s| s.id == id).unwrap()
    }

    fn pointer(name: &str) -> Option<Parameter> {
        Some(Parameter::StructPointer(name.into()))
    }

    #[test]
    fn the_better_program_comes_first() {
        let choice = choose(subject(SubjectId::MarkVictim), &ALL, pointer("task_struct").as_ref());
        let both = Choice::Load { first: Variant::Untyped, second: Some(Variant::Typed) };
        assert_eq!(choice, both);
    }

    #[test]
    fn confidentiality_leaves_the_typed_program() {
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..ALL };
        for (id, parameter) in
            [(SubjectId::MarkVictim, "task_struct"), (SubjectId::CgroupMkdir, "cgroup")]
        {
            let subject = subject(id);
            let choice = choose(subject, &facts, pointer(parameter).as_ref());
            assert_eq!(choice, Choice::Load { first: Variant::Typed, second: None });
        }
    }

    #[test]
    fn a_kernel_without_memory_cgroups_has_no_scope() {
        let facts = Facts { memory_offsets: false, ..ALL };
        let choice =
            choose(subject(SubjectId::MarkVictim), &facts, pointer("task_struct").as_ref());
        assert_eq!(choice, Choice::Load { first: Variant::Typed, second: None });
        let choice = choose(subject(SubjectId::CgroupMkdir), &facts, pointer("cgroup").as_ref());
        assert!(matches!(choice, Choice::Load { first: Variant::Untyped, .. }));
    }

    #[test]
    fn the_snapshot_needs_iterator_offsets_and_untyped_memory() {
        assert_eq!(choose_object(ObjectId::Snapshot, &ALL), Ok(()));
        for (facts, word) in [
            (Facts { cgroup_iterator: false, ..ALL }, "iterator"),
            (Facts { snapshot_offsets: false, ..ALL }, "offsets"),
            (Facts { lockdown: Lockdown::Confidentiality, ..ALL }, "lockdown"),
        ] {
            let Err(Skip::Unfit(why)) = choose_object(ObjectId::Snapshot, &facts) else { panic!() };
            assert!(why.contains(word), "{why}");
            assert_eq!(choose_object(ObjectId::Core, &facts), Ok(()), "the other one lives");
        }
        let facts = Facts { off: vec![ObjectId::Snapshot], ..ALL };
        assert_eq!(choose_object(ObjectId::Snapshot, &facts), Err(Skip::Off));
        assert_eq!(choose_object(ObjectId::Core, &facts), Ok(()));
    }

    #[test]
    fn a_missing_capability_or_tracepoint_is_named() {
        for (bpf, perfmon, missing) in [(false, true, "CAP_BPF"), (true, false, "CAP_PERFMON")] {
            let facts =
                Facts { capabilities: Capabilities { bpf, perfmon, net_admin: true }, ..ALL };
            for object in ObjectId::ALL {
                let Err(Skip::Unfit(why)) = choose_object(object, &facts) else { panic!() };
                assert!(why.contains(missing), "{why}");
            }
        }
        let generate = subject(SubjectId::SignalGenerate);
        let Choice::Skip(why) = choose(generate, &ALL, None) else { panic!() };
        assert!(why.contains("signal_generate"));
        let other = Some(&Parameter::Other);
        let choice = choose(subject(SubjectId::MarkVictim), &ALL, other);
        assert!(matches!(choice, Choice::Skip(_)));
    }

    #[test]
    fn a_victim_reported_by_its_pid_has_a_program_of_its_own() {
        let integer = Some(&Parameter::Integer);
        let choice = choose(subject(SubjectId::MarkVictim), &ALL, integer);
        assert_eq!(choice, Choice::Load { first: Variant::Fallback, second: None });
        assert!(matches!(choose(subject(SubjectId::CgroupRmdir), &ALL, integer), Choice::Skip(_)));
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..ALL };
        assert!(matches!(choose(subject(SubjectId::MarkVictim), &facts, integer), Choice::Skip(_)));
    }

    #[test]
    fn signals_have_a_second_program_unless_the_kernel_forbids_it() {
        let choose = |facts| {
            choose(subject(SubjectId::SignalGenerate), &facts, pointer("task_struct").as_ref())
        };
        let second = Some(Variant::Fallback);
        assert_eq!(choose(ALL), Choice::Load { first: Variant::Typed, second });
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..ALL };
        assert_eq!(choose(facts), Choice::Load { first: Variant::Typed, second: None });
    }

    #[test]
    fn the_snapshot_has_room_to_grow() {
        let elements = [0, 512, 513, 1_000, 5_000, u64::MAX].map(snapshot_elements);
        assert_eq!(elements, [2_048, 2_048, 4_096, 4_096, 8_192, 8_192]);
    }

    #[test]
    fn maps_fit_into_what_may_be_locked() {
        let sizes = |memlock_bytes| sizes(&Facts { memlock_bytes, ..ALL });
        assert_eq!(sizes(None), Ok(Sizes::FULL));
        assert_eq!(sizes(Some(8 << 20)), Ok(Sizes::FULL), "the default since Linux 5.16");
        assert_eq!(sizes(Some(u64::MAX - 1)), Ok(Sizes::FULL));
        let small = Sizes {
            events_bytes: 128 << 10,
            tracked_max: 1024,
            connections_bytes: 32 << 10,
            attempts_max: 128,
        };
        assert_eq!(sizes(Some(512 << 10)), Ok(small));
        let why = sizes(Some(64 << 10)).unwrap_err();
        assert!(why.contains("64 KiB") && why.contains("CAP_SYS_RESOURCE"), "{why}");
    }
}
