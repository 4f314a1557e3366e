//! `docs/pictures`: what was drawn, with a palette of colours, so that a picture is small.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::judge::Drawn;
use crate::{apt, paths, shell};

/// Where they are.
const PICTURES: &str = "docs/pictures";
/// What one may weigh: each is in every clone.
const MAX_BYTES: u64 = 300 * 1024;

/// Puts each board's picture into `docs/pictures`.
pub fn update(boards: &[Drawn]) -> Result<()> {
    let dir = paths::root().join(PICTURES);
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    for board in boards {
        let to = dir.join(format!("{}.png", board.uid));
        let bytes = with_palette(&board.picture, &to)?;
        println!("{PICTURES}/{}.png: {} KiB", board.uid, bytes.div_ceil(1024));
        if bytes > MAX_BYTES {
            bail!("{} has {bytes} bytes; {MAX_BYTES} are allowed", to.display());
        }
    }
    Ok(())
}

/// A picture with 256 colours; its size.
fn with_palette(from: &Path, to: &Path) -> Result<u64> {
    let mut command = Command::new(apt::program("pngquant", "pngquant")?);
    command.args(["--force", "--strip", "--speed", "1", "--output"]).arg(to).arg("--").arg(from);
    shell::run(&mut command)?;
    Ok(fs::metadata(to).with_context(|| format!("stat {}", to.display()))?.len())
}
