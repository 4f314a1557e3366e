//! Loads the programs on the running kernel.

use agent::bpf::{
    load::{self, check_object, self_check},
    plan::Facts,
};
use agent::kernel::{btf, capabilities, host, offsets};
use std::path::Path;

#[test]
fn every_program_loads_attaches_and_checks_itself() {
    if let Err(error) = check_object() {
        println!("SKIPPED: {error:#}");
        return;
    }
    let capabilities = capabilities::raise().unwrap();
    if !capabilities.can_trace() {
        println!("SKIPPED: CAP_BPF and CAP_PERFMON are needed");
        return;
    }
    let types = btf::Btf::from_file(Path::new(btf::VMLINUX)).unwrap();
    let offsets = offsets::resolve(&types).unwrap();
    let facts =
        Facts { capabilities, lockdown: host::lockdown(), memory_offsets: offsets.memory.is_ok() };
    let (mut programs, _ring) = load::load(&types, &offsets.layout, &facts).unwrap();
    for attached in &programs.attached {
        assert!(attached.outcome.is_ok(), "{attached:?}");
    }
    let tasks = programs.running_tasks().unwrap();
    self_check(&tasks).unwrap();
}
