//! Over directories that look like cgroups. What only a kernel does is in the live tests.

use super::*;
use crate::cgroup::sample::{Cpu, Memory, Pressure};
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

const ALL: &[(&str, &str)] = &[
    ("cpu.stat", "usage_usec 5000\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n"),
    ("cpu.max", "50000 100000\n"),
    ("cpu.pressure", "some avg10=0.00 total=7\nfull avg10=0.00 total=6\n"),
    ("memory.pressure", "some avg10=0.00 total=5\nfull avg10=0.00 total=4\n"),
    ("io.pressure", "some avg10=0.00 total=3\nfull avg10=0.00 total=2\n"),
    ("memory.current", "1000\n"),
    (
        "memory.stat",
        "anon 10\nfile 20\nkernel 30\nshmem 40\ninactive_file 400\npgfault 9\npgmajfault 2\n",
    ),
    ("memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"),
    ("memory.peak", "2000\n"),
    ("memory.max", "4096\n"),
    ("memory.swap.current", "50\n"),
    ("memory.swap.max", "60\n"),
    ("pids.current", "11\n"),
    ("pids.max", "12\n"),
];

const COUNT: usize = FILES.len();

struct Fake(TempDir);

impl Fake {
    fn new(files: &[(&str, &str)]) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            fake.write(name, text);
        }
        fake
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn id(&self) -> CgroupId {
        CgroupId(fs::metadata(self.path()).unwrap().ino())
    }

    fn sample(&self, reader: &mut Reader) -> Sample {
        reader.sample(self.id(), self.path(), Detail::Container).unwrap()
    }
}

fn whole() -> Sample {
    let pressure = |some, full| Pressure { some_us: Some(some), full_us: full };
    Sample {
        cpu: Cpu {
            usage_us: Some(5000),
            periods: Some(4),
            throttled_periods: Some(3),
            throttled_us: Some(2),
            quota_us: Some(50_000),
            period_us: Some(100_000),
        },
        memory: Memory {
            usage_bytes: Some(1000),
            working_set_bytes: Some(600),
            inactive_file_bytes: Some(400),
            anon_bytes: Some(10),
            file_bytes: Some(20),
            shmem_bytes: Some(40),
            kernel_bytes: Some(30),
            swap_bytes: Some(50),
            peak_bytes: Some(2000),
            limit_bytes: Some(4096),
            swap_limit_bytes: Some(60),
            minor_faults: Some(7),
            major_faults: Some(2),
            events: Some(MemoryEvents {
                high: Some(1),
                max: Some(2),
                oom: Some(3),
                oom_kill: Some(4),
            }),
        },
        cpu_pressure: pressure(7, None),
        memory_pressure: pressure(5, Some(4)),
        io_pressure: pressure(3, Some(2)),
        tasks: Some(11),
        tasks_limit: Some(12),
    }
}

#[test]
fn everything_is_read_and_kept_open() {
    let fake = Fake::new(ALL);
    let mut reader = Reader::new(100);
    assert_eq!(fake.sample(&mut reader), whole());
    assert_eq!(
        reader.stats(),
        ReaderStats { open_fds: COUNT, reads: COUNT as u64, ..ReaderStats::default() }
    );

    fake.write("memory.current", "300\n");
    let again = reader.read_last(fake.id(), fake.path()).unwrap();
    assert_eq!(again.memory.usage_bytes, Some(300));
    assert_eq!(again.memory.working_set_bytes, Some(0), "inactive_file is more");
    assert_eq!(reader.stats().open_fds, COUNT);

    reader.forget(fake.id());
    reader.forget(fake.id());
    assert_eq!(reader.stats().open_fds, 0);
}

#[test]
fn a_pod_is_read_for_limits_and_memory() {
    let fake = Fake::new(ALL);
    let mut reader = Reader::new(100);
    let sample = reader.sample(fake.id(), fake.path(), Detail::Pod).unwrap();
    let all = whole();
    let memory =
        Memory { peak_bytes: None, swap_bytes: None, swap_limit_bytes: None, ..all.memory };
    let cpu = Cpu { quota_us: all.cpu.quota_us, period_us: all.cpu.period_us, ..Cpu::default() };
    assert_eq!(sample, Sample { cpu, memory, ..Sample::default() });
    assert_eq!(reader.stats().open_fds, Detail::Pod.files());
}

#[test]
fn parts_that_nobody_wants_are_not_read() {
    let fake = Fake::new(ALL);
    let mut reader = Reader::new(100).wanting(Parts::CPU.or(Parts::PIDS));
    let all = whole();
    let want = Sample {
        cpu: all.cpu,
        tasks: all.tasks,
        tasks_limit: all.tasks_limit,
        ..Sample::default()
    };
    assert_eq!(fake.sample(&mut reader), want);
    assert_eq!(reader.stats().reads, 4);
    assert!(reader.wants_more(Parts::CPU) && !reader.wants_more(Parts::PRESSURE.complement()));
    let covered = reader.sample_rest(fake.id(), fake.path(), Detail::Container, Parts::CPU);
    assert_eq!(covered.unwrap().cpu, Cpu::default());

    let mut none = Reader::new(100).wanting(Parts::NONE);
    assert_eq!(fake.sample(&mut none), Sample::default());
    assert_eq!(none.stats(), ReaderStats::default());
}

#[test]
fn no_limit_is_no_value() {
    let fake = Fake::new(&[
        ("cpu.max", "max 100000\n"),
        ("memory.max", "max\n"),
        ("memory.swap.max", "max\n"),
        ("pids.max", "max\n"),
        ("memory.current", "1\n"),
    ]);
    let memory = Memory { usage_bytes: Some(1), ..Memory::default() };
    let want = Sample { memory, ..Sample::default() };
    assert_eq!(fake.sample(&mut Reader::new(100)), want, "no inactive_file, no working set");
}

#[test]
fn a_missing_file_is_tried_again_at_times() {
    let fake = Fake::new(&[("cpu.stat", "usage_usec 1\n")]);
    let mut reader = Reader::new(100);
    let sample = fake.sample(&mut reader);
    assert_eq!(sample.cpu.usage_us, Some(1));
    assert_eq!(Sample { cpu: Cpu::default(), ..sample }, Sample::default());
    assert_eq!(reader.stats(), ReaderStats { open_fds: 1, reads: 1, ..ReaderStats::default() });

    fake.write("pids.current", "3\n");
    for _ in 0..59 {
        assert_eq!(fake.sample(&mut reader).tasks, None);
    }
    assert_eq!(fake.sample(&mut reader).tasks, Some(3));

    fake.write("memory.current", "5\n");
    assert_eq!(fake.sample(&mut reader).memory.usage_bytes, None);
    reader.retry_absent(fake.id());
    assert_eq!(fake.sample(&mut reader).memory.usage_bytes, Some(5));
}

#[test]
fn a_malformed_file_costs_its_own_values_only() {
    let fake = Fake::new(ALL);
    fake.write("memory.stat", "anon ten\ninactive_file 1\n");
    fake.write("pids.max", "18446744073709551616\n");
    let mut reader = Reader::new(100);
    let sample = fake.sample(&mut reader);
    let all = whole();
    let memory = Memory {
        usage_bytes: all.memory.usage_bytes,
        swap_bytes: all.memory.swap_bytes,
        peak_bytes: all.memory.peak_bytes,
        limit_bytes: all.memory.limit_bytes,
        swap_limit_bytes: all.memory.swap_limit_bytes,
        events: all.memory.events,
        ..Memory::default()
    };
    assert_eq!(sample, Sample { memory, tasks_limit: None, ..all });
    assert_eq!(reader.stats().read_errors, ReadErrors { malformed: 2, ..ReadErrors::default() });
    fake.write("memory.stat", "anon 1\n");
    assert_eq!(fake.sample(&mut reader).memory.anon_bytes, Some(1));
}

#[test]
fn a_large_file_is_read_whole() {
    let mut text = String::new();
    for line in 0..3000 {
        text.push_str(&format!("some_new_key_{line} {line}\n"));
    }
    text.push_str("pgfault 8\npgmajfault 1\n");
    let fake = Fake::new(&[("memory.stat", &text), ("memory.current", "7\n")]);
    let mut reader = Reader::new(100);
    for _ in 0..2 {
        let memory = fake.sample(&mut reader).memory;
        assert_eq!((memory.minor_faults, memory.usage_bytes), (Some(7), Some(7)));
    }
}

#[test]
fn a_file_without_end_is_refused() {
    let fake = Fake::new(&[("memory.stat", &"x".repeat(3 << 20)), ("memory.current", "7\n")]);
    let mut reader = Reader::new(100);
    let memory = fake.sample(&mut reader).memory;
    assert_eq!((memory.usage_bytes, memory.anon_bytes), (Some(7), None));
    assert_eq!(reader.stats().read_errors.other, 1);
}

#[test]
fn a_directory_that_is_gone_or_anothers_has_vanished() {
    let fake = Fake::new(ALL);
    let mut reader = Reader::new(100);
    let other = reader.sample(CgroupId(1), fake.path(), Detail::Container);
    assert!(matches!(other, Err(ReadError::Vanished { path }) if path == fake.path()));

    fake.sample(&mut reader);
    let (id, path) = (fake.id(), fake.path().to_owned());
    drop(fake);
    let stats = reader.stats();
    assert_eq!((stats.open_fds, stats.read_errors.vanished), (COUNT, 1));
    reader.forget(id);
    assert!(matches!(reader.read_last(id, &path), Err(ReadError::Vanished { .. })));
    assert_eq!(reader.stats().read_errors.vanished, 2);
    assert_eq!(reader.cgroups.len(), 0, "forgotten");
}

#[test]
fn an_empty_cgroup_is_no_error() {
    let fake = Fake::new(&[]);
    let mut reader = Reader::new(100);
    for _ in 0..3 {
        assert_eq!(fake.sample(&mut reader), Sample::default());
    }
    let (id, path) = (fake.id(), fake.path().to_owned());
    drop(fake);
    let gone = reader.sample(id, &path, Detail::Container);
    assert!(matches!(gone, Err(ReadError::Vanished { .. })), "no kept file could tell");
}

#[test]
fn over_budget_is_slower_not_wrong() {
    let [first, second, third] = [(); 3].map(|()| Fake::new(ALL));
    let mut reader = Reader::new(2 * COUNT + 2);
    for _ in 0..3 {
        for fake in [&first, &second, &third] {
            assert_eq!(fake.sample(&mut reader), whole());
        }
    }
    let stats = reader.stats();
    assert_eq!((stats.open_fds, stats.evictions), (2 * COUNT, 1));
    reader.forget(first.id());
    assert_eq!(third.sample(&mut reader), whole());
    assert_eq!(reader.stats().open_fds, 2 * COUNT, "there is room now");

    let mut none = Reader::new(0);
    assert_eq!(first.sample(&mut none), whole());
    assert_eq!(none.stats().open_fds, 0);
}

/// In a process of its own, since the limit is the process's.
#[test]
fn without_file_descriptors() {
    const CHILD: &str = "PODVITALS_TEST_FEW_FDS";
    if std::env::var_os(CHILD).is_none() {
        let test = "cgroup::reader::tests::without_file_descriptors";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--test-threads=1", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let [first, second] = [(); 2].map(|()| Fake::new(ALL));
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    let mut reader = Reader::new(1000);
    // All files and the directory for the first, five for the second.
    taken.truncate(taken.len() - (COUNT + 1 + 4));
    assert_eq!(first.sample(&mut reader), whole());
    assert_eq!(second.sample(&mut reader), whole());
    let stats = reader.stats();
    assert_eq!((stats.open_fds, stats.evictions), (COUNT, 1));
    assert_eq!(stats.read_errors, ReadErrors::default());

    taken.extend(std::iter::from_fn(|| fs::File::open("/dev/null").ok()));
    let refused = reader.sample(second.id(), second.path(), Detail::Container);
    assert!(matches!(refused, Err(ReadError::Other { source: nix::errno::Errno::EMFILE, .. })));
    assert_eq!(first.sample(&mut reader), whole(), "what is open goes on");
    drop(taken);
    assert_eq!(second.sample(&mut reader), whole());
    assert_eq!(reader.stats().read_errors.other, 1);
}

#[test]
fn what_may_not_be_read_is_counted() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        println!("SKIPPED: root may read every file");
        return;
    }
    let fake = Fake::new(ALL);
    let shut = fs::Permissions::from_mode(0o000);
    fs::set_permissions(fake.path().join("memory.peak"), shut).unwrap();
    let mut reader = Reader::new(100);
    for _ in 0..2 {
        assert_eq!(fake.sample(&mut reader).memory.peak_bytes, None);
    }
    assert_eq!(reader.stats().read_errors.permission, 1, "not tried at each sample");
}

#[test]
fn local_events_are_read_once() {
    let fake = Fake::new(&[]);
    assert_eq!(Reader::read_events_local(fake.path()), None);
    fake.write("memory.events.local", "oom 1\noom_kill 2\n");
    let want = MemoryEvents { oom: Some(1), oom_kill: Some(2), ..MemoryEvents::default() };
    assert_eq!(Reader::read_events_local(fake.path()), Some(want));
    fake.write("memory.events.local", "oom x\n");
    assert_eq!(Reader::read_events_local(fake.path()), None);
}
