//! What ends early: a step past its time limit, and a run that a signal stops.
//!
//! Each test starts this program anew in a role, since a signal's watch needs the main thread; so
//! the test harness, whose tests have threads of their own, is left out.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use xtask::{child, shell, steps::Steps, stop};

/// The most that an end may take here.
const QUICK: Duration = Duration::from_secs(10);
/// The limit of a step that has one: long enough for a busy machine to start its processes.
const LIMIT: Duration = Duration::from_secs(2);
/// No step's limit, and longer than any test.
const LONG: Duration = Duration::from_secs(600);
/// What `nohup` and a shell's `&` ignore.
const IGNORED_BY_SHELLS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];
/// How long what was killed may take to be gone.
const KILLED: Duration = Duration::from_secs(2);
/// The grace of the roles.
const GRACE: Duration = Duration::from_secs(3);
/// What a role prints when its processes run.
const READY: &str = "ready";

type Test = fn() -> Result<()>;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [role, name, mark] = args.as_slice()
        && role == "role"
    {
        return play(name, mark);
    }
    let tests: [(&str, Test); 8] = [
        ("a_step_past_its_limit_is_ended_and_what_hung_is_named", limit),
        ("a_step_that_asks_nobody_is_ended_too", deaf_step),
        ("sigterm_and_ctrl_c_end_all_that_was_started", signals),
        ("a_terminal_that_hangs_up_ends_all_too", hang_up),
        ("a_child_is_asked_once_and_then_killed", deaf_child),
        ("a_second_signal_does_not_wait", second_signal),
        ("sigterm_ends_qemu", qemu),
        ("an_ignored_ctrl_c_stays_ignored_and_children_have_defaults", background),
    ];
    for (name, test) in tests {
        if name.ends_with("qemu") && shell::find("qemu-system-x86_64").is_none() {
            println!("test {name} ... SKIPPED: no qemu-system-x86_64 here");
            continue;
        }
        test().with_context(|| name.to_owned())?;
        println!("test {name} ... ok");
    }
    Ok(())
}

/// One role: a run of two steps, the first of which never ends by itself.
fn play(name: &str, mark: &str) -> Result<()> {
    stop::watch(GRACE)?;
    let mut steps = Steps::default();
    // A child, and a child's child that the first does not wait for; their argument is the mark.
    let tree = || {
        let script = format!("sleep {mark} & echo {READY}; sleep {mark}; true");
        shell::run(Command::new("sh").args(["-c", &script])).map(|()| None)
    };
    match name {
        "limited" => steps.run("hangs", LIMIT, tree),
        "long" => steps.run("hangs", LONG, tree),
        "deaf step" => steps.run("is deaf", LIMIT, || {
            let mut sleep = Command::new("sleep");
            let _child = child::Child::spawn("sleep", sleep.arg(mark))?;
            println!("{READY}");
            thread::sleep(LONG);
            Ok(None)
        }),
        "deaf child" => steps.run("hangs", LONG, || {
            // `wait` ends at the trap. A foreground sleep would not where the signal comes before its
            // exec: the shell's own handler takes it there.
            let script =
                format!("trap 'echo no' TERM; echo {READY}; while :; do sleep {mark} & wait; done");
            shell::run(Command::new("sh").args(["-c", &script])).map(|()| None)
        }),
        "qemu" => steps.run("hangs", LONG, || {
            let mut qemu = Command::new(shell::find("qemu-system-x86_64").context("no QEMU")?);
            // Without a kernel: its CPU waits for a debugger that never comes.
            qemu.args(["-accel", "tcg", "-nodefaults", "-display", "none", "-S"]);
            let mut qemu = child::Child::spawn("qemu", qemu.args(["-name", mark]))?;
            println!("{READY}");
            qemu.wait(LONG)?;
            Ok(None)
        }),
        _ => panic!("no role {name}"),
    }
    steps.run("after", LONG, || Ok(None));
    let status = if steps.finish() { 0 } else { stop::status() };
    std::process::exit(status.into());
}

/// A role that runs.
struct Role {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    mark: String,
}

impl Role {
    /// Starts it with these signals ignored, and waits until its processes run.
    fn start(name: &str, ignored: &'static [Signal]) -> Result<Self> {
        // A time that no other process sleeps for.
        let mark = format!("6{}.5", std::process::id());
        let mut command = Command::new(env::current_exe()?);
        command.args(["role", name, &mark]).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: signal(2) alone is called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                use nix::sys::signal::{SigHandler, signal};
                for it in IGNORED_BY_SHELLS {
                    let is_ignored = ignored.contains(&it);
                    signal(it, if is_ignored { SigHandler::SigIgn } else { SigHandler::SigDfl })?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut line = String::new();
        while line.trim() != READY {
            line.clear();
            assert_ne!(output.read_line(&mut line)?, 0, "{name} ended too early");
        }
        Ok(Self { child, output, mark })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)?;
        Ok(())
    }

    /// Waits for its end: status and output. Nothing of it may then run any more.
    fn end(mut self, limit: Duration) -> Result<(ExitStatus, String)> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > limit {
                let left = self.processes()?;
                self.child.kill()?;
                panic!("still there after {limit:?}, with {left:?}");
            }
            thread::sleep(Duration::from_millis(10));
        };
        // What was killed takes a moment on a busy machine.
        let (ended, mut left) = (Instant::now(), self.processes()?);
        while !left.is_empty() && ended.elapsed() < KILLED {
            thread::sleep(Duration::from_millis(10));
            left = self.processes()?;
        }
        assert!(left.is_empty(), "left behind: {left:?}");
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text)?;
        }
        Ok((status, text))
    }

    /// Command lines of all processes that have the mark, but for the role's own.
    fn processes(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for process in fs::read_dir("/proc")?.flatten() {
            let own = process.file_name().to_str() == Some(&self.child.id().to_string());
            let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            if !own && line.split('\0').any(|argument| argument.contains(&self.mark)) {
                found.push(line.replace('\0', " "));
            }
        }
        Ok(found)
    }
}

impl Drop for Role {
    /// Ends what a test that failed has left.
    fn drop(&mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let start = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < QUICK {
                let _ = self.signal(signal);
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

fn limit() -> Result<()> {
    let role = Role::start("limited", &[])?;
    let sleep = format!("sleep {} (pid ", role.mark);
    let (status, text) = role.end(LIMIT + QUICK)?;
    let limit = "not done within 2s, the time limit of \"hangs\"";
    has(&text, &["hangs: FAILED", limit, &sleep, "its output: above", "after: ok"]);
    has(&text, &["1 passed, 1 failed, 0 skipped"]);
    assert_eq!(status.code(), Some(1));
    Ok(())
}

fn deaf_step() -> Result<()> {
    let role = Role::start("deaf step", &[])?;
    let sleep = format!("the time limit of \"is deaf\": ending sleep {} (pid ", role.mark);
    let (status, text) = role.end(LIMIT + GRACE + QUICK)?;
    has(&text, &["the time limit of \"is deaf\"; 3s later not all has ended", &sleep]);
    assert_eq!(status.code(), Some(1));
    Ok(())
}

fn signals() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let role = Role::start("long", &[])?;
        role.signal(signal)?;
        let (status, text) = role.end(QUICK)?;
        has(&text, &[&format!("{signal}: ending all that was started")]);
        has(&text, &[&format!("stopped by {signal}"), "0 passed, 1 failed, 0 skipped"]);
        assert_eq!(status.code(), Some(128 + signal as i32), "{status:?}");
    }
    Ok(())
}

fn hang_up() -> Result<()> {
    let mut role = Role::start("long", &[])?;
    // What is said about the signal cannot be written, as on a terminal that is gone.
    drop(role.child.stderr.take());
    role.signal(Signal::SIGHUP)?;
    let (status, text) = role.end(QUICK)?;
    has(&text, &["stopped by SIGHUP", "0 passed, 1 failed, 0 skipped"]);
    assert_eq!(status.code(), Some(129), "{status:?}");
    Ok(())
}

fn deaf_child() -> Result<()> {
    let role = Role::start("deaf child", &[])?;
    role.signal(Signal::SIGTERM)?;
    let (status, text) = role.end(GRACE + QUICK)?;
    has(&text, &["stopped by SIGTERM; 3s later not all has ended: killing sh -c trap"]);
    // A second signal would make a program like this one end without order.
    assert_eq!(text.matches("no\n").count(), 1, "{text}");
    assert_eq!(status.code(), Some(143));
    Ok(())
}

fn second_signal() -> Result<()> {
    let role = Role::start("deaf child", &[])?;
    role.signal(Signal::SIGINT)?;
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    role.signal(Signal::SIGINT)?;
    let (status, text) = role.end(QUICK)?;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    has(&text, &["SIGINT once more: killing sh -c trap"]);
    assert_eq!(status.code(), Some(130));
    Ok(())
}

fn qemu() -> Result<()> {
    let role = Role::start("qemu", &[])?;
    // Who started it knows that it executes; its arguments are there a moment later.
    let start = Instant::now();
    while role.processes()?.is_empty() && start.elapsed() < QUICK {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(role.processes()?.len(), 1, "{:?}", role.processes()?);
    role.signal(Signal::SIGTERM)?;
    let (_, text) = role.end(QUICK)?;
    has(&text, &["stopped by SIGTERM"]);
    Ok(())
}

fn background() -> Result<()> {
    let role = Role::start("long", &IGNORED_BY_SHELLS)?;
    for process in fs::read_dir("/proc")?.flatten() {
        let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        // The shell itself ignores them in its background child.
        if line.starts_with("sh\0") && line.contains(&role.mark) {
            let status = fs::read_to_string(process.path().join("status"))?;
            // HUP, INT and QUIT are bits 0 to 2.
            let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
            let line = line.context("no SigIgn")?;
            assert_eq!(u64::from_str_radix(line, 16)? & 7, 0, "{status}");
        }
    }
    role.signal(Signal::SIGINT)?;
    role.signal(Signal::SIGHUP)?;
    thread::sleep(Duration::from_millis(500));
    role.signal(Signal::SIGTERM)?;
    let (_, text) = role.end(QUICK)?;
    has(&text, &["stopped by SIGTERM"]);
    assert!(!text.contains("SIGINT") && !text.contains("SIGHUP"), "{text}");
    Ok(())
}
