//! What the checks of receivers share.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

/// How long a receiver may take to start, and to write what it was sent.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A folder of its own, empty.
pub(super) fn folder(work: &Path, name: &str) -> Result<PathBuf> {
    let dir = work.join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// The time.
pub(super) fn now_unix_ns() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the time")?;
    u64::try_from(now.as_nanos()).context("the time")
}
