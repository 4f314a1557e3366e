//! The program, run for real: its acts, its log and its end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_workload");

struct Workload {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Workload {
    fn start(args: &[&str]) -> Self {
        let mut child =
            Command::new(PROGRAM).args(args).stdout(Stdio::piped()).spawn().expect("start");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// The next line that tells `act`.
    fn act(&mut self, act: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).expect("read"), 0, "no act {act}");
            let line: Value = serde_json::from_str(&line).expect("a line of JSON");
            if line.get("act").is_some_and(|it| it == act) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().expect("wait")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ns(line: &Value) -> Duration {
    Duration::from_nanos(line["boot_ns"].as_u64().expect("boot_ns"))
}

fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).expect("clock").into()
}

fn get(port: &Value, path: &str) -> String {
    let port = u16::try_from(port.as_u64().expect("port")).expect("port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

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
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
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
fn http_is_served_late_and_until_it_fails() {
    let mut it =
        Workload::start(&["--serve-http=0", "--delay=0.2", "--fail-after=0.5", "--exit-after=9"]);
    let start = it.act("start");
    let port = it.act("listen")["port"].clone();
    let answer = get(&port, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nOK\n"));
    let request = it.act("request");
    assert_eq!(request["path"], "/healthz");
    let answered = it.act("answer");
    assert!(ns(&answered) - ns(&request) >= Duration::from_millis(200), "{answered}");
    while boot() < ns(&start) + Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(get(&port, "/healthz").starts_with("HTTP/1.1 503 "));
    assert_eq!(it.act("answer")["status"], 503);
}

#[test]
fn tcp_is_refused_when_it_fails() {
    let mut it = Workload::start(&["--serve-tcp=0", "--fail-after=0.3"]);
    let port = u16::try_from(it.act("listen")["port"].as_u64().unwrap()).unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    it.act("accept");
    it.act("unlisten");
    let deadline = Instant::now() + Duration::from_secs(2);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "port {port} is still open");
    }
}

#[test]
fn a_server_listens_when_it_is_time() {
    let mut it = Workload::start(&["--serve-http=0", "--listen-after=0.3"]);
    let start = it.act("start");
    let listen = it.act("listen");
    assert!(ns(&listen) - ns(&start) >= Duration::from_millis(290), "{start} {listen}");
    assert!(get(&listen["port"], "/").starts_with("HTTP/1.1 200 "));
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
    let mut it = Workload::start(&[&health, "--fail-after=0.4"]);
    it.act("healthy");
    assert_eq!(run(&["check", file]).status.code(), Some(0));
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

#[test]
fn called_pause_it_pauses_and_exits_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let pause = dir.path().join("pause");
    symlink(PROGRAM, &pause).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = Command::new(&pause).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let status = format!("/proc/{pid}/status");
        let bit = 1 << (signal as i32 - 1);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let status = fs::read_to_string(&status).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            if u64::from_str_radix(caught.trim(), 16).unwrap() & bit != 0 {
                assert!(status.starts_with("Name:\tpause\n"), "{status}");
                break;
            }
            assert!(Instant::now() < deadline, "{signal} is not handled");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
