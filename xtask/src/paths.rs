//! Where things are kept. All paths are absolute.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The workspace's root directory.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target directory, `CARGO_TARGET_DIR` respected.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// What this tool makes and may lose: logs, initramfs, a Prometheus' data.
pub fn work(name: &str) -> Result<PathBuf> {
    made(target().join("xtask").join(name))
}

/// What is downloaded and worth keeping: `PODVITALS_CACHE`, else `.cache`.
pub fn cache(name: &str) -> Result<PathBuf> {
    let cache = env::var_os("PODVITALS_CACHE")
        .map_or_else(|| root().join(".cache"), |dir| root().join(dir));
    made(cache.join(name))
}

/// `path` seen from where the user is, who may name a file relative to it.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("where is {}", path.display()))
}

fn made(dir: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}
