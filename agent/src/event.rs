//! What happened on the node: kernel records after they were checked, as typed data.
//!
//! [`crate::bpf::decode`] makes these from bytes; [`crate::lifecycle`] consumes them.

use crate::cgroup::CgroupId;

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub time_boot_ns: u64,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A signal was sent to a process in a tracked cgroup.
    Signal(Signal),
    /// A process whose parent is outside its cgroup has ended for good.
    End(End),
    /// A process whose parent is outside its cgroup has executed a program.
    Exec(Exec),
    /// The last thread of a process whose parent is outside its cgroup is exiting.
    Exit(Exit),
    /// The OOM killer has chosen a process of a tracked cgroup.
    Oom(Oom),
    /// A cgroup was made below a tracked one.
    CgroupMade(CgroupMade),
    /// A tracked cgroup was removed.
    CgroupRemoved(CgroupId),
    /// The last task left a tracked cgroup.
    CgroupEmpty(CgroupId),
}

impl EventKind {
    /// Names of all kinds, in the order of the variants; the values of the label `kind`. They are
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

    /// Index into [`Self::NAMES`].
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
}

/// A process for all time: ids are reused, so the start time belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub start_boot_ns: u64,
}

/// The kernel's short name of a thread: at most 15 bytes, any bytes but NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// The bytes before the first NUL.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|&b| b == 0).next().unwrap_or(&[])
    }
}

impl From<&str> for Comm {
    /// Cuts what does not fit, as the kernel does.
    fn from(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        Self(bytes)
    }
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.bytes()))
    }
}

/// A thread and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its process.
    pub key: TaskKey,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Its cgroup in the v2 hierarchy.
    pub cgroup: CgroupId,
    /// Its short name.
    pub comm: Comm,
}

/// What the kernel did with a signal (`TRACE_SIGNAL_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalResult {
    /// Queued for the process. It may still be blocked.
    Delivered,
    /// Dropped: the process ignores it, or is dying already.
    Ignored,
    /// The same signal is pending already.
    AlreadyPending,
    /// A real-time signal found the queue full and was dropped.
    Overflow,
    /// Delivered, but its `siginfo` was lost.
    DeliveredWithoutInfo,
    /// A value that this version does not know.
    Unknown(u32),
}

/// How the kernel describes the origin of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalOrigin {
    /// `kill`, `tgkill`, `sigqueue` or their like, by the sender's own call.
    User,
    /// The kernel: a fault, a timer, the OOM killer, the end of a PID namespace.
    Kernel,
}

/// A signal on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Whom it is for.
    pub target: Task,
    /// Who caused it: the task that ran when it was made.
    pub sender: Task,
    /// Its number.
    pub signal: u32,
    /// What the kernel did with it.
    pub result: SignalResult,
    /// Call or kernel.
    pub origin: SignalOrigin,
    /// The target's process is exiting already, or is a zombie.
    pub target_dying: bool,
    /// The sender's process is exiting.
    pub sender_dying: bool,
}

/// How a process ended: the status of `wait(2)`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// `exit(code)`.
    Code(u8),
    /// Ended by a signal.
    Signal {
        /// Its number.
        signal: u32,
        /// With a core dump.
        core: bool,
    },
}

impl ExitStatus {
    /// Takes the status of `wait(2)` apart.
    #[must_use]
    pub const fn from_wait_status(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code(((status >> 8) & 0xff) as u8),
            signal => Self::Signal { signal, core: status & 0x80 != 0 },
        }
    }
}

/// The true end of a process: its memory is freed and its parent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The process.
    pub task: Task,
    /// How.
    pub status: ExitStatus,
    /// The cgroup of the parent that is told.
    pub parent_cgroup: CgroupId,
    /// CPU time of the process's threads.
    pub cpu_runtime_ns: u64,
}

/// A process executed a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The process, with its new short name.
    pub task: Task,
    /// Its `real_parent`.
    pub parent: Task,
    /// The first bytes of its arguments, each closed by NUL; the last may be cut.
    pub argv: Vec<u8>,
}

/// The last thread of a process begins to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process.
    pub task: Task,
    /// How.
    pub status: ExitStatus,
    /// The cgroup of its `real_parent`.
    pub parent_cgroup: CgroupId,
    /// CPU time of the process's threads.
    pub cpu_runtime_ns: u64,
}

/// One cgroup's own counters (`memory.events.local`) at the moment of an OOM kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomLevel {
    /// The cgroup.
    pub cgroup: CgroupId,
    /// How often its own limit led to an OOM.
    pub oom: u64,
    /// Its processes killed by any OOM.
    pub oom_kill: u64,
}

/// The OOM killer has marked a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oom {
    /// The process that is killed.
    pub victim: Task,
    /// Whose allocation led to it.
    pub current: Task,
    /// The victim's cgroup and its ancestors; empty where the kernel does not let programs read
    /// them.
    pub levels: Vec<OomLevel>,
}

/// A new cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMade {
    /// The new one.
    pub cgroup: CgroupId,
    /// Its parent.
    pub parent: CgroupId,
    /// Its directory's name; `None` where the kernel does not let programs read it.
    pub name: Option<Vec<u8>>,
    /// The kernel side had no room to track it: its events will be missing.
    pub untracked: bool,
}

/// A running process that the task iterator found: a candidate for a container's init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningTask {
    /// The process.
    pub task: Task,
    /// The cgroup of its `real_parent`.
    pub parent_cgroup: CgroupId,
}
