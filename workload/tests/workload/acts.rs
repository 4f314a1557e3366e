//! Its acts, its log and its end.

use std::{fs, os::unix::process::ExitStatusExt as _, process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::harness::{PROGRAM, Workload, boot, ns};

#[test]
fn it_exits_in_time_with_its_code_and_its_cpu_time() {
    let before = boot();
    let mut it = Workload::start(&["--burn-cpu=0.2", "--exit-after=0.1", "--exit-code=3"]);
    let start = it.act("start");
    let exit = it.act("exit");
    assert!(before <= ns(&start) && ns(&exit) <= boot(), "the clock is the boot-time clock");
    let cpu_us = exit["cpu_us"].as_u64().unwrap();
    assert!((200_000..400_000).contains(&cpu_us), "{exit}");
    assert_eq!((exit["code"].as_u64(), &exit["why"]), (Some(3), &"time".into()));
    assert_eq!(it.end().code(), Some(3));
}

#[test]
fn a_handled_signal_is_told_and_its_steps_are_done() {
    let mut it = Workload::start(&["--on-signal=TERM=sleep:0.3,exit:7", "--on-signal=usr1"]);
    it.act("start");
    it.signal(Signal::SIGUSR1);
    assert_eq!(it.act("signal")["signal"], "SIGUSR1");
    let sent = boot();
    it.signal(Signal::SIGTERM);
    let received = it.act("signal");
    let exit = it.act("exit");
    assert!(ns(&received) >= sent, "told before it was sent");
    let took = ns(&exit).checked_sub(ns(&received)).unwrap();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(exit["why"], "SIGTERM");
    assert_eq!(it.end().code(), Some(7));
}

#[test]
fn an_ignored_signal_does_nothing_and_an_unhandled_one_kills() {
    let mut it = Workload::start(&["--ignore=SIGTERM"]);
    it.act("start");
    let status = fs::read_to_string(format!("/proc/{}/status", it.pid())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_ne!(ignored & (1 << (Signal::SIGTERM as i32 - 1)), 0, "SIGTERM is not ignored");
    it.signal(Signal::SIGTERM);
    it.signal(Signal::SIGQUIT);
    assert_eq!(it.end().signal(), Some(Signal::SIGQUIT as i32));
}

#[test]
fn memory_is_really_used_by_itself_or_by_a_child() {
    let resident_kib = |pid: u64| -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let mut it = Workload::start(&["--allocate-mib=32", "--allocate-rate=0"]);
    let done = it.act("allocated");
    assert_eq!(done["mib"], 32);
    assert!(resident_kib(done["pid"].as_u64().unwrap()) > 32 * 1024);

    let mut it = Workload::start(&["--allocate-mib=32", "--allocate-in-child"]);
    let own = it.act("start")["pid"].as_u64().unwrap();
    let child = it.act("child")["child"].clone();
    let begun = it.act("allocate");
    let done = it.act("allocated");
    assert_eq!(done["pid"], child);
    assert!(ns(&done) - ns(&begun) >= Duration::from_millis(310), "faster than 100 MiB a second");
    assert!(resident_kib(child.as_u64().unwrap()) > 32 * 1024);
    assert!(resident_kib(own) < 32 * 1024, "the parent took it");
    kill(Pid::from_raw(i32::try_from(child.as_u64().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
    let end = it.act("child_end");
    assert_eq!((&end["child"], &end["signal"]), (&child, &9.into()));
}

#[test]
fn children_are_started_and_their_end_is_told() {
    let mut it = Workload::start(&["--fork=2"]);
    let children: Vec<i32> =
        (0..2).map(|_| it.act("child")["child"].as_u64().unwrap().try_into().unwrap()).collect();
    for &child in &children {
        kill(Pid::from_raw(child), None).expect("it lives");
        kill(Pid::from_raw(child), Signal::SIGTERM).unwrap();
        assert_eq!(it.act("child_end")["child"], child);
    }
}

#[test]
fn hooks_and_probes_say_what_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("healthy");
    let file = file.to_str().unwrap();
    let run = |args: &[&str]| Command::new(PROGRAM).args(args).output().unwrap();
    assert_eq!(run(&["check", file]).status.code(), Some(1));
    let health = format!("--health-file={file}");
    let mut it = Workload::start(&[&health]);
    it.act("healthy");
    assert_eq!(run(&["check", file]).status.code(), Some(0));
    let mut it = Workload::start(&[&health, "--fail-after=0.1"]);
    it.act("unhealthy");
    assert_eq!(run(&["check", file]).status.code(), Some(1));

    let log = dir.path().join("log");
    fs::write(&log, "").unwrap();
    let output = run(&["sleep", "0.2", "--log", log.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty());
    let lines: Vec<Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let acts: Vec<&Value> = lines.iter().map(|line| &line["act"]).collect();
    assert_eq!(acts, ["sleep", "exit"]);
    assert!(ns(&lines[1]) - ns(&lines[0]) >= Duration::from_millis(200));
    let output = run(&["sleep", "0", "--log", "/nowhere/log"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("open /nowhere/log"));
    assert_eq!(output.status.code(), Some(1));
}
