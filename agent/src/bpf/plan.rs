//! Which programs to load on this host, and what is lost without each. Pure.

use agent_common::map::{EVENTS_BYTES, TRACKED_MAX};
use agent_common::snapshot::SNAPSHOT_MAX;

use crate::kernel::{btf::Parameter, capabilities::Capabilities, host::Lockdown};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A typed raw tracepoint of this name.
    Tracepoint(&'static str),
    /// The task iterator.
    TaskIterator,
    /// The cgroup iterator.
    CgroupIterator,
}

/// The program of a kernel that does not give what the others need with its type. It tells the
/// same, and reads untyped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Tried when the kernel refuses the others.
    IfRefused(&'static str),
    /// Chosen where [`Subject::parameter`] is an integer.
    IfInteger(&'static str),
}

/// One thing to observe, and the programs that can.
#[derive(Debug)]
pub struct Subject {
    /// The value of the label `program`.
    pub name: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// The program that also reads memory without a type, with `bpf_probe_read_kernel`; `None` if
    /// there is no need for one.
    pub untyped: Option<&'static str>,
    /// The program that reads through types only.
    pub typed: &'static str,
    /// The program for kernels that are not as the others need it.
    pub fallback: Option<Fallback>,
    /// A parameter that has to be a pointer to this struct.
    pub parameter: Option<(usize, &'static str)>,
    /// What is missing when it is not loaded.
    pub lost: &'static str,
    /// What the typed program cannot tell that the other can.
    pub lost_typed: &'static str,
}

/// All subjects, in the order in which they are attached: cgroups are tracked before their
/// processes are watched.
pub const SUBJECTS: [Subject; 10] = [
    Subject {
        name: "cgroup_mkdir",
        hook: Hook::Tracepoint("cgroup_mkdir"),
        untyped: Some("cgroup_mkdir"),
        typed: "cgroup_mkdir_typed",
        fallback: None,
        parameter: Some((0, "cgroup")),
        lost: "new containers are found by looking, every 10 s; their stop signals, ends and OOM \
               kills before that are not seen",
        lost_typed: "a container that lives shorter than a few milliseconds may stay unnamed",
    },
    Subject {
        name: "cgroup_rmdir",
        hook: Hook::Tracepoint("cgroup_rmdir"),
        untyped: None,
        typed: "cgroup_rmdir",
        fallback: None,
        parameter: Some((0, "cgroup")),
        lost: "removed containers are noticed by looking, every 10 s",
        lost_typed: "",
    },
    Subject {
        name: "cgroup_notify_populated",
        hook: Hook::Tracepoint("cgroup_notify_populated"),
        untyped: None,
        typed: "cgroup_notify_populated",
        fallback: None,
        parameter: Some((0, "cgroup")),
        lost: "no end for containers whose runtime ignores SIGCHLD, until they are removed",
        lost_typed: "",
    },
    Subject {
        name: "sched_process_exec",
        hook: Hook::Tracepoint("sched_process_exec"),
        untyped: None,
        typed: "sched_process_exec",
        fallback: None,
        parameter: Some((0, "task_struct")),
        lost: "init is not known: no shutdown times, terminations and restarts of new containers",
        lost_typed: "",
    },
    // Attached after the first, it runs after it.
    Subject {
        name: "sched_process_exec_again",
        hook: Hook::Tracepoint("sched_process_exec"),
        untyped: None,
        typed: "sched_process_exec_again",
        fallback: None,
        parameter: Some((0, "task_struct")),
        lost: "where programs are preempted (Linux 7), some inits of a burst are not known",
        lost_typed: "",
    },
    Subject {
        name: "sched_process_exit",
        hook: Hook::Tracepoint("sched_process_exit"),
        untyped: None,
        typed: "sched_process_exit",
        fallback: None,
        parameter: Some((0, "task_struct")),
        lost: "no exit code where the runtime ignores SIGCHLD, and later last figures",
        lost_typed: "",
    },
    Subject {
        name: "signal_generate",
        hook: Hook::Tracepoint("signal_generate"),
        untyped: None,
        typed: "signal_generate",
        fallback: Some(Fallback::IfRefused("signal_generate_untyped")),
        parameter: Some((2, "task_struct")),
        lost: "no stop signals, no shutdown times, no exact ends",
        lost_typed: "",
    },
    Subject {
        name: "mark_victim",
        hook: Hook::Tracepoint("mark_victim"),
        untyped: Some("mark_victim"),
        typed: "mark_victim_typed",
        fallback: Some(Fallback::IfInteger("mark_victim_by_id")),
        parameter: Some((0, "task_struct")),
        lost: "OOM kills are seen as SIGKILL; only the totals of memory.events remain",
        lost_typed: "whose limit an OOM was about (container, Pod or node)",
    },
    Subject {
        name: "running_tasks",
        hook: Hook::TaskIterator,
        untyped: Some("running_tasks"),
        typed: "visible_tasks",
        fallback: None,
        parameter: None,
        lost: "the inits of containers older than the agent are not known, and offsets are not \
               checked against the kernel's own answers",
        lost_typed: "in a Pod without hostPID, the inits of containers older than the agent",
    },
    Subject {
        name: "cgroup_figures",
        hook: Hook::CgroupIterator,
        untyped: None,
        typed: "cgroup_figures",
        fallback: None,
        parameter: None,
        lost: "all figures are read from the files of each cgroup, which costs more",
        lost_typed: "",
    },
];

/// What is known of the host before anything is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What this process may do.
    pub capabilities: Capabilities,
    /// What the kernel forbids.
    pub lockdown: Lockdown,
    /// The offsets for the memory hierarchy are known.
    pub memory_offsets: bool,
    /// The offsets for the cgroup snapshot are known.
    pub snapshot_offsets: bool,
    /// The kernel's BTF has the function that a cgroup iterator is attached to (Linux 6.1).
    pub cgroup_iterator: bool,
    /// What maps and programs may take, where they are charged to this process's user.
    pub memlock_bytes: Option<u64>,
}

/// How large the maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The ring buffer.
    pub events_bytes: u32,
    /// Cgroups that can be tracked.
    pub tracked_max: u32,
}

impl Sizes {
    /// Where nothing is scarce.
    pub const FULL: Self = Self { events_bytes: EVENTS_BYTES, tracked_max: TRACKED_MAX };
}

/// With less locked memory the programs do not fit, whatever the maps.
pub const MEMLOCK_MIN_BYTES: u64 = 512 << 10;

/// Fits the maps into what may be locked, half of it at most: the programs are charged too.
///
/// # Errors
/// If it is too little for anything; the error says how much is needed and how it is given.
pub fn sizes(facts: &Facts) -> Result<Sizes, String> {
    /// An element of a hash map with its bucket (kernel/bpf/hashtab.c, 5.10).
    const TRACKED_BYTES: u64 = 80;
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
    })
}

/// How many cgroups one pass shall have room for on a node that has `found` now: four times as many,
/// since the array cannot grow, and costs memory whether it is full or not. What has no room is
/// read from its files.
#[must_use]
pub fn snapshot_elements(found: u64) -> u32 {
    /// What a node of 250 Pods has, with room to spare: 2 MiB.
    const ELEMENTS_MIN: u32 = 2_048;
    let wanted = u32::try_from(found.saturating_mul(4)).unwrap_or(u32::MAX);
    wanted.checked_next_power_of_two().unwrap_or(SNAPSHOT_MAX).clamp(ELEMENTS_MIN, SNAPSHOT_MAX)
}

/// How more locked memory is given.
pub const MEMLOCK_REMEDY: &str = "run with LimitMEMLOCK=infinity, or give CAP_SYS_RESOURCE";

/// What to do about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Load these programs; the second only if the kernel refuses the first.
    Load {
        /// The best.
        first: &'static str,
        /// The next best.
        second: Option<&'static str>,
    },
    /// Do not try.
    Skip(String),
}

/// Decides about one subject. `parameter` is what the kernel's BTF says of
/// [`Subject::parameter`].
#[must_use]
pub fn choose(subject: &Subject, facts: &Facts, parameter: Option<&Parameter>) -> Choice {
    if !facts.capabilities.bpf {
        return Choice::Skip("CAP_BPF is missing".into());
    }
    if !facts.capabilities.perfmon {
        return Choice::Skip("CAP_PERFMON is missing".into());
    }
    let untyped_allowed = facts.lockdown != Lockdown::Confidentiality;
    if let (Some((n, name)), Hook::Tracepoint(tracepoint)) = (subject.parameter, subject.hook) {
        match parameter {
            None => return Choice::Skip(format!("this kernel has no tracepoint {tracepoint}")),
            Some(Parameter::StructPointer(found)) if found == name => {}
            Some(other) => {
                if let (Parameter::Integer, Some(Fallback::IfInteger(program))) =
                    (other, subject.fallback)
                    && untyped_allowed
                {
                    return Choice::Load { first: program, second: None };
                }
                return Choice::Skip(format!(
                    "parameter {n} of the tracepoint {tracepoint} is no {name} on this kernel"
                ));
            }
        }
    }
    if subject.hook == Hook::CgroupIterator {
        if !facts.cgroup_iterator {
            return Choice::Skip("this kernel has no cgroup iterator (Linux 6.1)".into());
        }
        if !facts.snapshot_offsets {
            return Choice::Skip("the offsets of cgroups' figures are not known".into());
        }
        if facts.lockdown == Lockdown::Confidentiality {
            return Choice::Skip("the lockdown forbids reading untyped memory".into());
        }
    }
    let needs_memory = subject.name == "mark_victim";
    match (subject.untyped, subject.fallback) {
        (Some(untyped), _) if untyped_allowed && (facts.memory_offsets || !needs_memory) => {
            Choice::Load { first: untyped, second: Some(subject.typed) }
        }
        (None, Some(Fallback::IfRefused(program))) if untyped_allowed => {
            Choice::Load { first: subject.typed, second: Some(program) }
        }
        _ => Choice::Load { first: subject.typed, second: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Facts = Facts {
        capabilities: Capabilities { bpf: true, perfmon: true },
        lockdown: Lockdown::None,
        memory_offsets: true,
        snapshot_offsets: true,
        cgroup_iterator: true,
        memlock_bytes: None,
    };

    fn subject(name: &str) -> &'static Subject {
        static ALL_SUBJECTS: [Subject; 10] = SUBJECTS;
        ALL_SUBJECTS.iter().find(|s| s.name == name).unwrap()
    }

    fn pointer(name: &str) -> Option<Parameter> {
        Some(Parameter::StructPointer(name.into()))
    }

    #[test]
    fn the_better_program_comes_first() {
        let choice = choose(subject("mark_victim"), &ALL, pointer("task_struct").as_ref());
        let both = Choice::Load { first: "mark_victim", second: Some("mark_victim_typed") };
        assert_eq!(choice, both);
    }

    #[test]
    fn confidentiality_leaves_the_typed_program() {
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..ALL };
        for (name, parameter) in [("mark_victim", "task_struct"), ("cgroup_mkdir", "cgroup")] {
            let subject = subject(name);
            let choice = choose(subject, &facts, pointer(parameter).as_ref());
            assert_eq!(choice, Choice::Load { first: subject.typed, second: None });
        }
    }

    #[test]
    fn a_kernel_without_memory_cgroups_has_no_scope() {
        let facts = Facts { memory_offsets: false, ..ALL };
        let choice = choose(subject("mark_victim"), &facts, pointer("task_struct").as_ref());
        assert_eq!(choice, Choice::Load { first: "mark_victim_typed", second: None });
        let choice = choose(subject("cgroup_mkdir"), &facts, pointer("cgroup").as_ref());
        assert!(matches!(choice, Choice::Load { first: "cgroup_mkdir", .. }));
    }

    #[test]
    fn the_snapshot_needs_iterator_offsets_and_untyped_memory() {
        let subject = subject("cgroup_figures");
        assert!(matches!(choose(subject, &ALL, None), Choice::Load { .. }));
        for facts in [
            Facts { cgroup_iterator: false, ..ALL },
            Facts { snapshot_offsets: false, ..ALL },
            Facts { lockdown: Lockdown::Confidentiality, ..ALL },
        ] {
            assert!(matches!(choose(subject, &facts, None), Choice::Skip(_)), "{facts:?}");
        }
    }

    #[test]
    fn a_missing_capability_or_tracepoint_is_named() {
        let facts = Facts { capabilities: Capabilities { bpf: false, perfmon: true }, ..ALL };
        let Choice::Skip(why) = choose(subject("signal_generate"), &facts, None) else { panic!() };
        assert!(why.contains("CAP_BPF"));
        let Choice::Skip(why) = choose(subject("signal_generate"), &ALL, None) else { panic!() };
        assert!(why.contains("signal_generate"));
        let other = Some(&Parameter::Other);
        assert!(matches!(choose(subject("mark_victim"), &ALL, other), Choice::Skip(_)));
    }

    #[test]
    fn a_victim_told_by_its_number_has_a_program_of_its_own() {
        let integer = Some(&Parameter::Integer);
        let choice = choose(subject("mark_victim"), &ALL, integer);
        assert_eq!(choice, Choice::Load { first: "mark_victim_by_id", second: None });
        assert!(matches!(choose(subject("cgroup_rmdir"), &ALL, integer), Choice::Skip(_)));
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..ALL };
        assert!(matches!(choose(subject("mark_victim"), &facts, integer), Choice::Skip(_)));
    }

    #[test]
    fn signals_have_a_second_program_unless_the_kernel_forbids_it() {
        let choose =
            |facts| choose(subject("signal_generate"), &facts, pointer("task_struct").as_ref());
        let second = Some("signal_generate_untyped");
        assert_eq!(choose(ALL), Choice::Load { first: "signal_generate", second });
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..ALL };
        assert_eq!(choose(facts), Choice::Load { first: "signal_generate", second: None });
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
        let small = Sizes { events_bytes: 128 << 10, tracked_max: 1024 };
        assert_eq!(sizes(Some(512 << 10)), Ok(small));
        let why = sizes(Some(64 << 10)).unwrap_err();
        assert!(why.contains("64 KiB") && why.contains("CAP_SYS_RESOURCE"), "{why}");
    }
}
