//! What is observed: each tracepoint and iterator, its programs, and what is lost without them.

use super::object::ObjectId;

/// One thing to observe: a tracepoint or an iterator of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectId {
    /// A cgroup is made.
    CgroupMkdir,
    /// A cgroup is removed.
    CgroupRmdir,
    /// The last process of a cgroup has gone.
    CgroupNotifyPopulated,
    /// A process executes a program.
    SchedProcessExec,
    /// The same, for those that the first program could not see.
    SchedProcessExecAgain,
    /// A thread begins to exit.
    SchedProcessExit,
    /// A signal is sent.
    SignalGenerate,
    /// The OOM killer has chosen a process.
    MarkVictim,
    /// All processes, one after the other.
    RunningTasks,
    /// The stats of all cgroups, one after the other.
    CgroupStats,
}

impl SubjectId {
    /// The value of the label `program`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CgroupMkdir => "cgroup_mkdir",
            Self::CgroupRmdir => "cgroup_rmdir",
            Self::CgroupNotifyPopulated => "cgroup_notify_populated",
            Self::SchedProcessExec => "sched_process_exec",
            Self::SchedProcessExecAgain => "sched_process_exec_again",
            Self::SchedProcessExit => "sched_process_exit",
            Self::SignalGenerate => "signal_generate",
            Self::MarkVictim => "mark_victim",
            Self::RunningTasks => "running_tasks",
            Self::CgroupStats => "cgroup_iter",
        }
    }
}

/// One of the programs of a subject. They tell the same, as far as the kernel lets each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// [`Subject::untyped`].
    Untyped,
    /// [`Subject::typed`].
    Typed,
    /// [`Subject::fallback`].
    Fallback,
}

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
#[derive(Debug, PartialEq, Eq)]
pub struct Subject {
    /// Which.
    pub id: SubjectId,
    /// The object that has its programs.
    pub object: ObjectId,
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

impl Subject {
    /// The name of one of its programs, which is that of the function in the object.
    #[must_use]
    pub const fn program(&self, variant: Variant) -> &'static str {
        match (variant, self.untyped, self.fallback) {
            (Variant::Untyped, Some(program), _)
            | (
                Variant::Fallback,
                _,
                Some(Fallback::IfRefused(program) | Fallback::IfInteger(program)),
            ) => program,
            _ => self.typed,
        }
    }

    /// What is missing where this program of it runs; empty if nothing is.
    #[must_use]
    pub fn lost_with(&self, variant: Variant) -> &'static str {
        if self.untyped.is_some() && variant == Variant::Typed { self.lost_typed } else { "" }
    }
}

/// All subjects, in the order in which they are attached: cgroups are tracked before their
/// processes are watched.
pub static SUBJECTS: [Subject; 10] = [
    Subject {
        id: SubjectId::CgroupMkdir,
        object: ObjectId::Core,
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
        id: SubjectId::CgroupRmdir,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("cgroup_rmdir"),
        untyped: None,
        typed: "cgroup_rmdir",
        fallback: None,
        parameter: Some((0, "cgroup")),
        lost: "removed containers are noticed by looking, every 10 s",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::CgroupNotifyPopulated,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("cgroup_notify_populated"),
        untyped: None,
        typed: "cgroup_notify_populated",
        fallback: None,
        parameter: Some((0, "cgroup")),
        lost: "no end for containers whose runtime ignores SIGCHLD, until they are removed",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::SchedProcessExec,
        object: ObjectId::Core,
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
        id: SubjectId::SchedProcessExecAgain,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("sched_process_exec"),
        untyped: None,
        typed: "sched_process_exec_again",
        fallback: None,
        parameter: Some((0, "task_struct")),
        lost: "where programs are preempted (Linux 7), some inits of a burst are not known",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::SchedProcessExit,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("sched_process_exit"),
        untyped: None,
        typed: "sched_process_exit",
        fallback: None,
        parameter: Some((0, "task_struct")),
        lost: "no exit code where the runtime ignores SIGCHLD, and later last stats",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::SignalGenerate,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("signal_generate"),
        untyped: None,
        typed: "signal_generate",
        fallback: Some(Fallback::IfRefused("signal_generate_untyped")),
        parameter: Some((2, "task_struct")),
        lost: "no stop signals, no shutdown times, no exact ends",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::MarkVictim,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("mark_victim"),
        untyped: Some("mark_victim"),
        typed: "mark_victim_typed",
        fallback: Some(Fallback::IfInteger("mark_victim_by_id")),
        parameter: Some((0, "task_struct")),
        lost: "OOM kills are seen as SIGKILL; only the totals of memory.events remain",
        lost_typed: "whose limit an OOM was about (container, Pod or node)",
    },
    Subject {
        id: SubjectId::RunningTasks,
        object: ObjectId::Core,
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
        id: SubjectId::CgroupStats,
        object: ObjectId::Snapshot,
        hook: Hook::CgroupIterator,
        untyped: None,
        typed: "cgroup_iter",
        fallback: None,
        parameter: None,
        lost: "all stats are read from the files of each cgroup, which costs more",
        lost_typed: "",
    },
];
