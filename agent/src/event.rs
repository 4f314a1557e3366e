//! Kernel events: records of the kernel side, validated, as typed data.
//!
//! [`crate::bpf::decode`] makes these from bytes; [`crate::lifecycle`] consumes them.

mod connection;

pub use connection::{Connection, Ending};

use crate::cgroup::CgroupId;

/// A kernel event with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time at which the program ran, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// The event itself.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A signal was sent to a process in a tracked cgroup (`signal_generate`).
    Signal(Signal),
    /// A process whose parent is outside its cgroup has ended for good (SIGCHLD to the parent).
    End(End),
    /// A process whose parent is outside its cgroup has executed a program (`sched_process_exec`).
    Exec(Exec),
    /// The last thread of a process whose parent is outside its cgroup is exiting
    /// (`sched_process_exit`).
    Exit(Exit),
    /// The OOM killer has chosen a process of a tracked cgroup (`mark_victim`).
    Oom(Oom),
    /// A cgroup was created below a tracked one (`cgroup_mkdir`).
    CgroupMade(CgroupMade),
    /// A tracked cgroup was removed (`cgroup_rmdir`).
    CgroupRemoved(CgroupId),
    /// The last task left a tracked cgroup (`cgroup_notify_populated`).
    CgroupEmpty(CgroupId),
}

impl EventKind {
    /// Names of all kinds, in the order of the variants: the values of the label `kind`. They are
    /// the kernel's: the tracepoint, and for an end the function that sends the SIGCHLD.
    pub const NAMES: [&str; 8] = [
        "signal_generate",
        "exit_notify",
        "sched_process_exec",
        "sched_process_exit",
        "mark_victim",
        "cgroup_mkdir",
        "cgroup_rmdir",
        "cgroup_notify_populated",
    ];

    /// Index of the kind in [`Self::NAMES`].
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Signal(_) => 0,
            Self::End(_) => 1,
            Self::Exec(_) => 2,
            Self::Exit(_) => 3,
            Self::Oom(_) => 4,
            Self::CgroupMade(_) => 5,
            Self::CgroupRemoved(_) => 6,
            Self::CgroupEmpty(_) => 7,
        }
    }

    /// The process that the event is about, if it is about one, and its cgroup.
    #[must_use]
    pub const fn about(&self) -> (Option<TaskKey>, CgroupId) {
        let task = match self {
            Self::Signal(signal) => signal.target,
            Self::End(end) => end.task,
            Self::Exec(exec) => exec.task,
            Self::Exit(exit) => exit.task,
            Self::Oom(oom) => oom.victim,
            Self::CgroupMade(made) => return (None, made.cgroup),
            Self::CgroupRemoved(cgroup) | Self::CgroupEmpty(cgroup) => return (None, *cgroup),
        };
        (Some(task.key), task.cgroup)
    }
}

/// Key of a process that is never reused: process ids are, so the start time belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// Start of the process, `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
}

/// Short name of a thread (`comm`): at most 15 bytes, any but NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// Bytes of the name, before the first NUL.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|&b| b == 0).next().unwrap_or(&[])
    }
}

impl From<&str> for Comm {
    /// Truncates the name to the length that fits, as the kernel does.
    fn from(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        Self(bytes)
    }
}

impl std::fmt::Display for Comm {
    /// Writes the name escaped, as [`crate::escape::name`] has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::escape::name(self.bytes()))
    }
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A thread and its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The process of the thread.
    pub key: TaskKey,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// The thread's cgroup in the v2 hierarchy.
    pub cgroup: CgroupId,
    /// The thread's short name.
    pub comm: Comm,
}

/// The kernel's result of sending a signal (`TRACE_SIGNAL_*` of `include/trace/events/signal.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalResult {
    /// Queued for the process, which may still block it.
    Delivered,
    /// Dropped, because the process ignores it or is dying already.
    Ignored,
    /// Dropped, because the same signal is pending already.
    AlreadyPending,
    /// Dropped: a real-time signal found the queue full.
    Overflow,
    /// Queued, but its `siginfo` was lost.
    DeliveredWithoutInfo,
    /// A value that this version of the agent does not know.
    Unknown(u32),
}

/// The origin of a signal, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalOrigin {
    /// A call of the sender: `kill`, `tgkill`, `sigqueue` or the like.
    User,
    /// The kernel itself: a fault, a timer, the OOM killer, the end of a PID namespace.
    Kernel,
}

/// A signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The thread that the signal is for.
    pub target: Task,
    /// The thread that caused the signal: the one that ran when it was generated.
    pub sender: Task,
    /// The signal's number.
    pub signal: u32,
    /// The kernel's result.
    pub result: SignalResult,
    /// The origin: a call, or the kernel.
    pub origin: SignalOrigin,
    /// Whether the target's process is exiting already, or is a zombie.
    pub target_dying: bool,
    /// Whether the sender's process is exiting.
    pub sender_dying: bool,
}

/// Exit status of a process: that of `wait(2)`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Exit with a code, by `exit(code)`.
    Code(u8),
    /// Termination by a signal.
    Signal {
        /// The signal's number.
        signal: u32,
        /// Whether the process dumped core.
        core: bool,
    },
}

impl ExitStatus {
    /// Decodes the status of `wait(2)`.
    #[must_use]
    pub const fn from_wait_status(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code(((status >> 8) & 0xff) as u8),
            signal => Self::Signal { signal, core: status & 0x80 != 0 },
        }
    }
}

/// The true end of a process: its memory is freed, and its parent is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The process that ended.
    pub task: Task,
    /// Exit status of the process.
    pub status: ExitStatus,
    /// The cgroup of the parent that is notified.
    pub parent_cgroup: CgroupId,
    /// CPU time of all threads of the process.
    pub cpu_runtime_ns: u64,
    /// CPU time of the children that the process has waited for, and of theirs.
    pub children_cpu_ns: u64,
}

/// The execution of a program by a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The process, with its new short name.
    pub task: Task,
    /// The `real_parent` of the process.
    pub parent: Task,
    /// The first bytes of the arguments, each terminated by NUL; the last may be truncated.
    pub argv: Vec<u8>,
}

/// The exit of a process's last thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process that exits.
    pub task: Task,
    /// Exit status of the process.
    pub status: ExitStatus,
    /// The cgroup of the process's `real_parent`.
    pub parent_cgroup: CgroupId,
    /// CPU time of all threads of the process.
    pub cpu_runtime_ns: u64,
    /// CPU time of the children that the process has waited for, and of theirs.
    pub children_cpu_ns: u64,
    /// Number of its children, which run or for which it has not waited; at most
    /// [`raw::CHILDREN_MAX`](agent_common::event::CHILDREN_MAX) are counted.
    pub children: u32,
}

/// Local counters (`memory.events.local`) and memory of one cgroup at the moment of an OOM kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomLevel {
    /// The cgroup of the counters.
    pub cgroup: CgroupId,
    /// Counter `oom`: OOMs at the cgroup's own limit.
    pub oom: u64,
    /// Counter `oom_kill`: processes of this cgroup killed by any OOM.
    pub oom_kill: u64,
    /// Memory charged to the cgroup, and its limit; `None` where it was not read.
    pub charged: Option<Charged>,
}

/// Memory charged to a cgroup and all below it, beside its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// File `memory.current`, in bytes.
    pub usage_bytes: u64,
    /// File `memory.max`, in bytes; `None` if it is `max`.
    pub limit_bytes: Option<u64>,
}

/// Resident memory of a process in bytes, as the kernel's own message about an OOM kill has it up to
/// Linux 6.18.
///
/// From 6.2 on the kernel counts by CPU, and this is what the CPUs have handed over: each number may be
/// off by 32 pages, or two for each CPU if that is more, for each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Anonymous memory: heap and stacks.
    pub anon_bytes: u64,
    /// Pages of mapped files.
    pub file_bytes: u64,
    /// Shared memory and tmpfs.
    pub shmem_bytes: u64,
}

/// An OOM kill: the OOM killer has marked a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oom {
    /// The process that is killed.
    pub victim: Task,
    /// Memory of the victim; `None` where it was not read.
    pub resident: Option<Resident>,
    /// The thread whose allocation led to the OOM.
    pub current: Task,
    /// The victim's cgroup and its ancestors; empty where the kernel does not let programs read
    /// them.
    pub levels: Vec<OomLevel>,
}

/// The creation of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMade {
    /// The new cgroup.
    pub cgroup: CgroupId,
    /// The parent of the new cgroup.
    pub parent: CgroupId,
    /// Name of the directory; `None` where the kernel does not let programs read it.
    pub name: Option<Vec<u8>>,
    /// Whether the kernel side had no room to track it, so that its events will be missing.
    pub untracked: bool,
}

/// A running process that the task iterator found: a candidate for a container's init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningTask {
    /// The process that runs.
    pub task: Task,
    /// The cgroup of the process's `real_parent`.
    pub parent_cgroup: CgroupId,
}
