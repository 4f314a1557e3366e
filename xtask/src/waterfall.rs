//! `cargo xtask waterfall`: traces as pictures. Each span is a bar over one axis of time, with its events
//! as marks and what went wrong in words.
//!
//! `rows` decides what is shown, `axis` where, `svg` writes it. The same trace gives the same bytes.

mod axis;
mod rows;
mod svg;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use testbed::otlp::{self, Tree};

use crate::paths;

/// Arguments of `cargo xtask waterfall`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file with traces as OTLP in JSON, as the Collector's file exporter writes it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder for the pictures [default: target/xtask/waterfall].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `cargo xtask waterfall`
pub(crate) fn command(args: &Args) -> Result<()> {
    let file = paths::absolute(&args.file)?;
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let trees = otlp::trees(&otlp::from_lines(&text)?).context("put the spans together")?;
    ensure!(!trees.is_empty(), "{} has no span", file.display());
    let out = match &args.out {
        Some(out) => paths::absolute(out)?,
        None => paths::work("waterfall")?,
    };
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    for tree in &trees {
        let file = write(tree, &out, &file_name(tree))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Name of a trace's picture: what it is about, and the begin of its id.
fn file_name(tree: &Tree) -> String {
    let name = tree.root.span.name.to_lowercase();
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let id: String = tree.trace_id.chars().take(8).collect();
    format!("{name}-{id}.svg")
}

/// Draws a trace into a file of `dir`.
///
/// # Errors
/// The file cannot be written.
pub fn write(tree: &Tree, dir: &Path, name: &str) -> Result<PathBuf> {
    let file = dir.join(name);
    fs::write(&file, draw(tree)).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// A trace as SVG.
#[must_use]
pub fn draw(tree: &Tree) -> String {
    svg::picture(tree, &rows::rows(tree))
}
