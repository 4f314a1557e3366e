//! The agent's server at the limits of its process.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{BINARY, agent, can_run, end_within, until_ready};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::http;

#[test]
fn without_descriptors_those_who_say_nothing_give_way() {
    if !can_run() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let address = http::free_address().unwrap();
    let mut command = testbed::child::command("sh");
    command.args(["-c", "ulimit -n 80; exec \"$0\" \"$@\"", BINARY]);
    let mut child = agent(&mut command, root.path(), address);
    until_ready(&mut child, address);
    let silent: Vec<_> = (0..120).map(|_| TcpStream::connect(address).unwrap()).collect();
    let start = Instant::now();
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = http::get(address, path, Duration::from_secs(5)).unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    drop(silent);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = end_within(&mut child, Duration::from_secs(5)).expect("it hangs");
    assert_eq!(status.code(), Some(0));
}
