//! `cargo xtask vm`: the scenarios in virtual machines, one a kernel, under software emulation.
//!
//! The VM's init is the static `scenarios` binary. It prints a line `SCENARIOS-HELLO` when it runs
//! and `SCENARIOS-EXIT <code>` when all scenarios are done; which scenarios, it reads from
//! `scenarios.only=` in the kernel's command line.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Built},
    child::Child,
    initramfs, kernels, paths, setup, shell, table,
};

/// How long a kernel may take to start init (2 to 4 s on an idle machine).
const BOOT: Duration = Duration::from_secs(90);
/// How long a VM may take in all.
const WHOLE: Duration = Duration::from_secs(600);
/// How long QEMU may take to end after the last line.
const POWER_OFF: Duration = Duration::from_secs(10);
/// How many lines of a failed VM are shown again.
const TAIL_LINES: usize = 40;

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels, as 6.1,6.18, or `all`.
    #[arg(long, value_name = "VERSION", value_delimiter = ',', default_values = kernels::DEFAULT)]
    kernel: Vec<String>,
    /// Only the scenarios whose names begin with one of these.
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,
    /// Keep the console's log of kernels that passed, too (target/xtask/vm).
    #[arg(long)]
    keep_log: bool,
    /// Write the table of docs/KERNELS.md, which is compared otherwise; with all kernels only.
    #[arg(long, conflicts_with = "only")]
    write_table: bool,
    /// VMs at once; each keeps one CPU busy [default: as many as there are CPUs].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Boot this static program as init instead of the scenarios; it must speak their two lines.
    #[arg(long, value_name = "PATH")]
    init: Option<PathBuf>,
}

/// How it went on one kernel.
struct Report {
    kernel: String,
    package: String,
    /// Boots that never said hello, and were repeated.
    repeated: u32,
    boot: Option<Duration>,
    whole: Duration,
    /// The scenarios' own line of counts, or why there is none.
    result: Result<String, String>,
    /// What they found, for docs/KERNELS.md.
    table: Vec<(String, String)>,
}

/// `cargo xtask vm`
pub(crate) fn command(args: &Args) -> Result<()> {
    let kernels = if args.kernel.iter().any(|kernel| kernel == "all") {
        kernels::all()
    } else {
        args.kernel.clone()
    };
    let mut built = build::static_release()?;
    if let Some(init) = &args.init {
        built.scenarios = paths::absolute(init)?;
    }
    run(&kernels, &built, args)
}

/// The scenarios on these kernels, for `cargo xtask test`.
pub(crate) fn check(kernels: &[&str], built: &Built) -> Result<()> {
    let kernels: Vec<_> = kernels.iter().map(|&kernel| kernel.to_owned()).collect();
    let args = Args {
        kernel: Vec::new(),
        only: Vec::new(),
        keep_log: true,
        write_table: false,
        jobs: None,
        init: None,
    };
    run(&kernels, built, &args)
}

fn run(kernels: &[String], built: &Built, args: &Args) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the VMs are x86_64, and the binaries built here are {}", std::env::consts::ARCH);
    }
    let qemu = setup::qemu()?;
    let work = paths::work("vm")?;
    let initrd = work.join("initramfs.cpio");
    fs::write(&initrd, initramfs::build(&built.scenarios, &built.agent)?)
        .with_context(|| format!("write {}", initrd.display()))?;
    // Downloads one after the other, before anything is timed.
    let mut queue = Vec::new();
    for version in kernels {
        queue.push((version.as_str(), kernels::fetch(version)?));
    }
    queue.reverse();
    let queue = Mutex::new(queue);
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let cpus = || thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..args.jobs.unwrap_or_else(cpus).clamp(1, kernels.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((version, kernel)) = next else { break };
                    let machine = Machine {
                        version,
                        qemu: &qemu,
                        vmlinuz: &kernel.vmlinuz,
                        initrd: &initrd,
                        only: &args.only,
                        log: work.join(format!("{version}.log")),
                    };
                    let mut report = machine.run();
                    report.package.clone_from(&kernel.package);
                    if report.result.is_ok() && !args.keep_log {
                        let _ = fs::remove_file(&machine.log);
                    }
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report| kernels.iter().position(|kernel| *kernel == report.kernel));
    summary(&reports);
    let failed = reports.iter().filter(|report| report.result.is_err()).count();
    if failed > 0 {
        bail!("{failed} of {} kernels failed (logs: {})", reports.len(), work.display());
    }
    let whole = args.only.is_empty() && args.init.is_none();
    if whole && reports.len() == kernels::DEFAULT.len() {
        let columns = reports.into_iter().map(|report| table::Column {
            kernel: report.kernel,
            package: report.package,
            counts: report.result.unwrap_or_default(),
            cells: report.table,
        });
        return table::check(&columns.collect::<Vec<_>>(), args.write_table);
    }
    if args.write_table {
        bail!("the table has all kernels: --kernel {}", kernels::DEFAULT.join(","));
    }
    Ok(())
}

fn summary(reports: &[Report]) {
    println!("\n{:<7} {:>7} {:>8} {:>9}  result", "kernel", "boot s", "whole s", "repeated");
    for Report { kernel, package, repeated, boot, whole, result, .. } in reports {
        let boot = boot.map_or("-".to_owned(), |boot| format!("{:.1}", boot.as_secs_f64()));
        let whole = whole.as_secs_f64();
        let (word, detail) = match result {
            Ok(counts) => ("ok", counts),
            Err(why) => ("FAILED", why),
        };
        println!("{kernel:<7} {boot:>7} {whole:>8.1} {repeated:>9}  {word}: {detail} ({package})");
    }
}

/// One kernel to boot.
struct Machine<'a> {
    version: &'a str,
    qemu: &'a Path,
    vmlinuz: &'a Path,
    initrd: &'a Path,
    only: &'a [String],
    log: PathBuf,
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
    fn run(&self) -> Report {
        let start = Instant::now();
        let mut repeated = 0;
        let (boot, result, table) = loop {
            match self.boot() {
                // Software emulation loses a boot now and then, before init: repeated, once.
                Ok(Boot { hello: None, trouble, .. }) if repeated == 0 => {
                    repeated += 1;
                    let why = trouble.unwrap_or_else(|| "QEMU ended".to_owned());
                    println!("[{}] no hello ({why}): once more", self.version);
                }
                Ok(mut boot) => {
                    let table = std::mem::take(&mut boot.table);
                    break (boot.hello, boot.result(), table);
                }
                Err(error) => break (None, Err(format!("{error:#}")), Vec::new()),
            }
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

    fn boot(&self) -> Result<Boot> {
        let mut log =
            File::create(&self.log).with_context(|| format!("create {}", self.log.display()))?;
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let start = Instant::now();
        let mut command = self.command();
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
        loop {
            let limit = if boot.exit.is_some() {
                POWER_OFF
            } else if boot.hello.is_some() {
                WHOLE.saturating_sub(start.elapsed())
            } else {
                BOOT.saturating_sub(start.elapsed())
            };
            match lines.recv_timeout(limit) {
                Ok(line) => {
                    println!("[{}] {line}", self.version);
                    writeln!(log, "{line}").context("write the log")?;
                    boot.read(&line, start.elapsed());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
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

    fn command(&self) -> Command {
        let mut append = "console=ttyS0 quiet panic=-1 rdinit=/init".to_owned();
        if !self.only.is_empty() {
            append.push_str(&format!(" scenarios.only={}", self.only.join(",")));
        }
        let mut command = Command::new(self.qemu);
        command
            // KVM may be refused even where /dev/kvm exists; `-cpu max` crashes 6.12 and later.
            // One thread for both CPUs: with one each, a CPU may run into the breakpoint that the
            // other has put over an instruction to patch it and has taken away since (static
            // keys, as of the first cpu.max), which the kernel takes for its end.
            .args(["-accel", "tcg,thread=single", "-cpu", "Nehalem", "-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-serial", "stdio", "-no-reboot"])
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
        } else if line.starts_with("FAILED ") {
            self.failed.push(line.trim().to_owned());
        } else if let Some(cell) = table::cell(line) {
            self.table.push(cell);
        }
    }

    fn result(self) -> Result<String, String> {
        match (self.hello, self.exit, self.trouble) {
            (_, _, Some(trouble)) => Err(trouble),
            (None, _, None) => Err("no SCENARIOS-HELLO".to_owned()),
            (Some(_), None, None) => Err("no SCENARIOS-EXIT".to_owned()),
            (Some(_), Some(0), None) => Ok(self.counts.unwrap_or_else(|| "exit 0".to_owned())),
            (Some(_), Some(code), None) => {
                let counts = self.counts.map_or_else(String::new, |counts| format!(": {counts}"));
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
    fn a_panic_fails_unless_all_was_done() {
        let panic = "[    2.1] Kernel panic - not syncing: Attempted to kill init!";
        assert!(after(&["SCENARIOS-HELLO", panic]).unwrap_err().contains("Kernel panic"));
        after(&["SCENARIOS-HELLO", "SCENARIOS-EXIT 0", panic]).unwrap();
    }
}
