//! One virtual machine: its boot, and what its console tells.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use testbed::runner::SECOND_TRIES;

use super::report::Report;
use crate::{child::Child, qemu, shell, stop, table};

/// Scenarios of a whole run that run at once: most of the time they wait. Those that are named, or
/// tried once more, run one by one.
const AT_ONCE: u32 = 2;
/// How long a kernel may take to start init (2 to 4 s on an idle machine).
const BOOT: Duration = Duration::from_secs(90);
/// How long a VM may take in all.
const WHOLE: Duration = Duration::from_secs(600);
/// How long QEMU may take to end after the last line.
const POWER_OFF: Duration = Duration::from_secs(10);
/// How often a silent console gives way to a look at the signals.
const POLL: Duration = Duration::from_millis(200);
/// How a scenario's line begins that failed; its name follows, and a colon.
const FAILED: &str = "FAILED ";
/// How many lines of a failed VM are shown again.
const TAIL_LINES: usize = 40;

/// One kernel to boot.
pub(super) struct Machine<'a> {
    pub(super) version: &'a str,
    pub(super) qemu: &'a Path,
    pub(super) vmlinuz: &'a Path,
    pub(super) initrd: &'a Path,
    pub(super) only: &'a [String],
    pub(super) log: PathBuf,
}

/// How one boot ended.
#[derive(Default)]
struct Boot {
    hello: Option<Duration>,
    exit: Option<i32>,
    counts: Option<String>,
    /// The scenarios' own lines of what failed.
    failed: Vec<String>,
    /// Why it was ended, if not by itself.
    trouble: Option<String>,
    table: Vec<(String, String)>,
}

impl Machine<'_> {
    pub(super) fn run(&self) -> Report {
        let start = Instant::now();
        let mut repeated = 0;
        let boot = loop {
            match self.boot(self.only, &self.log) {
                // Software emulation loses a boot now and then, before init: repeated, once.
                Ok(Boot { hello: None, trouble, .. }) if repeated == 0 => {
                    repeated += 1;
                    let why = trouble.unwrap_or_else(|| "QEMU ended".to_owned());
                    println!("[{}] no hello ({why}): once more", self.version);
                }
                other => break other,
            }
        };
        let (boot, table, result) = match boot {
            Ok(mut boot) => {
                let table = std::mem::take(&mut boot.table);
                (boot.hello, table, self.second_try(&boot).unwrap_or_else(|| boot.result()))
            }
            Err(error) => (None, Vec::new(), Err(format!("{error:#}"))),
        };
        if let Err(why) = &result {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            println!("[{}] {why}; the end of {}:", self.version, self.log.display());
            println!("{}", shell::tail(&log, TAIL_LINES));
        }
        Report {
            kernel: self.version.to_owned(),
            package: String::new(),
            repeated,
            boot,
            whole: start.elapsed(),
            result,
            table,
        }
    }

    /// Runs the few scenarios that failed once more.
    fn second_try(&self, first: &Boot) -> Option<Result<String, String>> {
        let names = first.to_try_again()?;
        println!("[{}] once more: {}", self.version, names.join(", "));
        let second = match self.boot(&names, &self.log.with_extension("again.log")) {
            Ok(second) => second.result(),
            Err(error) => Err(format!("{error:#}")),
        };
        let first = first.failed.join("; ");
        Some(match second {
            Ok(counts) => Ok(format!("at a second try {counts}, after {first}")),
            Err(why) => Err(format!("twice: {first}; then {why}")),
        })
    }

    fn boot(&self, only: &[String], log: &Path) -> Result<Boot> {
        let mut log = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let start = Instant::now();
        let mut command = self.command(only);
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().context("share a pipe")?)
            .stderr(writer);
        let mut qemu = Child::spawn("qemu", &mut command)?;
        // The command still holds the writing ends: the pipe's end is QEMU's only without it.
        drop(command);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let mut boot = Boot::default();
        let mut last_line = start;
        loop {
            let limit = if boot.exit.is_some() {
                POWER_OFF.saturating_sub(last_line.elapsed())
            } else if boot.hello.is_some() {
                WHOLE.saturating_sub(start.elapsed())
            } else {
                BOOT.saturating_sub(start.elapsed())
            };
            stop::check()?;
            match lines.recv_timeout(limit.min(POLL)) {
                Ok(line) => {
                    last_line = Instant::now();
                    println!("[{}] {line}", self.version);
                    writeln!(log, "{line}").context("write the log")?;
                    boot.read(&line, start.elapsed());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) if limit > POLL => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if boot.exit.is_none() {
                        let elapsed = start.elapsed().as_secs();
                        boot.trouble.get_or_insert(format!("ended after {elapsed} s"));
                    }
                    break;
                }
            }
        }
        qemu.stop()?;
        Ok(boot)
    }

    fn command(&self, only: &[String]) -> Command {
        let mut append = "console=ttyS0 quiet panic=-1 rdinit=/init".to_owned();
        if only.is_empty() {
            append.push_str(&format!(" scenarios.jobs={AT_ONCE}"));
        } else {
            append.push_str(&format!(" scenarios.only={}", only.join(",")));
        }
        let mut command = Command::new(self.qemu);
        command
            .args(qemu::MACHINE)
            .args(["-smp", "2", "-m", "1024", "-serial", "stdio"])
            .arg("-kernel")
            .arg(self.vmlinuz)
            .arg("-initrd")
            .arg(self.initrd)
            .args(["-append", &append]);
        command
    }
}

impl Boot {
    /// Takes note of one line of the console.
    fn read(&mut self, line: &str, elapsed: Duration) {
        if line.contains("SCENARIOS-HELLO") {
            self.hello.get_or_insert(elapsed);
        } else if let Some((_, code)) = line.split_once("SCENARIOS-EXIT ") {
            // A code that is none is a failure, not a missing line.
            self.exit = Some(code.trim().parse().unwrap_or(-1));
        } else if line.contains("Kernel panic - not syncing") && self.exit.is_none() {
            self.trouble.get_or_insert(line.trim().to_owned());
        } else if line.contains(" passed, ") && line.contains(" failed") {
            self.counts = Some(line.trim().to_owned());
        } else if line.starts_with(FAILED) {
            self.failed.push(line.trim().to_owned());
        } else if let Some(cell) = table::cell(line) {
            self.table.push(cell);
        }
    }

    /// The names of what failed, if it is little and all else went well.
    fn to_try_again(&self) -> Option<Vec<String>> {
        let done = self.trouble.is_none() && self.exit.is_some_and(|code| code > 0);
        let name = |line: &String| {
            let line = line.strip_prefix(FAILED)?;
            Some(line.split_once(':').map_or(line, |(name, _)| name).to_owned())
        };
        (done && (1..=SECOND_TRIES).contains(&self.failed.len()))
            .then(|| self.failed.iter().filter_map(name).collect())
    }

    fn result(&self) -> Result<String, String> {
        match (self.hello, self.exit, &self.trouble) {
            (_, _, Some(trouble)) => Err(trouble.clone()),
            (None, _, None) => Err("no SCENARIOS-HELLO".to_owned()),
            (Some(_), None, None) => Err("no SCENARIOS-EXIT".to_owned()),
            (Some(_), Some(0), None) => {
                Ok(self.counts.clone().unwrap_or_else(|| "exit 0".to_owned()))
            }
            (Some(_), Some(code), None) => {
                let counts =
                    self.counts.iter().map(|counts| format!(": {counts}")).collect::<String>();
                let failed = self.failed.iter().map(|line| format!("; {line}")).collect::<String>();
                Err(format!("exit {code}{counts}{failed}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Result<String, String> {
        let mut boot = Boot::default();
        for line in lines {
            boot.read(line, Duration::from_secs(1));
        }
        boot.result()
    }

    #[test]
    fn a_console_tells_how_it_went() {
        let hello = "SCENARIOS-HELLO 6.1.0";
        assert_eq!(
            after(&[hello, "9 passed, 0 failed", "SCENARIOS-EXIT 0"]).unwrap(),
            "9 passed, 0 failed"
        );
        assert_eq!(
            after(&[hello, "FAILED a: b", "8 passed, 1 failed, 0 skipped", "SCENARIOS-EXIT 1"])
                .unwrap_err(),
            "exit 1: 8 passed, 1 failed, 0 skipped; FAILED a: b"
        );
        assert_eq!(after(&[hello]).unwrap_err(), "no SCENARIOS-EXIT");
        assert_eq!(after(&["SCENARIOS-EXIT 0"]).unwrap_err(), "no SCENARIOS-HELLO");
        assert_eq!(after(&[hello, "SCENARIOS-EXIT ?"]).unwrap_err(), "exit -1");
    }

    #[test]
    fn the_few_that_failed_are_tried_again() {
        let again = |lines: &[&str]| {
            let mut boot = Boot::default();
            for line in lines {
                boot.read(line, Duration::from_secs(1));
            }
            boot.to_try_again()
        };
        let hello = "SCENARIOS-HELLO 6.1.0";
        let names = again(&[hello, "ok b", "FAILED a: x: y", "SCENARIOS-EXIT 1"]);
        assert_eq!(names, Some(vec!["a".to_owned()]));
        assert_eq!(again(&[hello, "ok b", "SCENARIOS-EXIT 0"]), None);
        let panic = "[    2.1] Kernel panic - not syncing: Attempted to kill init!";
        assert_eq!(again(&[hello, "FAILED a: x", panic]), None);
        let many = ["FAILED a: x"; SECOND_TRIES + 1];
        assert_eq!(again(&[&[hello], many.as_slice(), &["SCENARIOS-EXIT 1"]].concat()), None);
    }

    #[test]
    fn a_panic_fails_unless_all_was_done() {
        let panic = "[    2.1] Kernel panic - not syncing: Attempted to kill init!";
        assert!(after(&["SCENARIOS-HELLO", panic]).unwrap_err().contains("Kernel panic"));
        after(&["SCENARIOS-HELLO", "SCENARIOS-EXIT 0", panic]).unwrap();
    }
}
