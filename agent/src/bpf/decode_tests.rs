use super::{event as event_of, *};
use proptest::prelude::*;

const PAGE: u64 = 4096;

fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    event_of(bytes, PAGE)
}

/// Builder of a record with the layout of the kernel side.
struct Record(Vec<u8>);

impl Record {
    fn new(kind: u32) -> Self {
        let mut record = Self(Vec::new());
        record.words(&[kind, 0]).longs(&[77]);
        record
    }

    fn words(&mut self, words: &[u32]) -> &mut Self {
        for word in words {
            self.0.extend(word.to_ne_bytes());
        }
        self
    }

    fn longs(&mut self, longs: &[u64]) -> &mut Self {
        for long in longs {
            self.0.extend(long.to_ne_bytes());
        }
        self
    }

    fn task(&mut self, cgroup: u64, tgid: u32) -> &mut Self {
        self.longs(&[cgroup, 5]).words(&[tgid, tgid]);
        self.0.extend(*b"runc\0\0\0\0\0\0\0\0\0\0\0\0");
        self
    }

    fn bytes(&mut self) -> Vec<u8> {
        let size = u32::try_from(self.0.len()).unwrap();
        self.0[4..8].copy_from_slice(&size.to_ne_bytes());
        self.0.clone()
    }
}

fn signal(result: u32, code: u32, flags: u32) -> Signal {
    let bytes = Record::new(raw::KIND_SIGNAL)
        .task(10, 100)
        .task(20, 200)
        .words(&[15, code, result, flags])
        .bytes();
    assert_eq!(bytes.len(), size_of::<raw::SignalRecord>());
    match event(&bytes).unwrap() {
        Event { time_boot_ns: 77, kind: EventKind::Signal(signal) } => signal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signal_is_decoded() {
    let found = signal(1, 0, 0);
    assert_eq!(found.target.cgroup, CgroupId(10));
    assert_eq!(found.sender.key, TaskKey { tgid: 200, start_boot_ns: 5 });
    assert_eq!(found.sender.comm, Comm::from("runc"));
    assert_eq!(found.result, SignalResult::Ignored);
    assert_eq!(found.origin, SignalOrigin::User);
    assert!(!found.target_dying);
    assert_eq!(signal(9, 0, 0).result, SignalResult::Unknown(9));
}

#[test]
fn the_kernel_is_the_origin_of_faults_and_private_signals() {
    assert_eq!(signal(0, 1, 0).origin, SignalOrigin::Kernel);
    assert_eq!(signal(0, 0, raw::SIGNAL_INFO_KERNEL).origin, SignalOrigin::Kernel);
    assert_eq!(signal(0, 0, raw::SIGNAL_INFO_NONE).origin, SignalOrigin::User);
    assert_eq!(signal(0, (-6i32).cast_unsigned(), 0).origin, SignalOrigin::User);
}

#[test]
fn the_signal_that_kills_does_not_find_its_target_dying() {
    assert!(!signal(0, 0, raw::SIGNAL_TARGET_DYING).target_dying);
    assert!(signal(1, 0, raw::SIGNAL_TARGET_DYING).target_dying);
    assert!(signal(1, 0, raw::SIGNAL_TARGET_ZOMBIE).target_dying);
}

#[test]
fn names_and_arguments_have_their_length() {
    let mut made = Record::new(raw::KIND_CGROUP_MADE);
    made.longs(&[1, 2]).words(&[3, 0]);
    made.0.extend(*b"pod");
    made.0.extend([0; raw::NAME_BYTES - 3]);
    let made = made.bytes();
    assert_eq!(made.len(), size_of::<raw::CgroupMadeRecord>());
    let expected = CgroupMade {
        cgroup: CgroupId(1),
        parent: CgroupId(2),
        name: Some(b"pod".to_vec()),
        untracked: false,
    };
    assert_eq!(event(&made).unwrap().kind, EventKind::CgroupMade(expected));

    let mut exec = Record::new(raw::KIND_EXEC);
    exec.task(1, 2).task(3, 4).words(&[257, 0]);
    exec.0.extend([0; raw::ARGV_BYTES]);
    let error = event(&exec.bytes()).unwrap_err();
    assert_eq!(error, DecodeError::Length { kind: raw::KIND_EXEC, length: 257 });
}

#[test]
fn ends_and_exits_are_decoded() {
    let mut end = Record::new(raw::KIND_END);
    end.task(1, 2).longs(&[3]).words(&[4, 0x0300]).longs(&[9, 8]);
    let EventKind::End(end) = event(&end.bytes()).unwrap().kind else { panic!() };
    assert_eq!(end.status, ExitStatus::Code(3));
    assert_eq!((end.cpu_runtime_ns, end.children_cpu_ns), (9, 8));
    let mut exit = Record::new(raw::KIND_EXIT);
    exit.task(1, 2).longs(&[3, 8, 7]).words(&[0x8b, 2]);
    let EventKind::Exit(exit) = event(&exit.bytes()).unwrap().kind else { panic!() };
    assert_eq!(exit.status, ExitStatus::Signal { signal: 11, core: true });
    assert_eq!((exit.cpu_runtime_ns, exit.children_cpu_ns, exit.children), (8, 7, 2));
}

fn oom(flags: u32, pages: [i64; 3], level: [u64; 5]) -> Oom {
    let mut oom = Record::new(raw::KIND_OOM);
    oom.task(1, 2).task(3, 4).words(&[2, flags]).longs(&pages.map(i64::cast_unsigned));
    for _ in 0..raw::OOM_LEVELS {
        oom.longs(&level);
    }
    let bytes = oom.bytes();
    assert_eq!(bytes.len(), size_of::<raw::OomRecord>());
    match event(&bytes).unwrap().kind {
        EventKind::Oom(oom) => oom,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_oom_has_bytes_where_the_kernel_counts_pages() {
    let found = oom(raw::OOM_RESIDENT | raw::OOM_CHARGED, [7, 2, -3], [9, 4, 5, 15, 16]);
    let resident = Resident { anon_bytes: 7 * PAGE, file_bytes: 2 * PAGE, shmem_bytes: 0 };
    assert_eq!(found.resident, Some(resident));
    let charged = Charged { usage_bytes: 15 * PAGE, limit_bytes: Some(16 * PAGE) };
    let level = OomLevel { cgroup: CgroupId(9), oom: 4, oom_kill: 5, charged: Some(charged) };
    assert_eq!(found.levels, [level; 2]);
    assert_eq!((found.victim.cgroup, found.current.cgroup), (CgroupId(1), CgroupId(3)));
}

#[test]
fn an_oom_without_memory_has_none() {
    let found = oom(0, [0; 3], [9, 4, 5, 0, 0]);
    assert_eq!((found.resident, found.levels[0].charged), (None, None));
    // `PAGE_COUNTER_MAX`: memory.max is "max".
    let no_limit = i64::MAX.cast_unsigned() / PAGE;
    let found = oom(raw::OOM_CHARGED, [0; 3], [9, 4, 5, 15, no_limit]);
    let charged = Charged { usage_bytes: 15 * PAGE, limit_bytes: None };
    assert_eq!(found.levels[0].charged, Some(charged));
}

fn a_connection(words: [u32; 8]) -> Result<Connection, DecodeError> {
    let mut record = Record::new(raw::KIND_CONNECTION);
    record.longs(&[70, 0, 72]);
    record.0.extend(std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets());
    record.0.extend(Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]).octets());
    record.words(&words);
    let mut head = [0; probes::HEAD_BYTES];
    head[..5].copy_from_slice(b"GET /");
    record.0.extend(head);
    record.0.extend([0; probes::HEAD_BYTES]);
    let bytes = record.bytes();
    assert_eq!(bytes.len(), size_of::<probes::ConnectionRecord>());
    connection(&bytes)
}

#[test]
fn a_connection_is_decoded() {
    let found = a_connection([4321, 8080, probes::ENDING_REFUSED, 1, 5, 0, 9, 0]).unwrap();
    assert_eq!(found.local, "192.0.2.1:4321".parse().unwrap(), "mapped to IPv6 in the record");
    assert_eq!(found.remote, "[2001:db8::7]:8080".parse().unwrap());
    assert_eq!((found.start_boot_ns, found.end_boot_ns), (70, 77));
    assert_eq!((found.connected_boot_ns, found.first_byte_boot_ns), (None, Some(72)));
    assert_eq!((found.ending, found.data_observed), (Ending::Refused, true));
    assert_eq!((&found.sent[..], &found.received[..]), (&b"GET /"[..], &b""[..]));
    assert_eq!(found.received_bytes, 9);
    let open = a_connection([4321, 8080, probes::ENDING_OPEN, 1, 0, 0, 0, 0]).unwrap();
    assert_eq!((open.ending, open.end_boot_ns), (Ending::Open, 77));
}

#[test]
fn a_connection_with_an_impossible_value_is_an_error() {
    let kind = raw::KIND_CONNECTION;
    let good = [4321, 8080, probes::ENDING_CLOSED, 0, 0, 0, 0, 0];
    let with = |at: usize, value| {
        let mut words = good;
        words[at] = value;
        a_connection(words).unwrap_err()
    };
    assert!(a_connection(good).is_ok());
    assert_eq!(with(0, 65_536), DecodeError::Value { kind, value: 65_536 });
    assert_eq!(with(1, 65_536), DecodeError::Value { kind, value: 65_536 });
    assert_eq!(with(2, 6), DecodeError::Value { kind, value: 6 });
    assert_eq!(with(4, 257), DecodeError::Length { kind, length: 257 });
    assert_eq!(with(5, 257), DecodeError::Length { kind, length: 257 });
    assert_eq!(connection(&Record::new(raw::KIND_END).bytes()), Err(DecodeError::Kind(2)));
    assert_eq!(event(&Record::new(kind).bytes()), Err(DecodeError::Kind(kind)), "another ring");
}

#[test]
fn what_is_no_record_is_an_error() {
    assert_eq!(event(&[1; 15]), Err(DecodeError::Short(15)));
    assert_eq!(event(&Record::new(99).bytes()), Err(DecodeError::Kind(99)));
    let mut long = Record::new(raw::KIND_CGROUP_EMPTY);
    long.longs(&[1, 2]);
    let size = DecodeError::Size { kind: raw::KIND_CGROUP_EMPTY, size: 32 };
    assert_eq!(event(&long.bytes()), Err(size));
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(
        kind in 0u32..12,
        body in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut record = Record::new(kind);
        record.0.extend(&body);
        let bytes = record.bytes();
        let _ = event(&bytes);
        let _ = task(&bytes);
        let _ = connection(&bytes);
        let _ = event(&body);
    }
}
