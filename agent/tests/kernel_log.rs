//! What the programs say of one process in the log, with the feature `kernel-log` and objects that
//! have it: `cargo xtask build --kernel-log`.

#![cfg(feature = "kernel-log")]
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::bpf::{load, object, survey::Survey, tracked::Place};
use agent::cgroup::CgroupId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::cgroup::{self, Cgroup};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_program_says_what_it_decided_for_a_process() {
    if let Err(error) = object::check() {
        println!("SKIPPED: {error:#}");
        return;
    }
    let survey = match Survey::of_this_process() {
        Ok(survey) => survey,
        Err(error) => {
            println!("SKIPPED: {error:#}");
            return;
        }
    };
    for level in [tracing::Level::DEBUG, tracing::Level::TRACE] {
        decisions(&survey, level);
    }
}

fn decisions(survey: &Survey, level: tracing::Level) {
    let Some(root) = Cgroup::for_test("kernel-log") else { return };
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let (mut programs, _rings) = load::load(survey, 0).unwrap();
        for attached in &programs.attached {
            assert!(attached.outcome.is_ok(), "{attached:?}");
        }
        let id_of = |cgroup: &Cgroup| CgroupId(cgroup::id(cgroup.dir()).unwrap());
        programs.tracked().unwrap().track(id_of(&root), Place::Holder).unwrap();
        let container = root.child("container").unwrap();
        programs.tracked().unwrap().track(id_of(&container), Place::Container).unwrap();
        let procs = container.dir().join("cgroup.procs");
        let mut command = Command::new("sh");
        // A child of the container's own, and a signal between them.
        command.args(["-c", "read go; sleep 1000 & kill -9 $!; wait $!; sleep 1000; :"]);
        command.stdin(Stdio::piped());
        // SAFETY: between fork and exec only a file is written; nothing else of this process is used.
        unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
        let mut child = command.spawn().unwrap();
        programs.tracked().unwrap().set_init(id_of(&container), child.id()).unwrap();
        let said = || String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        // The programs know init by now.
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !said().contains("an exec of the container's own") {
            assert!(Instant::now() < deadline, "{}", said());
            std::thread::sleep(Duration::from_millis(20));
            programs.drain_log();
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        child.wait().unwrap();
        // To this process, which is in none of the cgroups.
        kill(Pid::this(), Signal::SIGWINCH).unwrap();
        programs.drain_log();
        let text = said();
        let (process, test) = (child.id(), std::process::id());
        let cgroup = id_of(&container).0;
        for wanted in [
            format!("cgroup {cgroup}: made below"),
            format!("process {process}: exec in cgroup {cgroup} by parent {test} reported"),
            "an exec of the container's own: not reported".to_owned(),
            "signal 9 from inside".to_owned(),
            "ended, as a child of its own container: not reported".to_owned(),
            format!("process {process}: signal 15 with result 0 reported"),
            format!("process {process}: its exit is reported"),
            format!("process {process}: its end is reported"),
        ] {
            assert!(text.contains(&wanted), "{wanted}\n{text}");
        }
        let passed = text.contains(&format!("process {test}: signal 28, but cgroup"));
        assert_eq!(passed, level == tracing::Level::TRACE, "{text}");
    });
}
