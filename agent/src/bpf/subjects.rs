//! Subjects to observe: each tracepoint and iterator, its programs, and the loss without them.

use super::object::ObjectId;

/// Identity of a subject to observe: a tracepoint or an iterator of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectId {
    /// A cgroup is created.
    CgroupMkdir,
    /// A cgroup is removed.
    CgroupRmdir,
    /// The last process of a cgroup and of all below it has gone.
    CgroupNotifyPopulated,
    /// A process executes a program.
    SchedProcessExec,
    /// A process executes a program, unseen by the first program.
    SchedProcessExecAgain,
    /// A thread starts to exit.
    SchedProcessExit,
    /// A signal is sent.
    SignalGenerate,
    /// The OOM killer has chosen a process.
    MarkVictim,
    /// All processes, by the task iterator.
    RunningTasks,
    /// Stats of all cgroups, by the cgroup iterator.
    CgroupIter,
    /// A connection of the kubelet is asked for, established, and ends.
    KubeletSockOps,
    /// The kubelet receives a packet.
    KubeletIngress,
    /// The kubelet sends a packet.
    KubeletEgress,
    /// A TCP socket changes its state: in place of the three before, where they cannot be attached.
    InetSockSetState,
}

impl SubjectId {
    /// Value of the label `program`.
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
            Self::CgroupIter => "cgroup_iter",
            Self::KubeletSockOps => "kubelet_sock_ops",
            Self::KubeletIngress => "kubelet_ingress",
            Self::KubeletEgress => "kubelet_egress",
            Self::InetSockSetState => "inet_sock_set_state",
        }
    }
}

/// Variant of a subject's program. All variants report the same, as far as the kernel lets each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Variant that runs the program [`Subject::untyped`].
    Untyped,
    /// Variant that runs the program [`Subject::typed`].
    Typed,
    /// Variant that runs the program of [`Subject::fallback`].
    Fallback,
}

/// Hook that a program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Typed raw tracepoint of this name.
    Tracepoint(&'static str),
    /// Iterator over the tasks (`bpf_iter_task`).
    TaskIterator,
    /// Iterator over the cgroups (`bpf_iter_cgroup`).
    CgroupIterator,
    /// Sockets of the kubelet's cgroup (`sock_ops`).
    SockOps,
    /// Packets that the sockets of the kubelet's cgroup receive or send (`cgroup_skb`).
    Packets,
}

impl Hook {
    /// Whether the programs are attached to a cgroup, which needs CAP_NET_ADMIN.
    #[must_use]
    pub const fn is_on_cgroup(self) -> bool {
        matches!(self, Self::SockOps | Self::Packets)
    }
}

/// Program for a kernel that does not provide the types that the others need. It reports the same,
/// and reads untyped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Program that is tried when the kernel refuses the others.
    IfRefused(&'static str),
    /// Program that is chosen where [`Subject::parameter`] is an integer.
    IfInteger(&'static str),
}

/// Subject to observe, with the programs for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Subject {
    /// Identity of the subject.
    pub id: SubjectId,
    /// Object that has the subject's programs.
    pub object: ObjectId,
    /// Hook that the programs are attached to.
    pub hook: Hook,
    /// Program that also reads untyped memory, with `bpf_probe_read_kernel`; `None` if none is
    /// needed.
    pub untyped: Option<&'static str>,
    /// Program that reads through typed pointers only.
    pub typed: &'static str,
    /// Program for kernels that lack the types that the others need.
    pub fallback: Option<Fallback>,
    /// Number of a tracepoint's parameter, and the struct that it has to point to.
    pub parameter: Option<(usize, &'static str)>,
    /// Loss when no program of the subject is loaded.
    pub lost: &'static str,
    /// Loss when the typed program runs in place of the untyped one.
    pub lost_typed: &'static str,
}

impl Subject {
    /// Name of a program variant, which is that of the function in the object.
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

    /// Loss when this variant runs; empty if there is none.
    #[must_use]
    pub fn lost_with(&self, variant: Variant) -> &'static str {
        if self.untyped.is_some() && variant == Variant::Typed { self.lost_typed } else { "" }
    }
}

/// List of all subjects, in the order in which they are attached: cgroups are tracked before their
/// processes are observed.
pub static SUBJECTS: [Subject; 14] = [
    Subject {
        id: SubjectId::CgroupMkdir,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("cgroup_mkdir"),
        untyped: Some("cgroup_mkdir"),
        typed: "cgroup_mkdir_typed",
        fallback: None,
        parameter: Some((0, "cgroup")),
        lost: "new containers are found by a scan every 10 s; their stop signals, ends and OOM \
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
        lost: "removed containers are noticed by a scan every 10 s",
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
        lost: "the end of a container whose runtime ignores SIGCHLD is seen at its removal only",
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
        lost: "init is not known: no shutdown times, terminations or restarts of new containers",
        lost_typed: "",
    },
    // This program is attached after the first, so it runs after it.
    Subject {
        id: SubjectId::SchedProcessExecAgain,
        object: ObjectId::Core,
        hook: Hook::Tracepoint("sched_process_exec"),
        untyped: None,
        typed: "sched_process_exec_again",
        fallback: None,
        parameter: Some((0, "task_struct")),
        lost: "where programs can be preempted (Linux 7), some inits in a burst are not known",
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
        lost: "no exit code where the runtime ignores SIGCHLD; the last stats are read later",
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
        lost: "no stop signals, no shutdown times, no exact time of the end",
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
        lost: "OOM kills are reported as SIGKILL; only the totals of memory.events remain",
        lost_typed: "the scope of an OOM kill (container, Pod or node)",
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
               checked against the kernel's helper functions",
        lost_typed: "in a Pod without hostPID: the inits of containers older than the agent",
    },
    Subject {
        id: SubjectId::CgroupIter,
        object: ObjectId::Snapshot,
        hook: Hook::CgroupIterator,
        untyped: None,
        typed: "cgroup_iter",
        fallback: None,
        parameter: None,
        lost: "all stats are read from the files of each cgroup, which costs more",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::KubeletSockOps,
        object: ObjectId::Probes,
        hook: Hook::SockOps,
        untyped: Some("kubelet_sock_ops"),
        typed: "kubelet_sock_ops_plain",
        fallback: None,
        parameter: None,
        lost: "the answers to network probes, and which of two probes on one port was made: only \
               the times of connections are known",
        lost_typed: "a probe whose way was refused counts as timed out; where the kubelet shares \
                     its cgroup, connections of others are looked at",
    },
    Subject {
        id: SubjectId::KubeletIngress,
        object: ObjectId::Probes,
        hook: Hook::Packets,
        untyped: None,
        typed: "kubelet_ingress",
        fallback: None,
        parameter: None,
        lost: "the answers to network probes, and when their first byte came",
        lost_typed: "",
    },
    Subject {
        id: SubjectId::KubeletEgress,
        object: ObjectId::Probes,
        hook: Hook::Packets,
        untyped: None,
        typed: "kubelet_egress",
        fallback: None,
        parameter: None,
        lost: "which of two network probes on one port was made",
        lost_typed: "",
    },
    // The last: it is needed only where one of the three before is not there, or where the kubelet's
    // cgroup does not take them.
    Subject {
        id: SubjectId::InetSockSetState,
        object: ObjectId::Probes,
        hook: Hook::Tracepoint("inet_sock_set_state"),
        untyped: None,
        typed: "inet_sock_set_state",
        fallback: None,
        parameter: Some((0, "sock")),
        lost: "network probes are not observed",
        lost_typed: "",
    },
];
