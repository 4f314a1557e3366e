//! The images that the node has from its first boot on.

use std::fs;

use anyhow::{Context as _, Result};
use xtask::{
    build::{self, Built},
    image::{self, Config, File, Image},
};

use super::{binaries::Binaries, node::Archive};

/// The image of each Pod's sandbox, as `e2e/node/etc/containerd/config.toml` has it.
pub(crate) const PAUSE: &str = "localhost/pause:1";

/// The agent's, the workloads' and the sandbox' images, in one archive.
pub(crate) fn archive(built: &Built, binaries: &Binaries) -> Result<Archive> {
    let mut images = image::workloads(&build::static_workload()?)?;
    images.extend([image::agent(&built.agent, image::AGENT)?, pause(binaries)?]);
    Ok(Archive { name: "all", bytes: image::archive(&images)? })
}

fn pause(binaries: &Binaries) -> Result<Image> {
    let program = &binaries.pause;
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    Ok(Image {
        name: PAUSE.to_owned(),
        files: vec![File::program("pause", bytes)],
        config: Config {
            user: "65535:65535".to_owned(),
            entrypoint: vec!["/pause".to_owned()],
            ..Config::default()
        },
    })
}
