//! An agent as a process, over a directory that looks like a cgroup v2 hierarchy.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use testbed::http;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_podvitals");

/// The end of a process, if it comes within the time.
pub(crate) fn end_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > limit {
            let _gone = child.kill();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the binary can run as an agent here.
pub(crate) fn can_run() -> bool {
    let check = testbed::child::command(BINARY).arg("check").output().unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    if said.contains("without its kernel side") {
        println!("SKIPPED: this binary was built without its kernel side");
        return false;
    }
    true
}

/// Starts an agent over a directory that looks like a cgroup v2 hierarchy.
pub(crate) fn agent(command: &mut Command, root: &std::path::Path, address: SocketAddr) -> Child {
    std::fs::write(root.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
    command
        .args(["agent", "--pods.source=none", "--log.level=debug", "--cgroup.root"])
        .arg(root)
        .arg(format!("--web.listen-address={address}"));
    command.stdout(Stdio::null()).spawn().unwrap()
}

pub(crate) fn until_ready(child: &mut Child, address: SocketAddr) {
    let start = Instant::now();
    while !http::get(address, "/readyz", Duration::from_secs(1)).is_ok_and(|it| it.status == 200) {
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        assert!(start.elapsed() < Duration::from_secs(60), "it does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}
