//! Processes by their role: the runtime's stages, and the senders of signals.

use std::collections::HashMap;

use super::fact::Sender;
use super::subject::Birth;
use crate::cgroup::CgroupId;
use crate::event::{Comm, Exec, Signal, SignalOrigin};

/// Index of containers by cgroup: a container's own and those nested below it.
#[derive(Debug, Default)]
pub(super) struct CgroupIndex(HashMap<CgroupId, CgroupId>);

impl CgroupIndex {
    pub(super) fn container_of(&self, cgroup: CgroupId) -> Option<CgroupId> {
        self.0.get(&cgroup).copied()
    }

    pub(super) fn insert(&mut self, cgroup: CgroupId, container: CgroupId) {
        self.0.insert(cgroup, container);
    }

    pub(super) fn remove(&mut self, cgroup: CgroupId) {
        self.0.remove(&cgroup);
    }
}

/// The sender of a signal to a process of `container`.
///
/// The sender is the task that ran when the signal was generated, never what its `siginfo` claims.
pub(super) fn sender_of(signal: &Signal, container: CgroupId, index: &CgroupIndex) -> Sender {
    if signal.origin == SignalOrigin::Kernel {
        return Sender::Kernel;
    }
    if signal.sender.key == signal.target.key {
        return Sender::Own;
    }
    match index.container_of(signal.sender.cgroup) {
        Some(own) if own == container => Sender::SameContainer,
        Some(_) => Sender::OtherContainer,
        None if is_runtime(&signal.sender.comm) => Sender::Runtime,
        None => Sender::Host,
    }
}

/// Programs of runtimes.
const RUNTIMES: [&[u8]; 5] = [b"runc", b"crun", b"krun", b"runsc", b"youki"];

/// Whether a program is called like one of these, alone or in part: packages and variants add to the
/// name (`crio-crun` and `crio-runc` of CRI-O's packages, `sysbox-runc`, `docker-runc`, `crun-wasm`).
fn is_called(name: &[u8], programs: &[&[u8]]) -> bool {
    name.split(|b| matches!(b, b'-' | b'.' | b'_')).any(|part| programs.contains(&part))
}

/// Whether this is the short name of a container runtime or of its shim. It only has a meaning
/// outside containers.
///
/// crun and youki execute a sealed copy of themselves first, for every command, `kill` included
/// (CVE-2019-5736; crun `src/libcrun/cloned_binary.c`, youki's use of pentacle). The kernel then
/// names them after the descriptor's number, or from Linux 6.14 on after the memfd.
pub(super) fn is_runtime(comm: &Comm) -> bool {
    const PREFIXES: [&[u8]; 5] =
        [b"runc:", b"youki:", b"memfd:crun", b"memfd:runc", b"memfd:pentacle"];
    let name = comm.bytes();
    is_called(name, &RUNTIMES)
        || is_subreaper(comm)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || is_descriptor(name)
}

/// Whether this is a stage of a runtime that gave itself this name (`PR_SET_NAME` in runc's
/// `nsexec.c` and in youki), or that still runs the runtime's own program.
///
/// Names of digits do not count: without arguments they prove too little, and crun's child under
/// such a name is the process that becomes init.
pub(super) fn is_named_stage(comm: &Comm) -> bool {
    let name = comm.bytes();
    let stage = name.starts_with(b"runc:[") || name.starts_with(b"youki:[");
    // A variant ends in this; an image's program may begin with it.
    stage || name == b"runc" || name.ends_with(b"-runc")
}

/// Whether the runtime's own stage executes: `runc init`, from its file, `/proc/self/exe`,
/// `/proc/self/fd/N` or a memfd (runc `libcontainer/container_linux.go`, `newParentProcess`).
///
/// runc copies its own `argv[0]`, so this may be any path, and wrappers change it; the file's name
/// is in `comm` then. A shim adopts a container's init only when the stages are over, and so is
/// never a stage's parent: this protects an image whose own program has such a name.
pub(super) fn is_stage(exec: &Exec) -> bool {
    if is_subreaper(&exec.parent.comm) {
        return false;
    }
    let mut argv = exec.argv.split(|&b| b == 0);
    let program = argv.next().unwrap_or(&[]);
    // Without a NUL behind it, `argv[0]` was cut or not readable, and nothing follows.
    let complete = exec.argv.contains(&0);
    if complete && argv.next() != Some(b"init") {
        return false;
    }
    let base = program.rsplit(|&b| b == b'/').next().unwrap_or(program);
    let base_counts = complete && is_stage_program(base);
    base_counts || is_stage_program(exec.task.comm.bytes())
}

fn is_stage_program(name: &[u8]) -> bool {
    is_called(name, &[b"runc", b"crun", b"krun", b"youki"])
        || name == b"exe"
        || name.starts_with(b"memfd:")
        || is_descriptor(name)
}

/// Whether this exec is the start of a new container's own program, beyond doubt: by a process as
/// old as its cgroup, whose parent is the shim or the service manager. A runtime that executes a
/// session is itself the session's parent.
pub(super) fn is_start(exec: &Exec, birth: Birth) -> bool {
    /// Longest time between the creation of a cgroup and the fork of the process for it.
    const FORK_NS: u64 = 1_000_000_000;
    let parent = &exec.parent.comm;
    birth.made_boot_ns().is_some_and(|made_boot_ns| {
        exec.task.key.start_boot_ns <= made_boot_ns.saturating_add(FORK_NS)
    }) && (is_subreaper(parent) || parent.bytes() == b"systemd")
}

/// Whether a process of this short name may be a stage of a runtime that has yet to execute the
/// container's program.
pub(super) fn may_be_stage(comm: &Comm) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"runc", b"crun", b"youki"];
    let name = comm.bytes();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || is_stage_program(name)
}

/// Whether this is a stage that never runs a container's program itself: runc's, which waits for
/// `runc start` as long as that takes, and then executes (runc `libcontainer/standard_init_linux.go`).
pub(super) fn always_executes(comm: &Comm) -> bool {
    comm.bytes().starts_with(b"runc:[")
}

/// Whether this is the stage that becomes init, or that runs the program itself: WebAssembly in
/// youki's library, as containerd's wasm shims do.
pub(super) fn is_last_stage(comm: &Comm) -> bool {
    comm.bytes().ends_with(b":[2:INIT]")
}

fn is_subreaper(comm: &Comm) -> bool {
    const NAMES: [&[u8]; 3] = [b"containerd-shim", b"conmon", b"crio-conmon"];
    NAMES.iter().any(|name| comm.bytes().starts_with(name))
}

/// Whether this is the kernel's name for a program executed through `/proc/self/fd/N`.
fn is_descriptor(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}
