use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use super::mutate::{Random, mutation};
use super::{TARGETS, Target};

/// Mutations of each target's seeds.
const MUTATIONS: usize = 3000;

/// Runs a target; tells the input of a panic, to be written into a file and run again.
fn run(target: &Target, input: &[u8]) -> bool {
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(understood) => understood,
        Err(panic) => {
            println!("{}: input {:?}", target.name, input.escape_ascii().to_string());
            resume_unwind(panic)
        }
    }
}

fn bounded(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    for seed in &seeds {
        assert!(run(target, seed), "{name}: a seed is not understood: {}", seed.escape_ascii());
        // Every beginning of it.
        for end in 0..seed.len().min(400) {
            run(target, &seed[..end]);
        }
    }
    let mut random = Random(0);
    let inputs = (0..MUTATIONS).map(|_| mutation(&mut random, &seeds));
    let understood = inputs.filter(|input| run(target, input)).count();
    // Else the mutations are all too small or all too large to find anything.
    assert!((MUTATIONS / 50..MUTATIONS).contains(&understood), "{name}: {understood} understood");
}

#[test]
fn btf() {
    bounded("btf");
}

#[test]
fn cgroup_files() {
    bounded("cgroup_files");
}

#[test]
fn cgroup_paths() {
    bounded("cgroup_paths");
}

#[test]
fn connections() {
    bounded("connections");
}

#[test]
fn labels() {
    bounded("labels");
}

#[test]
fn negotiation() {
    bounded("negotiation");
}

#[test]
fn pods() {
    bounded("pods");
}

#[test]
fn records() {
    bounded("records");
}

#[test]
fn mutations_are_the_same_at_each_run_and_differ() {
    let seeds = [b"a seed of some length".to_vec(), b"another one".to_vec()];
    let all = |start| {
        let mut random = Random(start);
        (0..500).map(|_| mutation(&mut random, &seeds)).collect::<Vec<_>>()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
    assert!(all(1).into_iter().collect::<BTreeSet<_>>().len() > 400);
}

/// Each target is one of cargo-fuzz', and is tested above.
#[test]
fn every_target_is_called() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder.join("fuzz_targets")).unwrap() {
        files.insert(entry.unwrap().file_name().into_string().unwrap());
    }
    let names: BTreeSet<_> = TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    assert_eq!(files, names);
    for Target { name, .. } in TARGETS {
        let text = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("agent::fuzz::run(\"{name}\", input)")), "{text}");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no binary");
        assert!(include_str!("tests.rs").contains(&format!("bounded(\"{name}\")")), "{name}");
    }
}
