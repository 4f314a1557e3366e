//! Tests of the reader over directories that look like cgroups. The kernel's own behaviour is in
//! the live tests.

use super::*;
use crate::cgroup::fixture;
use crate::cgroup::sample::{Cpu, Memory};
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

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

#[test]
fn everything_is_read_and_kept_open() {
    let fake = Fake::new(fixture::FILES);
    let mut reader = Reader::new(100);
    assert_eq!(fake.sample(&mut reader), fixture::sample());
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
    let fake = Fake::new(fixture::FILES);
    let mut reader = Reader::new(100);
    let sample = reader.sample(fake.id(), fake.path(), Detail::Pod).unwrap();
    assert_eq!(sample, fixture::sample_of(|file| file.of_pod));
    assert_eq!(reader.stats().open_fds, Detail::Pod.files());
}

#[test]
fn parts_that_are_not_wanted_are_not_read() {
    let fake = Fake::new(fixture::FILES);
    let mut reader = Reader::new(100).wanting(Parts::CPU.or(Parts::PIDS));
    let wanted = Parts::CPU.or(Parts::PIDS);
    assert_eq!(fake.sample(&mut reader), fixture::sample_of(|file| file.part.meets(wanted)));
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
    let fake = Fake::new(fixture::FILES);
    fake.write("memory.stat", "anon ten\ninactive_file 1\n");
    fake.write("pids.max", "18446744073709551616\n");
    let mut reader = Reader::new(100);
    let sample = fake.sample(&mut reader);
    let malformed = ["memory.stat", "pids.max"];
    assert_eq!(sample, fixture::sample_of(|file| !malformed.contains(&file.name)));
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
    let fake = Fake::new(fixture::FILES);
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
    assert!(matches!(gone, Err(ReadError::Vanished { .. })), "no open file shows it");
}

#[test]
fn over_budget_is_slower_not_wrong() {
    let [first, second, third] = [(); 3].map(|()| Fake::new(fixture::FILES));
    let mut reader = Reader::new(2 * COUNT + 2);
    for _ in 0..3 {
        for fake in [&first, &second, &third] {
            assert_eq!(fake.sample(&mut reader), fixture::sample());
        }
    }
    let stats = reader.stats();
    assert_eq!((stats.open_fds, stats.evictions), (2 * COUNT, 1));
    reader.forget(first.id());
    assert_eq!(third.sample(&mut reader), fixture::sample());
    assert_eq!(reader.stats().open_fds, 2 * COUNT, "there is room now");

    let mut none = Reader::new(0);
    assert_eq!(first.sample(&mut none), fixture::sample());
    assert_eq!(none.stats().open_fds, 0);
}

/// Test in a process of its own, since the limit is per process.
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
    let [first, second] = [(); 2].map(|()| Fake::new(fixture::FILES));
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    let mut reader = Reader::new(1000);
    // All files and the directory for the first, five for the second.
    taken.truncate(taken.len() - (COUNT + 1 + 4));
    assert_eq!(first.sample(&mut reader), fixture::sample());
    assert_eq!(second.sample(&mut reader), fixture::sample());
    let stats = reader.stats();
    assert_eq!((stats.open_fds, stats.evictions), (COUNT, 1));
    assert_eq!(stats.read_errors, ReadErrors::default());

    taken.extend(std::iter::from_fn(|| fs::File::open("/dev/null").ok()));
    let refused = reader.sample(second.id(), second.path(), Detail::Container);
    assert!(matches!(refused, Err(ReadError::Other { source: nix::errno::Errno::EMFILE, .. })));
    assert_eq!(first.sample(&mut reader), fixture::sample(), "what is open goes on");
    drop(taken);
    assert_eq!(second.sample(&mut reader), fixture::sample());
    assert_eq!(reader.stats().read_errors.other, 1);
}

#[test]
fn what_may_not_be_read_is_counted() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        println!("SKIPPED: root may read every file");
        return;
    }
    let fake = Fake::new(fixture::FILES);
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
