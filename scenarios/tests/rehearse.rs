//! The workloads and witnesses of the scenarios, without an agent, where this host lets us make
//! cgroups.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn workloads_end_as_the_scenarios_expect() {
    let Some(root) = cgroup2() else {
        println!("SKIPPED: no cgroup v2 hierarchy is mounted");
        return;
    };
    let root = root.join(format!("podvitals-rehearse-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&root) {
        println!("SKIPPED: making {}: {error}", root.display());
        return;
    }
    std::fs::remove_dir(&root).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_scenarios"))
        .args(["rehearse", "--cgroup-root"])
        .arg(&root)
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&out.stdout));
    println!("{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success());
    assert!(!root.exists(), "{} was left behind", root.display());
}

fn cgroup2() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let target = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(target))
    })
}
