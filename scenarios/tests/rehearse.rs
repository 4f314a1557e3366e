//! The workloads and witnesses of the scenarios, without an agent, where this host lets us make
//! cgroups.

use testbed::cgroup::Cgroup;
use testbed::child::command;

#[test]
fn workloads_end_as_the_scenarios_expect() {
    let Some(parent) = Cgroup::for_test("rehearse") else { return };
    let root = parent.dir().join("root");
    let out = command(env!("CARGO_BIN_EXE_scenarios"))
        .args(["rehearse", "--cgroup-root"])
        .arg(&root)
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&out.stdout));
    println!("{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success());
    assert!(!root.exists(), "{} was left behind", root.display());
}
