//! `cargo xtask dashboards`: writes the dashboards' JSON from their source, the crate `dashboards`.

use std::fs;

use anyhow::{Context as _, Result};

use crate::paths;

/// `cargo xtask dashboards`
pub(crate) fn command() -> Result<()> {
    for (name, text) in dashboards::files() {
        let file = paths::root().join("dashboards").join(&name);
        let is_new = !fs::read_to_string(&file).is_ok_and(|old| old == text);
        if is_new {
            fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
        }
        println!("dashboards/{name}: {}", if is_new { "written" } else { "up to date" });
    }
    Ok(())
}
