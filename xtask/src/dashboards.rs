//! `cargo xtask dashboards`: writes the dashboards' JSON from their source, the crate `dashboards`.

mod schema;

use std::fs;

use anyhow::{Context as _, Result};

use crate::paths;

pub(crate) use self::schema::check;

/// Arguments of `cargo xtask dashboards`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; hold what is there against Grafana's schema.
    #[arg(long)]
    check: bool,
}

/// `cargo xtask dashboards`
pub(crate) fn command(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
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
