//! `cargo xtask vm`: the scenarios in virtual machines, one a kernel, under software emulation.
//!
//! The VM's init is the static `scenarios` binary. It prints a line `SCENARIOS-HELLO` when it runs
//! and `SCENARIOS-EXIT <code>` when all scenarios are done; which scenarios, it reads from
//! `scenarios.only=` in the kernel's command line.

mod machine;
mod report;

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail};

use self::{machine::Machine, report::summary};
use crate::{
    build::{self, Built},
    initramfs, kernels, paths, qemu, table,
};

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels, as 6.1,6.18; `all` are those of docs/KERNELS.md. There are also 6.12-rt
    /// (PREEMPT_RT) and sid (Debian's newest, by the newest compiler).
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

/// `cargo xtask vm`
pub(crate) fn command(args: &Args) -> Result<()> {
    let kernels = if args.kernel.iter().any(|kernel| kernel == "all") {
        kernels::DEFAULT.map(str::to_owned).to_vec()
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
    let qemu = qemu::program()?;
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
    if whole && kernels.iter().eq(kernels::DEFAULT.iter()) {
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
