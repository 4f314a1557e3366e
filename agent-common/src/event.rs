//! Records that programs put into the ring buffer, one type for each kind of event.
//!
//! Times are nanoseconds of `CLOCK_BOOTTIME`. Process ids are those of the initial PID namespace;
//! because they are reused, a task is always given with its start time. A cgroup id is the
//! `kernfs_node.id` of its directory in the cgroup v2 hierarchy, which equals the directory's
//! inode number and what `bpf_get_current_cgroup_id()` returns.

/// The first field of a record says which of these it is.
pub const KIND_SIGNAL: u32 = 1;
/// See [`EndRecord`].
pub const KIND_END: u32 = 2;
/// See [`ExecRecord`].
pub const KIND_EXEC: u32 = 3;
/// See [`ExitRecord`].
pub const KIND_EXIT: u32 = 4;
/// See [`OomRecord`].
pub const KIND_OOM: u32 = 5;
/// See [`CgroupMadeRecord`].
pub const KIND_CGROUP_MADE: u32 = 6;
/// See [`CgroupRecord`]: the directory was removed.
pub const KIND_CGROUP_REMOVED: u32 = 7;
/// See [`CgroupRecord`]: the last task left the cgroup and all below it.
pub const KIND_CGROUP_EMPTY: u32 = 8;
/// See [`TaskRecord`]: written by the task iterator, never into the ring buffer.
pub const KIND_TASK: u32 = 9;

/// The start of each record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// One of the `KIND_` constants.
    pub kind: u32,
    /// Size of the whole record in bytes, this header included.
    pub size_bytes: u32,
    /// When the program ran, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
}

/// Length of the kernel's `task_struct.comm`, with its closing NUL.
pub const COMM_BYTES: usize = 16;

/// A thread, its thread group and the cgroup it is in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Task {
    /// The cgroup v2 group of the task.
    pub cgroup_id: u64,
    /// `start_boottime` of the thread group's leader.
    pub start_boot_ns: u64,
    /// Thread group id: what user space calls the process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// `comm` of the thread, padded with NUL.
    pub comm: [u8; COMM_BYTES],
}

/// The target's process is exiting as a whole (`SIGNAL_GROUP_EXIT`).
pub const SIGNAL_TARGET_DYING: u32 = 1;
/// The target's leader has an `exit_state`: it is a zombie or dead.
pub const SIGNAL_TARGET_ZOMBIE: u32 = 1 << 1;
/// The signal goes to the whole process, not to one thread.
pub const SIGNAL_GROUP: u32 = 1 << 2;
/// `siginfo` was `SEND_SIG_NOINFO`: an ordinary sender whose details the kernel left out.
pub const SIGNAL_INFO_NONE: u32 = 1 << 3;
/// `siginfo` was `SEND_SIG_PRIV`: the kernel itself sends.
pub const SIGNAL_INFO_KERNEL: u32 = 1 << 4;
/// The sender's process is exiting as a whole: a dying init clears its PID namespace.
pub const SIGNAL_SENDER_DYING: u32 = 1 << 5;

/// `signal_generate`: somebody sends a signal to a tracked process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalRecord {
    /// Kind [`KIND_SIGNAL`].
    pub header: Header,
    /// The process that the signal is for.
    pub target: Task,
    /// Who sends it: always `current`, never what `siginfo` claims.
    pub sender: Task,
    /// The signal's number.
    pub signal: u32,
    /// `si_code`, 0 where there is no `siginfo`.
    pub code: i32,
    /// `TRACE_SIGNAL_*` of `include/trace/events/signal.h`: 0 delivered, 1 ignored, 2 already
    /// pending, 3 overflow, 4 delivered without its information.
    pub result: u32,
    /// `SIGNAL_*` flags.
    pub flags: u32,
}

/// `SIGCHLD` of a process that ended, to a parent outside its cgroup: the true end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EndRecord {
    /// Kind [`KIND_END`].
    pub header: Header,
    /// The process that ended.
    pub task: Task,
    /// The cgroup of the parent that is told.
    pub parent_cgroup_id: u64,
    /// Thread group id of that parent.
    pub parent_tgid: u32,
    /// As `wait(2)` gives it.
    pub wait_status: u32,
    /// CPU time of all threads of the process, without its children.
    pub cpu_runtime_ns: u64,
}

/// Bytes of `argv` that an [`ExecRecord`] carries.
pub const ARGV_BYTES: usize = 64;

/// `sched_process_exec` in a tracked cgroup, of a process whose parent is outside its cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecRecord {
    /// Kind [`KIND_EXEC`].
    pub header: Header,
    /// The process after exec: `comm` is the new one.
    pub task: Task,
    /// Its `real_parent`.
    pub parent: Task,
    /// Bytes of `argv` that are valid; 0 when they could not be read.
    pub argv_len_bytes: u32,
    /// Always 0.
    pub padding: u32,
    /// The first bytes of the argument area: strings, each closed by NUL.
    pub argv: [u8; ARGV_BYTES],
}

/// `sched_process_exit` of the last thread of a process whose parent is outside its cgroup.
///
/// The process begins to go away here; its memory may take long to be freed. The end is
/// [`EndRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitRecord {
    /// Kind [`KIND_EXIT`].
    pub header: Header,
    /// The process that exits.
    pub task: Task,
    /// The cgroup of its `real_parent`.
    pub parent_cgroup_id: u64,
    /// CPU time of all threads of the process, without its children.
    pub cpu_runtime_ns: u64,
    /// As `wait(2)` will give it.
    pub wait_status: u32,
    /// Always 0.
    pub padding: u32,
}

/// Levels of the memory hierarchy that an [`OomRecord`] carries: the victim's cgroup and
/// ancestors, which for a container are the Pod, the QoS class and the Pods' root.
pub const OOM_LEVELS: usize = 5;

/// What one cgroup's own (`memory.events.local`) counters say at the moment of an OOM kill.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OomLevel {
    /// The cgroup.
    pub cgroup_id: u64,
    /// `oom`: how often this cgroup's own limit led to an OOM.
    pub oom: u64,
    /// `oom_kill`: processes of this cgroup killed by any OOM.
    pub oom_kill: u64,
}

/// `oom:mark_victim`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OomRecord {
    /// Kind [`KIND_OOM`].
    pub header: Header,
    /// The process that is killed.
    pub victim: Task,
    /// Whose allocation led to the kill; may be in another container.
    pub current: Task,
    /// How many of `levels` are valid; 0 where the kernel does not let programs read them.
    pub level_count: u32,
    /// Always 0.
    pub padding: u32,
    /// The victim's cgroup first, then its ancestors.
    pub levels: [OomLevel; OOM_LEVELS],
}

/// Room for a directory's name; `NAME_MAX` is 255.
pub const NAME_BYTES: usize = 256;

/// `cgroup_mkdir` below a tracked cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupMadeRecord {
    /// Kind [`KIND_CGROUP_MADE`].
    pub header: Header,
    /// The new cgroup.
    pub cgroup_id: u64,
    /// Its parent.
    pub parent_id: u64,
    /// Bytes of `name` that are valid; 0 where the kernel does not let programs read it.
    pub name_len_bytes: u32,
    /// 1 if the `TRACKED` map was full, so that this cgroup's events will be missing.
    pub untracked: u32,
    /// The directory's own name, not its path.
    pub name: [u8; NAME_BYTES],
}

/// `cgroup_rmdir` or `cgroup_notify_populated` of a tracked cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupRecord {
    /// Kind [`KIND_CGROUP_REMOVED`] or [`KIND_CGROUP_EMPTY`].
    pub header: Header,
    /// Which.
    pub cgroup_id: u64,
}

/// A running process as the task iterator sees it: a leader in a tracked cgroup whose
/// `real_parent` is outside, or the reader itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskRecord {
    /// Kind [`KIND_TASK`].
    pub header: Header,
    /// The process.
    pub task: Task,
    /// The cgroup of its `real_parent`.
    pub parent_cgroup_id: u64,
    /// What the helper functions say of the reader: tgid.
    pub helper_tgid: u32,
    /// 1 if `task` is the process that reads the iterator.
    pub is_reader: u32,
    /// What the helper functions say of the reader: cgroup id.
    pub helper_cgroup_id: u64,
}

// The layout is the contract: a change of a size is a change of both sides.
const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 40);
    assert!(size_of::<SignalRecord>() == 112);
    assert!(size_of::<EndRecord>() == 80);
    assert!(size_of::<ExecRecord>() == 168);
    assert!(size_of::<ExitRecord>() == 80);
    assert!(size_of::<OomRecord>() == 224);
    assert!(size_of::<CgroupMadeRecord>() == 296);
    assert!(size_of::<CgroupRecord>() == 24);
    assert!(size_of::<TaskRecord>() == 80);
};
