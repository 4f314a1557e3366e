//! Records of the ring buffer and of the task iterator.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent_common::{event as raw, probes};

use crate::bpf::decode::{self, DecodeError};
use crate::event::EventKind;

const PAGE_BYTES: u64 = 4096;

/// Kinds of records, with their sizes.
const KINDS: [(u32, usize); 10] = [
    (raw::KIND_SIGNAL, size_of::<raw::SignalRecord>()),
    (raw::KIND_END, size_of::<raw::EndRecord>()),
    (raw::KIND_EXEC, size_of::<raw::ExecRecord>()),
    (raw::KIND_EXIT, size_of::<raw::ExitRecord>()),
    (raw::KIND_OOM, size_of::<raw::OomRecord>()),
    (raw::KIND_CGROUP_MADE, size_of::<raw::CgroupMadeRecord>()),
    (raw::KIND_CGROUP_REMOVED, size_of::<raw::CgroupRecord>()),
    (raw::KIND_CGROUP_EMPTY, size_of::<raw::CgroupRecord>()),
    (raw::KIND_TASK, size_of::<raw::TaskRecord>()),
    (raw::KIND_CONNECTION, size_of::<probes::ConnectionRecord>()),
];

/// The input as a record; and, since few mutations have the size that they claim, as the content of
/// a record of each kind.
pub(super) fn run(input: &[u8]) -> bool {
    let content = input.get(size_of::<raw::Header>()..).unwrap_or(input);
    for (kind, size) in KINDS {
        let record = record(kind, size, content);
        check(&record);
        let error = match kind {
            raw::KIND_TASK => decode::task(&record).err(),
            raw::KIND_CONNECTION => decode::connection(&record).err(),
            _ => decode::event(&record, PAGE_BYTES).err(),
        };
        // Its size is right and its kind is known: only a value inside it may be wrong.
        let inside = matches!(error, Some(DecodeError::Length { .. } | DecodeError::Value { .. }));
        assert!(error.is_none() || inside, "{error:?}");
    }
    check(input)
}

fn check(record: &[u8]) -> bool {
    let (event, task) = (decode::event(record, PAGE_BYTES), decode::task(record));
    let connection = decode::connection(record);
    assert_eq!(event, decode::event(record, PAGE_BYTES), "the same bytes, another event");
    let kinds = [event.is_ok(), task.is_ok(), connection.is_ok()];
    assert!(kinds.iter().filter(|is| **is).count() <= 1, "a record of two kinds");
    let errors = [event.as_ref().err(), task.as_ref().err(), connection.as_ref().err()];
    for error in errors.into_iter().flatten() {
        assert!(DecodeError::REASONS.get(error.index()).is_some(), "{error} has no label");
    }
    if let Ok(event) = &event {
        let time = record.get(8..16).and_then(|time| time.try_into().ok()).map(u64::from_ne_bytes);
        assert_eq!(time, Some(event.time_boot_ns));
        assert!(EventKind::NAMES.get(event.kind.index()).is_some(), "{event:?} has no label");
        match &event.kind {
            EventKind::Exec(exec) => assert!(exec.argv.len() <= raw::ARGV_BYTES),
            EventKind::Oom(oom) => {
                assert!(oom.levels.len() <= raw::OOM_LEVELS);
                let charged = oom.levels.iter().filter_map(|level| level.charged);
                let limits = charged.filter_map(|charged| charged.limit_bytes);
                assert!(limits.max() < Some(i64::MAX.cast_unsigned()), "a limit of no kernel");
            }
            EventKind::CgroupMade(made) => {
                let length = made.name.as_ref().map(Vec::len);
                assert!(length.is_none_or(|length| (1..=raw::NAME_BYTES).contains(&length)));
            }
            _ => {}
        }
    }
    if let Ok(connection) = &connection {
        assert!(connection.sent.len().max(connection.received.len()) <= probes::HEAD_BYTES);
        let is_mapped =
            |at: SocketAddr| matches!(at.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        assert!(!is_mapped(connection.local) && !is_mapped(connection.remote));
        assert!(
            connection.connected_boot_ns != Some(0) && connection.first_byte_boot_ns != Some(0)
        );
    }
    let understood = kinds.contains(&true);
    if understood {
        let longer = [record, &[0]].concat();
        let shorter = record.split_last().map_or(record, |(_, shorter)| shorter);
        for other in [longer.as_slice(), shorter] {
            assert!(decode::event(other, PAGE_BYTES).is_err(), "a record of another size");
            assert!(decode::task(other).is_err(), "a record of another size");
            assert!(decode::connection(other).is_err(), "a record of another size");
        }
    }
    understood
}

/// A record of this kind and size with some of `content`, and zeros after it.
fn record(kind: u32, size: usize, content: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(size);
    record.extend(kind.to_ne_bytes());
    record.extend((size as u32).to_ne_bytes());
    record.extend(77_u64.to_ne_bytes());
    record.extend(content.iter().take(size.saturating_sub(record.len())));
    record.resize(size, 0);
    record
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Small numbers everywhere: lengths that fit, known results and flags.
    let small: Vec<u8> = (0..64_u32).flat_map(|n| (n % 5).to_ne_bytes()).collect();
    let with = |content: &[u8]| KINDS.map(|(kind, size)| record(kind, size, content));
    with(&[]).into_iter().chain(with(&small)).chain([connection()]).collect()
}

/// The record of a connection with IPv4 addresses.
fn connection() -> Vec<u8> {
    let mut content = Vec::new();
    content.extend([70_u64, 71, 72].iter().flat_map(|time| time.to_ne_bytes()));
    for last in [1, 2] {
        content.extend(Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets());
    }
    for word in [4321, 8080, probes::ENDING_CLOSED_BY_PEER, 1, 16, 15, 15, 0] {
        content.extend(u32::to_ne_bytes(word));
    }
    let mut head = |text: &[u8]| {
        content.extend(text);
        content.extend(std::iter::repeat_n(0, probes::HEAD_BYTES - text.len()));
    };
    head(b"GET / HTTP/1.1\r\n");
    head(b"HTTP/1.1 200 OK");
    record(raw::KIND_CONNECTION, size_of::<probes::ConnectionRecord>(), &content)
}
