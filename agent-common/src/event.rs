//! Event records that programs write into the ring buffer, one type for each kind of event.
//!
//! Times are nanoseconds of `CLOCK_BOOTTIME`. Process ids are those of the initial PID namespace;
//! because they are reused, a task always comes with its start time. A cgroup id is the
//! `kernfs_node.id` of its directory in the cgroup v2 hierarchy, which equals the directory's
//! inode number and what `bpf_get_current_cgroup_id()` returns.

/// Kind of a [`SignalRecord`]; each record begins with its kind.
pub const KIND_SIGNAL: u32 = 1;
/// Kind of an [`EndRecord`].
pub const KIND_END: u32 = 2;
/// Kind of an [`ExecRecord`].
pub const KIND_EXEC: u32 = 3;
/// Kind of an [`ExitRecord`].
pub const KIND_EXIT: u32 = 4;
/// Kind of an [`OomRecord`].
pub const KIND_OOM: u32 = 5;
/// Kind of a [`CgroupMadeRecord`].
pub const KIND_CGROUP_MADE: u32 = 6;
/// Kind of a [`CgroupRecord`]: the directory was removed (`cgroup_rmdir`).
pub const KIND_CGROUP_REMOVED: u32 = 7;
/// Kind of a [`CgroupRecord`]: the last task left the cgroup and all below it
/// (`cgroup_notify_populated`).
pub const KIND_CGROUP_EMPTY: u32 = 8;
/// Kind of a [`TaskRecord`], which the task iterator writes, never into the ring buffer.
pub const KIND_TASK: u32 = 9;
/// Kind of a [`crate::probes::ConnectionRecord`], which has a ring buffer of its own.
pub const KIND_CONNECTION: u32 = 10;

/// Header of each record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// Kind of the record: one of the `KIND_` constants.
    pub kind: u32,
    /// Size of the whole record in bytes, this header included.
    pub size_bytes: u32,
    /// Time at which the program ran, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
}

/// Length of the kernel's `task_struct.comm` in bytes, with the NUL that terminates it.
pub const COMM_BYTES: usize = 16;

/// Short name with NULs alone behind the one that terminates it, as two words. Before Linux 5.17 the kernel
/// leaves there what an earlier, longer name had (fs/exec.c, `__set_task_comm`).
#[inline(always)]
#[must_use]
pub const fn padded([first, second]: [u64; 2]) -> [u64; 2] {
    let (first, is_whole) = ended(first);
    [first, if is_whole { 0 } else { ended(second).0 }]
}

/// Bytes of a word before its first NUL, and whether it has one.
#[inline(always)]
const fn ended(word: u64) -> (u64, bool) {
    /// The lowest bit of each byte.
    const LOW: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_le(word);
    // The highest bit of each byte that is 0; above the first, perhaps of others too.
    let nuls = word.wrapping_sub(LOW) & !word & (LOW << 7);
    let nul = nuls & nuls.wrapping_neg();
    let before = if nul == 0 { u64::MAX } else { (nul >> 7).wrapping_sub(1) };
    ((word & before).to_le(), nul != 0)
}

/// A thread, its thread group and its cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Task {
    /// Id of the task's cgroup in the v2 hierarchy.
    pub cgroup_id: u64,
    /// Field `start_boottime` of the thread group's leader, `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// Thread group id: the process id of user space.
    pub tgid: u32,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Short name (`comm`) of the thread, padded with NUL.
    pub comm: [u8; COMM_BYTES],
}

/// Flag: the target's process is exiting as a whole (`SIGNAL_GROUP_EXIT`).
pub const SIGNAL_TARGET_DYING: u32 = 1;
/// Flag: the target's leader has an `exit_state`, so it is a zombie or dead.
pub const SIGNAL_TARGET_ZOMBIE: u32 = 1 << 1;
/// Flag: the signal goes to the whole process, not to one thread.
pub const SIGNAL_GROUP: u32 = 1 << 2;
/// Flag: `siginfo` was `SEND_SIG_NOINFO`, an ordinary sender whose details the kernel left out.
pub const SIGNAL_INFO_NONE: u32 = 1 << 3;
/// Flag: `siginfo` was `SEND_SIG_PRIV`, the kernel itself sends.
pub const SIGNAL_INFO_KERNEL: u32 = 1 << 4;
/// Flag: the sender's process is exiting as a whole, as a dying init does that clears its PID
/// namespace.
pub const SIGNAL_SENDER_DYING: u32 = 1 << 5;

/// Record of `signal_generate`: a signal to a tracked process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalRecord {
    /// Header of kind [`KIND_SIGNAL`].
    pub header: Header,
    /// The process that the signal is for.
    pub target: Task,
    /// The sender: always `current`, never what `siginfo` claims.
    pub sender: Task,
    /// The signal's number.
    pub signal: u32,
    /// Field `si_code`; 0 where there is no `siginfo`.
    pub code: i32,
    /// Result `TRACE_SIGNAL_*` of `include/trace/events/signal.h`: 0 delivered, 1 ignored, 2
    /// already pending, 3 overflow, 4 delivered without its information.
    pub result: u32,
    /// Flags `SIGNAL_*`.
    pub flags: u32,
}

/// Record of the `SIGCHLD` of a process that ended, to a parent outside its cgroup: the true end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EndRecord {
    /// Header of kind [`KIND_END`].
    pub header: Header,
    /// The process that ended.
    pub task: Task,
    /// Id of the cgroup of the parent that is notified.
    pub parent_cgroup_id: u64,
    /// Thread group id of that parent.
    pub parent_tgid: u32,
    /// Exit status, as `wait(2)` returns it.
    pub wait_status: u32,
    /// CPU time of all threads of the process, without its children.
    pub cpu_runtime_ns: u64,
    /// CPU time of the children that the process has waited for, and of theirs
    /// (`signal_struct.cutime` and `cstime`).
    pub children_cpu_ns: u64,
}

/// Bytes of `argv` that an [`ExecRecord`] carries.
pub const ARGV_BYTES: usize = 256;

/// Record of `sched_process_exec` in a tracked cgroup, of a process whose parent is outside its
/// cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecRecord {
    /// Header of kind [`KIND_EXEC`].
    pub header: Header,
    /// The process after the exec, with its new `comm`.
    pub task: Task,
    /// The `real_parent` of the process.
    pub parent: Task,
    /// Number of valid bytes in `argv`; 0 when they could not be read.
    pub argv_len_bytes: u32,
    /// Padding, always 0.
    pub padding: u32,
    /// The first bytes of the argument area: strings, each terminated by NUL.
    pub argv: [u8; ARGV_BYTES],
}

/// Record of `sched_process_exit` of the last thread of a process whose parent is outside its
/// cgroup.
///
/// The process begins to exit here; freeing its memory may take long. Its end is an [`EndRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitRecord {
    /// Header of kind [`KIND_EXIT`].
    pub header: Header,
    /// The process that exits.
    pub task: Task,
    /// Id of the cgroup of the process's `real_parent`.
    pub parent_cgroup_id: u64,
    /// CPU time of all threads of the process, without its children.
    pub cpu_runtime_ns: u64,
    /// CPU time of the children that the process has waited for, and of theirs.
    pub children_cpu_ns: u64,
    /// Exit status, as `wait(2)` will return it.
    pub wait_status: u32,
    /// Number of the process's children, which it leaves behind: they run, or nobody has waited for
    /// them. [`CHILDREN_MAX`] stands for that many or more, and of a process with several threads
    /// some may be missing.
    pub children: u32,
}

/// Limit of children that an [`ExitRecord`] counts.
pub const CHILDREN_MAX: u32 = 64;

/// Levels of the memory hierarchy that an [`OomRecord`] carries: the victim's cgroup and its
/// ancestors, which for a container are the Pod, the QoS class and the Pods' root.
pub const OOM_LEVELS: usize = 5;

/// Flag: the victim's memory was read.
pub const OOM_RESIDENT: u32 = 1;
/// Flag: usage and limit of each level were read.
pub const OOM_CHARGED: u32 = 1 << 1;

/// Local counters (`memory.events.local`) of one cgroup at the moment of an OOM kill, and its
/// memory beside its limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OomLevel {
    /// Id of the cgroup.
    pub cgroup_id: u64,
    /// Counter `oom`: OOMs at this cgroup's own limit.
    pub oom: u64,
    /// Counter `oom_kill`: processes of this cgroup killed by any OOM.
    pub oom_kill: u64,
    /// Field `memory.usage`: charged pages of the cgroup and all below it. 0 without
    /// [`OOM_CHARGED`].
    pub usage_pages: u64,
    /// Field `memory.max`: the limit in pages; `PAGE_COUNTER_MAX` if there is none. 0 without
    /// [`OOM_CHARGED`].
    pub max_pages: u64,
}

/// Record of `oom:mark_victim`: an OOM kill.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OomRecord {
    /// Header of kind [`KIND_OOM`].
    pub header: Header,
    /// The process that is killed.
    pub victim: Task,
    /// The thread whose allocation led to the kill; it may be in another container.
    pub current: Task,
    /// Number of valid `levels`; 0 where the kernel does not let programs read them.
    pub level_count: u32,
    /// Flags `OOM_*`.
    pub flags: u32,
    /// Anonymous pages of the victim, as the kernel counts them in `mm_struct.rss_stat`: for moments
    /// below 0. 0 without [`OOM_RESIDENT`], as the next two.
    pub anon_pages: i64,
    /// File pages of the victim.
    pub file_pages: i64,
    /// Shared memory pages of the victim.
    pub shmem_pages: i64,
    /// Counters of the victim's cgroup first, then of its ancestors.
    pub levels: [OomLevel; OOM_LEVELS],
}

/// Room for a directory's name in bytes; `NAME_MAX` is 255.
pub const NAME_BYTES: usize = 256;

/// Record of `cgroup_mkdir` below a tracked cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupMadeRecord {
    /// Header of kind [`KIND_CGROUP_MADE`].
    pub header: Header,
    /// Id of the new cgroup.
    pub cgroup_id: u64,
    /// Id of the new cgroup's parent.
    pub parent_id: u64,
    /// Number of valid bytes in `name`; 0 where the kernel does not let programs read it.
    pub name_len_bytes: u32,
    /// Flag: 1 if the `TRACKED` map was full, so that this cgroup's events will be missing.
    pub untracked: u32,
    /// Name of the directory, without its path.
    pub name: [u8; NAME_BYTES],
}

/// Record of `cgroup_rmdir` or `cgroup_notify_populated` of a tracked cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupRecord {
    /// Header of kind [`KIND_CGROUP_REMOVED`] or [`KIND_CGROUP_EMPTY`].
    pub header: Header,
    /// Id of the cgroup.
    pub cgroup_id: u64,
}

/// Record of a running process, from the task iterator: a leader in a tracked cgroup whose
/// `real_parent` is outside, or one that may be the kubelet; or the reader itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskRecord {
    /// Header of kind [`KIND_TASK`].
    pub header: Header,
    /// The process that runs.
    pub task: Task,
    /// Id of the cgroup of the process's `real_parent`.
    pub parent_cgroup_id: u64,
    /// Thread group id of the reader, as the helper functions report it.
    pub helper_tgid: u32,
    /// Flag: 1 if `task` is the process that reads the iterator.
    pub is_reader: u32,
    /// Cgroup id of the reader, as the helper functions report it.
    pub helper_cgroup_id: u64,
}

// The layout is the contract: a change of a size is a change of both sides.
const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 40);
    assert!(size_of::<SignalRecord>() == 112);
    assert!(size_of::<EndRecord>() == 88);
    assert!(size_of::<ExecRecord>() == 360);
    assert!(size_of::<ExitRecord>() == 88);
    assert!(size_of::<OomRecord>() == 328);
    assert!(size_of::<CgroupMadeRecord>() == 296);
    assert!(size_of::<CgroupRecord>() == 24);
    assert!(size_of::<TaskRecord>() == 80);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn padded_bytes(bytes: &[u8; COMM_BYTES]) -> [u8; COMM_BYTES] {
        let mut words = [0_u64; 2];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap());
        }
        let [first, second] = padded(words).map(u64::to_ne_bytes);
        let mut out = [0; COMM_BYTES];
        out[..8].copy_from_slice(&first);
        out[8..].copy_from_slice(&second);
        out
    }

    #[test]
    fn what_is_left_of_a_longer_name_is_no_part_of_it() {
        for (kernels, own) in [
            (b"kubelet\0)\0\0\0\0\0\0\0", b"kubelet\0\0\0\0\0\0\0\0\0"),
            (b"kubelet\0\0\0\0\0\0\0\0\0", b"kubelet\0\0\0\0\0\0\0\0\0"),
            (b"k3s-server\0\x01\0aaa", b"k3s-server\0\0\0\0\0\0"),
            (b"a\0\x01\x80\xff\0bcdefghij\0", b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            (b"\x01\x80\xff\x01kubel\0)\0\0abc", b"\x01\x80\xff\x01kubel\0\0\0\0\0\0\0"),
            (b"\0ubelet-and-more", &[0; COMM_BYTES]),
            (b"of-15-characters", b"of-15-characters"),
        ] {
            assert_eq!(padded_bytes(kernels), *own, "{kernels:?}");
        }
    }
}
