//! `cargo xtask e2e`: the crate `e2e`, built and run.
//!
//! It is a program of its own, which uses this library, and not a library that this program links:
//! so what both need (apt, commands, image archives, paths) stays here, and the other tasks compile
//! without it.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::{paths, shell};

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of the program, which `--help` shows.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// `cargo xtask e2e`
pub(crate) fn command(args: &Args) -> Result<()> {
    run(&args.args)
}

/// The crate's program, with these arguments.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--locked", "--package", "e2e"]))?;
    shell::run(Command::new(paths::target().join("debug/e2e")).args(args))
}

/// Why no node can be made on this machine, if so.
pub fn unfit() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some(
            "a network namespace and debootstrap need root: sudo env \"PATH=$PATH\" cargo xtask …"
                .to_owned(),
        );
    }
    if shell::find("go").is_none() {
        return Some(
            "Kubernetes and containerd are built with Go, which is not installed here; the version \
             that they need is in e2e/kubernetes/go.mod and e2e/containerd/go.mod"
                .to_owned(),
        );
    }
    let arch = std::env::consts::ARCH;
    (arch != "x86_64").then(|| format!("the node is x86_64, and this machine is {arch}"))
}
