//! What the commands need from the machine, installed where it is missing.

use anyhow::Result;

use crate::{
    draw, kernels, object,
    parts::{self, Release},
    qemu,
};

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
    for release in Release::ALL {
        println!("Prometheus: {}", parts::prometheus(release)?.version);
    }
    println!("Alertmanager: {}", parts::alertmanager(Release::Newest)?.version);
    println!("drawing: {}", draw::driver::Tools::fetch()?.chromium().display());
    if !args.no_vm {
        println!("QEMU: {}", qemu::program()?.display());
        for version in kernels::DEFAULT {
            let kernel = kernels::fetch(version)?;
            println!("Linux {version}: {} ({})", kernel.vmlinuz.display(), kernel.package);
        }
    }
    println!("all is here");
    Ok(())
}
