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

pub use self::archive::{Config, Image, USER, archive};
pub use self::layer::{Capability, File};
use crate::{build, paths};

/// What the agent's image is called where nobody says otherwise; `deploy/` has the same name.
/// Nobody can publish under `localhost`, so a node without the image never pulls a stranger's.
pub const AGENT: &str = concat!("localhost/podvitals:", env!("CARGO_PKG_VERSION"));
/// Where the agent serves.
pub const PORT: &str = "9550/tcp";
/// All that the agent can use. A Pod's own list decides which of them it gets.
const CAPABILITIES: [Capability; 3] = [Capability::BPF, Capability::PERFMON, Capability::NET_ADMIN];

/// The image of what runs in the Pods of the end-to-end tests.
pub const WORKLOAD: &str = "podvitals.test/workload:v1";
/// The same, but stopped by SIGQUIT.
pub const WORKLOAD_SIGQUIT: &str = "podvitals.test/workload-sigquit:v1";

/// Arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write the archive [default: target/xtask/image/podvitals.tar].
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The image's whole name.
    #[arg(long, value_name = "NAME:TAG", default_value = AGENT)]
    tag: String,
    /// Write the images that run in the Pods of the end-to-end tests instead, in one archive.
    #[arg(long, conflicts_with = "tag")]
    workload: bool,
}

/// `cargo xtask image`
pub(crate) fn command(args: &Args) -> Result<()> {
    let name = if args.workload { "workload.tar" } else { "podvitals.tar" };
    let output = match &args.output {
        Some(path) => paths::absolute(path)?,
        None => paths::work("image")?.join(name),
    };
    let images = if args.workload {
        workloads(&build::static_workload()?)?
    } else {
        vec![agent(&build::static_release()?.agent, &args.tag)?]
    };
    let archive = archive(&images)?;
    if let Some(skipped) = check(&archive, &images)? {
        println!("SKIPPED: running what is in the image: {skipped}");
    }
    fs::write(&output, &archive).with_context(|| format!("write {}", output.display()))?;
    for image in &images {
        println!("image      {}", image.name);
    }
    println!("archive    {} ({} KiB)", output.display(), archive.len().div_ceil(1024));
    println!("load it    ctr -n k8s.io images import, docker load -i, podman load -i, or");
    println!("           kind load image-archive");
    Ok(())
}

/// Reads `archive` again and runs what is in it; gives the reason if it cannot be run here.
pub(crate) fn check(archive: &[u8], images: &[Image]) -> Result<Option<String>> {
    check::archive(archive, images)
}

/// The agent's image: its static binary and nothing else.
pub fn agent(binary: &Path, name: &str) -> Result<Image> {
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

/// The images of the end-to-end tests, all of the one static program `binary`.
pub fn workloads(binary: &Path) -> Result<Vec<Image>> {
    let bytes = read(binary)?;
    let image = |name: &str, config: Config| Image {
        name: name.to_owned(),
        files: vec![File::program("workload", bytes.clone())],
        config: Config { entrypoint: vec!["/workload".to_owned()], ..config },
    };
    let sigquit = Config { stop_signal: Some("SIGQUIT".to_owned()), ..Config::default() };
    Ok(vec![image(WORKLOAD, Config::default()), image(WORKLOAD_SIGQUIT, sigquit)])
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}
