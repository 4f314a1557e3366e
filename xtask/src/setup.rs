//! What the commands need from the machine, installed where it is missing.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{apt, kernels, object, prometheus, shell};

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out what only `vm` needs: QEMU and kernels.
    #[arg(long)]
    no_vm: bool,
}

/// `cargo xtask setup`
pub(crate) fn command(args: &Args) -> Result<()> {
    if let object::Source::Build(toolchain) = object::source()? {
        println!("eBPF: {toolchain}");
    }
    let tools = prometheus::tools()?;
    println!("Prometheus: {}", tools.prometheus.display());
    if !args.no_vm {
        println!("QEMU: {}", qemu()?.display());
        for version in kernels::DEFAULT {
            let kernel = kernels::fetch(version)?;
            println!("Linux {version}: {} ({})", kernel.vmlinuz.display(), kernel.package);
        }
    }
    println!("all is here");
    Ok(())
}

/// The emulator that boots the kernels.
pub(crate) fn qemu() -> Result<PathBuf> {
    program("qemu-system-x86_64", "qemu-system-x86")
}

/// `program`, of Debian's `package`, installed if it is not there.
pub(crate) fn program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(file) = shell::find(program) {
        return Ok(file);
    }
    apt::install(&[package.to_owned()])?;
    shell::find(program).with_context(|| format!("{package} is installed, but has no {program}"))
}
