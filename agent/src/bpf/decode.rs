//! Decoder of the records of the ring buffer and of the task iterator into typed events.
//!
//! It is total and safe: any bytes give an event or an error, and nothing is transmuted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use agent_common::{event as raw, probes};

use crate::cgroup::{CgroupId, snapshot::no_page_limit};
use crate::event::{
    CgroupMade, Charged, Comm, End, Event, EventKind, Exec, Exit, ExitStatus, Oom, OomLevel,
    Resident, RunningTask, Signal, SignalOrigin, SignalResult, Task, TaskKey,
};
use crate::event::{Connection, Ending};

/// Error of a record that was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record shorter than its header.
    #[error("record of {0} bytes is shorter than its header")]
    Short(usize),
    /// A record of a kind that this version does not know.
    #[error("record of unknown kind {0}")]
    Kind(u32),
    /// A record whose size is not that of its kind.
    #[error("record of kind {kind} has {size} bytes")]
    Size {
        /// Kind of the record.
        kind: u32,
        /// Size of the record in bytes.
        size: usize,
    },
    /// A record with an inner length that is larger than its field.
    #[error("record of kind {kind} has an inner length of {length}")]
    Length {
        /// Kind of the record.
        kind: u32,
        /// Length that the record gives for its field.
        length: u32,
    },
    /// A record with a value that its field cannot have.
    #[error("record of kind {kind} has the value {value} where there is none such")]
    Value {
        /// Kind of the record.
        kind: u32,
        /// The value.
        value: u32,
    },
}

impl DecodeError {
    /// All values of the label `reason`, in the order of [`Self::index`].
    pub const REASONS: [&str; 5] = ["short", "kind", "size", "length", "value"];

    /// Index of the error's reason in [`Self::REASONS`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Short(_) => 0,
            Self::Kind(_) => 1,
            Self::Size { .. } => 2,
            Self::Length { .. } => 3,
            Self::Value { .. } => 4,
        }
    }
}

/// Reader of a record's fields, in the order in which `repr(C)` lays them out; the records have no
/// hidden padding.
struct Fields<'a> {
    rest: &'a [u8],
    kind: u32,
    size: usize,
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Size { kind: self.kind, size: self.size })?;
        self.rest = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(|b| u32::from_ne_bytes(*b))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(|b| u64::from_ne_bytes(*b))
    }

    fn cgroup(&mut self) -> Result<CgroupId, DecodeError> {
        self.u64().map(CgroupId)
    }

    fn task(&mut self) -> Result<Task, DecodeError> {
        let cgroup = self.cgroup()?;
        let start_boot_ns = self.u64()?;
        let tgid = self.u32()?;
        let tid = self.u32()?;
        let comm = Comm(*self.take()?);
        Ok(Task { key: TaskKey { tgid, start_boot_ns }, tid, cgroup, comm })
    }

    /// Takes a field of `N` bytes, and returns the first `length` of them.
    fn prefix<const N: usize>(&mut self, length: u32) -> Result<&'a [u8], DecodeError> {
        let kind = self.kind;
        let room: &[u8; N] = self.take()?;
        room.get(..length as usize).ok_or(DecodeError::Length { kind, length })
    }

    fn signal(&mut self) -> Result<Signal, DecodeError> {
        let target = self.task()?;
        let sender = self.task()?;
        let signal = self.u32()?;
        let code = i32::from_ne_bytes(*self.take()?);
        let result = match self.u32()? {
            0 => SignalResult::Delivered,
            1 => SignalResult::Ignored,
            2 => SignalResult::AlreadyPending,
            3 => SignalResult::Overflow,
            4 => SignalResult::DeliveredWithoutInfo,
            other => SignalResult::Unknown(other),
        };
        let flags = self.u32()?;
        let kernel = flags & raw::SIGNAL_INFO_KERNEL != 0
            || (flags & raw::SIGNAL_INFO_NONE == 0 && code > 0);
        // A fatal signal sets SIGNAL_GROUP_EXIT on its way in, so that flag means an earlier
        // death only where the signal was dropped for it (kernel/signal.c: `prepare_signal`).
        let target_dying = flags & raw::SIGNAL_TARGET_ZOMBIE != 0
            || (flags & raw::SIGNAL_TARGET_DYING != 0 && result == SignalResult::Ignored);
        Ok(Signal {
            target,
            sender,
            signal,
            result,
            origin: if kernel { SignalOrigin::Kernel } else { SignalOrigin::User },
            target_dying,
            sender_dying: flags & raw::SIGNAL_SENDER_DYING != 0,
        })
    }

    fn end(&mut self) -> Result<End, DecodeError> {
        let task = self.task()?;
        let parent_cgroup = self.cgroup()?;
        let _parent_tgid = self.u32()?;
        let status = ExitStatus::from_wait_status(self.u32()?);
        let [cpu_runtime_ns, children_cpu_ns] = [self.u64()?, self.u64()?];
        Ok(End { task, status, parent_cgroup, cpu_runtime_ns, children_cpu_ns })
    }

    fn exec(&mut self) -> Result<Exec, DecodeError> {
        let task = self.task()?;
        let parent = self.task()?;
        let length = self.u32()?;
        let _padding = self.u32()?;
        let argv = self.prefix::<{ raw::ARGV_BYTES }>(length)?.to_vec();
        Ok(Exec { task, parent, argv })
    }

    fn exit(&mut self) -> Result<Exit, DecodeError> {
        let task = self.task()?;
        let parent_cgroup = self.cgroup()?;
        let [cpu_runtime_ns, children_cpu_ns] = [self.u64()?, self.u64()?];
        let status = ExitStatus::from_wait_status(self.u32()?);
        let children = self.u32()?;
        Ok(Exit { task, status, parent_cgroup, cpu_runtime_ns, children_cpu_ns, children })
    }

    /// Takes a number of pages, in bytes. The kernel too takes what is below 0 for 0
    /// (include/linux/mm.h, `get_mm_counter`).
    fn pages(&mut self, page_bytes: u64) -> Result<u64, DecodeError> {
        let pages = i64::from_ne_bytes(*self.take()?);
        Ok(pages.max(0).cast_unsigned().saturating_mul(page_bytes))
    }

    fn resident(&mut self, page_bytes: u64) -> Result<Resident, DecodeError> {
        let anon_bytes = self.pages(page_bytes)?;
        let file_bytes = self.pages(page_bytes)?;
        Ok(Resident { anon_bytes, file_bytes, shmem_bytes: self.pages(page_bytes)? })
    }

    fn charged(&mut self, page_bytes: u64) -> Result<Charged, DecodeError> {
        let usage_bytes = self.u64()?.saturating_mul(page_bytes);
        let max_pages = self.u64()?;
        let is_limit = max_pages < no_page_limit(page_bytes);
        let limit_bytes = is_limit.then(|| max_pages.saturating_mul(page_bytes));
        Ok(Charged { usage_bytes, limit_bytes })
    }

    fn oom(&mut self, page_bytes: u64) -> Result<Oom, DecodeError> {
        let victim = self.task()?;
        let current = self.task()?;
        let count = self.u32()?;
        let flags = self.u32()?;
        let resident = self.resident(page_bytes)?;
        if count as usize > raw::OOM_LEVELS {
            return Err(DecodeError::Length { kind: self.kind, length: count });
        }
        let mut levels = Vec::with_capacity(count as usize);
        for n in 0..raw::OOM_LEVELS {
            let (cgroup, oom, oom_kill) = (self.cgroup()?, self.u64()?, self.u64()?);
            let charged = self.charged(page_bytes)?;
            let charged = (flags & raw::OOM_CHARGED != 0).then_some(charged);
            let level = OomLevel { cgroup, oom, oom_kill, charged };
            if n < count as usize {
                levels.push(level);
            }
        }
        let resident = (flags & raw::OOM_RESIDENT != 0).then_some(resident);
        Ok(Oom { victim, resident, current, levels })
    }

    fn cgroup_made(&mut self) -> Result<CgroupMade, DecodeError> {
        let cgroup = self.cgroup()?;
        let parent = self.cgroup()?;
        let length = self.u32()?;
        let untracked = self.u32()? != 0;
        let name = self.prefix::<{ raw::NAME_BYTES }>(length)?;
        let name = (!name.is_empty()).then(|| name.to_vec());
        Ok(CgroupMade { cgroup, parent, name, untracked })
    }
}

impl Fields<'_> {
    fn ip(&mut self) -> Result<IpAddr, DecodeError> {
        self.take::<16>().map(|bytes| Ipv6Addr::from(*bytes).to_canonical())
    }

    /// Takes a port. The kernel has 16 bits for one.
    fn port(&mut self) -> Result<u16, DecodeError> {
        let (kind, value) = (self.kind, self.u32()?);
        u16::try_from(value).map_err(|_| DecodeError::Value { kind, value })
    }

    fn ending(&mut self) -> Result<Ending, DecodeError> {
        Ok(match self.u32()? {
            probes::ENDING_OPEN => Ending::Open,
            probes::ENDING_CLOSED => Ending::Closed,
            probes::ENDING_CLOSED_BY_PEER => Ending::ClosedByPeer,
            probes::ENDING_RESET => Ending::Reset,
            probes::ENDING_REFUSED => Ending::Refused,
            probes::ENDING_TIMED_OUT => Ending::TimedOut,
            value => return Err(DecodeError::Value { kind: self.kind, value }),
        })
    }

    /// Takes the rest of a connection that ended then. 0 is no time: the system had not started.
    fn connection(&mut self, end_boot_ns: u64) -> Result<Connection, DecodeError> {
        let start_boot_ns = self.u64()?;
        let connected_boot_ns = Some(self.u64()?).filter(|time| *time != 0);
        let first_byte_boot_ns = Some(self.u64()?).filter(|time| *time != 0);
        let (local, remote) = (self.ip()?, self.ip()?);
        let local = SocketAddr::new(local, self.port()?);
        let remote = SocketAddr::new(remote, self.port()?);
        let ending = self.ending()?;
        let data_observed = self.u32()? != 0;
        let (sent, received) = (self.u32()?, self.u32()?);
        let (received_bytes, _padding) = (self.u32()?, self.u32()?);
        Ok(Connection {
            start_boot_ns,
            connected_boot_ns,
            first_byte_boot_ns,
            end_boot_ns,
            ending,
            local,
            remote,
            sent: self.prefix::<{ probes::HEAD_BYTES }>(sent)?.to_vec(),
            received: self.prefix::<{ probes::HEAD_BYTES }>(received)?.to_vec(),
            received_bytes: received_bytes.into(),
            data_observed,
        })
    }
}

/// Decodes one record of the ring buffer of the kubelet's connections.
///
/// # Errors
/// As [`event`]; and if a field has a value that it cannot have.
pub fn connection(bytes: &[u8]) -> Result<Connection, DecodeError> {
    let (mut fields, end_boot_ns) = open(bytes)?;
    if fields.kind != raw::KIND_CONNECTION {
        return Err(DecodeError::Kind(fields.kind));
    }
    let connection = fields.connection(end_boot_ns)?;
    if !fields.rest.is_empty() {
        return Err(DecodeError::Size { kind: fields.kind, size: fields.size });
    }
    Ok(connection)
}

/// Takes off the header, checks it, and returns the time of the record (`CLOCK_BOOTTIME`).
fn open(bytes: &[u8]) -> Result<(Fields<'_>, u64), DecodeError> {
    let size = bytes.len();
    let mut fields = Fields { rest: bytes, kind: 0, size };
    let (Ok(kind), Ok(size_bytes), Ok(time_boot_ns)) = (fields.u32(), fields.u32(), fields.u64())
    else {
        return Err(DecodeError::Short(size));
    };
    fields.kind = kind;
    if size_bytes as usize != size {
        return Err(DecodeError::Size { kind, size });
    }
    Ok((fields, time_boot_ns))
}

/// Decodes one record of the ring buffer, on a host with pages of `page_bytes`.
///
/// # Errors
/// If the bytes are not a record of a known kind and of its exact size.
pub fn event(bytes: &[u8], page_bytes: u64) -> Result<Event, DecodeError> {
    let (mut fields, time_boot_ns) = open(bytes)?;
    let kind = match fields.kind {
        raw::KIND_SIGNAL => EventKind::Signal(fields.signal()?),
        raw::KIND_END => EventKind::End(fields.end()?),
        raw::KIND_EXEC => EventKind::Exec(fields.exec()?),
        raw::KIND_EXIT => EventKind::Exit(fields.exit()?),
        raw::KIND_OOM => EventKind::Oom(fields.oom(page_bytes)?),
        raw::KIND_CGROUP_MADE => EventKind::CgroupMade(fields.cgroup_made()?),
        raw::KIND_CGROUP_REMOVED => EventKind::CgroupRemoved(fields.cgroup()?),
        raw::KIND_CGROUP_EMPTY => EventKind::CgroupEmpty(fields.cgroup()?),
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    if !fields.rest.is_empty() {
        return Err(DecodeError::Size { kind: fields.kind, size: fields.size });
    }
    Ok(Event { time_boot_ns, kind })
}

/// Record of the task iterator: one process, and the helpers' values of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IteratedTask {
    /// The process that the iterator reports.
    pub running: RunningTask,
    /// Flag: the process is the reader of the iterator.
    pub is_reader: bool,
    /// Thread group id of the reader from the kernel's helper function, which needs no offsets.
    pub helper_tgid: u32,
    /// Cgroup of the reader from the kernel's helper function, which needs no offsets.
    pub helper_cgroup: CgroupId,
}

/// Decodes one record of the task iterator.
///
/// # Errors
/// As [`event`].
pub fn task(bytes: &[u8]) -> Result<IteratedTask, DecodeError> {
    let (mut fields, _) = open(bytes)?;
    if fields.kind != raw::KIND_TASK {
        return Err(DecodeError::Kind(fields.kind));
    }
    let task = fields.task()?;
    let parent_cgroup = fields.cgroup()?;
    let helper_tgid = fields.u32()?;
    let is_reader = fields.u32()? != 0;
    let helper_cgroup = fields.cgroup()?;
    if !fields.rest.is_empty() {
        return Err(DecodeError::Size { kind: fields.kind, size: fields.size });
    }
    Ok(IteratedTask {
        running: RunningTask { task, parent_cgroup },
        is_reader,
        helper_tgid,
        helper_cgroup,
    })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
