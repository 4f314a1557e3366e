//! The agent and the readers of its log: whoever does not read it, harms nobody.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

mod common;

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{BINARY, agent, can_run, end_within, until_ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::http;

/// A pipe that is full; its reader does not read.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut file = File::from(writer);
    loop {
        match file.write(&[b'x'; 1024]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let writer = OwnedFd::from(file);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// A pipe whose reader has gone.
fn broken_pipe() -> OwnedFd {
    nix::unistd::pipe().unwrap().1
}

#[test]
fn an_error_that_nobody_can_read_is_an_exit_status_all_the_same() {
    let (_reader, full) = full_pipe();
    let dev_full = File::options().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(full), broken_pipe().into(), dev_full.into()] {
        let mut child = testbed::child::command(BINARY)
            .args(["agent", "--cgroup.root", "/no/such", "--web.listen-address", "127.0.0.1:0"])
            .stderr(stderr)
            .spawn()
            .unwrap();
        let status = end_within(&mut child, Duration::from_secs(5));
        assert_eq!(status.expect("it hangs").code(), Some(1));
    }
}

#[test]
fn a_result_that_nobody_reads_is_no_error() {
    for command in ["catalogue", "check"] {
        let run = |stdout: Stdio| {
            let mut command_line = testbed::child::command(BINARY);
            command_line.arg(command).stdout(stdout).stderr(Stdio::piped());
            command_line.spawn().unwrap().wait_with_output().unwrap()
        };
        let (read, unread) = (run(Stdio::null()), run(broken_pipe().into()));
        assert_eq!(unread.status.code(), read.status.code(), "{command}");
        assert!(unread.stderr.is_empty(), "{unread:?}");
    }
}

#[test]
fn an_agent_whose_log_nobody_reads_serves_and_stops() {
    if !can_run() {
        return;
    }
    let (_reader, full) = full_pipe();
    let dev_full = File::options().write(true).open("/dev/full").unwrap();
    let stderrs =
        [("full", Stdio::from(full)), ("broken", broken_pipe().into()), ("error", dev_full.into())];
    for (name, stderr) in stderrs {
        let root = tempfile::tempdir().unwrap();
        let address = http::free_address().unwrap();
        let mut command = testbed::child::command(BINARY);
        let mut child = agent(command.stderr(stderr), root.path(), address);
        until_ready(&mut child, address);
        for _ in 0..3 {
            http::get_text(address, "/metrics", Duration::from_secs(5)).unwrap();
        }
        if name != "full" {
            let text = http::get_text(address, "/metrics", Duration::from_secs(5)).unwrap();
            let count = "podvitals_log_lines_dropped_total{reason=\"write_error\"} ";
            let line = text.lines().find_map(|line| line.strip_prefix(count)).unwrap();
            assert!(line.parse::<u64>().unwrap() > 0, "{name}: {line}");
        }
        let start = Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = end_within(&mut child, Duration::from_secs(5)).expect("it hangs");
        assert_eq!(status.code(), Some(0), "{name}");
        assert!(start.elapsed() < Duration::from_secs(1), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn an_agent_without_standard_descriptors_serves_and_stops() {
    if !can_run() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let address = http::free_address().unwrap();
    let mut command = testbed::child::command("sh");
    command.args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", BINARY]);
    let mut child = agent(&mut command, root.path(), address);
    until_ready(&mut child, address);
    let log = std::fs::read_link(format!("/proc/{}/fd/2", child.id())).unwrap();
    assert_eq!(log, std::path::Path::new("/dev/null"), "no other file gets the log");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = end_within(&mut child, Duration::from_secs(5)).expect("it hangs");
    assert_eq!(status.code(), Some(0));
}
