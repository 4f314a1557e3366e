//! Tests of the reader against the kernel, in cgroups of their own. They are skipped where no
//! cgroup v2 tree is writable.

use super::*;
use crate::cgroup::sample::Pressure;
use crate::cgroup::walk::walk;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use testbed::cgroup::{self, Cgroup};
use testbed::child::command;

fn id_of(cgroup: &Cgroup) -> CgroupId {
    CgroupId(cgroup::id(cgroup.dir()).unwrap())
}

/// A busy shell in a cgroup.
fn busy(cgroup: &Cgroup) -> Child {
    command("sh")
        .arg("-c")
        .arg("echo $$ > \"$0/cgroup.procs\" && while :; do :; done")
        .arg(cgroup.dir())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn sample(reader: &mut Reader, cgroup: &Cgroup) -> Sample {
    reader.sample(id_of(cgroup), cgroup.dir(), Detail::Container).unwrap()
}

#[test]
fn a_cgroup_from_its_first_task_to_its_end() {
    let Some(cgroup) = Cgroup::for_test("life") else { return };
    let mut reader = Reader::new(100);
    assert_eq!(sample(&mut reader, &cgroup).cpu.usage_us, Some(0));

    let mut busy = busy(&cgroup);
    let deadline = Instant::now() + Duration::from_secs(10);
    let usage_us = loop {
        let usage_us = sample(&mut reader, &cgroup).cpu.usage_us.unwrap();
        if usage_us > 0 || Instant::now() > deadline {
            break usage_us;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(usage_us > 0);

    let last = reader.read_last(id_of(&cgroup), cgroup.dir()).unwrap();
    let text = fs::read(cgroup.dir().join("cpu.stat")).unwrap();
    assert!(last.cpu.usage_us >= Some(usage_us));
    let mut expected = Sample::default();
    let file = FILES.iter().find(|file| file.name == "cpu.stat").unwrap();
    (file.parse)(&text, &mut expected).unwrap();
    assert_eq!(last.cpu.usage_us, expected.cpu.usage_us);
    for (file, there) in [
        ("memory.current", last.memory.usage_bytes.is_some()),
        ("memory.stat", last.memory.anon_bytes.is_some()),
        ("pids.current", last.tasks.is_some()),
        ("cpu.pressure", last.cpu_pressure.some_us.is_some()),
        ("io.pressure", last.io_pressure.full_us.is_some()),
    ] {
        assert_eq!(there, fs::read(cgroup.dir().join(file)).is_ok(), "{file}");
    }
    assert_eq!(last.cpu_pressure.full_us, None);
    let stats = reader.stats();
    assert!(stats.open_fds > 0);
    assert_eq!(stats.read_errors, ReadErrors::default());

    let (id, path) = (id_of(&cgroup), cgroup.dir().to_owned());
    drop(cgroup);
    assert!(!path.exists());
    for _ in 0..2 {
        let gone = reader.read_last(id, &path);
        assert!(matches!(gone, Err(ReadError::Vanished { path: at }) if at == path));
    }
    let stats = reader.stats();
    assert_eq!((stats.open_fds, stats.read_errors.vanished), (0, 2));
}

#[test]
fn a_namesake_is_another_cgroup() {
    let Some(above) = Cgroup::for_test("namesake") else { return };
    let mut reader = Reader::new(100);
    let mut none_kept = Reader::new(0);
    let old = above.child("a.service").unwrap();
    let (old_id, path) = (id_of(&old), old.dir().to_owned());
    sample(&mut reader, &old);
    sample(&mut none_kept, &old);
    drop(old);
    let new = above.child("a.service").unwrap();
    assert_ne!(id_of(&new), old_id);
    for reader in [&mut reader, &mut none_kept] {
        let gone = reader.sample(old_id, &path, Detail::Container);
        assert!(matches!(gone, Err(ReadError::Vanished { .. })));
        sample(reader, &new);
    }
}

#[test]
fn pressure_can_be_turned_off_and_on() {
    let Some(cgroup) = Cgroup::for_test("pressure") else { return };
    let switch = cgroup.dir().join("cgroup.pressure");
    if !switch.exists() {
        println!("SKIPPED: no cgroup.pressure, it came with Linux 6.1");
        return;
    }
    let mut reader = Reader::new(100);
    assert!(sample(&mut reader, &cgroup).cpu_pressure.some_us.is_some());
    let open = reader.stats().open_fds;
    fs::write(&switch, "0").unwrap();
    let off = sample(&mut reader, &cgroup);
    assert_eq!((off.cpu_pressure, off.io_pressure), (Pressure::default(), Pressure::default()));
    assert!(
        off.cpu.usage_us.is_some(),
        "the open file of pressure fails with ENODEV, the cgroup lives"
    );
    assert_eq!(reader.stats().open_fds, open - 3);
    assert_eq!(reader.stats().read_errors, ReadErrors::default());
    fs::write(&switch, "1").unwrap();
    reader.retry_absent(id_of(&cgroup));
    assert!(sample(&mut reader, &cgroup).cpu_pressure.some_us.is_some());
}

#[test]
fn the_root_can_be_read() {
    let Some(cgroup) = Cgroup::for_test("root") else { return };
    let root = cgroup.dir().parent().unwrap();
    let id = CgroupId(fs::metadata(root).unwrap().ino());
    let mut reader = Reader::new(100);
    let sample = reader.sample(id, root, Detail::Container).unwrap();
    assert!(sample.cpu.usage_us.is_some());
    assert_eq!(reader.stats().read_errors, ReadErrors::default());
}

#[test]
fn a_walk_finds_every_cgroup_with_its_id() {
    let Some(root) = Cgroup::for_test("walk") else { return };
    let kept: Vec<_> = (0..20).map(|at| root.child(&format!("c{at}")).unwrap()).collect();
    let deep = kept[3].child("deep").unwrap();
    let (found, errors) = walk(root.dir());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(found.len(), 22);
    for cgroup in kept.iter().chain([&root, &deep]) {
        assert!(found.iter().any(|dir| dir.id == id_of(cgroup)));
    }
    drop(deep);
    drop(kept);
}
