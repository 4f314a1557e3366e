//! `cargo xtask image`: container images as archives, made without an engine.

mod archive;
mod check;
mod layer;
mod unpack;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

pub(crate) use self::archive::{Config, Image, archive};
pub(crate) use self::layer::{Capability, File};
use crate::{build, paths};

/// What the agent's image is called where nobody says otherwise; `deploy/` has the same name.
/// Nobody can publish under `localhost`, so a node without the image never pulls a stranger's.
pub(crate) const AGENT: &str = concat!("localhost/podvitals:", env!("CARGO_PKG_VERSION"));
/// Nobody's user ("nobody" of most distributions).
pub(crate) const USER: u32 = 65534;
/// Where the agent serves.
const PORT: &str = "9550/tcp";
/// All that any collector may ask for. A Pod's own list decides which of them it gets.
const CAPABILITIES: [Capability; 4] =
    [Capability::BPF, Capability::PERFMON, Capability::NET_ADMIN, Capability::SYSLOG];

/// Arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write the archive [default: target/xtask/image/podvitals.tar].
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The image's whole name.
    #[arg(long, value_name = "NAME:TAG", default_value = AGENT)]
    tag: String,
}

/// `cargo xtask image`
pub(crate) fn command(args: &Args) -> Result<()> {
    let output = match &args.output {
        Some(path) => paths::absolute(path)?,
        None => paths::work("image")?.join("podvitals.tar"),
    };
    let image = agent(&build::static_release()?.agent, &args.tag)?;
    let archive = archive(std::slice::from_ref(&image))?;
    if let Some(skipped) = check::agent(&archive, &image)? {
        println!("SKIPPED: running the image's binary: {skipped}");
    }
    fs::write(&output, &archive).with_context(|| format!("write {}", output.display()))?;
    println!("image      {} ({} KiB)", args.tag, archive.len().div_ceil(1024));
    println!("archive    {}", output.display());
    println!(
        "load it    ctr -n k8s.io images import {0}, docker load -i {0}, podman load -i {0}, or\n\
         \x20          kind load image-archive {0}",
        output.display()
    );
    Ok(())
}

/// The agent's image: its static binary and nothing else.
pub(crate) fn agent(binary: &Path, name: &str) -> Result<Image> {
    let mut file = File::program("podvitals", read(binary)?);
    file.capabilities = CAPABILITIES.to_vec();
    let labels = [
        ("title", "Podvitals"),
        ("description", "How every Pod on a node lives and dies, from the kernel's own record"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", "Apache-2.0"),
    ];
    Ok(Image {
        name: name.to_owned(),
        files: vec![file],
        config: Config {
            user: format!("{USER}:{USER}"),
            entrypoint: vec!["/podvitals".to_owned()],
            exposed_ports: vec![PORT.to_owned()],
            labels: labels
                .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
                .into(),
            ..Config::default()
        },
    })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}
